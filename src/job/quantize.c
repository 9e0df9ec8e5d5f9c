/* quantize.c - a dense model directory into one with packed weights.
 *
 * Sizes follow from shapes, so every tensor is declared first; then each is read,
 * encoded, written, and its pages given back: the peak is one matrix.  Where the format's sizes
 * depend on the data (the quant_state text of bitsandbytes' double quantization does, by a number
 * of digits), the matrices are encoded once before to learn them.
 *
 * The graph says which matrices are linears; all are encoded but the head (of an encoder all parts
 * of it, which are trained with an adapter) and those that llm_int8_skip_modules names. */
#include "nibble/quantize.h"

#include "adapter/prompt_note.h"
#include "base/outfile.h"
#include "format/safetensors.h"
#include "job/quantize_algorithm.h"
#include "job/quantize_config.h"
#include "job/quantize_dense.h"
#include "model/model.h"
#include "quant/transposed.h"

enum { PIECE_VALUES = 1 << 20, SHARD_BYTES_MILLIONS = 5000 };

typedef struct matrix {
    const nib_tensor *tensor;
    bool transposed; /* it is stored as [in, out], and packed as [out, in] */
    const char *module;
    nib_learned learned;
    nib_parts_out parts;
} matrix;

typedef struct run {
    nib_ctx *ctx;
    const nib_quantize_options *options;
    const char *origin;   /* for config.json, or NULL */
    nib_held held;        /* what is asked for; its form's dtype is set for each matrix */
    nib_model *model;     /* without weights: its graph */
    bool convert;         /* to `dtype`, the other tensors */
    nib_dtype dtype;
    nib_tensors *tensors;
    nib_tensor_plan *plans;
    size_t plans_count;
    matrix *matrices;
    size_t matrix_count;
    size_t *matrix_of; /* of each tensor: 1 and its matrix, 0: it is none */
    nib_outdir *out;
    nib_tensor_writer *writer;
    uint8_t *piece;       /* PIECE_VALUES floats, for converting */
    nib_calibration calibration;
    bool calibrated;
    uint64_t done, total; /* bytes read, for progress */
    nib_quantize_result result;
} run;

static nib_status read_options(run *r, nib_error *err)
{
    static const nib_dtype known[] = { NIB_F32, NIB_F16, NIB_BF16 };
    const nib_setting *idle;
    char formats[NIB_FORMATS_ROOM];
    nib_status status = nib_held_asked(r->options->settings, &r->held, &idle, err);

    if (status) return status;
    nib_formats_known(formats, sizeof formats);
    if (!r->held.format)
        return nib_fail(err, NIB_E_INVALID, "no setting says what to quantize to; known are: %s",
                        formats);
    if (idle)
        nib_note(r->ctx, "%s is without effect: nothing asks for the weights it is about",
                 idle->key);
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

/* Refuses what is quantized already. */
static nib_status check_dense(const run *r, nib_error *err)
{
    nib_status status = NIB_OK;

    if (r->model->stored.format)
        return nib_fail(err, NIB_E_MISMATCH,
                        "%s/config.json: has a quantization_config (%s): the model is quantized "
                        "already",
                        r->options->model, r->model->stored.format->known);
    for (size_t i = 0; i < nib_tensors_count(r->tensors) && !status; i++) {
        const nib_tensor *t = nib_tensors_at(r->tensors, i);
        const nib_part part = nib_tensor_part(t);
        const nib_format *format;
        nib_form form;
        status = nib_format_describe(&part, nib_tensors_finder(r->tensors), NULL, &format,
                                     (uint64_t[2]){ 0 }, &form, err);
        if (!status && format)
            status = nib_fail(err, NIB_E_MISMATCH, "%s: %s: the model is quantized already",
                              t->file, t->name);
    }
    return status;
}

/* --- which matrices --- */

static nib_status add_matrix(run *r, const nib_linear *l, nib_error *err)
{
    char *name = nib_sprintf(r->ctx, "%s.weight", l->name);
    const nib_tensor *t = name ? nib_model_tensor(r->tensors, r->model->config, name) : NULL;
    nib_status status = NIB_OK;

    if (!name) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", l->name);
    nib_free(r->ctx, name);
    if (!t) return NIB_OK; /* whoever opens the result will miss it */
    if (!nib_dtype_is_float(t->dtype))
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: %s has dtype %s; F32, F16 and BF16 can be quantized", t->file,
                        t->name, t->dtype_name);
    status = nib_quantize_check_class(&r->held, l, t->name, err);
    if (status) return nib_fail_in(err, status, "%s", t->file);
    if (t->rank != 2 || t->shape[l->transposed] != l->weight->out ||
        t->shape[!l->transposed] != l->weight->in)
        return nib_fail(err, NIB_E_MISMATCH,
                        "%s: %s is [%" PRIu64 ", %" PRIu64 "], config.json says [%zu, %zu]",
                        t->file, t->name, t->rank ? t->shape[0] : 0, t->rank > 1 ? t->shape[1] : 0,
                        l->transposed ? l->weight->in : l->weight->out,
                        l->transposed ? l->weight->out : l->weight->in);
    r->matrices[r->matrix_count++] = (matrix){ .tensor = t, .transposed = l->transposed,
                                                .module = l->name };
    for (size_t i = 0; i < nib_tensors_count(r->tensors); i++)
        if (nib_tensors_at(r->tensors, i) == t) r->matrix_of[i] = r->matrix_count;
    return status;
}

