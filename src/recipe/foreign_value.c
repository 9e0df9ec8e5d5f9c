/* foreign_value.c - values of other tools that are not just ours under another name. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "format/json.h"
#include "recipe/foreign.h"

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "recipe: out of memory");
}

/* --- by the value --- */

static const char *plain_word(const nib_yaml_node *n, bool component)
{
    static const char *const yes[] = { "true", "yes", "on" };
    static const char *const no[] = { "false", "no", "off" };
    const char *dot = component ? strrchr(n->text, '.') : NULL;

    for (size_t i = 0; !n->quoted && i < NIB_COUNT(yes); i++) {
        if (strcasecmp(n->text, yes[i]) == 0) return "true";
        if (strcasecmp(n->text, no[i]) == 0) return "false";
    }
    return dot ? dot + 1 : n->text;
}

/* The targets of a word, up to a blank; NULL: none is meant. */
static const char *targets_of(const char *map, const char *word)
{
    for (const char *m = map; *m; m += strspn(m, " ")) {
        size_t n = strcspn(m, "=");
        bool any = n && m[n - 1] == '*';
        if (any ? strncmp(m, word, n - 1) == 0 : strlen(word) == n && memcmp(m, word, n) == 0)
            return m + n + 1;
        m += strcspn(m, " ");
    }
    return NULL;
}

/* "key:value,key:value": a comma inside a value does not occur. */
static nib_status add_targets(nib_foreign *f, const nib_word *w, const nib_yaml_node *n,
                              const char *path, const char *targets, nib_error *err)
{
    size_t left = strcspn(targets, " ");
    nib_status status = NIB_OK;

    if (!left)
        return nib_foreign_add(f, n, path, NULL, NULL, w->note ? w->note : w->why, err);
    while (left && !status) {
        size_t bytes = nib_min(left, strcspn(targets, ",")), name = strcspn(targets, ":");
        const char *key = nib_foreign_print(f, "%.*s", (int)name, targets);
        const char *value = targets[name + 1] == '@'
            ? nib_foreign_flow(f, n)
            : nib_foreign_print(f, "%.*s", (int)(bytes - name - 1), targets + name + 1);
        if (!key || !value) return no_memory(err);
        status = nib_foreign_add(f, n, path, key, value, w->note, err);
        bytes = nib_min(left, bytes + 1);
        targets += bytes, left -= bytes;
    }
    return status;
}

static nib_status add_mapped(nib_foreign *f, const nib_word *w, const nib_yaml_node *n,
                             const char *path, nib_error *err)
{
    size_t length = strlen(path), tail = sizeof "_component_" - 1;
    bool component = length >= tail && strcmp(path + length - tail, "_component_") == 0;
    const char *word = n->kind == NIB_YAML_SCALAR ? plain_word(n, component) : "*";
    const char *targets = targets_of(w->map, word), *why;

    if (targets) return add_targets(f, w, n, path, targets, err);
    why = nib_foreign_print(f, "no counterpart of this value%s%s", w->why ? ": " : "",
                            w->why ? w->why : "");
    return why ? nib_foreign_lose(f, n, path, why, err) : no_memory(err);
}

/* --- data --- */

static const char *scalar_of(const nib_yaml_node *map, const char *name)
{
    for (const nib_yaml_node *c = map->first; c; c = c->next)
        if (c->key && strcmp(c->key, name) == 0)
            return c->kind == NIB_YAML_SCALAR && !nib_yaml_is_null(c) ? c->text
                   : c->kind == NIB_YAML_LIST && c->count == 1 ? c->first->text
                                                                : NULL;
    return NULL;
}

/* axolotl: a list of {path, type, data_files, ...}; a path that names a format has its file in
 * data_files. */
static nib_status add_files(nib_foreign *f, const nib_word *w, const nib_yaml_node *n,
                            const char *path, nib_error *err)
{
    static const char *const formats[] = { "json", "csv", "text", "parquet" };
    const nib_yaml_node *set = n->kind == NIB_YAML_LIST ? n->first : NULL;
    const char *file, *value = NULL, *why;
    nib_flow flow = { .ctx = f->ctx };
    bool format = false;

    if (!set || set->kind != NIB_YAML_MAP)
        return nib_foreign_lose(f, n, path, "a list of maps with a path was expected",
                               err);
    if (set->next)
        return nib_foreign_lose(f, n, path,
            "one data set is read: put the files into one folder and name that", err);
    file = scalar_of(set, "path");
    for (size_t i = 0; file && i < NIB_COUNT(formats); i++)
        format = format || strcmp(file, formats[i]) == 0;
    if (!file || format || scalar_of(set, "data_files")) file = scalar_of(set, "data_files");
    if (!file)
        return nib_foreign_lose(f, n, path, "it names no single file", err);
    nib_flow_text(&flow, file, false);
    if (!flow.failed) value = nib_recipe_copy(f->tried, flow.text, flow.used);
    nib_free(f->ctx, flow.text);
    why = nib_foreign_print(f, "%sthe shape of its records is found by their fields",
                            strchr(file, '.') ? "" : "a name on the hub must be pulled first "
                                                     "(nibble pull --dataset); ");
    return value && why ? nib_foreign_add(f, n, path, w->key, value, why, err) : no_memory(err);
}

