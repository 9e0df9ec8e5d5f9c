/* grouped_encode.c - round to nearest: grouped integers of a matrix, as each maker's own library
 * computes them.
 *
 *     gptq             gptq_grid.h
 *     awq              in float16 throughout; the range need not hold 0
 *     pack-quantized   in the weight's own type; clamped before it is rounded
 *     mlx              in floats; the value of the greatest size is met exactly, and 0 is a code
 *
 * Or what a calibrated encoder found, packed alike.
 *
 * Source: formats.md 7.3; formats-quant.md 2.4, 8.1. */
#include <math.h>

#include "base/thread.h"
#include "quant/gptq_grid.h"

enum { ROWS = 32 }; /* outputs of a piece: whole words of everything that is packed along them */

typedef struct encoding {
    const nib_weight *from;          /* of what was found its shape alone */
    const nib_grouped_found *found;  /* NULL: rounded to nearest */
    nib_grouped_options o;
    nib_grouped_sizes sizes;
    uint8_t *codes, *zeros, *unpacked;
    void *scales;
    nib_dtype scale_type;
    size_t row_bytes;
    float *rows; /* ROWS rows for each worker */
} encoding;

static float to_type(nib_dtype type, float x)
{
    if (type == NIB_F16) return nib_f16_to_f32(nib_f32_to_f16(x));
    return type == NIB_BF16 ? nib_round_bf16(x) : x;
}

static float clamp(float x, float low, float high) { return fminf(fmaxf(x, low), high); }

static void range_of(const float *w, size_t n, float *low, float *high)
{
    *low = *high = w[0];
    for (size_t i = 1; i < n; i++) {
        *low = fminf(*low, w[i]);
        *high = fmaxf(*high, w[i]);
    }
    for (size_t i = 0; i < n; i++)
        if (!isfinite(w[i])) *high = w[i]; /* the scale shows it */
}

/* --- awq --- */

static nib_grid awq_grid(const nib_grouped_options *o, float low, float high)
{
    const float least = to_type(NIB_F16, 1e-5f);
    nib_grid g;

    if (!o->asymmetric) {
        g.scale = to_type(NIB_F16, fmaxf(fmaxf(-low, high), least) / 7);
        g.zero = nib_grid_middle(o);
        return g;
    }
    g.scale = to_type(NIB_F16, fmaxf(to_type(NIB_F16, high - low), least) / nib_grid_most(o));
    g.zero = clamp(-rintf(to_type(NIB_F16, low / g.scale)), 0, nib_grid_most(o));
    return g;
}

static float awq_code(const nib_grouped_options *o, nib_grid g, float w)
{
    return clamp(rintf(to_type(NIB_F16, w / g.scale)) + g.zero, 0, nib_grid_most(o));
}

/* --- compressed-tensors: codes are signed there, and 2^(bits-1) is added --- */

static nib_grid pack_grid(const nib_grouped_options *o, float low, float high)
{
    const nib_dtype t = o->dtype;
    const float bottom = -nib_grid_middle(o), top = nib_grid_middle(o) - 1;
    nib_grid g = { .zero = 0 };

    low = fminf(low, 0);
    high = fmaxf(high, 0);
    g.scale = o->asymmetric ? to_type(t, to_type(t, high - low) / (top - bottom))
                            : to_type(t, fmaxf(-low, high) / ((top - bottom) / 2));
    if (g.scale == 0) g.scale = t == NIB_BF16 ? 0x1p-7f : t == NIB_F16 ? 0x1p-10f : 0x1p-23f;
    if (o->asymmetric)
        g.zero = rintf(clamp(to_type(t, bottom - to_type(t, low / g.scale)), bottom, top));
    g.zero += nib_grid_middle(o);
    return g;
}

static float pack_code(const nib_grouped_options *o, nib_grid g, float w)
{
    const nib_dtype t = o->dtype;
    float x = to_type(t, w / g.scale);

    if (o->asymmetric) x = to_type(t, x + (g.zero - nib_grid_middle(o)));
    return rintf(clamp(x, -nib_grid_middle(o), nib_grid_middle(o) - 1)) + nib_grid_middle(o);
}

/* --- mlx: zero is the bias --- */

static nib_grid mlx_grid(const nib_grouped_options *o, float low, float high)
{
    nib_grid g = { .scale = fmaxf((high - low) / nib_grid_most(o), 1e-7f) };
    float edge = fabsf(low) > fabsf(high) ? low : high, steps;

    if (edge == high && edge != low) g.scale = -g.scale;
    steps = rintf(edge / g.scale);
    if (steps == 0) return g;
    g.scale = edge / steps;
    g.zero = edge;
    return g;
}

