/* block_fit_avx2.c - the fits of values to the blocks of ggml: a lane for each of eight parts, so
 * that sums run in the order of the index.  Two sums side by side, of two sets of parts or of two
 * candidates, for each addition waits for the one before. */
#include <math.h>

#include "kernel/block_fit_simd.h"
#include "kernel/kernels.h"

enum { SIDES = 2 };

/* --- a scale and a least value --- */

/* How x becomes a code, and a code a value. */
typedef struct scaling { V iscale, least, scale1, least1; } scaling;

/* Eight parts; now: the candidate, better: where its codes have a solution. */
typedef struct set {
    V x[MOST_SIZE], w[MOST_SIZE], codes[MOST_SIZE];
    V all_w, all_x, least, most, best, better;
    scaling now, found;
} set;

NIB_INLINE void weigh(set *s)
{
    V sum = v_zero(), mean;

    for (size_t i = 0; i < MOST_SIZE; i++) sum = v_add(sum, v_mul(s->x[i], s->x[i]));
    mean = v_sqrt(v_div(sum, v_set(MOST_SIZE)));
    for (size_t i = 0; i < MOST_SIZE; i++) s->w[i] = v_add(mean, v_abs(s->x[i]));
}

NIB_INLINE void read(set *s, const float *x, const float *w)
{
    turn(MOST_SIZE, x, s->x);
    if (w) turn(MOST_SIZE, w, s->w);
    else weigh(s);
    s->least = s->most = s->x[0];
    s->all_w = s->w[0];
    s->all_x = v_mul(s->w[0], s->x[0]);
    for (size_t i = 1; i < MOST_SIZE; i++) {
        s->least = v_min(s->x[i], s->least);
        s->most = v_max(s->x[i], s->most);
        s->all_w = v_add(s->all_w, s->w[i]);
        s->all_x = v_add(s->all_x, v_mul(s->w[i], s->x[i]));
    }
    s->least = either(greater(s->least, v_zero()), v_zero(), s->least);
}

/* levels / range, which is infinite where values are next to nothing: 0 then, and so the codes. */
NIB_INLINE V inverse(V quotient)
{
    return _mm256_and_ps(quotient, greater(v_set(INFINITY), v_abs(quotient)));
}

NIB_INLINE V code_of(const scaling *s, V x, int most)
{
    return nearest(v_mul(s->iscale, v_sub(x, s->least)), 0, most);
}

/* Of the candidates' codes. */
NIB_INLINE void squared_errors(const set *s, int sides, V *error)
{
    for (int j = 0; j < sides; j++) error[j] = v_zero();
    for (size_t i = 0; i < MOST_SIZE; i++)
        for (int j = 0; j < sides; j++) {
            const scaling *now = &s[j].now;
            V d = v_sub(v_add(v_mul(now->scale1, s[j].codes[i]), now->least1), s[j].x[i]);
            error[j] = v_add(error[j], v_mul(s[j].w[i], v_mul(d, d)));
        }
}

/* The candidates' codes, and the best scale and least value for them. */
NIB_INLINE void solve(set *s, int sides, int most)
{
    V l[SIDES], l2[SIDES], xl[SIDES];

    for (int j = 0; j < sides; j++) l[j] = l2[j] = xl[j] = v_zero();
    for (size_t i = 0; i < MOST_SIZE; i++)
        for (int j = 0; j < sides; j++) {
            V code = code_of(&s[j].now, s[j].x[i], most), wl = v_mul(s[j].w[i], code);
            s[j].codes[i] = code;
            l[j] = v_add(l[j], wl);
            l2[j] = v_add(l2[j], v_mul(wl, code));
            xl[j] = v_add(xl[j], v_mul(wl, s[j].x[i]));
        }
    for (int j = 0; j < sides; j++) {
        V w = s[j].all_w, x = s[j].all_x, above;
        V d = v_sub(v_mul(w, l2[j]), v_mul(l[j], l[j]));
        V scale1 = v_div(v_sub(v_mul(w, xl[j]), v_mul(x, l[j])), d);
        V least1 = v_div(v_sub(v_mul(l2[j], x), v_mul(l[j], xl[j])), d);
        above = greater(least1, v_zero());
        s[j].now.scale1 = either(above, v_div(xl[j], l2[j]), scale1);
        s[j].now.least1 = either(above, v_zero(), least1);
        s[j].better = greater(d, v_zero());
    }
}