/* The file of a data set: file_name of its entry in DIR/dataset_info.json. */
static nib_status find_named(nib_foreign *f, const char *name, const char **file,
                             const char **problem, nib_error *err)
{
    const char *dir = nib_foreign_text(f, "dataset_dir"), *text;
    const char *info_path = nib_foreign_print(f, "%s/dataset_info.json", dir ? dir : "data");
    json_t *info = NULL;
    nib_error what;
    nib_status status = NIB_E_NOMEM;

    *file = *problem = NULL;
    if (info_path) status = nib_json_read(f->ctx, info_path, 0, &info, &what);
    text = json_string_value(json_object_get(json_object_get(info, name), "file_name"));
    if (text) *file = nib_foreign_print(f, "%s/%s", dir ? dir : "data", text);
    else if (status && status != NIB_E_NOMEM)
        *problem = nib_foreign_print(f, "write data: FILE, the file_name of '%s' in %s", name,
                                     info_path);
    else if (info)
        *problem = nib_foreign_print(f, "%s has no file_name for '%s'; write data: FILE", info_path,
                                     name);
    json_decref(info);
    return *file || *problem ? NIB_OK : no_memory(err);
}

static nib_status add_named(nib_foreign *f, const nib_word *w, const nib_yaml_node *n,
                            const char *path, nib_error *err)
{
    const char *file = NULL, *problem = NULL, *value = NULL;
    nib_flow flow = { .ctx = f->ctx };
    nib_status status;

    if (n->kind != NIB_YAML_SCALAR || strchr(n->text, ','))
        return nib_foreign_lose(f, n, path,
            "one data set is read: put the files into one folder and name that", err);
    status = find_named(f, n->text, &file, &problem, err);
    if (status || problem)
        return status ? status : nib_foreign_lose(f, n, path, problem, err);
    nib_flow_text(&flow, file, false);
    if (!flow.failed) value = nib_recipe_copy(f->tried, flow.text, flow.used);
    nib_free(f->ctx, flow.text);
    return value ? nib_foreign_add(f, n, path, w->key, value,
                                   "the shape of its records is found by their fields", err)
                 : no_memory(err);
}

/* --- modules --- */

static bool is_true(nib_foreign *f, const char *path)
{
    const char *text = nib_foreign_text(f, path);
    return text && strcmp(plain_word(&(nib_yaml_node){ .text = text }, false), "true") == 0;
}

static nib_status add_modules(nib_foreign *f, const nib_word *w, const nib_yaml_node *n,
                              const char *path, nib_error *err)
{
    nib_flow flow = { .ctx = f->ctx };
    const char *value = NULL;

    for (const nib_yaml_node *c = n->first; c; c = c->next)
        nib_flow_printf(&flow, "%s%s", flow.used ? ", " : "[",
                        c->text && strcmp(c->text, "output_proj") == 0 ? "o_proj"
                        : c->text                                      ? c->text
                                                                       : "?");
    if (is_true(f, "model.apply_lora_to_mlp"))
        nib_flow_printf(&flow, "%sgate_proj, up_proj, down_proj", flow.used ? ", " : "[");
    if (is_true(f, "model.apply_lora_to_output"))
        nib_flow_printf(&flow, "%slm_head", flow.used ? ", " : "[");
    nib_flow_put(&flow, "]", 1);
    if (!flow.failed) value = nib_recipe_copy(f->tried, flow.text, flow.used);
    nib_free(f->ctx, flow.text);
    return value ? nib_foreign_add(f, n, path, w->key, value, "as Llama's modules are named", err)
                 : no_memory(err);
}

static nib_status add_last(nib_foreign *f, const nib_word *w, const nib_yaml_node *n,
                           const char *path, nib_error *err)
{
    nib_flow flow = { .ctx = f->ctx };
    const char *value = NULL;

    for (const nib_yaml_node *c = n->first; c; c = c->next) {
        const char *dot = c->text ? strrchr(c->text, '.') : NULL;
        nib_flow_put(&flow, flow.used ? ", " : "[", flow.used ? 2 : 1);
        nib_flow_text(&flow, dot ? dot + 1 : c->text ? c->text : "?", false);
    }
    nib_flow_put(&flow, flow.used ? "]" : "[]", flow.used ? 1 : 2);
    if (!flow.failed) value = nib_recipe_copy(f->tried, flow.text, flow.used);
    nib_free(f->ctx, flow.text);
    return value ? nib_foreign_add(f, n, path, w->key, value, w->note, err) : no_memory(err);
}

