/* block_fit_uneven_avx2.c - the fit of values to the entries of IQ4_NL, a lane for each of eight
 * parts.
 *
 * The nearest entry is found by halves: of the means that are left the middle one is compared with,
 * which a permute finds by the steps so far.  These are kept as minus the number of entries that
 * lie below, of which a permute sees the lowest three bits: its tables run backwards. */
#include "kernel/block_fit_simd.h"
#include "kernel/kernels.h"

/* Entry i of a table is where minus i is looked for. */
#define BACKWARDS(a, b, c, d, e, f, g, h) _mm256_setr_ps(a, h, g, f, e, d, c, b)

typedef struct entries { V middle, fourths, eighths, sixteenths, low, high; } entries;

NIB_INLINE entries entries_of(void)
{
    const float *m = nib_uneven_means, *v = nib_uneven_values;

    return (entries){
        .middle = v_set(m[7]),
        .fourths = BACKWARDS(m[3], m[11], 0, 0, 0, 0, 0, 0),
        .eighths = BACKWARDS(m[1], m[5], m[9], m[13], 0, 0, 0, 0),
        .sixteenths = BACKWARDS(m[0], m[2], m[4], m[6], m[8], m[10], m[12], m[14]),
        .low = BACKWARDS(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]),
        .high = BACKWARDS(v[8], v[9], v[10], v[11], v[12], v[13], v[14], v[15]),
    };
}

/* -1 where x is not below. */
NIB_INLINE __m256i reaches(V x, V mean)
{
    return _mm256_castps_si256(_mm256_cmp_ps(x, mean, _CMP_NLT_UQ));
}

/* Minus the nearest entry; *upper: it is one of the last eight. */
NIB_INLINE __m256i nearest_entry(const entries *e, V x, V *upper)
{
    __m256i at = reaches(x, e->middle);

    *upper = _mm256_castsi256_ps(at);
    at = _mm256_add_epi32(_mm256_add_epi32(at, at),
                          reaches(x, _mm256_permutevar8x32_ps(e->fourths, at)));
    at = _mm256_add_epi32(_mm256_add_epi32(at, at),
                          reaches(x, _mm256_permutevar8x32_ps(e->eighths, at)));
    return _mm256_add_epi32(_mm256_add_epi32(at, at),
                            reaches(x, _mm256_permutevar8x32_ps(e->sixteenths, at)));
}

NIB_INLINE void uneven_sums(const entries *e, const V x[MOST_SIZE], const V w[MOST_SIZE], V by,
                            V *xl, V *l2)
{
    *xl = *l2 = v_zero();
    for (size_t i = 0; i < MOST_SIZE; i++) {
        V upper, q, wq;
        __m256i at = nearest_entry(e, v_mul(by, x[i]), &upper);
        q = either(upper, _mm256_permutevar8x32_ps(e->high, at),
                   _mm256_permutevar8x32_ps(e->low, at));
        wq = v_mul(w[i], q);
        *xl = v_add(*xl, v_mul(wq, x[i]));
        *l2 = v_add(*l2, v_mul(wq, q));
    }
}

/* The scale of the smallest error. */
NIB_INLINE V uneven_search(const entries *e, const V x[MOST_SIZE], const V w[MOST_SIZE], V largest)
{
    const V first = v_set(nib_uneven_values[0]);
    V by = v_div(v_set(1), v_div(v_sub(v_zero(), largest), first)), xl, l2, d, best;

    uneven_sums(e, x, w, by, &xl, &l2);
    d = _mm256_and_ps(greater(l2, v_zero()), v_div(xl, l2));
    best = v_mul(d, xl);
    for (int t = -7; t <= 7; t++) {
        V better;
        uneven_sums(e, x, w, v_div(v_add(v_set((float)t), first), largest), &xl, &l2);
        better = _mm256_and_ps(greater(l2, v_zero()), greater(v_mul(xl, xl), v_mul(best, l2)));
        d = either(better, v_div(xl, l2), d);
        best = either(better, v_mul(d, xl), best);
    }
    return d;
}

void nib_fit_uneven_avx2(const float *x, const float *w, float scales[PARTS], uint8_t *codes)
{
    const entries e = entries_of();
    V turned[MOST_SIZE], counts[MOST_SIZE], most = v_zero(), largest = v_zero(), d, by;
    __m256i made[MOST_SIZE];

    turn(MOST_SIZE, x, turned);
    if (w) turn(MOST_SIZE, w, counts);
    for (size_t i = 0; i < MOST_SIZE; i++) {
        V more = greater(v_abs(turned[i]), most);
        if (!w) counts[i] = v_mul(turned[i], turned[i]);
        most = either(more, v_abs(turned[i]), most);
        largest = either(more, turned[i], largest);
    }
    d = uneven_search(&e, turned, counts, largest);
    d = _mm256_andnot_ps(greater(v_set(1e-15f), most), d);
    by = _mm256_and_ps(_mm256_cmp_ps(d, v_zero(), _CMP_NEQ_UQ), v_div(v_set(1), d));
    for (size_t i = 0; i < MOST_SIZE; i++) {
        V upper;
        made[i] = nearest_entry(&e, v_mul(by, turned[i]), &upper);
        made[i] = _mm256_sub_epi32(_mm256_setzero_si256(), made[i]);
    }
    put_codes(MOST_SIZE, made, NULL, codes);
    v_store(scales, d);
}
