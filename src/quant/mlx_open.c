/* mlx_open.c - see mlx_open.h. */
#include "quant/mlx_open.h"

#include <stdio.h>

#include "quant/mlx_floats.h"

nib_form nib_mlx_form(const nib_mlx_rule *r, nib_dtype dtype)
{
    if (r->mode != NIB_MLX_AFFINE) return nib_mlx_floats_form(r->mode, dtype);
    return nib_grouped_form(&(nib_grouped_options){ .maker = NIB_GROUPED_MLX, .bits = r->bits,
                                                    .group = r->group, .asymmetric = true,
                                                    .dtype = dtype });
}

nib_status nib_mlx_lacks(const char *has, const char *module, const char *piece, nib_error *err)
{
    return nib_fail(err, NIB_E_FORMAT, "%s is there, but %s%s is missing", has, module, piece);
}

nib_status nib_mlx_find(nib_part_finder find, const char *module, const char *end,
                        nib_mlx_parts *p, bool *there, nib_error *err)
{
    bool codes = nib_module_part(find, module, end, &p->codes);

    p->has_biases = nib_module_part(find, module, ".biases", &p->biases);
    *there = nib_module_part(find, module, ".scales", &p->scales);
    if (!*there && p->has_biases) return nib_mlx_lacks(p->biases.name, module, ".scales", err);
    if (!*there && codes && p->codes.dtype == NIB_U32)
        return nib_mlx_lacks(p->codes.name, module, ".scales", err);
    if (!*there) return NIB_OK;
    if (!codes) return nib_mlx_lacks(p->scales.name, module, end, err);
    if (p->codes.dtype == NIB_U32) return NIB_OK;
    return nib_fail(err, NIB_E_FORMAT, "%s: dtype %s, expected uint32 beside %s", p->codes.name,
                    nib_dtype_name(p->codes.dtype), p->scales.name);
}

/* Biases are as the scales, or, of floats, not there. */
static nib_status check_biases(const nib_mlx_parts *p, unsigned rank, const nib_mlx_rule *r,
                               nib_error *err)
{
    const nib_part *s = &p->scales, *b = &p->biases;

    if (r->mode != NIB_MLX_AFFINE && p->has_biases)
        return nib_fail(err, NIB_E_MISMATCH, "%s is there, but config.json says mode %s, which has "
                        "none", b->name, nib_mlx_modes[r->mode]);
    if (r->mode != NIB_MLX_AFFINE) return NIB_OK;
    if (!p->has_biases)
        return nib_fail(err, NIB_E_FORMAT, "%s is there, but %.*s.biases is missing", s->name,
                        (int)(strlen(s->name) - strlen(".scales")), s->name);
    if (b->dtype == s->dtype && b->rank == rank &&
        memcmp(b->shape, s->shape, rank * sizeof *b->shape) == 0)
        return NIB_OK;
    return nib_fail(err, NIB_E_FORMAT, "%s: %s of rank %u with %" PRIu64 " elements, expected %s "
                    "of rank %u with %" PRIu64 " as %s", b->name, nib_dtype_name(b->dtype), b->rank,
                    b->elements, nib_dtype_name(s->dtype), s->rank, s->elements, s->name);
}

nib_status nib_mlx_check_sizes(const nib_mlx_parts *p, unsigned rank, const nib_mlx_rule *r,
                               size_t *out, size_t *in, nib_error *err)
{
    const nib_part *c = &p->codes, *s = &p->scales;
    uint64_t rows = c->rank == rank ? c->shape[rank - 2] : 0, words, groups;

    if (!rows || !c->elements || rows > UINT32_MAX || c->shape[rank - 1] > UINT32_MAX)
        return nib_fail(err, NIB_E_FORMAT, "%s: rank %u with %" PRIu64 " elements, expected %s",
                        c->name, c->rank, c->elements, rank == 2 ? "a matrix" : "rank 3");
    words = c->shape[rank - 1];
    groups = s->rank == rank ? s->shape[rank - 1] : 0;
    if (!groups || groups > UINT32_MAX / r->group || s->shape[rank - 2] != rows ||
        (rank == 3 && s->shape[0] != c->shape[0]))
        return nib_fail(err, NIB_E_FORMAT, "%s: rank %u with %" PRIu64 " elements, expected groups "
                        "for each of the %" PRIu64 " rows of %s", s->name, s->rank, s->elements,
                        c->elements / words, c->name);
    *out = (size_t)rows;
    *in = (size_t)groups * r->group;
    if (words * 32 != (uint64_t)*in * r->bits)
        return nib_fail(err, NIB_E_MISMATCH, "%s has %" PRIu64 " words a row, config.json makes it "
                        "%g: %" PRIu64 " groups (%s) of group_size %u, bits %u", c->name, words,
                        (double)*in * r->bits / 32, groups, s->name, r->group, r->bits);
    return check_biases(p, rank, r, err);
}

/* A matrix of parts that were checked. */
static nib_status create(nib_ctx *ctx, const nib_held *held, const nib_mlx_parts *p,
                         const nib_mlx_rule *r, size_t out, size_t in, nib_weight **w,
                         nib_error *err)
{
    nib_form form = nib_mlx_form(r, held->form.dtype);
    size_t groups = in / r->group, each = nib_dtype_bytes(p->scales.dtype);
    size_t words = in / 32 * r->bits;
    nib_grouped made = {
        .base = { .out = out, .in = in, .dtype = held->form.dtype },
        .options = nib_grouped_form_options(&form), .order = NIB_WORDS_ROWS,
        .codes = p->codes.data, .row_bytes = words * 4,
        .group = r->group, .groups = groups,
        .scales = p->scales.data, .biases = p->biases.data,
        .scale_type = p->scales.dtype, .scale_group = 1, .scale_out = groups,
    };
    nib_status status = nib_grouped_open(ctx, &made, NULL, NULL, NULL,
                                         (words * 4 + 2 * groups * each) * out, w, err);

    if (!status) (*w)->source = p->codes.name;
    return status;
}

nib_status nib_mlx_open(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                        const char *module, const nib_mlx_parts *p, const nib_mlx_rule *r,
                        nib_weight **w, nib_error *err)
{
    size_t out = 0, in = 0;
    nib_status status;

    if (r->dense)
        return nib_fail(err, NIB_E_MISMATCH, "%s is there, but config.json leaves the module dense",
                        p->scales.name);
    status = nib_mlx_check_sizes(p, 2, r, &out, &in, err);
    if (!status && r->mode != NIB_MLX_AFFINE)
        return nib_mlx_floats_open(ctx, find, &(nib_mlx_floats){
            module, r->mode, &p->codes, &p->scales, out, in, held->form.dtype }, w, err);
    if (!status) status = nib_check_scales(ctx, &p->scales, true, err);
    if (!status) status = nib_check_biases(&p->biases, err);
    return status ? status : create(ctx, held, p, r, out, in, w, err);
}
