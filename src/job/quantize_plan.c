/* quantize_plan.c - the tensors that a quantized model will have: sizes follow from shapes, and
 * from the forms of the matrices. */
#include "job/quantize_run.h"

typedef nib_quantize_run run;
typedef nib_quantize_matrix matrix;

static nib_status plan_matrix(run *r, matrix *m, nib_error *err)
{
    const nib_tensor *t = m->tensor;
    nib_form form = nib_quantize_matrix_form(r, m);
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

nib_status nib_quantize_plan_tensors(run *r, nib_error *err)
{
    size_t count = nib_tensors_count(r->tensors);
    nib_status status = NIB_OK;

    r->plans_count = 0;
    r->result.bytes_after = 0;
    for (size_t i = 0; !status && i < count; i++)
        status = r->matrix_of[i] ? plan_matrix(r, &r->matrices[r->matrix_of[i] - 1], err)
                                 : plan_other(r, nib_tensors_at(r->tensors, i), err);
    return status;
}