/* The best of all candidates: what its codes are made with, and what they decode with. */
NIB_INLINE void search(set *s, int sides, const nib_fit *f)
{
    V error[SIDES];

    for (int j = 0; j < sides; j++) {
        V quotient = v_div(v_set((float)f->most), v_sub(s[j].most, s[j].least));
        s[j].now = (scaling){ .iscale = inverse(quotient), .least = s[j].least,
                              .scale1 = v_div(v_set(1), quotient), .least1 = s[j].least };
        s[j].found = s[j].now;
        for (size_t i = 0; i < MOST_SIZE; i++)
            s[j].codes[i] = code_of(&s[j].now, s[j].x[i], f->most);
    }
    squared_errors(s, sides, error);
    for (int j = 0; j < sides; j++) s[j].best = error[j];
    for (int step = 0; step <= f->steps; step++) {
        V levels = v_set(f->first + f->step * (float)step + (float)f->most);
        for (int j = 0; j < sides; j++) {
            s[j].now.least = s[j].found.least1;
            s[j].now.iscale = inverse(v_div(levels, v_sub(s[j].most, s[j].now.least)));
        }
        solve(s, sides, f->most);
        squared_errors(s, sides, error);
        for (int j = 0; j < sides; j++) {
            scaling *found = &s[j].found, *now = &s[j].now;
            V better = _mm256_and_ps(s[j].better, greater(s[j].best, error[j]));
            s[j].best = either(better, error[j], s[j].best);
            found->iscale = either(better, now->iscale, found->iscale);
            found->least = either(better, now->least, found->least);
            found->scale1 = either(better, now->scale1, found->scale1);
            found->least1 = either(better, now->least1, found->least1);
        }
    }
}

NIB_INLINE void fit_sets(int sides, const nib_fit *f, const float *x, const float *w,
                         float *scales, float *below, float *sums, uint8_t *codes)
{
    const V minus = v_set(-0.0f);
    set s[SIDES];

    for (int j = 0; j < sides; j++)
        read(&s[j], x + PARTS * MOST_SIZE * j, w ? w + PARTS * MOST_SIZE * j : NULL);
    search(s, sides, f);
    for (int j = 0; j < sides; j++) {
        V same = _mm256_cmp_ps(s[j].most, s[j].least, _CMP_LE_OQ);
        __m256i made[MOST_SIZE];
        for (size_t i = 0; i < MOST_SIZE; i++) {
            V code = code_of(&s[j].found, s[j].x[i], f->most);
            made[i] = _mm256_cvtps_epi32(_mm256_andnot_ps(same, code));
        }
        put_codes(MOST_SIZE, made, NULL, codes + PARTS * MOST_SIZE * j);
        v_store(sums + PARTS * j, s[j].all_w);
        v_store(scales + PARTS * j, _mm256_andnot_ps(same, s[j].found.scale1));
        v_store(below + PARTS * j,
                _mm256_xor_ps(either(same, s[j].least, s[j].found.least1), minus));
    }
}

void nib_fit_offsets_avx2(const nib_fit *f, size_t sets, const float *x, const float *w,
                          float *scales, float *below, float *sums, uint8_t *codes)
{
    for (size_t at, i = 0; i < sets; i += SIDES) {
        at = PARTS * i;
        if (i + 1 < sets)
            fit_sets(2, f, x + MOST_SIZE * at, w ? w + MOST_SIZE * at : NULL, scales + at,
                     below + at, sums + at, codes + MOST_SIZE * at);
        else
            fit_sets(1, f, x + MOST_SIZE * at, w ? w + MOST_SIZE * at : NULL, scales + at,
                     below + at, sums + at, codes + MOST_SIZE * at);
    }
}

void nib_code_offsets_avx2(int most, const float *x, const float d[PARTS], const float dmin[PARTS],
                           uint8_t *codes)
{
    __m256i made[MOST_SIZE];
    V turned[MOST_SIZE];

    turn(MOST_SIZE, x, turned);
    for (size_t i = 0; i < MOST_SIZE; i++)
        made[i] = integer(v_div(v_add(turned[i], v_load(dmin)), v_load(d)), 0, most);
    put_codes(MOST_SIZE, made, d, codes);
}

