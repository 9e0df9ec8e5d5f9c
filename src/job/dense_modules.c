/* dense_modules.c - see dense_modules.h. */
#include "job/dense_modules.h"

#include <stdio.h>

#include "model/held.h"

enum { ROOM = 600 };

static bool is_dense(const nib_tensors *tensors, const nib_tensor *t)
{
    const nib_part part = nib_tensor_part(t);

    return t->rank >= 2 && !t->foreign &&
           (t->dtype == NIB_F32 || t->dtype == NIB_F16 || t->dtype == NIB_BF16) &&
           !nib_format_is_piece(&part, nib_tensors_finder(tensors));
}

/* The tensor's module; a parameter that is none keeps its name. */
static void name_module(const char *tensor, char module[ROOM])
{
    static const char end[] = ".weight";
    size_t n = strlen(tensor), stem = n - nib_min(n, strlen(end));

    snprintf(module, ROOM, "%.*s", (int)(strcmp(tensor + stem, end) == 0 ? stem : n), tensor);
}

/* "layers.3.mlp" as "layers.*.mlp". */
static void generalize(const char *module, char to[ROOM])
{
    size_t used = 0;

    for (const char *p = module; *p && used + 1 < ROOM;) {
        size_t digits = strspn(p, "0123456789");
        bool part = digits && (p == module || p[-1] == '.') && (p[digits] == '.' || !p[digits]);

        to[used++] = part ? '*' : *p;
        p += part ? digits : 1;
    }
    to[used] = 0;
}

/* The modules in order, and how many each general name stands for. */
static bool count_modules(const nib_tensors *tensors, json_t *first, json_t *counts)
{
    char module[ROOM], general[ROOM];
    bool good = true;

    for (size_t i = 0; good && i < nib_tensors_count(tensors); i++) {
        const nib_tensor *t = nib_tensors_at(tensors, i);
        json_int_t so_far;

        if (!is_dense(tensors, t)) continue;
        name_module(t->name, module);
        generalize(module, general);
        so_far = json_integer_value(json_object_get(counts, general));
        good = json_object_set_new(counts, general, json_integer(so_far + 1)) == 0 &&
               (so_far || json_object_set_new(first, general, json_string(module)) == 0);
    }
    return good;
}

json_t *nib_dense_modules(const nib_tensors *tensors)
{
    json_t *first = json_object(), *counts = json_object(), *list = json_object(), *count;
    bool good = first && counts && list && count_modules(tensors, first, counts);
    const char *general;

    json_object_foreach(counts, general, count) {
        const char *name = json_integer_value(count) > 1
                               ? general : json_string_value(json_object_get(first, general));
        good = good && name && json_object_set(list, name, count) == 0;
    }
    json_decref(first);
    json_decref(counts);
    if (good) return list;
    json_decref(list);
    return NULL;
}
