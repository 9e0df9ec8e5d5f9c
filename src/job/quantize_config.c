/* quantize_config.c - see quantize_config.h; keys and their order: formats.md 4.1. */
#include "job/quantize_config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/filemap.h"
#include "base/hub.h"
#include "base/outfile.h"
#include "job/open.h"
#include "job/python_json.h"
#include "text/model_file.h"

enum { MOST_HEADS = 16 }; /* prefixes of heads of a family */

/* So that an adapter trained on the result names the original. */
static bool set_origin(nib_ctx *ctx, json_t *config, const char *model, const char *origin)
{
    char *name = nib_base_model_name(ctx, origin, model, config);
    bool good = name && json_object_set_new(config, "_name_or_path", json_string(name)) == 0;

    nib_free(ctx, name);
    return good;
}

static bool has(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

/* The parts of an encoder's heads, those for other tasks too: who begins a classifier on the result
 * has it dense. */
static size_t list_heads(const nib_model *m, char (*made)[NIB_MODULE_NAME_ROOM],
                         const char **names, size_t n)
{
    const char *const *h = m->config->arch->other_heads;

    for (size_t i = 0; i < m->linear_count; i++)
        if (m->linears[i]->of_head && !has(names, n, m->linears[i]->name))
            names[n++] = m->linears[i]->name;
    for (size_t k = 0; h && k < MOST_HEADS && h[k]; k++) {
        size_t bytes = strlen(h[k]);
        if (h[k][bytes - 1] != '.') continue; /* of several modules, which no list can mean */
        snprintf(made[k], sizeof made[k], "%.*s", (int)bytes - 1, h[k]);
        if (!has(names, n, made[k])) names[n++] = made[k];
    }
    return n;
}

bool nib_quantize_leaves(const nib_held *held, const nib_linear *l)
{
    return !held->format->flag && !l->of_head && !l->parameter &&
           (l->router || l->weight->out == 1);
}

/* The modules that stay dense: those the user names or else the head, and what a wrapper holds
 * beside the text, and what a format leaves.  A NULL-ended array of the caller's to free; NULL
 * without memory. */
static const char **list_skipped(nib_ctx *ctx, const nib_quantize_options *options,
                                 const nib_held *held, const nib_model *model,
                                 char (*made)[NIB_MODULE_NAME_ROOM])
{
    const nib_wrapper *w = model->config->wrapper;
    const char *const *beside = w ? w->beside : NULL;
    bool encoder = nib_arch_words(model->config->arch) == NIB_TASK_MASKED_LM;
    size_t extra = 0, n = 0;
    const char **names;

    while (beside && beside[extra]) extra++;
    names = nib_new_array(ctx, nib_max(options->skip_count, 1) + extra +
                                   2 * model->linear_count + MOST_HEADS + 1, sizeof *names);
    if (!names) return NULL;
    for (size_t i = 0; i < options->skip_count; i++) names[n++] = options->skip_modules[i];
    if (!options->skip_count && model->head) names[n++] = model->head->name;
    for (size_t i = 0; i < extra; i++) names[n++] = beside[i];
    for (size_t i = 0; i < model->linear_count; i++)
        if (nib_quantize_leaves(held, model->linears[i])) names[n++] = model->linears[i]->name;
    if (encoder) n = list_heads(model, made, names, n);
    names[n] = NULL;
    return names;
}

nib_status nib_quantize_set_config(nib_ctx *ctx, const nib_quantize_options *options,
                                   const nib_held *held, const nib_model *model, json_t *config,
                                   nib_error *err)
{
    char (*made)[NIB_MODULE_NAME_ROOM] = nib_new_array(ctx, MOST_HEADS, sizeof *made);
    const char **skipped = made ? list_skipped(ctx, options, held, model, made) : NULL;
    char *text = skipped ? held->format->config(ctx, &held->form, skipped) : NULL;
    json_t *quantization = text ? json_loads(text, 0, NULL) : NULL;
    bool good = quantization && !json_object_set(config, "quantization_config", quantization);

    json_decref(quantization);
    nib_free(ctx, skipped);
    nib_free(ctx, made);
    nib_free(ctx, text);
    return good ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "quantization_config: out of memory");
}

nib_status nib_quantize_write_config(nib_ctx *ctx, const nib_quantize_options *options,
                                     const char *origin,
                                     const nib_held *held, const nib_bit_plan *bits,
                                     const nib_model *model, const char *dir, nib_error *err)
{
    json_t *config = json_deep_copy(model->json);
    const char *dtype_key = json_object_get(config, "torch_dtype") ? "torch_dtype" : "dtype";
    char *path = nib_sprintf(ctx, "%s/config.json", dir);
    nib_status status = NIB_OK;

    if (config) status = nib_quantize_set_config(ctx, options, held, model, config, err);
    if (config && !status && bits) status = nib_bit_plan_put_rules(bits, config, err);
    if (!status &&
        (!config || !path || !set_origin(ctx, config, options->model, origin) ||
         (options->dtype && json_object_set_new(config, dtype_key, json_string(options->dtype)))))
        status = nib_fail(err, NIB_E_NOMEM, "%s/config.json: out of memory", dir);
    if (!status) status = nib_python_json_write(ctx, path, config, err);
    json_decref(config);
    nib_free(ctx, path);
    return status;
}

