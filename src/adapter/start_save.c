/* start_save.c - see start_save.h. */
#include "adapter/start_save.h"

#include "adapter/halves.h"
#include "adapter/peft_tensor.h"
#include "adapter/start.h"
#include "base/filemap.h"
#include "base/outfile.h"
#include "base/outname.h"
#include "format/jsontext.h"

static const char folder[] = "base_change";

static nib_status no_memory(const char *what, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", what);
}

static nib_peft_pattern *copy(nib_ctx *ctx, const nib_peft_pattern *from, size_t count)
{
    nib_peft_pattern *to = nib_new_array(ctx, count, sizeof *to);

    if (to && count) memcpy(to, from, count * sizeof *to);
    return to;
}

nib_status nib_start_saved(const nib_adapter *a, nib_peft_config *out, nib_error *err)
{
    int iterations;
    nib_start kind = nib_start_of(a->config.init_lora_weights, &iterations);

    *out = a->config;
    out->rank_pattern = copy(a->ctx, a->config.rank_pattern, a->config.rank_count);
    out->alpha_pattern = copy(a->ctx, a->config.alpha_pattern, a->config.alpha_count);
    if (!out->rank_pattern || !out->alpha_pattern) {
        nib_start_saved_free(a, out);
        return no_memory("adapter_config.json", err);
    }
    if (a->taken_count && !a->recoded) nib_halves_double(out);
    /* PEFT would take its part out of the base whenever it opens one that names these */
    if (kind == NIB_START_PISSA || kind == NIB_START_OLORA || kind == NIB_START_LOFTQ)
        strcpy(out->init_lora_weights, "true");
    return NIB_OK;
}

void nib_start_saved_free(const nib_adapter *a, nib_peft_config *saved)
{
    nib_free(a->ctx, saved->rank_pattern);
    nib_free(a->ctx, saved->alpha_pattern);
}

/* --- base_change/ --- */

static nib_status write_values(const nib_adapter *a, nib_tensor_writer *w, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < a->params.count && !status; i++) {
        const nib_param *p = a->params.items[i];
        const nib_half half = nib_halves_second(a, p);
        size_t n = nib_param_count(p);
        float *values;

        if (!nib_param_is_low_rank(p)) continue;
        values = nib_new_array(a->ctx, n, sizeof *values);
        if (!values) return no_memory(p->name, err);
        for (size_t k = 0; k < n; k++) values[k] = nib_half_value(half, k);
        status = nib_tensor_writer_put(w, values, n * sizeof *values, err);
        nib_free(a->ctx, values);
    }
    return status;
}

static nib_status write_tensors(const nib_adapter *a, const char *dir, nib_error *err)
{
    nib_tensor_plan *plans = nib_new_array(a->ctx, a->params.count, sizeof *plans);
    nib_tensor_writer *w = NULL;
    size_t count = 0;
    nib_status status;

    if (!plans) return no_memory(dir, err);
    for (size_t i = 0; i < a->params.count; i++) {
        const nib_param *p = a->params.items[i];
        if (nib_param_is_low_rank(p))
            plans[count++] = (nib_tensor_plan){ .name = p->name, .dtype = NIB_F32, .rank = 2,
                                                .shape = { p->rows, p->cols } };
    }
    status = nib_tensor_writer_create(a->ctx, dir, "adapter_model", plans, count, 0, &w, err);
    if (!status) {
        status = write_values(a, w, err);
        if (status) nib_tensor_writer_discard(w);
        else status = nib_tensor_writer_commit(w, err);
    }
    nib_free(a->ctx, plans);
    return status;
}

/* Two lists, one behind the other, whose names stay where they are. */
static char **list_both(nib_ctx *ctx, const nib_peft_names *x, const nib_peft_names *y)
{
    char **names = nib_new_array(ctx, x->count + y->count, sizeof *names);

    for (size_t i = 0; names && i < x->count; i++) names[i] = x->names[i];
    for (size_t i = 0; names && i < y->count; i++) names[x->count + i] = y->names[i];
    return names;
}

/* A regular expression of excluded modules, and those that are saved whole (peft_match.c), as
 * one. */
static char *join_both(nib_ctx *ctx, const char *regex, const nib_peft_names *saved)
{
    nib_text t = { .ctx = ctx };

    nib_text_printf(&t, "(?:%s)", regex);
    for (size_t i = 0; i < saved->count; i++)
        nib_text_printf(&t, "|(?:.*\\.)?%s(?:\\..*)?", saved->names[i]);
    if (!t.failed) return t.data;
    nib_text_free(&t);
    return NULL;
}

