/* python_json.c - see python_json.h.  Walks with a stack of its own, so depth costs no
 * recursion. */
#include "job/python_json.h"

#include <stdlib.h>

#include "base/outfile.h"
#include "format/jsontext.h"

enum { MOST_DEPTH = 64 };

typedef struct level {
    const json_t *value;
    const char **keys; /* sorted; of an object */
    size_t count, next;
} level;

static void put_line(nib_text *t, size_t depth)
{
    nib_text_puts(t, "\n");
    for (size_t i = 0; i < depth; i++) nib_text_puts(t, "  ");
}

static void put_scalar(nib_text *t, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_STRING: nib_text_json_string(t, json_string_value(value), true); break;
    case JSON_INTEGER:
        nib_text_printf(t, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL: nib_text_json_float(t, json_real_value(value)); break;
    case JSON_TRUE: nib_text_puts(t, "true"); break;
    case JSON_FALSE: nib_text_puts(t, "false"); break;
    case JSON_NULL: nib_text_puts(t, "null"); break;
    case JSON_OBJECT: nib_text_puts(t, "{}"); break; /* empty ones only come here */
    case JSON_ARRAY: nib_text_puts(t, "[]"); break;
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a,
                  *(const char *const *)b); /* UTF-8 orders as code points do */
}

static nib_status enter(nib_text *t, level *l, const json_t *value, const char *where,
                        nib_error *err)
{
    const char *key;
    json_t *item;
    size_t i = 0;

    *l = (level){ .value = value };
    if (json_is_array(value)) {
        l->count = json_array_size(value);
        return NIB_OK;
    }
    l->count = json_object_size(value);
    l->keys = nib_new_array(t->ctx, l->count + 1, sizeof *l->keys);
    if (!l->keys) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    json_object_foreach((json_t *)(uintptr_t)value, key, item) l->keys[i++] = key;
    qsort(l->keys, l->count, sizeof *l->keys, by_name);
    return NIB_OK;
}

static void put_key(nib_text *t, const char *key)
{
    nib_text_json_string(t, key, true);
    nib_text_puts(t, ": ");
}

static bool holds_items(const json_t *v)
{
    return (json_is_object(v) && json_object_size(v)) || (json_is_array(v) && json_array_size(v));
}

static nib_status write_value(nib_text *t, const json_t *value, const char *where, nib_error *err)
{
    level levels[MOST_DEPTH];
    size_t depth = 0;
    nib_status status = NIB_OK;

    if (!holds_items(value)) {
        put_scalar(t, value);
        return NIB_OK;
    }
    nib_text_puts(t, json_is_object(value) ? "{" : "[");
    status = enter(t, &levels[depth++], value, where, err);
    while (!status && depth) {
        level *l = &levels[depth - 1];
        const json_t *item;
        if (l->next == l->count) {
            put_line(t, depth - 1);
            nib_text_puts(t, l->keys ? "}" : "]");
            nib_free(t->ctx, l->keys);
            depth--;
            continue;
        }
        if (l->next) nib_text_puts(t, ",");
        put_line(t, depth);
        if (l->keys) put_key(t, l->keys[l->next]);
        item = l->keys ? json_object_get(l->value, l->keys[l->next])
                       : json_array_get(l->value, l->next);
        l->next++;
        if (!holds_items(item)) {
            put_scalar(t, item);
        } else if (depth == MOST_DEPTH) {
            status =
                nib_fail(err, NIB_E_UNSUPPORTED, "%s: nested deeper than %d", where, MOST_DEPTH);
        } else {
            nib_text_puts(t, json_is_object(item) ? "{" : "[");
            status = enter(t, &levels[depth], item, where, err);
            if (!status) depth++;
        }
    }
    while (depth) nib_free(t->ctx, levels[--depth].keys);
    return status;
}

nib_status nib_python_json_write(nib_ctx *ctx, const char *path, const json_t *value,
                                 nib_error *err)
{
    nib_text t = { .ctx = ctx };
    nib_status status = write_value(&t, value, path, err);

    nib_text_puts(&t, "\n");
    if (!status && t.failed) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
    if (!status) status = nib_outfile_replace(ctx, path, t.data, t.bytes, err);
    nib_text_free(&t);
    return status;
}
