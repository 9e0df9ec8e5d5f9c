/* start_save.c - see start_save.h. */
#include "adapter/start_save.h"

#include <errno.h>
#include <sys/stat.h>

#include "adapter/halves.h"
#include "adapter/peft_tensor.h"
#include "adapter/start.h"

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
        size_t n = nib_param_count(p);
        float *values;

        if (!nib_param_is_low_rank(p)) continue;
        values = nib_new_array(a->ctx, n, sizeof *values);
        if (!values) return no_memory(p->name, err);
        for (size_t k = 0; k < n; k++) values[k] = nib_halves_second(a, p, k);
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

/* A LoRA of the same modules and nothing else; what was saved whole is none of them. */
static nib_status write_config(const nib_adapter *a, const char *dir, nib_error *err)
{
    nib_peft_config c = a->config;

    strcpy(c.init_lora_weights, "true");
    c.lora_dropout = 0;
    c.bias = NIB_PEFT_BIAS_NONE;
    c.modules_to_save = (nib_peft_names){ 0 };
    if (!c.exclude_modules.count && a->config.modules_to_save.count)
        c.exclude_modules = a->config.modules_to_save;
    return nib_peft_config_write(a->ctx, dir, &c, err);
}

nib_status nib_start_save_change(const nib_adapter *a, const char *dir, nib_error *err)
{
    char *path;
    nib_status status = NIB_OK;

    if (!a->recoded) return NIB_OK;
    path = nib_sprintf(a->ctx, "%s/%s", dir, folder);
    if (!path) return no_memory(dir, err);
    if (mkdir(path, 0777) && errno != EEXIST)
        status = nib_fail(err, NIB_E_IO, "%s: %s", path, strerror(errno));
    if (!status) status = write_tensors(a, path, err);
    if (!status) status = write_config(a, path, err);
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
        size_t n = nib_param_count(p);
        float *values;

        if (!nib_param_is_low_rank(p)) continue;
        values = nib_new_array(a->ctx, n, sizeof *values);
        if (!values) return no_memory(p->name, err);
        same = t != NULL;
        if (t) status = nib_peft_tensor_values(t, p->rows, p->cols, values, err);
        for (size_t k = 0; k < n && same && !status; k++)
            same = values[k] == nib_halves_second(a, p, k);
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
