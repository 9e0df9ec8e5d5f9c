/* block_encode_k.c - values into the blocks of 256 of Q4_K, Q5_K and Q6_K (formats.md 12.4).
 *
 * A block is parts of 32 (Q6_K: 16) values.  Each part is fitted by itself: a scale, and for Q4_K
 * and Q5_K a least value, that make the squared error small where values count by their size.  The
 * scales are then codes themselves, in units that the block has, and the values are coded again
 * with what these decode to.  Sums run in the order of the index, for ggml's bits. */
#include <math.h>

#include "base/dtype.h"
#include "quant/block_encode_parts.h"

enum { SUPER = 256, PART = 32, PARTS = SUPER / PART, SIX_PART = 16, SIX_PARTS = SUPER / SIX_PART };

static int nearest(float x) { return (int)rintf(x); }
static int clamp(int x, int least, int most) { return x < least ? least : x > most ? most : x; }

/* --- fitting a scale and a least value --- */

typedef struct fit {
    int most;         /* code */
    float first, step;
    int steps;        /* candidates behind the first */
} fit;

typedef struct sums { float w, x, l, l2, xl; } sums;

static float squared_error(const float *x, const float *w, const uint8_t *codes, float scale,
                           float least)
{
    float error = 0;

    for (int i = 0; i < PART; i++) {
        float d = scale * (float)codes[i] + least - x[i];
        d = d * d;
        error += w[i] * d;
    }
    return error;
}

static void add_up(sums *s, float w, float x, int l)
{
    s->l += w * (float)l;
    s->l2 += w * (float)l * (float)l;
    s->xl += w * (float)l * x;
}

/* The best scale and least value for given codes; false: there is none. */
static bool solve(const sums *s, float *scale, float *least)
{
    float d = s->w * s->l2 - s->l * s->l;

    if (!(d > 0)) return false;
    *scale = (s->w * s->xl - s->x * s->l) / d;
    *least = (s->l2 * s->x - s->l * s->xl) / d;
    if (*least > 0) {
        *least = 0;
        *scale = s->xl / s->l2;
    }
    return true;
}

/* codes [PART], and the scale; *below is minus the least value. */
static float fit_part(const float *x, const float *w, const fit *f, uint8_t *codes, float *below)
{
    float least = x[0], most = x[0], iscale, scale, best;
    sums all = { .w = w[0], .x = w[0] * x[0] };

    for (int i = 1; i < PART; i++) {
        if (x[i] < least) least = x[i];
        if (x[i] > most) most = x[i];
        all.w += w[i];
        all.x += w[i] * x[i];
    }
    if (least > 0) least = 0;
    *below = -least;
    memset(codes, 0, PART);
    if (most == least) return 0;
    iscale = (float)f->most / (most - least);
    scale = 1 / iscale;
    for (int i = 0; i < PART; i++)
        codes[i] = (uint8_t)clamp(nearest(iscale * (x[i] - least)), 0, f->most);
    best = squared_error(x, w, codes, scale, least);
    for (int step = 0; step <= f->steps; step++) {
        sums s = all;
        uint8_t tried[PART];
        float scale1, least1, error;
        iscale = (f->first + f->step * (float)step + (float)f->most) / (most - least);
        for (int i = 0; i < PART; i++) {
            tried[i] = (uint8_t)clamp(nearest(iscale * (x[i] - least)), 0, f->most);
            add_up(&s, w[i], x[i], tried[i]);
        }
        if (!solve(&s, &scale1, &least1)) continue;
        error = squared_error(x, w, tried, scale1, least1);
        if (!(error < best)) continue;
        memcpy(codes, tried, PART);
        best = error;
        scale = scale1;
        least = least1;
    }
    *below = -least;
    return scale;
}

/* --- Q4_K and Q5_K --- */

static void put_f16(uint8_t *to, float value)
{
    uint16_t h = nib_f32_to_f16(value);

    to[0] = (uint8_t)h;
    to[1] = (uint8_t)(h >> 8);
}

static float stored(const uint8_t *at) { return nib_f16_to_f32((uint16_t)(at[0] | at[1] << 8)); }

static void weigh(const float *x, float *w)
{
    float sum = 0, mean;

    for (int i = 0; i < PART; i++) sum += x[i] * x[i];
    mean = sqrtf(sum / PART);
    for (int i = 0; i < PART; i++) w[i] = mean + fabsf(x[i]);
}

/* Pairs of 6 bits: the first four in a byte each, of the others 4 bits below and 2 above those. */
static void put_scale(uint8_t *s, int part, uint8_t scale, uint8_t below)
{
    if (part < 4) {
        s[part] = scale;
        s[part + 4] = below;
        return;
    }
    s[part + 4] = (uint8_t)((scale & 15) | (below & 15) << 4);
    s[part - 4] |= (uint8_t)(scale >> 4 << 6);
    s[part] |= (uint8_t)(below >> 4 << 6);
}

static uint8_t scale_code(float inverse, float value)
{
    return (uint8_t)clamp(nearest(inverse * value), 0, 63);
}

