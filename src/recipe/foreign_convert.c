/* foreign_convert.c - see foreign.h: whose recipe it is, the walk through its keys, and what its
 * tool does by default. */
#include <stdio.h>
#include <stdlib.h>

#include "recipe/foreign.h"

enum { PATH_ROOM = 256 };

/* --- whose --- */

static size_t count_words(const nib_yaml_node *n, nib_tool tool, const char *path)
{
    size_t count = 0;

    for (const nib_yaml_node *c = n->first; c; c = c->next) {
        char name[PATH_ROOM];
        snprintf(name, sizeof name, "%s%s%s", path, *path ? "." : "", c->key);
        if (!*path && nib_recipe_find(name) != SIZE_MAX) continue;
        if (nib_word_find(tool, name)) count++;
        else if (c->kind == NIB_YAML_MAP) count += count_words(c, tool, name);
    }
    return count;
}

nib_tool nib_foreign_detect(const nib_yaml_node *root, size_t least)
{
    nib_tool best = NIB_TOOLS;
    size_t most = nib_max(least, 1) - 1;

    if (!root || root->kind != NIB_YAML_MAP) return NIB_TOOLS;
    for (nib_tool t = 0; t < NIB_TOOLS; t++) {
        size_t n = count_words(root, t, "");
        if (n > most) most = n, best = t;
    }
    return best;
}

/* --- the walk --- */

/* A key that bears our name. */
static nib_status add_own(nib_foreign *f, const nib_yaml_node *n, const char *path, nib_error *err)
{
    const nib_recipe_row *row = &nib_recipe_rows[nib_recipe_follow(nib_recipe_find(path))];
    const char *value;

    if (row->key.use == NIB_RECIPE_USED) {
        value = nib_foreign_flow(f, n);
        return value ? nib_foreign_add(f, n, path, row->key.name, value, NULL, err)
                     : nib_fail(err, NIB_E_NOMEM, "recipe: out of memory");
    }
    return row->key.use == NIB_RECIPE_REFUSED && !nib_recipe_is_neutral(row, n)
        ? nib_foreign_lose(f, n, path, row->key.help, err)
        : nib_foreign_add(f, n, path, NULL, NULL, row->key.help, err);
}

/* The keys of a map: words, keys of ours, maps of words, and what nobody knows. */
static nib_status add_map(nib_foreign *f, const nib_yaml_node *map, const char *path,
                          nib_error *err)
{
    nib_status status = NIB_OK;

    for (const nib_yaml_node *c = map->first; c && !status; c = c->next) {
        char name[PATH_ROOM];
        nib_yaml_node n = *c;
        const nib_word *w;

        snprintf(name, sizeof name, "%s%s%s", path, *path ? "." : "", c->key);
        w = nib_word_find(f->tool, name);
        if (nib_yaml_is_null(c)) continue; /* as if it were not there */
        if (c->kind == NIB_YAML_SCALAR && !(n.text = nib_foreign_resolve(f, c->text)))
            status = nib_fail(err, NIB_E_NOMEM, "recipe: out of memory");
        else if (w) status = nib_foreign_add_value(f, w, &n, name, err);
        else if (!*path && nib_recipe_find(name) != SIZE_MAX) status = add_own(f, &n, name, err);
        else if (c->kind == NIB_YAML_MAP && c->first) status = add_map(f, c, name, err);
        else
            status = nib_foreign_lose(f, &n, name, "a key that nibble knows of no tool", err);
    }
    return status;
}

/* Does the default hold in this recipe? */
static bool holds(nib_foreign *f, const nib_word_default *d)
{
    const char *with = d->only_with, *value;
    size_t n = with ? strcspn(with, " ") : 0;
    char path[PATH_ROOM];

    if (d->tool != f->tool || nib_foreign_written(f, d->key)) return false;
    if (!with) return true;
    if (*with == '!') return !nib_foreign_written(f, with + 1);
    if (*with != '@') {
        value = nib_foreign_written(f, with);
        return value && strcmp(value, "false") != 0;
    }
    snprintf(path, sizeof path, "%.*s", (int)n - 1, with + 1);
    value = nib_foreign_text(f, path);
    return value && strstr(value, with + n + 1);
}

static nib_status add_defaults(nib_foreign *f, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < nib_word_default_count && !status; i++) {
        const nib_word_default *d = &nib_word_defaults[i];
        const char *value = d->value, *why = d->why, *rank;

        if (!holds(f, d)) continue;
        if (value && *value <= '9' && value[strlen(value) - 1] == 'r') {
            rank = nib_foreign_written(f, "r");
            value = nib_foreign_print(f, "%d", atoi(value) * (rank ? atoi(rank) : 8));
        }
        if (!why) why = nib_foreign_print(f, "the default of %s", nib_tool_name(f->tool));
        if (!why || (d->value && !value))
            status = nib_fail(err, NIB_E_NOMEM, "recipe: out of memory");
        else
            status = nib_foreign_add(f, NULL, NULL, value ? d->key : NULL, value, why, err);
    }
    return status;
}

nib_status nib_foreign_convert(nib_ctx *ctx, const nib_yaml_node *root, nib_tool tool,
                               nib_foreign *out, nib_error *err)
{
    nib_status status;

    *out = (nib_foreign){ .ctx = ctx, .tool = tool, .root = root };
    status = nib_recipe_create(ctx, &out->tried, err);
    if (!status) status = add_map(out, root, "", err);
    if (!status) status = add_defaults(out, err);
    return status;
}

void nib_foreign_release(nib_foreign *f)
{
    nib_recipe_destroy(f->tried);
    nib_free(f->ctx, f->items);
    *f = (nib_foreign){ 0 };
}
