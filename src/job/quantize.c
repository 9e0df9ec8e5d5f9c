/* quantize.c - a dense model directory into a bitsandbytes 4-bit one.
 *
 * Sizes follow from shapes, so every tensor is declared first; then each is read,
 * encoded, written, and its pages given back: the peak is one matrix.  With double
 * quantization the quant_state text depends on the data by its number of digits (the
 * mean of the scales), so the matrices are encoded once before to learn it. */
#include "nibble/quantize.h"

#include "base/outfile.h"
#include "format/safetensors.h"
#include "job/quantize_config.h"
#include "job/quantize_linears.h"
#include "model/model.h"
#include "quant/bnb4_file.h"

enum { PIECE_VALUES = 1 << 20, SHARD_BYTES_MILLIONS = 5000 };

typedef struct matrix {
    float nested_offset;
    nib_bnb4_out tensors[NIB_BNB4_MOST_TENSORS];
} matrix;

typedef struct run {
    nib_ctx *ctx;
    const nib_quantize_options *options;
    nib_bnb4_options bnb; /* dtype is set for each matrix */
    bool convert;         /* to `dtype`, the other tensors */
    nib_dtype dtype;
    nib_tensors *tensors;
    nib_tensor_plan *plans;
    size_t plans_count;
    matrix *matrices; /* in the order of the tensors */
    nib_outdir *out;
    nib_tensor_writer *writer;
    uint8_t *piece;       /* PIECE_VALUES floats, for converting */
    uint64_t done, total; /* bytes read, for progress */
    nib_quantize_result result;
} run;

static bool is_float(nib_dtype t)
{
    return t == NIB_F32 || t == NIB_F16 || t == NIB_BF16;
}

static nib_status read_options(run *r, nib_error *err)
{
    const nib_bnb_options *bnb = &r->options->bnb;
    static const nib_dtype known[] = { NIB_F32, NIB_F16, NIB_BF16 };
    nib_status status;

    if (!bnb->load_in_4bit)
        return nib_fail(err, NIB_E_INVALID, "load_in_4bit is not set: nothing to quantize to");
    status = nib_model_check_bnb(bnb, err);
    if (status) return status;
    r->bnb.fp4 = bnb->bnb_4bit_quant_type && strcmp(bnb->bnb_4bit_quant_type, "fp4") == 0;
    r->bnb.double_quant = bnb->bnb_4bit_use_double_quant;
    r->bnb.blocksize = bnb->blocksize ? (unsigned)bnb->blocksize : 64;
    if (!r->options->dtype) return NIB_OK;
    for (size_t i = 0; i < NIB_COUNT(known); i++)
        if (strcmp(r->options->dtype, nib_dtype_name(known[i])) == 0) {
            r->convert = true;
            r->dtype = known[i];
            return NIB_OK;
        }
    return nib_fail(err, NIB_E_INVALID, "dtype '%s'; float32, float16 and bfloat16 are known",
                    r->options->dtype);
}

/* Refuses what is quantized already; what is no known architecture was refused on opening. */
static nib_status check_dense(const run *r, const json_t *config, nib_error *err)
{
    const json_t *quantization = json_object_get(config, "quantization_config");

    if (quantization && !json_is_null(quantization))
        return nib_fail(err, NIB_E_MISMATCH,
                        "%s/config.json: has a quantization_config: the model is quantized already",
                        r->options->model);
    for (size_t i = 0; i < nib_tensors_count(r->tensors); i++) {
        const nib_tensor *t = nib_tensors_at(r->tensors, i);
        if (strstr(t->name, ".weight.quant_state.bitsandbytes__"))
            return nib_fail(err, NIB_E_MISMATCH, "%s: %s: the model is quantized already", t->file,
                            t->name);
    }
    return NIB_OK;
}

/* --- one matrix --- */

static nib_bnb4_options matrix_options(const run *r, const nib_tensor *t)
{
    nib_bnb4_options options = r->bnb;
    options.dtype = r->convert ? r->dtype : t->dtype;
    return options;
}

static nib_status encode(run *r, const nib_tensor *t, nib_weight **w, nib_error *err)
{
    nib_bnb4_options options = matrix_options(r, t);
    nib_weight *dense = NULL, *made = NULL;
    nib_status status;

    status = nib_weight_dense(r->ctx, (size_t)t->shape[0], (size_t)t->shape[1], t->dtype, t->data,
                              NULL, &dense, err);
    if (status) goto done;
    status = nib_bnb4_encode_weight(r->ctx, &options, dense, &made, err);
    if (status) goto done;
    nib_filemap_release(t->map, t->data, (size_t)t->bytes);
    if (!nib_bnb4_finite(made)) {
        status = nib_fail(err, NIB_E_NUMERIC, "the matrix holds a value that is not finite");
        goto done;
    }
    *w = made;
    made = NULL; /* handed over */
done:
    nib_weight_destroy(r->ctx, dense);
    nib_weight_destroy(r->ctx, made);
    return status ? nib_fail_in(err, status, "%s: %s", t->file, t->name) : NIB_OK;
}

