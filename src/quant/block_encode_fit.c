/* block_encode_fit.c - scales that make the weighted squared error of codes small (formats.md 12.4,
 * formats-quant.md 7.11).  Sums run in the order of the index, for ggml's bits. */
#include <math.h>

#include "quant/block_encode_parts.h"

enum { PART = NIB_ENCODE_PART, SCALES = NIB_ENCODE_PARTS, MOST_SCALE = 63, SWEEPS = 5 };

/* --- a scale and a least value --- */

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

float nib_fit_offset(const float *x, const float *w, const nib_fit *f, uint8_t *codes,
                     float *below)
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
    if (most <= least) return 0;
    iscale = (float)f->most / (most - least);
    scale = 1 / iscale;
    for (int i = 0; i < PART; i++)
        codes[i] = (uint8_t)nib_clamp(nib_nearest(iscale * (x[i] - least)), 0, f->most);
    best = squared_error(x, w, codes, scale, least);
    for (int step = 0; step <= f->steps; step++) {
        sums s = all;
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

/* --- the unit of scales --- */

static int scale_code(float iscale, float x)
{
    int l = nib_nearest(iscale * x);

    return l > MOST_SCALE ? MOST_SCALE : l;
}

/* The inverse unit, of a few, with the smallest error. */
static float best_inverse(const float *x, const float *w, float most)
{
    float best = 0, found = (float)MOST_SCALE / most;

    for (int t = -5; t <= 4; t++) { /* the plain one first */
        int step = t == -5 ? 0 : t;
        float iscale = (0.1f * (float)step + (float)MOST_SCALE) / most, error = 0;
        float scale = 1 / iscale;
        if (t == 0) continue;
        for (int i = 0; i < SCALES; i++) {
            float d = x[i] - scale * (float)scale_code(iscale, x[i]);
            error += w[i] * d * d;
        }
        if (t > -5 && !(error < best)) continue;
        best = error;
        found = iscale;
    }
    return found;
}

/* One pass over the codes, each for the others as they are; true: one changed. */
static bool sweep(const float *x, const float *w, uint8_t *codes, float *xl, float *l2)
{
    bool changed = false;

    for (int i = 0; i < SCALES; i++) {
        float l = (float)codes[i], a = *xl - w[i] * x[i] * l, b = *l2 - w[i] * l * l;
        int code;
        if (!(a > 0 && b > 0)) continue;
        code = nib_nearest(x[i] * b / a);
        if (code > MOST_SCALE) code = MOST_SCALE;
        if (code == codes[i]) continue;
        a += w[i] * x[i] * (float)code;
        b += w[i] * (float)code * (float)code;
        if (!(a * a * *l2 > *xl * *xl * b)) continue;
        codes[i] = (uint8_t)code;
        *xl = a;
        *l2 = b;
        changed = true;
    }
    return changed;
}

float nib_fit_scales(const float *x, const float *w, uint8_t *codes)
{
    float most = 0, iscale, xl = 0, l2 = 0;

    for (int i = 0; i < SCALES; i++) most = x[i] > most ? x[i] : most;
    memset(codes, 0, SCALES);
    if (most < 1e-15f) return 0;
    iscale = best_inverse(x, w, most);
    for (int i = 0; i < SCALES; i++) {
        codes[i] = (uint8_t)scale_code(iscale, x[i]);
        xl += w[i] * x[i] * (float)codes[i];
        l2 += w[i] * (float)codes[i] * (float)codes[i];
    }
    for (int i = 0; i < SWEEPS && sweep(x, w, codes, &xl, &l2); i++) continue;
    return l2 > 0 ? xl / l2 : 0;
}