/* Does the caller want this module to stay dense? */
static bool stays_dense(const run *r, const char *module)
{
    for (size_t i = 0; i < r->options->skip_count; i++)
        if (r->held.format->skips(r->options->skip_modules[i], module)) return true;
    return false;
}

/* transformers quantizes the head where the list does not name it. */
static nib_status check_skipped(run *r, nib_error *err)
{
    const char *head = r->model->head ? r->model->head->name : NULL;

    if (r->options->skip_count && !r->held.format->skips)
        return nib_fail(err, NIB_E_INVALID,
                        "llm_int8_skip_modules is a list of bitsandbytes, the format asked for is "
                        "%s, which has no such list; leave it out",
                        r->held.format->known);
    if (r->options->skip_count && head && !stays_dense(r, head))
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "llm_int8_skip_modules does not name %s, so that the head would be "
                        "quantized too, which is not done here; add %s to the list",
                        head, head);
    for (size_t i = 0; i < r->options->skip_count; i++) {
        const char *name = r->options->skip_modules[i];
        bool found = false;

        for (size_t k = 0; k < r->model->linear_count && !found; k++)
            found = r->held.format->skips(name, r->model->linears[k]->name);
        if (!found)
            nib_warn_code(r->ctx, "no-module", "llm_int8_skip_modules: no linear of %s is called "
                          "%s", r->options->model, name);
    }
    return NIB_OK;
}

/* The linears of the graph but for the head, what is no Linear in the reference, and those that the
 * caller or the format leaves out. */
static nib_status find_matrices(run *r, nib_error *err)
{
    size_t count = nib_tensors_count(r->tensors);
    nib_status status = check_skipped(r, err);

    if (status) return status;
    r->matrices = nib_new_array(r->ctx, r->model->linear_count, sizeof *r->matrices);
    r->matrix_of = nib_new_array(r->ctx, count, sizeof *r->matrix_of);
    if (!r->matrices || !r->matrix_of)
        return nib_fail(err, NIB_E_NOMEM, "%zu tensors: out of memory", count);
    for (size_t i = 0; i < r->model->linear_count && !status; i++)
        if (!r->model->linears[i]->of_head && !r->model->linears[i]->parameter &&
            !nib_quantize_leaves(&r->held, r->model->linears[i]) &&
            !stays_dense(r, r->model->linears[i]->name))
            status = add_matrix(r, r->model->linears[i], err);
    if (!status && !r->matrix_count)
        status = nib_fail(err, NIB_E_MISMATCH, "%s: no matrix to quantize among %zu tensors",
                          r->options->model, count);
    r->result.matrices = r->matrix_count;
    return status;
}