/* A LoRA of the same modules and nothing else; what was saved whole is none of them. */
static nib_status write_config(const nib_adapter *a, const char *dir, nib_error *err)
{
    const nib_peft_names *given = &a->config.exclude_modules, *saved = &a->config.modules_to_save;
    nib_peft_config c = a->config;
    char **names = NULL, *regex = NULL;
    nib_status status = NIB_OK;

    strcpy(c.init_lora_weights, "true");
    c.lora_dropout = 0;
    c.bias = NIB_PEFT_BIAS_NONE;
    c.tokens = NULL;
    c.token_lists = 0;
    c.modules_to_save = (nib_peft_names){ 0 };
    if (saved->count && given->kind == NIB_PEFT_REGEX) {
        regex = join_both(a->ctx, given->names[0], saved);
        c.exclude_modules = (nib_peft_names){ NIB_PEFT_REGEX, &regex, 1 };
        if (!regex) status = no_memory(dir, err);
    } else if (saved->count) {
        names = list_both(a->ctx, given, saved);
        c.exclude_modules = (nib_peft_names){ NIB_PEFT_LIST, names, given->count + saved->count };
        if (!names) status = no_memory(dir, err);
    }
    if (!status) status = nib_peft_config_write(a->ctx, dir, &c, err);
    nib_free(a->ctx, names);
    nib_free(a->ctx, regex);
    return status;
}

/* --- an adapter that is trained further: what it refers to comes along --- */

static nib_status copy_file(const nib_adapter *a, const char *name, const char *dir, nib_error *err)
{
    char *from = nib_sprintf(a->ctx, "%s/%s/%s", a->dir, folder, name);
    char *to = nib_sprintf(a->ctx, "%s/%s/%s", dir, folder, name);
    nib_status status = from && to ? nib_outfile_copy(a->ctx, from, to, err) : no_memory(dir, err);

    nib_free(a->ctx, from);
    nib_free(a->ctx, to);
    return status;
}

/* `path` is DIR/base_change. */
static nib_status copy_change(const nib_adapter *a, const char *dir, const char *path,
                              nib_error *err)
{
    char *from = nib_sprintf(a->ctx, "%s/%s/adapter_model.safetensors", a->dir, folder);
    nib_status status = NIB_OK;

    if (!from) return no_memory(dir, err);
    if (strcmp(a->dir, dir) == 0) goto done;
    if (!nib_file_exists(from)) {
        nib_warn_code(a->ctx, "base-change", "%s: is not there, so that %s has none beside it: the "
                      "base that the adapter fits cannot be made of %s alone", from, dir, dir);
        goto done;
    }
    status = nib_make_folder(path, err);
    if (!status) status = copy_file(a, "adapter_model.safetensors", dir, err);
    if (!status) status = copy_file(a, "adapter_config.json", dir, err);
done:
    nib_free(a->ctx, from);
    return status;
}

nib_status nib_start_save_change(const nib_adapter *a, const char *dir, nib_error *err)
{
    bool refers = !a->recoded && a->base_change[0] && a->dir;
    char *path;
    nib_status status;

    if (!a->recoded && !refers) return NIB_OK;
    path = nib_sprintf(a->ctx, "%s/%s", dir, folder);
    if (!path) return no_memory(dir, err);
    if (refers) {
        status = copy_change(a, dir, path, err);
    } else {
        status = nib_make_folder(path, err);
        if (!status) status = write_tensors(a, path, err);
        if (!status) status = write_config(a, path, err);
    }
    nib_free(a->ctx, path);
    return status;
}

static nib_status compare(const nib_adapter *a, const nib_tensors *file, const char *path,
                          nib_error *err)
{
    nib_status status = NIB_OK;
    bool same = true;

    for (size_t i = 0; i < a->params.count && !status && same; i++) {
        const nib_param *p = a->params.items[i];
        const nib_tensor *t = nib_param_is_low_rank(p) ? nib_tensors_find(file, p->name) : NULL;
        const nib_half half = nib_halves_second(a, p);
        size_t n = nib_param_count(p);
        float *values;

        if (!nib_param_is_low_rank(p)) continue;
        values = nib_new_array(a->ctx, n, sizeof *values);
        if (!values) return no_memory(p->name, err);
        same = t != NULL;
        if (t) status = nib_peft_tensor_values(t, p->rows, p->cols, values, err);
        for (size_t k = 0; k < n && same && !status; k++)
            same = values[k] == nib_half_value(half, k);
        nib_free(a->ctx, values);
    }
    if (!status && !same) status = nib_halves_other(path, err);
    return status;
}

nib_status nib_start_same_change(const nib_adapter *a, const char *dir, nib_error *err)
{
    char *path;
    nib_tensors *file = NULL;
    nib_status status;

    if (!a->recoded) return NIB_OK;
    path = nib_sprintf(a->ctx, "%s/%s/adapter_model.safetensors", dir, folder);
    if (!path) return no_memory(dir, err);
    status = nib_tensors_open(a->ctx, path, &file, err);
    if (!status) status = compare(a, file, path, err);
    nib_tensors_close(file);
    nib_free(a->ctx, path);
    return status;
}
