/* grouped_parts.c - the tensors of a matrix of grouped integers, as each maker's files hold them
 * (formats.md 6.1, 7.1; formats-quant.md 2.2).  q: whose data, or NULL. */
#include "quant/grouped_open.h"

static nib_status list_gptq(const nib_grouped_options *o, const nib_grouped *q, size_t out,
                            size_t in, size_t groups, const char *module, nib_parts_out *parts,
                            nib_error *err)
{
    nib_status status = nib_parts_put(parts, module, ".qweight", NIB_I32, 2,
                                      nib_ceil_div(in * o->bits, 32), out, q ? q->codes : NULL,
                                      err);

    if (!status)
        status = nib_parts_put(parts, module, ".qzeros", NIB_I32, 2, groups,
                               nib_ceil_div(out * o->bits, 32), q ? q->file_zeros : NULL, err);
    if (!status)
        status = nib_parts_put(parts, module, ".scales", NIB_F16, 2, groups, out,
                               q ? q->scales : NULL, err);
    if (!status)
        status = nib_parts_put(parts, module, ".g_idx", NIB_I32, 1, in, 0,
                               q ? q->file_groups : NULL, err);
    return status;
}

static nib_status list_awq(const nib_grouped *q, size_t out, size_t in, size_t groups,
                           const char *module, nib_parts_out *parts, nib_error *err)
{
    nib_status status = nib_parts_put(parts, module, ".qweight", NIB_I32, 2, in,
                                      nib_ceil_div(out, 8), q ? q->codes : NULL, err);

    if (!status)
        status = nib_parts_put(parts, module, ".qzeros", NIB_I32, 2, groups, nib_ceil_div(out, 8),
                               q ? q->file_zeros : NULL, err);
    if (!status)
        status = nib_parts_put(parts, module, ".scales", NIB_F16, 2, groups, out,
                               q ? q->scales : NULL, err);
    return status;
}

static nib_status list_packed(const nib_grouped_options *o, const nib_grouped *q, size_t out,
                              size_t in, size_t groups, const char *module, nib_parts_out *parts,
                              nib_error *err)
{
    const int64_t shape[2] = { (int64_t)out, (int64_t)in };
    nib_status status = nib_parts_put(parts, module, ".weight_packed", NIB_I32, 2, out,
                                      nib_ceil_div(in * o->bits, 32), q ? q->codes : NULL, err);

    memcpy(parts->text, shape, sizeof shape);
    if (!status)
        status = nib_parts_put(parts, module, ".weight_scale", o->dtype, 2, out, groups,
                               q ? q->scales : NULL, err);
    if (!status)
        status = nib_parts_put(parts, module, ".weight_shape", NIB_I64, 1, 2, 0,
                               q ? parts->text : NULL, err);
    if (!status && o->asymmetric)
        status = nib_parts_put(parts, module, ".weight_zero_point", NIB_I32, 2,
                               nib_ceil_div(out * o->bits, 32), groups, q ? q->file_zeros : NULL,
                               err);
    return status;
}

static nib_status list(const nib_grouped_options *o, const nib_grouped *q, size_t out, size_t in,
                       const char *name, nib_parts_out *parts, nib_error *err)
{
    char module[512];
    nib_grouped_sizes s;

    assert(o->maker != NIB_GROUPED_MLX); /* which no format writes */
    nib_module_of_weight(name, module);
    parts->count = 0;
    if (!nib_grouped_sizes_of(o, out, in, &s))
        return nib_fail(err, NIB_E_FORMAT, "a weight of %zu x %zu values is too large", out, in);
    switch (o->maker) {
    case NIB_GROUPED_GPTQ: return list_gptq(o, q, out, in, s.group_count, module, parts, err);
    case NIB_GROUPED_AWQ: return list_awq(q, out, in, s.group_count, module, parts, err);
    case NIB_GROUPED_PACK: case NIB_GROUPED_INT: case NIB_GROUPED_MLX: break;
    }
    return list_packed(o, q, out, in, s.group_count, module, parts, err);
}

nib_status nib_grouped_plan(const nib_form *form, size_t out, size_t in, nib_learned learned,
                            const char *name, nib_parts_out *parts, nib_error *err)
{
    nib_grouped_options o = nib_grouped_form_options(form);

    (void)learned;
    return list(&o, NULL, out, in, name, parts, err);
}

nib_status nib_grouped_tensors(const nib_weight *w, const char *name, nib_parts_out *parts,
                               nib_error *err)
{
    const nib_grouped *q = nib_as_grouped(w);

    return list(&q->options, q, w->out, w->in, name, parts, err);
}