/* --- one matrix --- */

static nib_form matrix_form(const run *r, const nib_tensor *t)
{
    nib_form form = r->held.form;
    form.dtype = r->convert ? r->dtype : t->dtype;
    return form;
}

static nib_status encode(run *r, matrix *m, nib_weight **w, nib_error *err)
{
    const nib_tensor *t = m->tensor;
    nib_form form = matrix_form(r, t);
    nib_weight *dense = NULL, *made = NULL;
    nib_status status;

    status = nib_weight_dense(r->ctx, (size_t)t->shape[0], (size_t)t->shape[1], t->dtype, t->data,
                              NULL, &dense, err);
    if (!status && m->transposed) status = nib_weight_transposed(r->ctx, dense, &dense, err);
    if (status) goto done;
    status = nib_form_encode(r->ctx, &form, dense, &made, err);
    if (status) goto done;
    nib_filemap_release(t->map, t->data, (size_t)t->bytes);
    if (!nib_weight_finite(made)) {
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

static nib_status learn(run *r, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; !status && i < r->matrix_count; i++) {
        matrix *m = &r->matrices[i];
        nib_weight *w = NULL;
        status = encode(r, m, &w, err);
        if (status) break;
        m->learned = r->held.format->learn(w);
        nib_weight_destroy(r->ctx, w);
        status = progress(r, m->tensor, err);
    }
    return status;
}

static nib_status plan_matrix(run *r, matrix *m, nib_error *err)
{
    const nib_tensor *t = m->tensor;
    nib_form form = matrix_form(r, t);
    nib_status status = r->held.format->plan(&form, (size_t)t->shape[m->transposed],
                                             (size_t)t->shape[!m->transposed], m->learned, t->name,
                                             &m->parts, err);

    for (size_t k = 0; !status && k < m->parts.count; k++) {
        nib_part_out *from = &m->parts.parts[k];
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
    if (r->convert && nib_dtype_is_float(t->dtype)) p->dtype = r->dtype;
    if (!nib_dtype_bytes(t->dtype))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: %s has dtype %s, which cannot be written",
                        t->file, t->name, t->dtype_name);
    r->result.bytes_after += t->elements * nib_dtype_bytes(p->dtype);
    return NIB_OK;
}

static nib_status plan_all(run *r, nib_error *err)
{
    size_t count = nib_tensors_count(r->tensors);
    bool twice = r->held.format->must_learn && r->held.format->must_learn(&r->held.form);
    nib_status status = find_matrices(r, err);

    if (!status) status = nib_model_warn_unused(r->model, r->tensors, err);
    if (status) return status;
    for (size_t i = 0; i < count; i++) {
        const nib_tensor *t = nib_tensors_at(r->tensors, i);
        r->result.parameters += t->elements;
        r->result.bytes_before += t->bytes;
        r->total += t->bytes + (r->matrix_of[i] && twice ? t->bytes : 0);
    }
    r->plans = nib_new_array(r->ctx, count + (NIB_PARTS_MOST - 1) * r->matrix_count,
                             sizeof *r->plans);
    if (!r->plans) return nib_fail(err, NIB_E_NOMEM, "%zu tensors: out of memory", count);
    if (twice) status = learn(r, err);
    for (size_t i = 0; !status && i < count; i++)
        status = r->matrix_of[i] ? plan_matrix(r, &r->matrices[r->matrix_of[i] - 1], err)
                                 : plan_other(r, nib_tensors_at(r->tensors, i), err);
    return status;
}

/* --- calibrating --- */

static nib_status calibrate(run *r, nib_error *err)
{
    nib_calibration *c = &r->calibration;
    nib_status status;

    c->options = r->options;
    c->held = &r->held;
    c->targets = nib_new_array(r->ctx, r->matrix_count, sizeof *c->targets);
    if (!c->targets)
        return nib_fail(err, NIB_E_NOMEM, "%zu matrices: out of memory", r->matrix_count);
    c->count = r->matrix_count;
    for (size_t i = 0; i < r->matrix_count; i++)
        c->targets[i] = (nib_calibration_target){ .module = r->matrices[i].module,
                                                  .tensor = r->matrices[i].tensor->name,
                                                  .transposed = r->matrices[i].transposed,
                                                  .form = matrix_form(r, r->matrices[i].tensor) };
    /* What is unfinished has a place of its own: nothing else is left by a killed run. */
    nib_outdir_discard(r->out);
    r->out = NULL;
    status = nib_calibrate(r->ctx, c, err);
    return status ? status
                  : nib_outdir_create(r->ctx, r->options->out, r->options->overwrite, &r->out, err);
}

/* --- writing --- */

/* The tensors that its layer's file holds. */
static nib_status write_stored(run *r, const matrix *m, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t k = 0; !status && k < m->parts.count; k++) {
        const nib_tensor *t = nib_layer_store_find(&r->calibration.store, m->parts.parts[k].name);
        if (!t || t->bytes != m->parts.parts[k].bytes)
            return nib_fail(err, NIB_E_FORMAT, "%s: has no %s of %zu bytes",
                            r->calibration.store.dir.path, m->parts.parts[k].name,
                            m->parts.parts[k].bytes);
        status = nib_tensor_writer_put(r->writer, t->data, (size_t)t->bytes, err);
        nib_filemap_release(t->map, t->data, (size_t)t->bytes);
    }
    return status;
}

