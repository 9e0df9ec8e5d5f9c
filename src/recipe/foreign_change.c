/* foreign_change.c - the list of changes of a foreign recipe, and the texts they hold. */
#include <stdio.h>

#include "recipe/foreign.h"

/* --- texts --- */

const char *nib_foreign_print(nib_foreign *f, const char *format, ...)
{
    va_list args, again;
    char *text;
    int n;

    va_start(args, format);
    va_copy(again, args);
    n = vsnprintf(NULL, 0, format, args);
    text = n < 0 ? NULL : nib_recipe_take(f->tried, (size_t)n + 1);
    if (text) vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}

const char *nib_foreign_flow(nib_foreign *f, const nib_yaml_node *n)
{
    nib_flow flow = { .ctx = f->ctx };
    const char *text = NULL;

    nib_flow_node(&flow, n);
    if (!flow.failed) text = nib_recipe_copy(f->tried, flow.text, flow.used);
    nib_free(f->ctx, flow.text);
    return text;
}

static const nib_yaml_node *member(const nib_yaml_node *map, const char *name, size_t bytes)
{
    for (const nib_yaml_node *c = map->kind == NIB_YAML_MAP ? map->first : NULL; c; c = c->next)
        if (strlen(c->key) == bytes && memcmp(c->key, name, bytes) == 0) return c;
    return NULL;
}

static const nib_yaml_node *find_path(const nib_yaml_node *n, const char *path, size_t bytes)
{
    while (n && bytes) {
        const char *dot = memchr(path, '.', bytes);
        size_t part = dot ? (size_t)(dot - path) : bytes;
        n = member(n, path, part);
        part = nib_min(bytes, part + 1);
        path += part, bytes -= part;
    }
    return n;
}

const char *nib_foreign_resolve(nib_foreign *f, const char *text)
{
    for (int rounds = 0; text && rounds < 8; rounds++) {
        const char *from = strstr(text, "${"), *to = from ? strchr(from, '}') : NULL;
        const nib_yaml_node *n = to ? find_path(f->root, from + 2, (size_t)(to - from) - 2) : NULL;
        if (!n || n->kind != NIB_YAML_SCALAR) break;
        text = nib_foreign_print(f, "%.*s%s%s", (int)(from - text), text, n->text, to + 1);
    }
    return text;
}

const char *nib_foreign_text(nib_foreign *f, const char *path)
{
    const nib_yaml_node *n = find_path(f->root, path, strlen(path));

    if (!n || n->kind != NIB_YAML_SCALAR || nib_yaml_is_null(n)) return NULL;
    return nib_foreign_resolve(f, n->text);
}

/* --- changes --- */

const char *nib_foreign_written(const nib_foreign *f, const char *key)
{
    for (size_t i = 0; i < f->count; i++)
        if (f->items[i].key && strcmp(f->items[i].key, key) == 0) return f->items[i].value;
    return NULL;
}

bool nib_change_is_none(const nib_change *c)
{
    return c->old && c->key && strcmp(c->old, c->key) == 0 &&
           strcmp(c->old_value, c->value) == 0;
}

/* Would our recipe take it?  *why: if not, the reason. */
static nib_status try_value(nib_foreign *f, const char *key, const char *value, const char **why,
                            nib_error *err)
{
    const char *text = nib_foreign_print(f, "%s: %s\n", key, value);
    nib_yaml *y = NULL;
    nib_error what;
    nib_status status = NIB_E_NOMEM;

    *why = NULL;
    if (text) status = nib_yaml_parse(f->ctx, text, strlen(text), "value", &y, &what);
    if (!status) status = nib_recipe_take_yaml(f->tried, y, &what);
    nib_yaml_close(y);
    if (status && status != NIB_E_NOMEM) { /* the place, value:1:2, is of this line alone */
        const char *reason = strstr(what.message, ": ");
        *why = nib_foreign_print(f, "%s", reason ? reason + 2 : what.message);
        status = *why ? NIB_OK : NIB_E_NOMEM;
    }
    return status ? nib_fail(err, NIB_E_NOMEM, "recipe: out of memory") : NIB_OK;
}

nib_status nib_foreign_add(nib_foreign *f, const nib_yaml_node *n, const char *path,
                           const char *key, const char *value, const char *why, nib_error *err)
{
    nib_change c = { .line = n ? n->key_line : 0, .why = why };
    const char *before, *refused = NULL;
    nib_status status = NIB_OK;

    if (n) {
        c.old = nib_foreign_print(f, "%s", path);
        c.old_value = nib_foreign_flow(f, n);
        if (!c.old || !c.old_value) goto no_memory;
    }
    if (key) {
        size_t row = nib_recipe_find(key);
        assert(row != SIZE_MAX);
        key = nib_recipe_rows[nib_recipe_follow(row)].key.name;
        before = nib_foreign_written(f, key);
        if (before) {
            c.why = nib_foreign_print(f, "%s: %s is written already", key, before);
            if (!c.why) goto no_memory;
        } else {
            status = try_value(f, key, value, &refused, err);
            if (status) return status;
            if (refused) c.why = refused, c.lost = true;
            else c.key = key, c.value = value;
        }
    }
    if (!nib_grow(f->ctx, &f->items, &f->capacity, f->count + 1, sizeof *f->items))
        goto no_memory;
    f->items[f->count++] = c;
    return NIB_OK;
no_memory:
    return nib_fail(err, NIB_E_NOMEM, "recipe: out of memory");
}

nib_status nib_foreign_lose(nib_foreign *f, const nib_yaml_node *n, const char *path,
                            const char *why, nib_error *err)
{
    nib_status status = nib_foreign_add(f, n, path, NULL, NULL, why, err);

    if (!status) f->items[f->count - 1].lost = true;
    return status;
}
