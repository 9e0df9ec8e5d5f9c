/* gguf_listed.c - see gguf_listed.h. */
#include "model/gguf_listed.h"

#include <stdio.h>
#include <stdlib.h>

#include "format/gguf_writer.h"

enum { MOST_LAYERS = 10000, KEY_ROOM = 200 };

static nib_status add_list(nib_tensors *t, const nib_gguf_listed *l, size_t layers, nib_tensor *to,
                           const char *where, nib_error *err)
{
    const nib_gguf_value *v = nib_gguf_find(nib_tensors_gguf(t), l->key);
    const char *mark = strstr(l->tensor, "%d");
    size_t room = strlen(l->tensor) + 24;

    if (!v || v->entry != NIB_GGUF_F32 || (v->kind == NIB_GGUF_ARRAY && v->count != layers))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is %s, expected a float32, or one for each "
                        "of %zu layers", where, l->key,
                        v ? "of another type or length" : "missing", layers);
    for (size_t i = 0; i < layers; i++) {
        char *name = nib_tensors_alloc(t, room);
        if (!name) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
        snprintf(name, room, "%.*s%zu%s", (int)(mark - l->tensor), l->tensor, i, mark + 2);
        to[i] = (nib_tensor){ .name = name, .dtype = NIB_F32, .dtype_name = "F32",
                              .rank = l->rank, .shape = { l->rank }, .bytes = 4, .elements = 1,
                              .data = (const uint8_t *)v->at +
                                      (v->kind == NIB_GGUF_ARRAY ? 4 * i : 0) };
    }
    return NIB_OK;
}

nib_status nib_gguf_listed_add(nib_tensors *t, const nib_gguf_family *f, const char *where,
                               nib_error *err)
{
    const nib_gguf_value *v;
    char name[KEY_ROOM];
    uint64_t layers = 0;
    size_t lists = 0;
    nib_tensor *made;
    nib_status status = NIB_OK;

    while (f->listed && f->listed[lists].key) lists++;
    if (!lists) return NIB_OK;
    snprintf(name, sizeof name, "%s.block_count", f->architecture);
    v = nib_gguf_find(nib_tensors_gguf(t), name);
    if (!v || !nib_gguf_count(v, 0, &layers) || !layers || layers > MOST_LAYERS)
        return nib_fail(err, NIB_E_FORMAT, "%s: %s.block_count is %" PRIu64 ", expected 1 to %d",
                        where, f->architecture, layers, MOST_LAYERS);
    made = nib_tensors_alloc(t, lists * (size_t)layers * sizeof *made);
    if (!made) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    for (size_t i = 0; i < lists && !status; i++)
        status = add_list(t, &f->listed[i], (size_t)layers, made + i * (size_t)layers, where, err);
    return status ? status : nib_tensors_add(t, made, lists * (size_t)layers, err);
}

/* The number of the layer, where the tensor is one of the list's; -1: it is not. */
static long layer_of(const nib_gguf_listed *l, const char *tensor)
{
    const char *mark = strstr(l->tensor, "%d");
    size_t before = (size_t)(mark - l->tensor);
    char *end;
    long layer;

    if (strncmp(tensor, l->tensor, before) != 0 || tensor[before] < '0' || tensor[before] > '9')
        return -1;
    layer = strtol(tensor + before, &end, 10);
    return strcmp(end, mark + 2) == 0 ? layer : -1;
}

const nib_gguf_listed *nib_gguf_listed_of(const nib_gguf_family *f, const char *tensor)
{
    for (const nib_gguf_listed *l = f->listed; l && l->key; l++)
        if (layer_of(l, tensor) >= 0) return l;
    return NULL;
}

static float value_of(const nib_model *m, const nib_gguf_listed *l, long layer)
{
    for (size_t i = 0; i < m->vector_count; i++)
        if (layer_of(l, m->vectors[i]->name) == layer) return m->vectors[i]->value[0];
    return 0; /* every layer has bound its own */
}

void nib_gguf_listed_put(const nib_model *m, const nib_gguf_family *f, nib_gguf_writer *w)
{
    size_t layers = (size_t)m->graph->segments - 2;

    for (const nib_gguf_listed *l = f->listed; l && l->key; l++) {
        nib_gguf_put_array(w, l->key, NIB_GGUF_F32, layers);
        for (size_t i = 0; i < layers; i++)
            nib_gguf_entry_number(w, NIB_GGUF_F32, (double)value_of(m, l, (long)i));
    }
}
