/* mlx_floats.c - see mlx_floats.h. */
#include "quant/mlx_floats.h"

#include "quant/float4.h"
#include "quant/float8.h"

enum { MX_GROUP = 32 };

nib_form nib_mlx_floats_form(nib_mlx_mode mode, nib_dtype dtype)
{
    assert(mode != NIB_MLX_AFFINE);
    if (mode == NIB_MLX_MXFP8)
        return nib_float8_form(&(nib_float8_options){ .rows = 1, .columns = MX_GROUP,
                                                      .dtype = dtype });
    return nib_float4_form(mode == NIB_MLX_NVFP4 ? NIB_NVFP4 : NIB_MXFP4, dtype);
}

bool nib_mlx_floats_rule(const nib_form *form, nib_mlx_rule *r)
{
    for (nib_mlx_mode mode = NIB_MLX_MXFP4; mode <= NIB_MLX_MXFP8; mode++) {
        nib_form is = nib_mlx_floats_form(mode, form->dtype);
        if (is.scheme != form->scheme ||
            memcmp(is.settings, form->settings, sizeof is.settings) != 0)
            continue;
        *r = nib_mlx_mode_rule(mode);
        return true;
    }
    return false;
}

/* No NaN, which E8M0 and E4M3 have among their codes. */
static nib_status check_scales(const nib_mlx_floats *f, nib_error *err)
{
    const nib_part *s = f->scales;

    if (s->dtype != NIB_U8)
        return nib_fail(err, NIB_E_FORMAT, "%s: dtype %s, expected uint8 (mode %s)", s->name,
                        nib_dtype_name(s->dtype), nib_mlx_modes[f->mode]);
    for (size_t i = 0; i < s->elements; i++) {
        uint8_t x = ((const uint8_t *)s->data)[i];
        if (f->mode == NIB_MLX_NVFP4 ? (x & 0x7f) == 0x7f : x == 0xff)
            return nib_fail(err, NIB_E_FORMAT, "%s: value %zu is 0x%02x, which is no number",
                            s->name, i, x);
    }
    return NIB_OK;
}

nib_status nib_mlx_floats_open(nib_ctx *ctx, nib_part_finder find, const nib_mlx_floats *f,
                               nib_weight **w, nib_error *err)
{
    nib_part global;
    nib_status status = check_scales(f, err);

    if (status) return status;
    if (nib_module_part(find, f->module, ".global_scale", &global))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: scales of whole matrices are not read in "
                        "MLX's files; quantize the model without them", global.name);
    if (f->mode == NIB_MLX_MXFP8)
        return nib_float8_create(ctx, &(nib_float8){
            .base = { .out = f->out, .in = f->in, .source = f->codes->name,
                      .bytes = f->out * (f->in + f->in / MX_GROUP) },
            .options = { .rows = 1, .columns = MX_GROUP, .dtype = f->dtype },
            .codes = f->codes->data, .scales = f->scales->data, .scale_type = NIB_F8_E8M0,
            .round = NIB_F32 }, w, err);
    return nib_float4_create(ctx, &(nib_float4_parts){
        .kind = f->mode == NIB_MLX_NVFP4 ? NIB_NVFP4 : NIB_MXFP4, .out = f->out, .in = f->in,
        .codes = f->codes->data, .scales = f->scales->data, .global = 1, .dtype = f->dtype,
        .source = f->codes->name }, w, err);
}
