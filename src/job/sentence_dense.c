/* sentence_dense.c - see sentence_dense.h. */
#include "job/sentence_dense.h"

#include <stdio.h>

#include "base/outname.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "job/python_json.h"

enum { MOST = 1 << 20 }; /* numbers of a vector */

static nib_status no_memory(const char *where, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
}

/* --- config.json --- */

/* Between other vectors than the text's embedding nothing is known. */
static nib_status check_places(const json_t *config, const char *where, nib_error *err)
{
    static const char *const keys[] = { "module_input_name", "module_output_name" };
    nib_status status = NIB_OK;

    for (size_t i = 0; i < NIB_COUNT(keys) && !status; i++) {
        const char *name = "sentence_embedding";
        status = nib_json_get_string(config, where, keys[i], &name, err);
        if (!status && strcmp(name, "sentence_embedding") != 0)
            status = nib_fail(err, NIB_E_UNSUPPORTED, "%s: %s is '%s', known is "
                              "sentence_embedding", where, keys[i], name);
    }
    return status;
}

static nib_status read_config(const json_t *config, const char *where, nib_dense *d, bool *bias,
                              nib_error *err)
{
    const char *function = nib_dense_function_name(NIB_DENSE_TANH);
    int64_t in = 0, out = 0;
    nib_status status = nib_json_get_int(config, where, "in_features", 1, MOST, &in, err);

    *bias = true;
    if (!status) status = nib_json_get_int(config, where, "out_features", 1, MOST, &out, err);
    if (!status) status = nib_json_get_bool(config, where, "bias", bias, err);
    if (!status)
        status = nib_json_get_string(config, where, "activation_function", &function, err);
    if (!status) status = check_places(config, where, err);
    if (status) return status;
    if (!in || !out)
        return nib_fail(err, NIB_E_FORMAT, "%s: in_features or out_features is missing", where);
    d->in = (size_t)in;
    d->out = (size_t)out;
    if (nib_dense_function_parse(function, &d->function)) return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s: activation_function is '%s', known are %s", where,
                    function, nib_dense_function_list());
}

/* --- the weights --- */

static nib_status read_tensor(nib_ctx *ctx, const nib_tensors *file, const char *dir,
                              const char *name, size_t rows, size_t cols, float *to, float **out,
                              nib_error *err)
{
    const nib_tensor *t = nib_tensors_find(file, name);
    unsigned rank = rows ? 2 : 1;
    size_t count = nib_max(rows, 1) * cols; /* at most 2^40 */

    if (!t) return nib_fail(err, NIB_E_MISMATCH, "%s: tensor %s is missing", dir, name);
    if (t->rank != rank || t->shape[rank - 1] != cols || (rows && t->shape[0] != rows))
        return nib_fail(err, NIB_E_MISMATCH, "%s: tensor %s has %u dimensions, the last of %" PRIu64
                        ", config.json makes it [%zu, %zu]", t->file, name, t->rank,
                        t->rank ? t->shape[t->rank - 1] : 0, nib_max(rows, 1), cols);
    if (t->dtype != NIB_F32 && t->dtype != NIB_F16 && t->dtype != NIB_BF16)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: tensor %s is of type %s, known are float32, "
                        "float16, bfloat16", t->file, name, nib_dtype_name(t->dtype));
    if (!to) to = *out = nib_new_array(ctx, count, sizeof *to);
    if (!to) return no_memory(dir, err);
    nib_convert(to, NIB_F32, t->data, t->dtype, count);
    return NIB_OK;
}

static nib_status read_values(nib_ctx *ctx, const char *dir, nib_dense *d, bool bias,
                              nib_error *err)
{
    float *weight = d->weight_param ? d->weight_param->value : NULL;
    float *shift = d->bias_param ? d->bias_param->value : NULL;
    nib_tensors *file = NULL;
    nib_status status = nib_tensors_open(ctx, dir, &file, err);

    if (!status)
        status = read_tensor(ctx, file, dir, "linear.weight", d->out, d->in, weight, &d->weight,
                             err);
    if (!status && bias)
        status = read_tensor(ctx, file, dir, "linear.bias", 0, d->out, shift, &d->bias, err);
    nib_tensors_close(file);
    return status;
}