static nib_status progress(run *r, const nib_tensor *t, nib_error *err)
{
    r->done += t->bytes;
    if (r->options->on_progress)
        r->options->on_progress(r->options->user, t->name,
                                r->total ? (double)r->done / (double)r->total : 1);
    if (nib_should_stop(r->ctx))
        return nib_fail(err, NIB_E_INTERRUPTED, "stopped; nothing is written");
    return NIB_OK;
}

/* --- declaring --- */

static nib_status learn_offsets(run *r, nib_error *err)
{
    size_t next = 0;
    nib_status status = NIB_OK;

    for (size_t i = 0; !status && i < nib_tensors_count(r->tensors); i++) {
        const nib_tensor *t = nib_tensors_at(r->tensors, i);
        nib_weight *w = NULL;
        if (!nib_is_quantized_linear(t)) continue;
        status = encode(r, t, &w, err);
        if (status) break;
        r->matrices[next++].nested_offset = w->as.bnb4.nested_offset;
        nib_weight_destroy(r->ctx, w);
        status = progress(r, t, err);
    }
    return status;
}

static nib_status plan_matrix(run *r, const nib_tensor *t, matrix *m, nib_error *err)
{
    nib_bnb4_options options = matrix_options(r, t);
    size_t count;
    nib_status status;

    status = nib_bnb4_plan(&options, (size_t)t->shape[0], (size_t)t->shape[1], m->nested_offset,
                           t->name, m->tensors, &count, err);
    for (size_t k = 0; !status && k < count; k++) {
        nib_bnb4_out *from = &m->tensors[k];
        r->plans[r->plans_count++] =
            (nib_tensor_plan){ .name = from->name,
                               .dtype = from->dtype,
                               .rank = from->rank,
                               .shape = { from->shape[0], from->shape[1] } };
        r->result.bytes_after += from->bytes;
    }
    return status;
}

static nib_status plan_other(run *r, const nib_tensor *t, nib_error *err)
{
    nib_tensor_plan *p = &r->plans[r->plans_count++];

    *p = (nib_tensor_plan){ .name = t->name, .dtype = t->dtype, .rank = t->rank };
    memcpy(p->shape, t->shape, sizeof p->shape);
    if (r->convert && is_float(t->dtype)) p->dtype = r->dtype;
    if (!nib_dtype_bytes(t->dtype))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: %s has dtype %s, which cannot be written",
                        t->file, t->name, t->dtype_name);
    r->result.bytes_after += t->elements * nib_dtype_bytes(p->dtype);
    return NIB_OK;
}

static nib_status plan_all(run *r, nib_error *err)
{
    size_t count = nib_tensors_count(r->tensors), next = 0;
    nib_status status = NIB_OK;

    for (size_t i = 0; i < count; i++) {
        const nib_tensor *t = nib_tensors_at(r->tensors, i);
        bool linear = nib_is_quantized_linear(t);
        if (linear && !is_float(t->dtype))
            return nib_fail(err, NIB_E_UNSUPPORTED,
                            "%s: %s has dtype %s; F32, F16 and BF16 can be quantized", t->file,
                            t->name, t->dtype_name);
        r->result.matrices += linear;
        r->result.parameters += t->elements;
        r->result.bytes_before += t->bytes;
        r->total += t->bytes + (linear && r->bnb.double_quant ? t->bytes : 0);
    }
    if (!r->result.matrices)
        return nib_fail(err, NIB_E_MISMATCH, "%s: no matrix to quantize among %zu tensors",
                        r->options->model, count);
    r->matrices = nib_new_array(r->ctx, (size_t)r->result.matrices, sizeof *r->matrices);
    r->plans = nib_new_array(
        r->ctx, count + (NIB_BNB4_MOST_TENSORS - 1) * (size_t)r->result.matrices, sizeof *r->plans);
    if (!r->matrices || !r->plans)
        return nib_fail(err, NIB_E_NOMEM, "%zu tensors: out of memory", count);
    if (r->bnb.double_quant) status = learn_offsets(r, err);
    for (size_t i = 0; !status && i < count; i++) {
        const nib_tensor *t = nib_tensors_at(r->tensors, i);
        status = nib_is_quantized_linear(t) ? plan_matrix(r, t, &r->matrices[next++], err)
                                            : plan_other(r, t, err);
    }
    return status;
}

/* --- writing --- */

