/* float8_open.c - see float8_open.h. */
#include "quant/float8_open.h"

#include <math.h>
#include <stdio.h>

#include "quant/grouped_open.h"

typedef struct stored_parts { nib_part codes, scale; } stored_parts;

/* *there: M.weight is E4M3.  Scales without such a weight, or the other way round, are refused. */
static nib_status find_parts(nib_part_finder find, const char *module, stored_parts *p, bool *there,
                             nib_error *err)
{
    nib_part inverse, unused;
    bool weight = nib_module_part(find, module, ".weight", &p->codes);
    bool scale = nib_module_part(find, module, ".weight_scale", &p->scale);
    bool inv = nib_module_part(find, module, ".weight_scale_inv", &inverse);

    nib_module_part(find, module, ".input_scale", &unused); /* a use of it: it is not reported */
    *there = weight && p->codes.dtype == NIB_F8_E4M3;
    if (scale && inv)
        return nib_fail(err, NIB_E_FORMAT, "%s and %s are both there: a weight has one of them",
                        p->scale.name, inverse.name);
    if (inv) p->scale = inverse;
    if (*there && !scale && !inv)
        return nib_fail(err, NIB_E_FORMAT, "%s is float8_e4m3fn, but %s.weight_scale_inv and "
                        "weight_scale are missing", p->codes.name, module);
    if (*there || !(scale || inv)) return NIB_OK;
    if (!weight)
        return nib_fail(err, NIB_E_FORMAT, "%s is there, but %s.weight is missing", p->scale.name,
                        module);
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s: %s beside %s; known is float8_e4m3fn",
                    p->codes.name, nib_dtype_name(p->codes.dtype), p->scale.name);
}

/* --- shapes --- */

static bool is_grid(const nib_part *scale, size_t out, size_t in, const nib_float8_options *o)
{
    return scale->rank == 2 && scale->shape[0] == nib_ceil_div(out, o->rows) &&
           scale->shape[1] == nib_ceil_div(in, o->columns);
}

/* Without blocks: one scale, or one a row; *o gets which.  False: neither. */
static bool read_kind(const nib_part *scale, size_t out, nib_float8_options *o)
{
    o->columns = o->rows = 0;
    if (scale->elements == 1 && (scale->rank < 2 || out == 1)) return true;
    if (scale->elements == 1 && scale->rank == 2 && scale->shape[0] == 1) return true;
    o->rows = 1;
    return scale->elements == out && scale->rank >= 1 && scale->shape[0] == out &&
           (scale->rank == 1 || (scale->rank == 2 && scale->shape[1] == 1));
}

static nib_status check_shapes(const stored_parts *p, const nib_float8_said *said,
                               nib_float8_options *o, nib_error *err)
{
    const nib_part *s = &p->scale;
    uint64_t rows = p->codes.shape[0], columns = p->codes.shape[1];

    if (p->codes.rank != 2 || !rows || !columns || rows > UINT32_MAX || columns > UINT32_MAX)
        return nib_fail(err, NIB_E_FORMAT, "%s: rank %u, expected a matrix", p->codes.name,
                        p->codes.rank);
    *o = said->options;
    if (o->rows && o->columns) {
        if (is_grid(s, (size_t)rows, (size_t)columns, o)) return NIB_OK;
        return nib_fail(err, NIB_E_MISMATCH, "%s: %" PRIu64 " scales of rank %u, expected "
                        "[%zu, %zu]: [%" PRIu64 ", %" PRIu64 "] in blocks of %u x %u", s->name,
                        s->elements, s->rank, (size_t)nib_ceil_div(rows, o->rows),
                        (size_t)nib_ceil_div(columns, o->columns), rows, columns, o->rows,
                        o->columns);
    }
    if (!read_kind(s, (size_t)rows, o))
        return nib_fail(err, NIB_E_FORMAT, "%s: %" PRIu64 " scales of rank %u, expected one, or "
                        "%" PRIu64 ", one a row; config.json has no sizes of blocks", s->name,
                        s->elements, s->rank, rows);
    if (said->exact && rows > 1 && o->rows != said->options.rows)
        return nib_fail(err, NIB_E_MISMATCH, "%s: %" PRIu64 " scales, config.json says %s", s->name,
                        s->elements, said->options.rows ? "one a row" : "one, of the whole matrix");
    return NIB_OK;
}