static nib_status write_matrix(run *r, matrix *m, nib_error *err)
{
    nib_parts_out parts;
    nib_weight *w = NULL;
    nib_status status;

    if (r->calibrated) return write_stored(r, m, err);
    status = encode(r, m, &w, err);

    if (!status) status = r->held.format->tensors(w, m->tensor->name, &parts, err);
    for (size_t k = 0; !status && k < parts.count; k++)
        status = nib_tensor_writer_put(r->writer, parts.parts[k].data, parts.parts[k].bytes, err);
    nib_weight_destroy(r->ctx, w);
    return status;
}

/* What the factors of AWQ have made of a norm, a bias or a router. */
static nib_status write_changed(run *r, const nib_tensor *t, const nib_tensor *changed,
                                nib_error *err)
{
    nib_dtype type = r->convert ? r->dtype : t->dtype;
    nib_status status = NIB_OK;

    if (changed->dtype != NIB_F32 || changed->elements != t->elements)
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is not %" PRIu64 " floats", changed->file,
                        changed->name, t->elements);
    for (uint64_t at = 0; !status && at < t->elements; at += PIECE_VALUES) {
        size_t n = (size_t)(t->elements - at < PIECE_VALUES ? t->elements - at : PIECE_VALUES);
        nib_convert(r->piece, type, (const uint8_t *)changed->data + at * sizeof(float), NIB_F32,
                    n);
        status = nib_tensor_writer_put(r->writer, r->piece, n * nib_dtype_bytes(type), err);
    }
    return status;
}

static nib_status write_other(run *r, const nib_tensor *t, nib_error *err)
{
    bool convert = r->convert && nib_dtype_is_float(t->dtype) && t->dtype != r->dtype;
    const nib_tensor *changed = r->calibrated ? nib_layer_store_find(&r->calibration.store, t->name)
                                              : NULL;
    size_t bytes_each = nib_dtype_bytes(t->dtype);
    nib_status status = NIB_OK;

    if (changed) return write_changed(r, t, changed, err);
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
    char *merged = nib_merged_list(r->ctx, r->tensors, NULL, 0);
    const char *notes[5];
    nib_tensor_writer *writer;
    nib_status status = NIB_OK;

    if (!merged) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", r->options->model);
    nib_model_notes(merged, nib_prompt_note(r->tensors), notes);
    if (!status)
        status = nib_tensor_writer_create_noted(r->ctx, nib_outdir_path(r->out), "model", r->plans,
                                                r->plans_count,
                                                (uint64_t)SHARD_BYTES_MILLIONS * 1000000, notes,
                                                &r->writer, err);
    nib_free(r->ctx, merged);
    for (size_t i = 0; !status && i < nib_tensors_count(r->tensors); i++) {
        const nib_tensor *t = nib_tensors_at(r->tensors, i);
        status = r->matrix_of[i] ? write_matrix(r, &r->matrices[r->matrix_of[i] - 1], err)
                                 : write_other(r, t, err);
        if (!status) status = progress(r, t, err);
    }
    if (!status) status = nib_tensors_unchanged(r->tensors, err);
    if (status) return status;
    writer = r->writer;
    r->writer = NULL;
    return nib_tensor_writer_commit(writer, err);
}

