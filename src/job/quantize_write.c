/* quantize_write.c - the tensors of a quantized model: each is read, encoded, written, and its
 * pages given back. */
#include "adapter/merged.h"
#include "adapter/prompt_note.h"
#include "job/quantize_run.h"
#include "quant/transposed.h"

typedef nib_quantize_run run;
typedef nib_quantize_matrix matrix;

/* --- one matrix --- */

nib_form nib_quantize_matrix_form(const run *r, const matrix *m)
{
    nib_form form = r->targeted
                        ? *nib_bit_plan_form(&r->bits, (size_t)(m - r->matrices), r->width)
                        : r->held.form;

    form.dtype = r->convert ? r->dtype : m->tensor->dtype;
    return form;
}

nib_status nib_quantize_matrix_open(const run *r, const matrix *m, nib_weight **w, nib_error *err)
{
    const nib_tensor *t = m->tensor;
    nib_status status = nib_weight_dense(r->ctx, (size_t)t->shape[0], (size_t)t->shape[1],
                                         t->dtype, t->data, NULL, w, err);

    return status || !m->transposed ? status : nib_weight_transposed(r->ctx, *w, w, err);
}

nib_status nib_quantize_matrix_encode(const run *r, const matrix *m, nib_weight **w,
                                      nib_error *err)
{
    const nib_tensor *t = m->tensor;
    nib_form form = nib_quantize_matrix_form(r, m);
    nib_weight *dense = NULL, *made = NULL;
    nib_status status = nib_quantize_matrix_open(r, m, &dense, err);

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

nib_status nib_quantize_progress(run *r, const nib_tensor *t, nib_error *err)
{
    r->done += t->bytes;
    if (r->options->on_progress)
        r->options->on_progress(r->options->user, t->name,
                                r->total ? (double)r->done / (double)r->total : 1);
    if (nib_should_stop(r->ctx))
        return nib_fail(err, NIB_E_INTERRUPTED, "stopped; nothing is written");
    return NIB_OK;
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
    status = nib_quantize_matrix_encode(r, m, &w, err);

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
    for (uint64_t at = 0; !status && at < t->elements; at += NIB_QUANTIZE_PIECE) {
        size_t n = (size_t)nib_min(t->elements - at, (uint64_t)NIB_QUANTIZE_PIECE);
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
    for (uint64_t at = 0; !status && at < t->elements; at += NIB_QUANTIZE_PIECE) {
        size_t n = (size_t)nib_min(t->elements - at, (uint64_t)NIB_QUANTIZE_PIECE);
        const uint8_t *from = (const uint8_t *)t->data + at * bytes_each;
        if (convert) nib_convert(r->piece, r->dtype, from, t->dtype, n);
        status = nib_tensor_writer_put(r->writer, convert ? r->piece : from,
                                       n * (convert ? nib_dtype_bytes(r->dtype) : bytes_each), err);
        nib_filemap_release(t->map, from, n * bytes_each);
    }
    return status;
}

nib_status nib_quantize_notes(const run *r, char **merged, const char *notes[5], nib_error *err)
{
    *merged = nib_merged_list(r->ctx, r->tensors, NULL, 0);
    nib_model_notes(*merged, nib_prompt_note(r->tensors), notes);
    if (*merged) return NIB_OK;
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", r->options->model);
}

nib_status nib_quantize_write_all(run *r, nib_error *err)
{
    char *merged;
    const char *notes[5];
    nib_tensor_writer *writer;
    nib_status status = nib_quantize_notes(r, &merged, notes, err);

    if (!status)
        status = nib_tensor_writer_create_noted(r->ctx, nib_outdir_path(r->out), "model", r->plans,
                                                r->plans_count,
                                                (uint64_t)NIB_QUANTIZE_SHARD_MILLIONS * 1000000,
                                                notes, &r->writer, err);
    nib_free(r->ctx, merged);
    for (size_t i = 0; !status && i < nib_tensors_count(r->tensors); i++) {
        const nib_tensor *t = nib_tensors_at(r->tensors, i);
        status = r->matrix_of[i] ? write_matrix(r, &r->matrices[r->matrix_of[i] - 1], err)
                                 : write_other(r, t, err);
        if (!status) status = nib_quantize_progress(r, t, err);
    }
    if (!status) status = nib_tensors_unchanged(r->tensors, err);
    if (status) return status;
    writer = r->writer;
    r->writer = NULL;
    return nib_tensor_writer_commit(writer, err);
}