/* --- scales --- */

/* Whether scales are multipliers or reciprocals shows: the largest code is 448, and weights are far
 * below it. */
static nib_status check_way(const nib_part *s, bool divide, float least, float most, nib_error *err)
{
    if (!divide && least > 8)
        return nib_fail(err, NIB_E_MISMATCH, "%s: the smallest scale is %g, but config.json makes "
                        "scales multipliers, which are far below 1; reciprocals have "
                        "weight_scale_semantics \"inverse\" there", s->name, (double)least);
    if (divide && most < 0.125f)
        return nib_fail(err, NIB_E_MISMATCH, "%s: the largest scale is %g, but "
                        "weight_scale_semantics \"inverse\" in config.json makes scales "
                        "reciprocals, which are far above 1", s->name, (double)most);
    return NIB_OK;
}

static nib_status check_scales(const nib_part *s, bool divide, nib_error *err)
{
    float least = INFINITY, most = 0;

    if (s->dtype != NIB_F32 && s->dtype != NIB_F16 && s->dtype != NIB_BF16 &&
        s->dtype != NIB_F8_E8M0)
        return nib_fail(err, NIB_E_FORMAT, "%s: dtype %s, expected float32, bfloat16, float16 or "
                        "float8_e8m0fnu", s->name, nib_dtype_name(s->dtype));
    for (size_t i = 0; i < s->elements; i++) {
        float x = nib_float8_scale_at(s->dtype, s->data, i);
        if (!isfinite(x) || x <= 0)
            return nib_fail(err, NIB_E_FORMAT, "%s: value %zu is %g, expected a number above 0",
                            s->name, i, (double)x);
        least = fminf(least, x);
        most = fmaxf(most, x);
    }
    return check_way(s, divide, least, most, err);
}

nib_status nib_float8_open(nib_ctx *ctx, nib_part_finder find, const char *module,
                           const nib_float8_said *said, nib_weight **w, nib_error *err)
{
    nib_float8 made = { 0 };
    stored_parts p = { 0 };
    bool there = false;
    nib_status status = find_parts(find, module, &p, &there, err);

    *w = NULL;
    if (status || !there) return status;
    status = check_shapes(&p, said, &made.options, err);
    if (!status) status = check_scales(&p.scale, made.options.divide, err);
    if (status) return status;
    made.base = (nib_weight){ .out = (size_t)p.codes.shape[0], .in = (size_t)p.codes.shape[1],
                              .bytes = (size_t)(p.codes.bytes + p.scale.bytes),
                              .source = p.codes.name };
    made.codes = p.codes.data;
    made.scales = p.scale.data;
    made.scale_type = p.scale.dtype;
    made.round = said->rounded && p.scale.dtype != NIB_F8_E8M0 ? p.scale.dtype : NIB_F32;
    return nib_float8_create(ctx, &made, w, err);
}

bool nib_float8_describe(const nib_part *t, nib_part_finder find, const nib_float8_options *blocks,
                         uint64_t shape[2], nib_form *form)
{
    static const char end[] = ".weight";
    nib_float8_options o = *blocks;
    stored_parts p = { 0 };
    size_t n = strlen(t->name), stem = n - nib_min(n, strlen(end));
    char module[600];
    bool there;

    if (t->dtype != NIB_F8_E4M3 || t->rank != 2 || strcmp(t->name + stem, end) != 0 ||
        stem >= sizeof module)
        return false;
    snprintf(module, sizeof module, "%.*s", (int)stem, t->name);
    if (find_parts(find, module, &p, &there, NULL) || !there) return false;
    shape[0] = t->shape[0];
    shape[1] = t->shape[1];
    if (!o.rows || !o.columns || !is_grid(&p.scale, (size_t)shape[0], (size_t)shape[1], &o))
        if (!read_kind(&p.scale, (size_t)shape[0], &o)) return false;
    *form = nib_float8_form(&o);
    return true;
}