/* d, dmin and the 12 bytes of scales to `block`; codes of all values. */
static void encode_parts(const float *x, const fit *f, uint8_t *block, uint8_t *codes)
{
    float scales[PARTS], below[PARTS], w[PART], most_scale = 0, most_below = 0, d, dmin;
    uint8_t coded[PARTS][2];

    for (int j = 0; j < PARTS; j++) {
        weigh(x + PART * j, w);
        scales[j] = fit_part(x + PART * j, w, f, codes + PART * j, &below[j]);
        if (scales[j] > most_scale) most_scale = scales[j];
        if (below[j] > most_below) most_below = below[j];
    }
    memset(block, 0, 16);
    for (int j = 0; j < PARTS; j++) {
        coded[j][0] = scale_code(most_scale > 0 ? 63 / most_scale : 0, scales[j]);
        coded[j][1] = scale_code(most_below > 0 ? 63 / most_below : 0, below[j]);
        put_scale(block + 4, j, coded[j][0], coded[j][1]);
    }
    put_f16(block, most_scale / 63);
    put_f16(block + 2, most_below / 63);
    for (int j = 0; j < PARTS; j++) {
        d = stored(block) * (float)coded[j][0];
        dmin = stored(block + 2) * (float)coded[j][1];
        for (int i = PART * j; d != 0 && i < PART * (j + 1); i++)
            codes[i] = (uint8_t)clamp(nearest((x[i] + dmin) / d), 0, f->most);
    }
}

void nib_encode_q4_k(const float *x, uint8_t *block)
{
    static const fit f = { 15, -1, 0.1f, 20 };
    uint8_t codes[SUPER], *q = block + 16;

    encode_parts(x, &f, block, codes);
    for (int j = 0; j < SUPER; j += 2 * PART)
        for (int i = 0; i < PART; i++)
            *q++ = (uint8_t)(codes[j + i] | codes[j + i + PART] << 4);
}

void nib_encode_q5_k(const float *x, uint8_t *block)
{
    static const fit f = { 31, -0.5f, 0.1f, 15 };
    uint8_t codes[SUPER], *high = block + 16, *q = block + 48;

    encode_parts(x, &f, block, codes);
    memset(high, 0, PART);
    for (int j = 0; j < SUPER; j += 2 * PART)
        for (int i = 0; i < PART; i++) {
            uint8_t a = codes[j + i], b = codes[j + i + PART];
            high[i] |= (uint8_t)((a >> 4) << j / PART | (b >> 4) << (j / PART + 1));
            *q++ = (uint8_t)((a & 15) | (b & 15) << 4);
        }
}

/* --- Q6_K --- */

/* Sums of w x l and w l l, w being x x, for codes by `iscale`. */
static void six_sums(const float *x, float iscale, float *xl, float *l2)
{
    *xl = *l2 = 0;
    for (int i = 0; i < SIX_PART; i++) {
        float w = x[i] * x[i];
        int l = clamp(nearest(iscale * x[i]), -32, 31);
        *xl += w * x[i] * (float)l;
        *l2 += w * (float)l * (float)l;
    }
}

/* The scale, and the codes that go with it, which are 0 and not 32 where all values are. */
static float fit_six(const float *x, uint8_t *codes)
{
    float most = 0, largest = 0, xl, l2, scale, best, iscale;

    for (int i = 0; i < SIX_PART; i++)
        if (fabsf(x[i]) > most) most = fabsf(x[i]), largest = x[i];
    memset(codes, 0, SIX_PART);
    if (most < 1e-15f) return 0;
    iscale = -32 / largest;
    six_sums(x, iscale, &xl, &l2);
    scale = l2 != 0 ? xl / l2 : 0;
    best = scale * xl;
    for (int i = -9; i <= 9; i++) {
        float tried = -(32 + 0.1f * (float)i) / largest;
        if (!i) continue;
        six_sums(x, tried, &xl, &l2);
        if (!(l2 > 0 && xl * xl > best * l2)) continue;
        iscale = tried;
        scale = xl / l2;
        best = scale * xl;
    }
    for (int i = 0; i < SIX_PART; i++)
        codes[i] = (uint8_t)(clamp(nearest(iscale * x[i]), -32, 31) + 32);
    return scale;
}

/* Low nibbles and upper pairs of bits of 128 values, in quarters of 32. */
static void put_six(const uint8_t *codes, uint8_t *low, uint8_t *high)
{
    for (int i = 0; i < 32; i++) {
        const uint8_t *c = codes + i;
        low[i] = (uint8_t)((c[0] & 15) | (c[64] & 15) << 4);
        low[i + 32] = (uint8_t)((c[32] & 15) | (c[96] & 15) << 4);
        high[i] = (uint8_t)(c[0] >> 4 | c[32] >> 4 << 2 | c[64] >> 4 << 4 | c[96] >> 4 << 6);
    }
}

void nib_encode_q6_k(const float *x, uint8_t *block)
{
    float scales[SIX_PARTS], most = 0, largest = 0, iscale, unit;
    uint8_t codes[SUPER];

    for (int j = 0; j < SIX_PARTS; j++) {
        scales[j] = fit_six(x + SIX_PART * j, codes + SIX_PART * j);
        if (fabsf(scales[j]) > most) most = fabsf(scales[j]), largest = scales[j];
    }
    memset(block, 0, 210);
    if (most < 1e-15f) return;
    iscale = -128 / largest;
    put_f16(block + 208, 1 / iscale);
    unit = stored(block + 208);
    for (int j = 0; j < SIX_PARTS; j++) {
        int code = clamp(nearest(iscale * scales[j]), -128, 127);
        float d = unit * (float)code;
        block[192 + j] = (uint8_t)(int8_t)code;
        for (int i = SIX_PART * j; d != 0 && i < SIX_PART * (j + 1); i++)
            codes[i] = (uint8_t)(clamp(nearest(x[i] / d), -32, 31) + 32);
    }
    for (int t = 0; t < 2; t++) put_six(codes + 128 * t, block + 64 * t, block + 128 + 32 * t);
}