static float mlx_code(const nib_grouped_options *o, nib_grid g, float w)
{
    return clamp(rintf((w - g.zero) / g.scale), 0, nib_grid_most(o));
}

/* --- one matrix --- */

static nib_grid grid_of(const encoding *e, const float *w, size_t n)
{
    float low, high;
    nib_grid g;

    range_of(w, n, &low, &high);
    g = e->o.maker == NIB_GROUPED_GPTQ  ? nib_gptq_grid(&e->o, low, high)
        : e->o.maker == NIB_GROUPED_AWQ ? awq_grid(&e->o, low, high)
        : e->o.maker == NIB_GROUPED_MLX ? mlx_grid(&e->o, low, high)
                                        : pack_grid(&e->o, low, high);
    return g;
}

static unsigned code_of(const encoding *e, nib_grid g, float w)
{
    float code = e->o.maker == NIB_GROUPED_GPTQ  ? nib_gptq_code(&e->o, g, w)
                 : e->o.maker == NIB_GROUPED_AWQ ? awq_code(&e->o, g, w)
                 : e->o.maker == NIB_GROUPED_MLX ? mlx_code(&e->o, g, w)
                                                 : pack_code(&e->o, g, w);
    return isfinite(code) ? (unsigned)code : 0;
}

static void put_code(const encoding *e, size_t o, size_t i, unsigned code)
{
    switch (e->o.maker) {
    case NIB_GROUPED_GPTQ:
        nib_stream_put(e->codes + o * 4, e->row_bytes, e->o.bits, i, code);
        break;
    case NIB_GROUPED_AWQ:
        e->codes[i * e->row_bytes + o / 8 * 4 + nib_awq_shift(o) / 8] |=
            (uint8_t)(code << nib_awq_shift(o) % 8);
        break;
    case NIB_GROUPED_PACK: case NIB_GROUPED_MLX:
        nib_stream_put(e->codes + o * e->row_bytes, 4, e->o.bits, i, code);
        break;
    case NIB_GROUPED_INT:
        e->codes[o * e->row_bytes + i] = (uint8_t)(code - (1u << (e->o.bits - 1)));
        break;
    }
}

/* As the file has it: GPTQ's first version holds one less, which loses a zero point of 0, so that
 * the second is written where there may be one. */
static void put_zero(const encoding *e, size_t group, size_t o, unsigned zero)
{
    size_t groups = e->sizes.group_count, words = nib_ceil_div(e->from->out * e->o.bits, 32) * 4;

    if (e->unpacked) e->unpacked[group * e->from->out + o] = (uint8_t)zero;
    if (e->o.maker == NIB_GROUPED_GPTQ)
        nib_stream_put(e->zeros + group * words, 4, e->o.bits, o,
                       e->o.asymmetric ? zero : zero - 1);
    else if (e->o.maker == NIB_GROUPED_AWQ)
        e->zeros[group * words + o / 8 * 4 + nib_awq_shift(o) / 8] |=
            (uint8_t)(zero << nib_awq_shift(o) % 8);
    else if (e->zeros && e->o.maker == NIB_GROUPED_PACK)
        nib_stream_put(e->zeros + group * 4, groups * 4, e->o.bits, o, zero);
    else if (e->zeros)
        e->zeros[o * groups + group] = (uint8_t)(zero - (1u << (e->o.bits - 1)));
}

static void put_float(const encoding *e, void *to, size_t at, float value)
{
    uint16_t h = e->scale_type == NIB_F16 ? nib_f32_to_f16(value) : nib_f32_to_bf16(value);

    if (e->scale_type == NIB_F32) memcpy((char *)to + at * 4, &value, 4);
    else memcpy((char *)to + at * 2, &h, 2);
}

static void put_scale(const encoding *e, size_t group, size_t o, float scale)
{
    size_t at = e->o.maker <= NIB_GROUPED_AWQ ? group * e->from->out + o
                                              : o * e->sizes.group_count + group;
    bool none = e->scale_type == NIB_F16 && nib_f32_to_f16(scale) == 0;

    /* the smallest normal one, as GPTQModel */
    put_float(e, e->scales, at, none ? 0x1p-14f : scale);
}

static void put_found(const encoding *e, size_t r0, size_t r1)
{
    size_t in = e->from->in, out = e->from->out;

    for (size_t o = r0; o < r1; o++) {
        for (size_t g = 0; g < e->sizes.group_count; g++) {
            put_scale(e, g, o, e->found->scales[g * out + o]);
            put_zero(e, g, o, e->found->zeros[g * out + o]);
        }
        for (size_t i = 0; i < in; i++) put_code(e, o, i, e->found->codes[o * in + i]);
    }
}

