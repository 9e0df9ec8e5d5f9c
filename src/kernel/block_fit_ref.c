/* block_fit_ref.c - the fits of values to the blocks of ggml, part by part. */
#include <math.h>

#include "kernel/kernels.h"

enum { PART = NIB_FIT_SIZE, SET = NIB_FIT_PARTS * PART };

/* --- a scale and a least value --- */

typedef struct fit_sums { float w, x, l, l2, xl; } fit_sums;

/* levels / range, or 0 where that is infinite: values next to nothing get codes of 0. */
static float inverse(float levels, float range)
{
    float quotient = levels / range;

    return fabsf(quotient) < INFINITY ? quotient : 0;
}

static uint8_t code_of(float iscale, float above, int most)
{
    float code = rintf(iscale * above);

    return (uint8_t)(code > 0 ? fminf(code, (float)most) : 0);
}

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

/* Of one part. */
static float fit_offset(const float *x, const float *w, const nib_fit *f, uint8_t *codes,
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
    iscale = inverse((float)f->most, most - least);
    scale = 1 / ((float)f->most / (most - least));
    for (int i = 0; i < PART; i++) codes[i] = code_of(iscale, x[i] - least, f->most);
    best = squared_error(x, w, codes, scale, least);
    for (int step = 0; step <= f->steps; step++) {
        fit_sums s = all;
        uint8_t tried[PART];
        float scale1, least1, error;
        iscale = inverse(f->first + f->step * (float)step + (float)f->most, most - least);
        for (int i = 0; i < PART; i++) {
            tried[i] = code_of(iscale, x[i] - least, f->most);
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

static void weigh(const float *x, float *w)
{
    float sum = 0, mean;

    for (int i = 0; i < PART; i++) sum += x[i] * x[i];
    mean = sqrtf(sum / PART);
    for (int i = 0; i < PART; i++) w[i] = mean + fabsf(x[i]);
}

void nib_fit_offsets_ref(const nib_fit *f, size_t sets, const float *x, const float *w,
                         float *scales, float *below, float *sums, uint8_t *codes)
{
    for (size_t j = 0; j < NIB_FIT_PARTS * sets; j++, x += PART, codes += PART) {
        float made[PART];
        const float *own = w ? w + PART * j : made;
        if (!w) weigh(x, made);
        sums[j] = 0;
        for (int i = 0; i < PART; i++) sums[j] += own[i];
        scales[j] = fit_offset(x, own, f, codes, &below[j]);
    }
}

void nib_code_offsets_ref(int most, const float *x, const float d[NIB_FIT_PARTS],
                          const float dmin[NIB_FIT_PARTS], uint8_t *codes)
{
    for (size_t j = 0; j < NIB_FIT_PARTS; j++)
        for (size_t i = PART * j; d[j] != 0 && i < PART * (j + 1); i++)
            codes[i] = (uint8_t)nib_clamp(nib_nearest((x[i] + dmin[j]) / d[j]), 0, most);
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

/* The value of largest size; 0: they are next to nothing. */
static float largest_of(const float *x, size_t count)
{
    float most = 0, largest = 0;

    for (size_t i = 0; i < count; i++)
        if (fabsf(x[i]) > most) most = fabsf(x[i]), largest = x[i];
    return most < 1e-15f ? 0 : largest;
}

/* Of one part. */
static float fit_signed(const signed_fit *f, uint8_t *codes)
{
    float largest = largest_of(f->x, f->count), xl, l2, scale, best, iscale;

    memset(codes, 0, f->count);
    if (largest == 0) return 0;
    iscale = -(float)f->levels / largest;
    signed_sums(f, iscale, &xl, &l2);
    scale = l2 != 0 ? xl / l2 : 0;
    best = scale * xl;
    for (int i = -9; i <= 9; i++) {
        float tried = -((float)f->levels + 0.1f * (float)i) / largest;
        if (!i) continue;
        signed_sums(f, tried, &xl, &l2);
        if (!(l2 > 0 && xl * xl > best * l2)) continue;
        iscale = tried;
        scale = xl / l2;
        best = scale * xl;
    }
    for (size_t i = 0; i < f->count; i++)
        codes[i] = (uint8_t)(signed_code(f, iscale, i) + f->levels);
    return scale;
}

void nib_fit_signs_ref(int levels, size_t size, const float *x, const float *w,
                       float scales[NIB_FIT_PARTS], uint8_t *codes)
{
    for (size_t j = 0; j < NIB_FIT_PARTS; j++) {
        const signed_fit f = { x + size * j, w ? w + size * j : NULL, size, levels };
        scales[j] = fit_signed(&f, codes + size * j);
    }
}

void nib_code_signs_ref(int levels, size_t size, const float *x, const float d[NIB_FIT_PARTS],
                        uint8_t *codes)
{
    for (size_t j = 0; j < NIB_FIT_PARTS; j++)
        for (size_t i = size * j; d[j] != 0 && i < size * (j + 1); i++)
            codes[i] = (uint8_t)(nib_clamp(nib_nearest(x[i] / d[j]), -levels, levels - 1) +
                                 levels);
}

/* --- entries of IQ4_NL --- */

const float nib_uneven_values[16] = { -127, -104, -83, -65, -49, -35, -22, -10,
                                      1, 13, 25, 38, 53, 69, 89, 113 };
const float nib_uneven_means[15] = { -115.5f, -93.5f, -74, -57, -42, -28.5f, -16, -4.5f,
                                     7, 19, 31.5f, 45.5f, 61, 79, 101 };

/* The nearest entry, the greater of two that are as near; of what is no number the last. */
static uint8_t nearest_entry(float x)
{
    uint8_t entry = 0;

    while (entry < NIB_COUNT(nib_uneven_means) && !(x < nib_uneven_means[entry])) entry++;
    return entry;
}

static void uneven_sums(const float *x, const float *w, float inverse, float *xl, float *l2)
{
    *xl = *l2 = 0;
    for (int i = 0; i < PART; i++) {
        float q = nib_uneven_values[nearest_entry(inverse * x[i])], wi = w ? w[i] : x[i] * x[i];
        *xl += wi * q * x[i];
        *l2 += wi * q * q;
    }
}

/* Of one part; 0: nothing of it counts. */
static float fit_uneven(const float *x, const float *w)
{
    float largest = largest_of(x, PART), d, best, xl, l2;

    if (largest == 0) return 0;
    uneven_sums(x, w, 1 / (-largest / nib_uneven_values[0]), &xl, &l2);
    d = l2 > 0 ? xl / l2 : 0;
    best = d * xl;
    for (int t = -7; t <= 7; t++) {
        uneven_sums(x, w, ((float)t + nib_uneven_values[0]) / largest, &xl, &l2);
        if (!(l2 > 0 && xl * xl > best * l2)) continue;
        d = xl / l2;
        best = d * xl;
    }
    return d;
}

void nib_fit_uneven_ref(const float *x, const float *w, float scales[NIB_FIT_PARTS],
                        uint8_t *codes)
{
    for (size_t j = 0; j < NIB_FIT_PARTS; j++, x += PART, codes += PART) {
        float by;
        scales[j] = fit_uneven(x, w ? w + PART * j : NULL);
        by = scales[j] != 0 ? 1 / scales[j] : 0;
        for (int i = 0; i < PART; i++) codes[i] = nearest_entry(by * x[i]);
    }
}