nib_status nib_quantize_drop_old(nib_outdir *out, nib_error *err)
{
    static const char *const old[] = { "model.safetensors", "model-*-of-*.safetensors",
                                       "model.safetensors.index.json",
                                       "quantization_report.json", "merge_report.json" };
    nib_status status = NIB_OK;

    for (size_t i = 0; !status && i < NIB_COUNT(old); i++)
        status = nib_outdir_drop(out, old[i], err);
    return status;
}

nib_status nib_quantize_check_class(const nib_held *held, const nib_linear *l, const char *where,
                                    nib_error *err)
{
    const char *format = held->format->name;

    if (!l->transposed || !format || strcmp(format, "compressed-tensors") != 0) return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s is a Conv1D, and compressed-tensors packs Linears "
                    "alone: no reader would look for it; gptq and load_in_4bit pack it", where);
}

/* The first and the last are not the tokenizer's. */
static const char *const copied[] = {
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
};

/* What a GGUF file says in place of the file. */
static nib_status write_made(nib_ctx *ctx, const char *model, const char *to, const char *name,
                             nib_error *err)
{
    json_t *made = NULL;
    nib_status status = nib_model_file_read(ctx, model, name, 0, &made, err);

    if (!status && made) status = nib_python_json_write(ctx, to, made, err);
    json_decref(made);
    return status;
}

static nib_status copy_file(nib_ctx *ctx, const char *model, const char *dir, const char *name,
                            nib_error *err)
{
    char *from = nib_sprintf(ctx, "%s/%s", model, name), *to = nib_sprintf(ctx, "%s/%s", dir, name);
    nib_status status = NIB_OK;

    if (!from || !to) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", name);
    else if (nib_model_is_gguf(model)) status = write_made(ctx, model, to, name, err);
    else if (nib_file_exists(from)) status = nib_outfile_copy(ctx, from, to, err);
    nib_free(ctx, from);
    nib_free(ctx, to);
    return status;
}

nib_status nib_copy_tokenizer_files(nib_ctx *ctx, const char *model, const char *dir,
                                    nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 1; !status && i < NIB_COUNT(copied) - 1; i++)
        status = copy_file(ctx, model, dir, copied[i], err);
    return status;
}

nib_status nib_quantize_copy_files(nib_ctx *ctx, const char *model, const char *dir, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; !status && i < NIB_COUNT(copied); i++)
        status = copy_file(ctx, model, dir, copied[i], err);
    return status ? status : nib_copy_templates(ctx, model, dir, err);
}

/* The true path of something that need not exist yet: that of the longest part that does,
 * and the rest as written.  False with errno. */
static bool true_path(const char *path, char real[PATH_MAX])
{
    char part[PATH_MAX];
    size_t bytes = strlen(path), cut, used;

    errno = ENAMETOOLONG;
    if (bytes >= sizeof part) return false;
    while (bytes > 1 && path[bytes - 1] == '/') bytes--;
    for (cut = bytes;;) {
        memcpy(part, path, cut);
        part[cut] = 0;
        if (realpath(cut ? part : *path == '/' ? "/" : ".", real)) break;
        if (errno != ENOENT || !cut) return false;
        while (cut && path[cut - 1] != '/') cut--;
        while (cut && path[cut - 1] == '/') cut--;
    }
    while (cut < bytes && path[cut] == '/') cut++;
    if (cut == bytes) return true;
    used = strlen(real);
    errno = ENAMETOOLONG;
    if (used + 1 + (bytes - cut) >= PATH_MAX) return false;
    if (real[used - 1] != '/') real[used++] = '/';
    memcpy(real + used, path + cut, bytes - cut);
    real[used + bytes - cut] = 0;
    return true;
}

static bool lies_in(const char *inner, const char *outer)
{
    size_t n = strlen(outer);
    return strncmp(inner, outer, n) == 0 && (!inner[n] || inner[n] == '/' || outer[n - 1] == '/');
}

bool nib_quantize_is_same_place(const char *a, const char *b)
{
    char real[PATH_MAX], other[PATH_MAX];

    return true_path(a, real) && true_path(b, other) && strcmp(real, other) == 0;
}

nib_status nib_quantize_check_places(const char *model, const char *out, nib_error *err)
{
    char from[PATH_MAX], to[PATH_MAX];

    if (!realpath(model, from))
        return nib_fail(err, NIB_E_IO, "%s: %s: a model or an adapter is a directory", model,
                        strerror(errno));
    if (!*out || !true_path(out, to))
        return nib_fail(err, NIB_E_IO, "%s: %s", out, *out ? strerror(errno) : "no name");
    if (lies_in(to, from))
        return nib_fail(err, NIB_E_INVALID, "%s: lies in %s, an input, where nothing is written",
                        out, model);
    if (lies_in(from, to))
        return nib_fail(err, NIB_E_INVALID, "%s: contains %s, an input, where nothing is written",
                        out, model);
    return NIB_OK;
}

nib_status nib_check_data_place(const char *data, const char *out, nib_error *err)
{
    char snapshot[PATH_MAX];

    if (nib_hub_find_dataset(data, snapshot, sizeof snapshot)) data = snapshot;
    return nib_file_exists(data) ? nib_quantize_check_places(data, out, err) : NIB_OK;
}