float nib_grouped_scale(const nib_grouped_options *o, float scale)
{
    return o->maker >= NIB_GROUPED_PACK ? to_type(o->dtype, scale) : scale;
}

void nib_grouped_round(const nib_form *f, float *rows, size_t n, size_t in)
{
    encoding e = { .o = nib_grouped_form_options(f) };
    size_t group = e.o.group == NIB_GROUP_ROW ? in : e.o.group;

    assert(e.o.maker != NIB_GROUPED_MLX);
    for (size_t i = 0; e.o.maker == NIB_GROUPED_AWQ && i < n * in; i++)
        rows[i] = to_type(NIB_F16, rows[i]);
    for (size_t r = 0; r < n; r++)
        for (size_t i0 = 0; i0 < in; i0 += group) {
            size_t count = nib_min(group, in - i0);
            float *w = rows + r * in + i0;
            nib_grid g = grid_of(&e, w, count);
            for (size_t i = 0; i < count; i++)
                w[i] = g.scale * ((float)code_of(&e, g, w[i]) - g.zero);
        }
}

static void encode_rows(void *arg, size_t piece, unsigned worker)
{
    const encoding *e = arg;
    size_t in = e->from->in, r0 = piece * ROWS, r1 = nib_min(r0 + ROWS, e->from->out);
    float *rows = e->rows + worker * ROWS * in;

    if (e->found) {
        put_found(e, r0, r1);
        return;
    }
    nib_weight_decode(e->from, r0, r1, rows);
    for (size_t i = 0; e->o.maker == NIB_GROUPED_AWQ && i < (r1 - r0) * in; i++)
        rows[i] = to_type(NIB_F16, rows[i]);
    for (size_t o = r0; o < r1; o++)
        for (size_t g = 0; g < e->sizes.group_count; g++) {
            size_t i0 = g * e->sizes.group, i1 = nib_min(i0 + e->sizes.group, in);
            const float *row = rows + (o - r0) * in;
            nib_grid found = grid_of(e, row + i0, i1 - i0);
            put_scale(e, g, o, found.scale);
            if (e->o.maker == NIB_GROUPED_MLX)
                put_float(e, e->zeros, o * e->sizes.group_count + g, found.zero);
            else put_zero(e, g, o, isfinite(found.zero) ? (unsigned)found.zero : 0);
            for (size_t i = i0; i < i1; i++) put_code(e, o, i, code_of(e, found, row[i]));
        }
}

nib_status nib_grouped_check_shape(const nib_grouped_options *o, size_t out, size_t in, bool found,
                                   nib_error *err)
{
    size_t group = o->group == NIB_GROUP_ROW ? in : o->group;

    if ((o->act_order && !found) || o->group == NIB_GROUP_TENSOR)
        return nib_fail(err, NIB_E_UNSUPPORTED, "rounding to nearest knows no order of activations "
                        "and no scale of a whole matrix; known are groups in order, and rows");
    if (o->maker == NIB_GROUPED_GPTQ && (in * o->bits % 32 || out * o->bits % 32))
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "a matrix of %zu x %zu: GPTQ packs whole words of 32 "
                        "bits, and %u-bit codes of a row or column do not fill them",
                        out, in, o->bits);
    if (o->maker == NIB_GROUPED_AWQ && (out % 8 || in % group))
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "a matrix of %zu x %zu: AWQ needs outputs that are a "
                        "multiple of 8, and inputs of whole groups of %zu",
                        out, in, group);
    if (o->maker >= NIB_GROUPED_PACK && in % group)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "a matrix with %zu inputs: %s takes whole groups only, of %zu", in,
                        o->maker == NIB_GROUPED_MLX ? "MLX" : "compressed-tensors", group);
    return NIB_OK;
}

