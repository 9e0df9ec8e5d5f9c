/* held.c - see held.h. */
#include "model/held.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "quant/weight_settings.h"

/* A value as the text that settings have: a list or object as JSON, null as NULL. */
static char *text_of(nib_ctx *ctx, const json_t *value)
{
    return json_is_string(value) ? nib_strdup(ctx, json_string_value(value))
                                 : nib_json_dump(ctx, value, JSON_ENCODE_ANY);
}

/* The type that values had before they were encoded, where config.json says it. */
static void read_dtype(const json_t *config, nib_dtype *dtype)
{
    static const nib_dtype known[] = { NIB_F32, NIB_F16, NIB_BF16 };
    const char *type = json_string_value(json_object_get(config, "dtype"));

    if (!type) type = json_string_value(json_object_get(config, "torch_dtype"));
    for (size_t i = 0; type && i < NIB_COUNT(known); i++)
        if (strcmp(type, nib_dtype_name(known[i])) == 0) *dtype = known[i];
}

static bool find_part(void *self, const char *name, nib_part *out)
{
    const nib_tensor *t = nib_tensors_find(self, name);

    if (!t) return false;
    *out = nib_tensor_part(t);
    return true;
}

nib_part_finder nib_tensors_finder(const nib_tensors *tensors)
{
    return (nib_part_finder){ find_part, (void *)(uintptr_t)tensors };
}

/* The settings of an object: what is nested comes behind a slash (quant/format.h). */
typedef struct flat {
    nib_ctx *ctx;
    nib_setting *list;
    size_t count, capacity;
} flat;

enum { DEEPEST = 6 }; /* deeper members are in the text of what they lie in */

static bool put_flat(flat *f, char *key, char *text)
{
    /* one more: the end of the list */
    if (key && nib_grow(f->ctx, &f->list, &f->capacity, f->count + 2, sizeof *f->list)) {
        f->list[f->count++] = (nib_setting){ key, text };
        f->list[f->count] = (nib_setting){ 0 };
        return true;
    }
    nib_free(f->ctx, key);
    nib_free(f->ctx, text);
    return false;
}

static bool flatten(flat *f, const char *path, const json_t *value, int depth)
{
    const char *slash = *path ? "/" : "";
    bool good = true;
    const char *key;
    json_t *member;
    size_t i;

    if (*path) {
        char *text = json_is_null(value) ? NULL : text_of(f->ctx, value);
        good = (text || json_is_null(value)) && put_flat(f, nib_strdup(f->ctx, path), text);
    }
    if (depth == DEEPEST) return good;
    json_object_foreach((json_t *)(uintptr_t)value, key, member) {
        char *inner = good ? nib_sprintf(f->ctx, "%s%s%s", path, slash, key) : NULL;
        good = inner && flatten(f, inner, member, depth + 1);
        nib_free(f->ctx, inner);
    }
    json_array_foreach(value, i, member) {
        char *inner = good ? nib_sprintf(f->ctx, "%s%s%zu", path, slash, i) : NULL;
        good = inner && flatten(f, inner, member, depth + 1);
        nib_free(f->ctx, inner);
    }
    return good;
}

static void free_flat(flat *f)
{
    for (size_t i = 0; i < f->count; i++) {
        nib_free(f->ctx, (char *)(uintptr_t)f->list[i].key);
        nib_free(f->ctx, (char *)(uintptr_t)f->list[i].value);
    }
    nib_free(f->ctx, f->list);
}

nib_status nib_held_read(nib_ctx *ctx, const json_t *config, const char *where, nib_held *out,
                         nib_error *err)
{
    const json_t *q = json_object_get(config, "quantization_config");
    flat f = { .ctx = ctx };
    nib_status status = NIB_OK;

    *out = (nib_held){ 0 };
    if (!q || json_is_null(q)) return NIB_OK;
    if (!json_is_object(q))
        return nib_fail(err, NIB_E_FORMAT, "%s: quantization_config is not an object", where);
    if (!flatten(&f, "", q, 0)) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    if (!status) status = nib_held_stored(ctx, f.list, where, out, err);
    if (!status) read_dtype(config, &out->form.dtype);
    if (status == NIB_E_INVALID) status = NIB_E_FORMAT; /* a file says it, not the caller */
    free_flat(&f);
    return status;
}

/* The same setting in two spellings: words of truth and numbers by what they mean. */
static bool same_setting(const char *a, const char *b)
{
    const nib_setting x[] = { { "value", a }, { NULL, NULL } };
    const nib_setting y[] = { { "value", b }, { NULL, NULL } };
    bool truth = false, other = false;
    char *end, *other_end;
    double number = strtod(a, &end), other_number = strtod(b, &other_end);
    nib_error ignored;

    if (strcasecmp(a, b) == 0) return true;
    if (*a && *b && !*end && !*other_end) return number == other_number;
    return !nib_setting_bool(x, "", "value", &truth, &ignored) &&
           !nib_setting_bool(y, "", "value", &other, &ignored) && truth == other;
}

nib_status nib_held_agrees(const nib_held *stored, const nib_setting *settings, const char *model,
                           const nib_setting **idle, nib_error *err)
{
    char found[512] = "", form[NIB_FORM_ROOM];
    nib_settings has = { 0 };
    size_t used = 0;

    *idle = NULL;
    stored->format->settings(&stored->form, &has);
    nib_form_text(&stored->form, form);
    for (const nib_setting *s = settings; s && s->key && used < sizeof found; s++) {
        const char *value = NULL;
        bool flag = strncmp(s->key, "load_in_", 8) == 0;

        for (size_t i = 0; i < has.count; i++)
            if (nib_setting_is(s, has.items[i].key)) value = has.items[i].value;
        if (!value && flag)
            value = stored->format->flag && nib_setting_is(s, stored->format->flag) ? "true"
                                                                                    : "false";
        if (s->value && !value) *idle = s;
        if (!s->value || !value || same_setting(s->value, value)) continue;
        used += (size_t)snprintf(found + used, sizeof found - used, "%s%s %s (stored: %s)",
                                 used ? ", " : "", s->key, s->value, value);
    }
    if (!used) return NIB_OK;
    return nib_fail(err, NIB_E_INVALID,
                    "%s is quantized already (%s, %s), and these options contradict it: %s; leave "
                    "them out, or take the model before it was quantized",
                    model, stored->format->known, form, found);
}
