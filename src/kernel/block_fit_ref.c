/* block_fit_ref.c - the fits of values to the blocks of ggml, part by part. */
#include <math.h>

#include "kernel/kernels.h"

enum { PART = NIB_FIT_OFFSET };

/* --- a scale and a least value --- */

typedef struct fit_sums { float w, x, l, l2, xl; } fit_sums;

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

static void add_up(fit_sums *s, float w, float x, int l)
{
    s->l += w * (float)l;
    s->l2 += w * (float)l * (float)l;
    s->xl += w * (float)l * x;
}

/* The best scale and least value for given codes; false: there is none. */
static bool solve(const fit_sums *s, float *scale, float *least)
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

float nib_fit_offset(const float *x, const float *w, const nib_fit *f, uint8_t *codes,
                     float *below)
{
    float least = x[0], most = x[0], iscale, scale, best;
    fit_sums all = { .w = w[0], .x = w[0] * x[0] };

    for (int i = 1; i < PART; i++) {
        if (x[i] < least) least = x[i];
        if (x[i] > most) most = x[i];
        all.w += w[i];
        all.x += w[i] * x[i];
    }
    if (least > 0) least = 0;
    *below = -least;
    memset(codes, 0, PART);
    if (most <= least) return 0;
    iscale = (float)f->most / (most - least);
    scale = 1 / iscale;
    for (int i = 0; i < PART; i++)
        codes[i] = (uint8_t)nib_clamp(nib_nearest(iscale * (x[i] - least)), 0, f->most);
    best = squared_error(x, w, codes, scale, least);
    for (int step = 0; step <= f->steps; step++) {
        fit_sums s = all;
        uint8_t tried[PART];
        float scale1, least1, error;
        iscale = (f->first + f->step * (float)step + (float)f->most) / (most - least);
        for (int i = 0; i < PART; i++) {
            tried[i] = (uint8_t)nib_clamp(nib_nearest(iscale * (x[i] - least)), 0, f->most);
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

/* --- a scale around zero --- */

typedef struct signed_fit { const float *x, *w; size_t count; int levels; } signed_fit;

static int signed_code(const signed_fit *f, float iscale, size_t i)
{
    return nib_clamp(nib_nearest(iscale * f->x[i]), -f->levels, f->levels - 1);
}

static void signed_sums(const signed_fit *f, float iscale, float *xl, float *l2)
{
    *xl = *l2 = 0;
    for (size_t i = 0; i < f->count; i++) {
        float w = f->w ? f->w[i] : f->x[i] * f->x[i];
        int l = signed_code(f, iscale, i);
        *xl += w * f->x[i] * (float)l;
        *l2 += w * (float)l * (float)l;
    }
}

float nib_fit_signed(const float *x, const float *w, size_t count, int levels, uint8_t *codes)
{
    const signed_fit f = { x, w, count, levels };
    float most = 0, largest = 0, xl, l2, scale, best, iscale;

    for (size_t i = 0; i < count; i++)
        if (fabsf(x[i]) > most) most = fabsf(x[i]), largest = x[i];
    memset(codes, 0, count);
    if (most < 1e-15f) return 0;
    iscale = -(float)levels / largest;
    signed_sums(&f, iscale, &xl, &l2);
    scale = l2 != 0 ? xl / l2 : 0;
    best = scale * xl;
    for (int i = -9; i <= 9; i++) {
        float tried = -((float)levels + 0.1f * (float)i) / largest;
        if (!i) continue;
        signed_sums(&f, tried, &xl, &l2);
        if (!(l2 > 0 && xl * xl > best * l2)) continue;
        iscale = tried;
        scale = xl / l2;
        best = scale * xl;
    }
    for (size_t i = 0; i < count; i++) codes[i] = (uint8_t)(signed_code(&f, iscale, i) + levels);
    return scale;
}

float nib_fit_largest(const float *x, int levels, uint8_t *codes)
{
    float most = 0, largest = 0, d, id;

    for (size_t i = 0; i < PART; i++)
        if (fabsf(x[i]) > most) most = fabsf(x[i]), largest = x[i];
    d = largest / (float)-levels;
    id = d != 0 ? 1 / d : 0;
    for (size_t i = 0; i < PART; i++) {
        int code = (int)(x[i] * id + ((float)levels + 0.5f));
        codes[i] = (uint8_t)(code > 2 * levels - 1 ? 2 * levels - 1 : code);
    }
    return d;
}

/* --- eight parts --- */

static void weigh(const float *x, float *w)
{
    float sum = 0, mean;

    for (int i = 0; i < PART; i++) sum += x[i] * x[i];
    mean = sqrtf(sum / PART);
    for (int i = 0; i < PART; i++) w[i] = mean + fabsf(x[i]);
}

void nib_fit_offsets_ref(const nib_fit *f, const float *x, const float *w,
                         float scales[NIB_FIT_PARTS], float below[NIB_FIT_PARTS],
                         float sums[NIB_FIT_PARTS], uint8_t *codes)
{
    for (size_t j = 0; j < NIB_FIT_PARTS; j++, x += PART, codes += PART) {
        float made[PART];
        const float *own = w ? w + PART * j : made;
        if (!w) weigh(x, made);
        sums[j] = 0;
        for (int i = 0; i < PART; i++) sums[j] += own[i];
        scales[j] = nib_fit_offset(x, own, f, codes, &below[j]);
    }
}

void nib_code_offsets_ref(int most, const float *x, const float d[NIB_FIT_PARTS],
                          const float dmin[NIB_FIT_PARTS], uint8_t *codes)
{
    for (size_t j = 0; j < NIB_FIT_PARTS; j++)
        for (size_t i = PART * j; d[j] != 0 && i < PART * (j + 1); i++)
            codes[i] = (uint8_t)nib_clamp(nib_nearest((x[i] + dmin[j]) / d[j]), 0, most);
}

void nib_fit_signs_ref(int levels, const float *x, const float *w, float scales[NIB_FIT_PARTS],
                       uint8_t *codes)
{
    for (size_t j = 0; j < NIB_FIT_PARTS; j++)
        scales[j] = nib_fit_signed(x + NIB_FIT_SIGNED * j, w ? w + NIB_FIT_SIGNED * j : NULL,
                                   NIB_FIT_SIGNED, levels, codes + NIB_FIT_SIGNED * j);
}

void nib_code_signs_ref(int levels, const float *x, const float d[NIB_FIT_PARTS], uint8_t *codes)
{
    for (size_t j = 0; j < NIB_FIT_PARTS; j++)
        for (size_t i = NIB_FIT_SIGNED * j; d[j] != 0 && i < NIB_FIT_SIGNED * (j + 1); i++)
            codes[i] = (uint8_t)(nib_clamp(nib_nearest(x[i] / d[j]), -levels, levels - 1) +
                                 levels);
}

/* --- Q8_0 and Q4_0 --- */

void nib_encode_q8_0_ref(const float *x, uint8_t *block)
{
    float most = 0, d, id;

    for (size_t i = 0; i < PART; i++) most = fmaxf(most, fabsf(x[i]));
    d = most / 127;
    id = d != 0 ? 1 / d : 0;
    block = nib_put_f16(block, d);
    for (size_t i = 0; i < PART; i++) block[i] = (uint8_t)(int8_t)roundf(x[i] * id);
}

void nib_encode_q4_0_ref(const float *x, uint8_t *block)
{
    uint8_t codes[PART];

    block = nib_put_f16(block, nib_fit_largest(x, 8, codes));
    for (size_t i = 0; i < PART / 2; i++)
        block[i] = (uint8_t)((codes[i] & 15) | (codes[i + PART / 2] & 15) << 4);
}
