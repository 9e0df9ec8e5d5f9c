/* fuzz_yaml.c - any text as YAML, and as a recipe. */
#include <stdlib.h>

#include "format/yaml.h"
#include "recipe/recipe_keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Every node is reachable once and stands where it says: members of maps have keys, scalars text.
 */
static size_t count_nodes(const nib_yaml_node *n, bool in_map)
{
    size_t all = 0, children = 0;

    for (; n; n = n->next, children = 0) {
        if ((n->key != NULL) != in_map || (n->kind == NIB_YAML_SCALAR) != (n->text != NULL) ||
            !n->line)
            abort();
        for (const nib_yaml_node *c = n->first; c; c = c->next) children++;
        if (children != n->count) abort();
        /* no deeper than NIB_YAML_MOST_DEPTH */
        all += 1 + count_nodes(n->first, n->kind == NIB_YAML_MAP);
    }
    return all;
}

/* What a recipe resolves to reads back as itself. */
static void try_recipe(nib_ctx *ctx, const nib_yaml *y)
{
    nib_recipe *r = NULL, *again = NULL;
    const nib_finetune_options *o;
    nib_yaml *resolved = NULL;
    nib_error err;
    const char *text;

    if (nib_recipe_create(ctx, &r, &err) || nib_recipe_create(ctx, &again, &err)) abort();
    if (nib_recipe_take_yaml(r, y, &err) == NIB_OK &&
        nib_recipe_finetune_options(r, &o, &err) == NIB_OK) {
        text = nib_recipe_resolved(r);
        if (!text || nib_yaml_parse(ctx, text, strlen(text), "resolved", &resolved, &err) ||
            nib_recipe_take_yaml(again, resolved, &err) ||
            nib_recipe_finetune_options(again, &o, &err) ||
            strcmp(text, nib_recipe_resolved(again)) != 0)
            abort();
    }
    nib_yaml_close(resolved);
    nib_recipe_destroy(again);
    nib_recipe_destroy(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static nib_ctx *ctx; /* one for the whole run: it starts threads */
    nib_yaml *y = NULL;
    nib_error err;

    if (!ctx && nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, &err)) abort();
    if (nib_yaml_parse(ctx, (const char *)data, bytes, "input", &y, &err) == NIB_OK) {
        if (count_nodes(nib_yaml_root(y), false) > NIB_YAML_MOST_NODES) abort();
        try_recipe(ctx, y);
    }
    nib_yaml_close(y);
    return 0;
}
