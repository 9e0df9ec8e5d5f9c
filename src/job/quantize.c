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

#include "job/quantize_algorithm.h"
#include "job/quantize_config.h"
#include "job/quantize_dense.h"
#include "job/quantize_run.h"

typedef nib_quantize_run run;
typedef nib_quantize_matrix matrix;

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

/* --- declaring --- */

static nib_status learn(run *r, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; !status && i < r->matrix_count; i++) {
        matrix *m = &r->matrices[i];
        nib_weight *w = NULL;
        status = nib_quantize_matrix_encode(r, m, &w, err);
        if (status) break;
        m->learned = r->held.format->learn(w);
        nib_weight_destroy(r->ctx, w);
        status = nib_quantize_progress(r, m->tensor, err);
    }
    return status;
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
    if (!status && r->targeted) return nib_quantize_target_begin(r, err);
    return status ? status : nib_quantize_plan_tensors(r, err);
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
    c->place = r->kept ? r->kept : r->options->out;
    c->bits = r->targeted ? &r->bits : NULL;
    for (size_t i = 0; i < r->matrix_count; i++)
        c->targets[i] = (nib_calibration_target){ .module = r->matrices[i].module,
                                                  .tensor = r->matrices[i].tensor->name,
                                                  .transposed = r->matrices[i].transposed,
                                                  .form = nib_quantize_matrix_form(
                                                      r, &r->matrices[i]) };
    /* What is unfinished has a place of its own: nothing else is left by a killed run. */
    nib_outdir_discard(r->out);
    r->out = NULL;
    status = nib_calibrate(r->ctx, c, err);
    return status ? status
                  : nib_outdir_create(r->ctx, r->options->out, r->options->overwrite, &r->out, err);
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
    if (!status)
        status = nib_bit_plan_asked(options, &r->held, r->calibration.algorithm, &r->targeted, err);
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
    if (!status && r->targeted && !r->calibrated) status = nib_quantize_target_measure(r, err);
    if (!status && r->calibrated) status = calibrate(r, err);
    if (!status && r->targeted) status = nib_quantize_target_end(r, err);
    if (!status && r->calibrated) status = nib_quantize_drop_old(r->out, err);
    if (!status) status = nib_quantize_write_all(r, err);
    if (!status && r->targeted && !r->calibrated) status = nib_quantize_target_report(r, err);
    if (!status && (r->calibrated || r->targeted))
        status = nib_quantize_write_report(r->ctx, &r->calibration, nib_outdir_path(r->out), err);
    if (!status)
        status = nib_quantize_copy_files(r->ctx, options->model, nib_outdir_path(r->out), err);
    if (!status)
        status = nib_quantize_write_config(r->ctx, options, r->origin, &r->held,
                                           r->targeted ? &r->bits : NULL, r->model,
                                           nib_outdir_path(r->out), err);
    if (status) return status;
    out = r->out;
    r->out = NULL;
    status = nib_outdir_commit(out, err);
    if (status || !r->calibrated || r->kept) return status;
    return nib_layer_store_remove(&r->calibration.store, err);
}

nib_status nib_quantize_dense(nib_ctx *ctx, const nib_quantize_options *options,
                              const char *origin, const char *kept,
                              nib_quantize_result *result, nib_error *err)
{
    run r = { .ctx = ctx, .options = options, .origin = origin, .kept = kept };
    double start = nib_clock_seconds();
    nib_status status = NIB_OK;

    r.piece = nib_alloc(ctx, NIB_QUANTIZE_PIECE * sizeof(float));
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
    nib_bit_plan_free(&r.bits);
    json_decref(r.calibration.report);
    nib_free(ctx, r.plans);
    nib_free(ctx, r.matrices);
    nib_free(ctx, r.matrix_of);
    nib_free(ctx, r.piece);
    return status;
}