nib_status nib_sentence_dense_read(nib_ctx *ctx, const char *dir, const char *path,
                                   nib_dense *out, nib_error *err)
{
    char *folder = nib_sprintf(ctx, "%s/%s", dir, path);
    char *where = nib_sprintf(ctx, "%s/%s/config.json", dir, path);
    json_t *config = NULL;
    bool bias = true;
    nib_status status = folder && where ? NIB_OK : no_memory(dir, err);

    if (!status && !*path)
        status = nib_fail(err, NIB_E_UNSUPPORTED, "%s: a Dense module without a folder", dir);
    if (!status && !(out->path = nib_strdup(ctx, path))) status = no_memory(dir, err);
    if (!status) status = nib_json_read(ctx, where, 0, &config, err);
    if (!status && !json_is_object(config))
        status = nib_fail(err, NIB_E_FORMAT, "%s: expected an object", where);
    if (!status) status = read_config(config, where, out, &bias, err);
    if (!status) status = read_values(ctx, folder, out, bias, err);
    json_decref(config);
    nib_free(ctx, folder);
    nib_free(ctx, where);
    return status;
}

nib_status nib_sentence_dense_reload(nib_ctx *ctx, const char *dir, nib_dense *list, size_t count,
                                     nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < count && !status; i++) {
        char *folder = nib_sprintf(ctx, "%s/%s", dir, list[i].path);
        assert(list[i].weight_param); /* else the values would be read twice */
        status = folder ? read_values(ctx, folder, &list[i], list[i].bias_param != NULL, err)
                        : no_memory(dir, err);
        nib_free(ctx, folder);
    }
    return status;
}

/* --- writing --- */

static nib_status write_values(nib_ctx *ctx, const char *folder, const nib_dense *d,
                               nib_error *err)
{
    const nib_tensor_plan plans[] = {
        { .name = "linear.weight", .dtype = NIB_F32, .rank = 2, .shape = { d->out, d->in } },
        { .name = "linear.bias", .dtype = NIB_F32, .rank = 1, .shape = { d->out } },
    };
    const float *bias = nib_dense_bias(d);
    nib_tensor_writer *w = NULL;
    nib_status status = nib_tensor_writer_create(ctx, folder, "model", plans, bias ? 2 : 1, 0, &w,
                                                 err);

    if (!status)
        status = nib_tensor_writer_put(w, nib_dense_weight(d), d->out * d->in * sizeof(float),
                                       err);
    if (!status && bias)
        status = nib_tensor_writer_put(w, bias, d->out * sizeof(float), err);
    if (status) nib_tensor_writer_discard(w);
    return status ? status : nib_tensor_writer_commit(w, err);
}

nib_status nib_sentence_dense_write(nib_ctx *ctx, const char *dir, const nib_dense *d,
                                    nib_error *err)
{
    char *folder = nib_sprintf(ctx, "%s/%s", dir, d->path);
    char *path = nib_sprintf(ctx, "%s/%s/config.json", dir, d->path);
    json_t *config = json_pack("{s:I, s:I, s:b, s:s}", "in_features", (json_int_t)d->in,
                               "out_features", (json_int_t)d->out, "bias", d->bias != NULL,
                               "activation_function", nib_dense_function_name(d->function));
    nib_status status = folder && path && config ? NIB_OK : no_memory(dir, err);

    if (!status) status = nib_make_parents(path, err);
    if (!status) status = nib_python_json_write(ctx, path, config, err);
    if (!status) status = write_values(ctx, folder, d, err);
    json_decref(config);
    nib_free(ctx, folder);
    nib_free(ctx, path);
    return status;
}
