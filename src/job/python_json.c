/* python_json.c - see python_json.h.  Walks with a stack of its own, so depth costs no recursion. */
#include "job/python_json.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/outfile.h"
#include "quant/bnb4_state.h"

enum { MOST_DEPTH = 64 };

typedef struct level {
    const json_t *value;
    const char **keys; /* sorted; of an object */
    size_t count, next;
} level;

typedef struct text {
    nib_ctx *ctx;
    char *bytes;
    size_t count, room;
    bool failed;
} text;

static void put(text *t, const char *s, size_t n)
{
    if (t->failed || !nib_grow(t->ctx, &t->bytes, &t->room, t->count + n, 1)) {
        t->failed = true;
        return;
    }
    memcpy(t->bytes + t->count, s, n);
    t->count += n;
}

static void put_line(text *t, size_t depth)
{
    put(t, "\n", 1);
    for (size_t i = 0; i < depth; i++) put(t, "  ", 2);
}

static void put_dumped(text *t, const json_t *scalar)
{
    char buffer[4096], *p = buffer;
    size_t n = json_dumpb(scalar, buffer, sizeof buffer, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);

    if (n > sizeof buffer) { /* a long string: a template, say */
        p = nib_alloc(t->ctx, n);
        if (!p) {
            t->failed = true;
            return;
        }
        n = json_dumpb(scalar, p, n, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    }
    if (n == 0) t->failed = true; /* jansson writes at least a byte unless memory is short */
    put(t, p, n);
    if (p != buffer) nib_free(t->ctx, p);
}

static void put_scalar(text *t, const json_t *value)
{
    if (json_is_real(value)) {
        char number[32];
        nib_python_float(json_real_value(value), number, sizeof number);
        put(t, number, strlen(number));
    } else {
        put_dumped(t, value);
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b); /* UTF-8 orders as code points do */
}

static nib_status enter(text *t, level *l, const json_t *value, const char *where, nib_error *err)
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

static void put_key(text *t, const char *key)
{
    json_t *string = json_string(key);
    if (!string) t->failed = true;
    else put_dumped(t, string);
    json_decref(string);
    put(t, ": ", 2);
}

static bool holds_items(const json_t *v)
{
    return (json_is_object(v) && json_object_size(v)) || (json_is_array(v) && json_array_size(v));
}

static nib_status write_value(text *t, const json_t *value, const char *where, nib_error *err)
{
    level levels[MOST_DEPTH];
    size_t depth = 0;
    nib_status status = NIB_OK;

    if (!holds_items(value)) {
        put_scalar(t, value);
        return NIB_OK;
    }
    put(t, json_is_object(value) ? "{" : "[", 1);
    status = enter(t, &levels[depth++], value, where, err);
    while (!status && depth) {
        level *l = &levels[depth - 1];
        const json_t *item;
        if (l->next == l->count) {
            put_line(t, depth - 1);
            put(t, l->keys ? "}" : "]", 1);
            nib_free(t->ctx, l->keys);
            depth--;
            continue;
        }
        if (l->next) put(t, ",", 1);
        put_line(t, depth);
        if (l->keys) put_key(t, l->keys[l->next]);
        item = l->keys ? json_object_get(l->value, l->keys[l->next]) : json_array_get(l->value, l->next);
        l->next++;
        if (!holds_items(item)) {
            put_scalar(t, item);
        } else if (depth == MOST_DEPTH) {
            status = nib_fail(err, NIB_E_UNSUPPORTED, "%s: nested deeper than %d", where, MOST_DEPTH);
        } else {
            put(t, json_is_object(item) ? "{" : "[", 1);
            status = enter(t, &levels[depth], item, where, err);
            if (!status) depth++;
        }
    }
    while (depth) nib_free(t->ctx, levels[--depth].keys);
    return status;
}

nib_status nib_python_json_write(nib_ctx *ctx, const char *path, const json_t *value, nib_error *err)
{
    text t = { .ctx = ctx };
    nib_status status = write_value(&t, value, path, err);

    put(&t, "\n", 1);
    if (!status && t.failed) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
    if (!status) status = nib_outfile_replace(ctx, path, t.bytes, t.count, err);
    nib_free(ctx, t.bytes);
    return status;
}
