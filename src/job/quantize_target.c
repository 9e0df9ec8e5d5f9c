/* quantize_target.c - a quantization to a size: which widths the matrices may have, what room there
 * is, and what came out (bit_plan.h). */
#include "job/quantize_algorithm.h"
#include "job/quantize_run.h"

typedef nib_quantize_run run;
typedef nib_quantize_matrix matrix;

/* What all files take where every matrix has such a width. */
static nib_status files_bytes(run *r, nib_allot_which width, uint64_t *bytes, nib_error *err)
{
    char *merged = NULL;
    const char *notes[5];
    nib_status status = nib_quantize_notes(r, &merged, notes, err);

    r->width = width;
    if (!status) status = nib_quantize_plan_tensors(r, err);
    if (!status)
        status = nib_tensor_files_bytes(r->ctx, r->plans, r->plans_count,
                                        (uint64_t)NIB_QUANTIZE_SHARD_MILLIONS * 1000000, notes,
                                        bytes, err);
    nib_free(r->ctx, merged);
    return status;
}

nib_status nib_quantize_target_begin(run *r, nib_error *err)
{
    const nib_quantize_options *o = r->options;
    const nib_gptq_options gptq = nib_calibration_gptq(o);
    uint64_t least = 0, most = 0;
    nib_status status = nib_bit_plan_create(r->ctx, o, r->matrix_count, &r->bits, err);

    for (size_t i = 0; i < r->matrix_count && !status; i++) {
        const matrix *m = &r->matrices[i];
        const nib_tensor *t = m->tensor;
        status = nib_bit_plan_add(&r->bits, r->held.format, m->module,
                                  (size_t)t->shape[m->transposed], (size_t)t->shape[!m->transposed],
                                  r->convert ? r->dtype : t->dtype,
                                  r->calibrated ? &gptq : NULL, err);
    }
    if (!status) status = files_bytes(r, NIB_ALLOT_LEAST, &least, err);
    if (!status) status = files_bytes(r, NIB_ALLOT_MOST, &most, err);
    return status ? status : nib_bit_plan_set_room(&r->bits, least, most, err);
}

nib_status nib_quantize_target_measure(run *r, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < r->matrix_count && !status; i++) {
        const matrix *m = &r->matrices[i];
        nib_weight *w = NULL;
        status = nib_quantize_matrix_open(r, m, &w, err);
        if (!status) status = nib_bit_plan_measure(&r->bits, i, w, err);
        nib_weight_destroy(r->ctx, w);
        nib_filemap_release(m->tensor->map, m->tensor->data, (size_t)m->tensor->bytes);
        if (!status) status = nib_quantize_progress(r, m->tensor, err);
    }
    r->done = 0; /* they are read again */
    return status ? status : nib_bit_plan_allot(&r->bits, err);
}

nib_status nib_quantize_target_end(run *r, nib_error *err)
{
    nib_status status;

    assert(r->bits.allotted);
    r->held.form = r->bits.usual;
    status = files_bytes(r, NIB_ALLOT_CHOSEN, &r->result.file_bytes, err);
    if (status) return status;
    r->result.bits_per_weight = nib_bit_plan_bits(&r->bits, NIB_ALLOT_CHOSEN);
    nib_note(r->ctx, "%.6g MB of weights and headers, %.4f bits a weight of %zu matrices",
             (double)r->result.file_bytes / 1e6, r->result.bits_per_weight, r->matrix_count);
    return NIB_OK;
}

nib_status nib_quantize_target_report(run *r, nib_error *err)
{
    r->calibration.algorithm = "rtn";
    r->calibration.bits = &r->bits;
    r->calibration.report = json_array();
    for (size_t i = 0; i < r->bits.count; i++) {
        const nib_allot_part *part = &r->bits.parts[i];
        const nib_bit_matrix *m = &r->bits.matrices[i];
        const nib_matrix_report report = {
            .module = m->module, .algorithm = "rtn", .bits = m->bits[part->chosen],
            .error = part->choices[part->chosen].error,
            .error_rounded = part->choices[part->chosen].error,
        };
        if (r->options->on_matrix) r->options->on_matrix(r->options->user, &report);
        if (json_array_append_new(r->calibration.report, nib_quantize_matrix_json(&report)))
            return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", m->module);
    }
    return NIB_OK;
}