/* --- numbers --- */

/* A number above 0 at a path; `other` when it is not there; 0: it is something else. */
static double number_at(nib_foreign *f, const char *path, double other)
{
    const char *text = nib_foreign_text(f, path);
    char *end;
    double x = text ? strtod(text, &end) : other;

    return !text || (end != text && !*end && x > 0 && x < 1e9) ? x : 0;
}

static nib_status add_number(nib_foreign *f, const nib_yaml_node *n, const char *path,
                             const char *key, double x, const char *why, nib_error *err)
{
    const char *value = nib_foreign_print(f, "%.10g", x);

    if (!value) return no_memory(err);
    return x > 0 ? nib_foreign_add(f, n, path, key, value, why, err)
                 : nib_foreign_lose(f, n, path, "a number above 0 was expected", err);
}

/* Micro-batches: a step has several; the last one may be short. */
static nib_status add_iters(nib_foreign *f, const nib_word *w, const nib_yaml_node *n,
                            const char *path, nib_error *err)
{
    double iters = number_at(f, path, 0), each = number_at(f, "grad_accumulation_steps", 1);
    double steps = each >= 1 ? (double)(int64_t)(iters / each) : 0;

    return add_number(f, n, path, w->key, iters > 0 && steps < 1 ? 1 : steps,
                      each > 1 ? "iters / grad_accumulation_steps" : NULL, err);
}

static nib_status add_each(nib_foreign *f, const nib_word *w, const nib_yaml_node *n,
                           const char *path, nib_error *err)
{
    return add_number(f, n, path, w->key, number_at(f, path, 0) * number_at(f, "epochs", 1),
                      "x epochs", err);
}

static nib_status add_scale(nib_foreign *f, const nib_word *w, const nib_yaml_node *n,
                            const char *path, nib_error *err)
{
    return add_number(f, n, path, w->key,
                      number_at(f, path, 0) * number_at(f, "lora_parameters.rank", 8),
                      "scale x rank: the branch is scaled by lora_alpha / r", err);
}

/* Times an epoch: each epoch, or a fraction of all steps. */
static nib_status add_rate(nib_foreign *f, const nib_word *w, const nib_yaml_node *n,
                           const char *path, nib_error *err)
{
    double rate = number_at(f, path, 0), epochs = number_at(f, "num_epochs", 1);
    const char *strategy = nib_foreign_print(f, "%s_strategy", w->key);
    const char *steps = nib_foreign_print(f, "%s_steps", w->key);
    nib_status status;

    if (!strategy || !steps) return no_memory(err);
    if (n->kind == NIB_YAML_SCALAR && strcmp(n->text, "0") == 0)
        return nib_foreign_add(f, n, path, strategy, "no", NULL, err);
    if (rate == 1) return nib_foreign_add(f, n, path, strategy, "epoch", NULL, err);
    status = nib_foreign_add(f, n, path, strategy, "steps", NULL, err);
    if (status) return status;
    return add_number(f, n, path, steps, rate * epochs > 0 ? 1 / (rate * epochs) : 0,
                      "a fraction of all steps", err);
}

nib_status nib_foreign_add_value(nib_foreign *f, const nib_word *w, const nib_yaml_node *n,
                                 const char *path, nib_error *err)
{
    const char *value;

    switch (w->how) {
    case NIB_WORD_MAP: return add_mapped(f, w, n, path, err);
    case NIB_WORD_NONE: return nib_foreign_add(f, n, path, NULL, NULL, w->why, err);
    case NIB_WORD_LOST:
        return n->kind == NIB_YAML_SCALAR && strcmp(plain_word(n, false), "false") == 0
            ? nib_foreign_add(f, n, path, NULL, NULL, w->why, err)
            : nib_foreign_lose(f, n, path, w->why, err);
    case NIB_WORD_FILES: return add_files(f, w, n, path, err);
    case NIB_WORD_NAMED: return add_named(f, w, n, path, err);
    case NIB_WORD_MODULES: return add_modules(f, w, n, path, err);
    case NIB_WORD_LAST: return add_last(f, w, n, path, err);
    case NIB_WORD_ITERS: return add_iters(f, w, n, path, err);
    case NIB_WORD_SCALE: return add_scale(f, w, n, path, err);
    case NIB_WORD_EACH: return add_each(f, w, n, path, err);
    case NIB_WORD_RATE: return add_rate(f, w, n, path, err);
    case NIB_WORD_SAME: break;
    }
    value = nib_foreign_flow(f, n);
    return value ? nib_foreign_add(f, n, path, w->key, value, w->note, err) : no_memory(err);
}