static nib_status write_matrix(run *r, const nib_tensor *t, nib_error *err)
{
    nib_bnb4_out tensors[NIB_BNB4_MOST_TENSORS];
    char state[NIB_BNB4_STATE_ROOM];
    nib_weight *w = NULL;
    size_t count = 0;
    nib_status status = encode(r, t, &w, err);

    if (!status) status = nib_bnb4_tensors(w, t->name, state, tensors, &count, err);
    for (size_t k = 0; !status && k < count; k++)
        status = nib_tensor_writer_put(r->writer, tensors[k].data, tensors[k].bytes, err);
    nib_weight_destroy(r->ctx, w);
    return status;
}

static nib_status write_other(run *r, const nib_tensor *t, nib_error *err)
{
    bool convert = r->convert && is_float(t->dtype) && t->dtype != r->dtype;
    size_t bytes_each = nib_dtype_bytes(t->dtype);
    nib_status status = NIB_OK;

    for (uint64_t at = 0; !status && at < t->elements; at += PIECE_VALUES) {
        size_t n = (size_t)(t->elements - at < PIECE_VALUES ? t->elements - at : PIECE_VALUES);
        const uint8_t *from = (const uint8_t *)t->data + at * bytes_each;
        if (convert) nib_convert(r->piece, r->dtype, from, t->dtype, n);
        status = nib_tensor_writer_put(r->writer, convert ? r->piece : from,
                                       n * (convert ? nib_dtype_bytes(r->dtype) : bytes_each), err);
        nib_filemap_release(t->map, from, n * bytes_each);
    }
    return status;
}

static nib_status write_all(run *r, nib_error *err)
{
    nib_tensor_writer *writer;
    nib_status status;

    status =
        nib_tensor_writer_create(r->ctx, nib_outdir_path(r->out), "model", r->plans, r->plans_count,
                                 (uint64_t)SHARD_BYTES_MILLIONS * 1000000, &r->writer, err);
    for (size_t i = 0; !status && i < nib_tensors_count(r->tensors); i++) {
        const nib_tensor *t = nib_tensors_at(r->tensors, i);
        status = nib_is_quantized_linear(t) ? write_matrix(r, t, err) : write_other(r, t, err);
        if (!status) status = progress(r, t, err);
    }
    if (!status) status = nib_tensors_unchanged(r->tensors, err);
    if (status) return status;
    writer = r->writer;
    r->writer = NULL;
    return nib_tensor_writer_commit(writer, err);
}

/* Files of an earlier run that would contradict this one. */
static nib_status drop_old(nib_outdir *out, nib_error *err)
{
    static const char *const weights[] = { "model.safetensors", "model-*-of-*.safetensors",
                                           "model.safetensors.index.json" };
    nib_status status = NIB_OK;

    for (size_t i = 0; !status && i < NIB_COUNT(weights); i++)
        status = nib_outdir_drop(out, weights[i], err);
    return status;
}

static nib_status quantize(run *r, json_t **config, nib_error *err)
{
    const nib_quantize_options *options = r->options;
    nib_config *known = NULL;
    nib_outdir *out;
    nib_status status;

    status = read_options(r, err);
    if (!status) status = nib_quantize_check_places(options->model, options->out, err);
    if (!status) status = nib_config_open(r->ctx, options->model, true, config, &known, err);
    nib_config_free(r->ctx, known);
    if (!status) status = nib_tensors_open(r->ctx, options->model, &r->tensors, err);
    if (!status) status = check_dense(r, *config, err);
    /* Before the long work: a place that cannot be written to shows now. */
    if (!status) status = nib_outdir_create(r->ctx, options->out, options->overwrite, &r->out, err);
    if (!status) status = drop_old(r->out, err);
    if (!status) status = plan_all(r, err);
    if (!status) status = write_all(r, err);
    if (!status)
        status = nib_quantize_copy_files(r->ctx, options->model, nib_outdir_path(r->out), err);
    if (!status)
        status = nib_quantize_write_config(r->ctx, options, *config, nib_outdir_path(r->out), err);
    if (status) return status;
    out = r->out;
    r->out = NULL;
    return nib_outdir_commit(out, err);
}

nib_status nib_quantize(nib_ctx *ctx, const nib_quantize_options *options,
                        nib_quantize_result *result, nib_error *err)
{
    run r = { .ctx = ctx, .options = options };
    double start = nib_clock_seconds();
    json_t *config = NULL;
    nib_status status = NIB_OK;

    r.piece = nib_alloc(ctx, PIECE_VALUES * sizeof(float));
    if (!r.piece) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", options->model);
    if (!status) status = quantize(&r, &config, err);
    if (!status && result) {
        *result = r.result;
        result->seconds = nib_clock_seconds() - start;
    }
    if (r.writer) nib_tensor_writer_discard(r.writer);
    nib_outdir_discard(r.out);
    nib_tensors_close(r.tensors);
    json_decref(config);
    nib_free(ctx, r.plans);
    nib_free(ctx, r.matrices);
    nib_free(ctx, r.piece);
    return status;
}
