/* float4_open.c - see float4_open.h. */
#include "quant/float4_open.h"

#include <stdio.h>

#include "quant/grouped_open.h"

static nib_status check_codes(const nib_part *t, unsigned group, size_t *out, size_t *in,
                              nib_error *err)
{
    if (t->dtype != NIB_U8 || t->rank != 2 || !t->elements || t->shape[0] > UINT32_MAX ||
        t->shape[1] > UINT32_MAX)
        return nib_fail(err, NIB_E_FORMAT, "%s: %s of rank %u, expected a matrix of uint8", t->name,
                        nib_dtype_name(t->dtype), t->rank);
    *out = (size_t)t->shape[0];
    *in = (size_t)t->shape[1] * 2;
    if (*in % group == 0) return NIB_OK;
    return nib_fail(err, NIB_E_FORMAT, "%s: %zu inputs are no whole groups of %u", t->name, *in,
                    group);
}

static nib_status check_scales(const nib_part *t, nib_float4_kind kind, size_t out, size_t groups,
                               nib_error *err)
{
    bool type = kind == NIB_NVFP4 ? t->dtype == NIB_F8_E4M3
                                  : t->dtype == NIB_U8 || t->dtype == NIB_F8_E8M0;

    if (!type)
        return nib_fail(err, NIB_E_FORMAT, "%s: dtype %s, expected %s", t->name,
                        nib_dtype_name(t->dtype),
                        kind == NIB_NVFP4 ? "float8_e4m3fn (NVFP4)" : "uint8 (MXFP4)");
    if (t->rank == 2 && t->shape[0] == out && t->shape[1] == groups) return NIB_OK;
    return nib_fail(err, NIB_E_FORMAT, "%s: [%" PRIu64 ", %" PRIu64 "] of rank %u, expected "
                    "[%zu, %zu]", t->name, t->shape[0], t->shape[1], t->rank, out, groups);
}

/* The scale of the matrix: of NVFP4 alone. */
static nib_status read_global(nib_part_finder find, const char *module,
                              const nib_float4_names *names, nib_float4_kind kind, float *global,
                              nib_error *err)
{
    nib_part t;
    bool there = nib_module_part(find, module, names->global, &t);

    *global = 1;
    if (there && kind == NIB_MXFP4)
        return nib_fail(err, NIB_E_MISMATCH, "%s: a scale of NVFP4, but config.json says MXFP4 "
                        "(group_size 32)", t.name);
    if (kind == NIB_MXFP4) return NIB_OK;
    if (!there)
        return nib_fail(err, NIB_E_FORMAT, "%s%s is missing", module, names->global);
    if (t.dtype != NIB_F32 || t.elements != 1)
        return nib_fail(err, NIB_E_FORMAT, "%s: %" PRIu64 " values of %s, expected one of float32",
                        t.name, t.elements, nib_dtype_name(t.dtype));
    memcpy(global, t.data, sizeof *global);
    return NIB_OK;
}

/* Scales reach 448, values of codes 6: what divides is far above 1 for any weights, what multiplies
 * far below. */
static nib_status check_way(const char *module, const nib_float4_names *names, float global,
                            nib_error *err)
{
    if (names->divide ? global > 0.125f : global < 8) return NIB_OK;
    return nib_fail(err, NIB_E_MISMATCH, "%s%s is %g: it %s here, and is far %s 1 in files of this "
                    "kind", module, names->global, (double)global,
                    names->divide ? "divides" : "multiplies", names->divide ? "above" : "below");
}

nib_status nib_float4_open(nib_ctx *ctx, nib_part_finder find, const char *module,
                           const nib_float4_names *names, nib_float4_kind kind, nib_dtype dtype,
                           nib_weight **w, nib_error *err)
{
    nib_float4_parts p = { .kind = kind, .divide = names->divide, .dtype = dtype };
    unsigned group = nib_float4_group(kind);
    nib_part codes, scales;
    nib_status status;

    *w = NULL;
    if (!nib_module_part(find, module, names->codes, &codes) ||
        !nib_module_part(find, module, names->scales, &scales))
        return nib_fail(err, NIB_E_FORMAT, "%s%s or %s is missing", module, names->codes,
                        names->scales);
    status = check_codes(&codes, group, &p.out, &p.in, err);
    if (!status) status = check_scales(&scales, kind, p.out, p.in / group, err);
    if (!status) status = read_global(find, module, names, kind, &p.global, err);
    if (!status && kind == NIB_NVFP4) status = check_way(module, names, p.global, err);
    if (status) return status;
    p.codes = codes.data;
    p.scales = scales.data;
    p.source = codes.name;
    return nib_float4_create(ctx, &p, w, err);
}

bool nib_float4_describe(const nib_part *t, nib_part_finder find, const nib_float4_names *names,
                         nib_dtype dtype, uint64_t shape[2], nib_form *form)
{
    size_t n = strlen(t->name), end = strlen(names->codes), stem = n - nib_min(n, end);
    char module[600];
    nib_part scales;

    if (t->dtype != NIB_U8 || t->rank != 2 || strcmp(t->name + stem, names->codes) != 0 ||
        stem >= sizeof module)
        return false;
    snprintf(module, sizeof module, "%.*s", (int)stem, t->name);
    if (!nib_module_part(find, module, names->scales, &scales)) return false;
    if (scales.dtype != NIB_F8_E4M3 && scales.dtype != NIB_U8 && scales.dtype != NIB_F8_E8M0)
        return false;
    shape[0] = t->shape[0];
    shape[1] = t->shape[1] * 2;
    *form = nib_float4_form(scales.dtype == NIB_F8_E4M3 ? NIB_NVFP4 : NIB_MXFP4, dtype);
    return true;
}