/* The arrays, one after the other in one block. */
static nib_status take(nib_ctx *ctx, encoding *e, nib_grouped *made, nib_error *err)
{
    const nib_grouped_sizes *s = &e->sizes;
    uint64_t sizes[] = { s->groups, s->scales, s->zeros, s->unpacked, s->codes };
    void *at[NIB_COUNT(sizes)];
    size_t all = 0;
    uint8_t *block;

    for (size_t i = 0; i < NIB_COUNT(sizes); i++) all += nib_round_up((size_t)sizes[i], 8);
    block = nib_new(ctx, all);
    e->rows = nib_new_array(ctx, e->found ? 1 : nib_threads(ctx) * ROWS,
                            e->from->in * sizeof *e->rows);
    made->owned = block;
    if (!block || !e->rows)
        return nib_fail(err, NIB_E_NOMEM, "weight of %zu x %zu: out of memory", e->from->out,
                        e->from->in);
    for (size_t i = 0; i < NIB_COUNT(sizes); i++) {
        at[i] = sizes[i] ? block : NULL;
        block += nib_round_up((size_t)sizes[i], 8);
    }
    made->file_groups = at[0];
    made->scales = e->scales = at[1];
    made->file_zeros = e->zeros = at[2];
    if (e->o.maker == NIB_GROUPED_MLX) made->biases = e->zeros;
    made->zeros = e->unpacked = at[3];
    made->codes = e->codes = at[4];
    return NIB_OK;
}

static void describe(const encoding *e, nib_grouped *made)
{
    const nib_grouped_options *o = &e->o;
    const nib_grouped_sizes *s = &e->sizes;
    size_t out = e->from->out, in = e->from->in;
    bool down = o->maker <= NIB_GROUPED_AWQ; /* scales too: [groups][out] */

    made->base = (nib_weight){ .out = out, .in = in, .dtype = o->dtype };
    made->base.bytes = made->base.owned_bytes =
        (size_t)(s->codes + s->scales + s->zeros + s->groups + s->unpacked);
    made->options = *o;
    made->order = o->maker == NIB_GROUPED_GPTQ  ? NIB_WORDS_DOWN
                  : o->maker == NIB_GROUPED_AWQ ? NIB_WORDS_OUT
                                                : NIB_WORDS_ROWS;
    made->row_bytes = o->maker == NIB_GROUPED_GPTQ  ? out * 4
                      : o->maker == NIB_GROUPED_AWQ ? out / 2
                      : o->maker == NIB_GROUPED_INT ? in
                                                    : nib_ceil_div(in * o->bits, 32) * 4;
    made->flip = o->maker == NIB_GROUPED_INT ? 0x80808080u : 0;
    made->group = s->group;
    made->groups = s->group_count;
    made->scale_type = down ? NIB_F16 : o->dtype;
    made->scale_group = down ? out : 1;
    made->scale_out = down ? 1 : s->group_count;
    made->zero = o->maker == NIB_GROUPED_INT ? 128 : 1u << (o->bits - 1);
}

static nib_status encode(nib_ctx *ctx, const nib_form *f, const nib_weight *from,
                         const nib_grouped_found *found, nib_grouped *made, nib_error *err)
{
    encoding e = { .from = from, .found = found, .o = nib_grouped_form_options(f) };
    nib_status status;

    assert(!found || e.o.maker != NIB_GROUPED_MLX); /* no calibrated encoder is asked for it */
    if (!nib_grouped_sizes_of(&e.o, from->out, from->in, &e.sizes))
        return nib_fail(err, NIB_E_FORMAT, "a weight of %zu x %zu values is too large", from->out,
                        from->in);
    status = nib_grouped_check_shape(&e.o, e.from->out, e.from->in, found != NULL, err);
    if (!status) status = take(ctx, &e, made, err);
    if (status) goto done;
    describe(&e, made);
    e.scale_type = made->scale_type;
    e.row_bytes = made->row_bytes;
    for (size_t i = 0; e.sizes.groups && i < from->in; i++) {
        int32_t group = found ? found->group_of[i] : (int32_t)(i / e.sizes.group);
        memcpy((char *)(uintptr_t)made->file_groups + i * 4, &group, 4);
    }
    if (e.o.act_order) made->g_idx = made->file_groups;
    nib_parallel_for(ctx, nib_ceil_div(from->out, ROWS), encode_rows, &e);
    /* bytes of int-quantized are taken with 128 added, whatever the bits */
    for (size_t i = 0; e.o.maker == NIB_GROUPED_INT && e.unpacked && i < e.sizes.unpacked; i++)
        e.unpacked[i] = (uint8_t)(e.unpacked[i] + 128 - (1u << (e.o.bits - 1)));
done:
    nib_free(ctx, e.rows);
    return status;
}

nib_status nib_grouped_encode(nib_ctx *ctx, const nib_form *f, const nib_weight *from,
                              nib_grouped *made, nib_error *err)
{
    return encode(ctx, f, from, NULL, made, err);
}

nib_status nib_grouped_encode_found(nib_ctx *ctx, const nib_form *f, size_t out, size_t in,
                                    const nib_grouped_found *found, nib_grouped *made,
                                    nib_error *err)
{
    nib_weight shape = { .out = out, .in = in };

    return encode(ctx, f, &shape, found, made, err);
}
