/* recipe_sources.c - files of data with weights: "new.jsonl", "old.jsonl:0.2", or a list of these.
 *
 * A weight is a number behind the last ':'.  A file whose own name ends so is taken as it is. */
#include "base/filemap.h"
#include "recipe/recipe_values.h"

/* Looks like a number that was meant for a weight: "0.2", "-1", "0,5", "nan", but not "jsonl". */
static bool is_meant(const char *text)
{
    return *text && (strspn(text, "+-.,0123456789eE%") == strlen(text) ||
                     strcmp(text, "nan") == 0 || strcmp(text, "inf") == 0);
}

static nib_status read_source(nib_recipe *r, const char *text, const char *place,
                              nib_data_source *out, nib_error *err)
{
    const char *colon = strrchr(text, ':');
    double weight = 1;

    if (!*text) return nib_fail(err, NIB_E_INVALID, "%s: an empty name of a file", place);
    if (colon && (nib_file_exists(text) || colon == text)) colon = NULL;
    if (colon && !(nib_recipe_number(colon + 1, &weight) && weight > 0)) {
        char *path = nib_strndup(r->ctx, text, (size_t)(colon - text));
        bool there = path && nib_file_exists(path);
        nib_free(r->ctx, path);
        if (is_meant(colon + 1) || there)
            return nib_fail(err, NIB_E_INVALID, "%s: '%.200s': '%.50s' is no weight: a number "
                            "above 0, such as 0.2 for a fifth of the records", place, text,
                            colon + 1);
        colon = NULL;
    }
    *out = (nib_data_source){ nib_recipe_copy(r, text, colon ? (size_t)(colon - text)
                                                             : strlen(text)),
                              colon ? weight : 1 };
    return out->path ? NIB_OK : nib_recipe_no_memory(place, err);
}

nib_status nib_recipe_sources(nib_recipe *r, const nib_yaml_node *n, const char *place, bool more,
                              const char **data, nib_data_sources *out, nib_error *err)
{
    size_t before = !more || !*data ? 0 : out->count ? out->count : 1;
    size_t count = n->kind == NIB_YAML_SCALAR ? 1 : n->count;
    const nib_yaml_node *c = n->kind == NIB_YAML_SCALAR ? n : n->first;
    nib_data_source *items;
    nib_status status = NIB_OK;

    if (n->kind == NIB_YAML_MAP || !count)
        return nib_recipe_wrong(place, n, err, "a file, or a list of files (FILE:WEIGHT)");
    if (count > SIZE_MAX / sizeof *items - before) return nib_recipe_no_memory(place, err);
    items = nib_recipe_take(r, (before + count) * sizeof *items);
    if (!items) return nib_recipe_no_memory(place, err);
    for (size_t i = 0; i < before; i++)
        items[i] = out->count ? out->items[i] : (nib_data_source){ *data, 1 };
    for (size_t i = before; c && !status; i++, c = n->kind == NIB_YAML_SCALAR ? NULL : c->next)
        status = c->kind == NIB_YAML_SCALAR && !nib_yaml_is_null(c)
                     ? read_source(r, c->text, place, &items[i], err)
                     : nib_recipe_wrong(place, c, err, "the name of a file");
    if (status) return status;
    count += before;
    *data = items[0].path;
    *out = count > 1 || items[0].weight != 1 ? (nib_data_sources){ items, count }
                                             : (nib_data_sources){ NULL, 0 };
    return NIB_OK;
}

char *nib_recipe_source_text(nib_ctx *ctx, const nib_data_source *s)
{
    const char *colon = strrchr(s->path, ':');
    char weight[40];

    if (s->weight == 1 && !(colon && is_meant(colon + 1))) return nib_strdup(ctx, s->path);
    nib_recipe_number_text(s->weight, weight);
    return nib_sprintf(ctx, "%s:%s", s->path, weight);
}