/* --- a scale around zero --- */

/* wx: what a value counts, times it. */
typedef struct around { V x[MOST_SIZE], w[MOST_SIZE], wx[MOST_SIZE]; } around;

NIB_INLINE void signed_sums(const around *a, size_t size, int sides, const V *iscale,
                            int levels, V *xl, V *l2)
{
    for (int j = 0; j < sides; j++) xl[j] = l2[j] = v_zero();
    for (size_t i = 0; i < size; i++)
        for (int j = 0; j < sides; j++) {
            V l = nearest(v_mul(iscale[j], a->x[i]), -levels, levels - 1);
            xl[j] = v_add(xl[j], v_mul(a->wx[i], l));
            l2[j] = v_add(l2[j], v_mul(v_mul(a->w[i], l), l));
        }
}

/* The inverse scale of the smallest error; *scale: it. */
NIB_INLINE V signed_search(const around *a, size_t size, V largest, int levels, V *scale)
{
    V iscale = v_div(v_set(-(float)levels), largest), xl[SIDES], l2[SIDES], best;

    signed_sums(a, size, 1, &iscale, levels, xl, l2);
    *scale = _mm256_and_ps(_mm256_cmp_ps(l2[0], v_zero(), _CMP_NEQ_UQ), v_div(xl[0], l2[0]));
    best = v_mul(*scale, xl[0]);
    for (int c = 0; c < 18; c += SIDES) {
        V tried[SIDES];
        for (int j = 0; j < SIDES; j++) { /* from -9 to 9 without 0 */
            float i = (float)(c + j - (c + j < 9 ? 9 : 8));
            tried[j] = v_div(v_set(-((float)levels + 0.1f * i)), largest);
        }
        signed_sums(a, size, SIDES, tried, levels, xl, l2);
        for (int j = 0; j < SIDES; j++) {
            V better = greater(v_mul(xl[j], xl[j]), v_mul(best, l2[j]));
            better = _mm256_and_ps(better, greater(l2[j], v_zero()));
            iscale = either(better, tried[j], iscale);
            *scale = either(better, v_div(xl[j], l2[j]), *scale);
            best = either(better, v_mul(*scale, xl[j]), best);
        }
    }
    return iscale;
}

NIB_INLINE void fit_signs(int levels, size_t size, const float *x, const float *w, float *scales,
                          uint8_t *codes)
{
    V most = v_zero(), largest = v_zero(), none, iscale, scale;
    __m256i made[MOST_SIZE];
    around a;

    turn(size, x, a.x);
    if (w) turn(size, w, a.w);
    for (size_t i = 0; i < size; i++) {
        V more = greater(v_abs(a.x[i]), most);
        if (!w) a.w[i] = v_mul(a.x[i], a.x[i]);
        a.wx[i] = v_mul(a.w[i], a.x[i]);
        most = either(more, v_abs(a.x[i]), most);
        largest = either(more, a.x[i], largest);
    }
    none = greater(v_set(1e-15f), most);
    iscale = signed_search(&a, size, largest, levels, &scale);
    for (size_t i = 0; i < size; i++) {
        made[i] = integer(v_mul(iscale, a.x[i]), -levels, levels - 1);
        made[i] = _mm256_andnot_si256(_mm256_castps_si256(none),
                                      _mm256_add_epi32(made[i], _mm256_set1_epi32(levels)));
    }
    put_codes(size, made, NULL, codes);
    v_store(scales, _mm256_andnot_ps(none, scale));
}

void nib_fit_signs_avx2(int levels, size_t size, const float *x, const float *w,
                        float scales[PARTS], uint8_t *codes)
{
    if (size == 16) fit_signs(levels, 16, x, w, scales, codes);
    else fit_signs(levels, MOST_SIZE, x, w, scales, codes);
}

void nib_code_signs_avx2(int levels, size_t size, const float *x, const float d[PARTS],
                         uint8_t *codes)
{
    __m256i made[MOST_SIZE];
    V turned[MOST_SIZE];

    turn(size, x, turned);
    for (size_t i = 0; i < size; i++)
        made[i] = _mm256_add_epi32(integer(v_div(turned[i], v_load(d)), -levels, levels - 1),
                                   _mm256_set1_epi32(levels));
    put_codes(size, made, d, codes);
}