static nib_status quantize(run *r, nib_error *err)
{
    const nib_quantize_options *options = r->options;
    const nib_model_options model = { .model = options->model };
    nib_config *known = NULL;
    json_t *json = NULL;
    nib_outdir *out;
    nib_status status;

    status = read_options(r, err);
    if (!status)
        status = nib_quantize_algorithm(r->ctx, options, &r->held, &r->calibration.algorithm, err);
    r->calibrated = r->calibration.algorithm != NULL;
    if (!status) status = nib_quantize_check_places(options->model, options->out, err);
    /* names the keys that are not used, which a model without weights does not */
    if (!status) status = nib_config_open(r->ctx, options->model, true, &json, &known, err);
    nib_config_free(r->ctx, known);
    json_decref(json);
    if (!status) status = nib_model_open_blank(r->ctx, &model, NIB_F32, &r->model, err);
    if (!status) status = nib_tensors_open(r->ctx, options->model, &r->tensors, err);
    if (!status) status = check_dense(r, err);
    /* Before the long work: a place that cannot be written to shows now. */
    if (!status) status = nib_outdir_create(r->ctx, options->out, options->overwrite, &r->out, err);
    if (!status) status = nib_quantize_drop_old(r->out, err);
    if (!status) status = plan_all(r, err);
    if (!status) status = nib_warnings_check(r->ctx, err); /* before anything is written */
    nib_warnings_repeat(r->ctx);
    if (!status && r->calibrated) status = calibrate(r, err);
    if (!status && r->calibrated) status = nib_quantize_drop_old(r->out, err);
    if (!status) status = write_all(r, err);
    if (!status && r->calibrated)
        status = nib_quantize_write_report(r->ctx, &r->calibration, nib_outdir_path(r->out), err);
    if (!status)
        status = nib_quantize_copy_files(r->ctx, options->model, nib_outdir_path(r->out), err);
    if (!status)
        status = nib_quantize_write_config(r->ctx, options, r->origin, &r->held, r->model,
                                           nib_outdir_path(r->out), err);
    if (status) return status;
    out = r->out;
    r->out = NULL;
    status = nib_outdir_commit(out, err);
    return status || !r->calibrated ? status
                                    : nib_layer_store_remove(&r->calibration.store, err);
}

nib_status nib_quantize_dense(nib_ctx *ctx, const nib_quantize_options *options,
                              const char *origin, nib_quantize_result *result, nib_error *err)
{
    run r = { .ctx = ctx, .options = options, .origin = origin };
    double start = nib_clock_seconds();
    nib_status status = NIB_OK;

    r.piece = nib_alloc(ctx, PIECE_VALUES * sizeof(float));
    if (!r.piece) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", options->model);
    if (!status) status = quantize(&r, err);
    if (!status && result) {
        *result = r.result;
        result->seconds = nib_clock_seconds() - start;
    }
    if (r.writer) nib_tensor_writer_discard(r.writer);
    nib_outdir_discard(r.out);
    nib_tensors_close(r.tensors);
    nib_model_close(r.model);
    nib_layer_store_close(&r.calibration.store);
    nib_free(ctx, r.calibration.targets);
    json_decref(r.calibration.report);
    nib_free(ctx, r.plans);
    nib_free(ctx, r.matrices);
    nib_free(ctx, r.matrix_of);
    nib_free(ctx, r.piece);
    return status;
}
