/* grouped_row_simd.h - products of few rows with a row of grouped codes: the body of
 * grouped_row_avx2.c and grouped_row_avx512.c.
 *
 * A vector of 64 codes of 4 bits is masked and shifted to its even and its odd ones, bytes that
 * lie as those of x do: the lower half of the sums is of one block of 32 terms, the upper half of
 * the next. */
#include "kernel/fixed_words.h"
#include "kernel/kernels.h"

NIB_INLINE const float *repeated_steps(const nib_grouped_row *row, const nib_fixed_x *x)
{
    return x->sums + row->terms / NIB_FIXED_HALF;
}

/* sums[m] += 64 terms from t on. */
NIB_INLINE void add_4(size_t M, const nib_grouped_row *row, size_t t, const nib_fixed_x x[4],
                      V sums[4])
{
    const W mask = w_set(0x0f0f0f0f);
    W codes = in_halves(row->codes + t / 2), even = w_and(codes, mask);
    W odd = w_and(w_right(codes, 4), mask);

#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++)
        sums[m] = v_fma(sums_in_halves(even, odd, x[m].words + t),
                        floats_in_halves(repeated_steps(row, &x[m]) + t / 8), sums[m]);
}

NIB_INLINE void add_8(size_t M, const nib_grouped_row *row, W flip, size_t t,
                      const nib_fixed_x x[4], V sums[4])
{
    const float *steps;
    W codes[2];

    for (size_t b = 0; b < 2; b++)
        codes[b] = w_xor(in_halves(row->codes + t + b * NIB_FIXED_BLOCK), flip);
#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) {
        steps = x[m].steps + t / NIB_FIXED_BLOCK;
        /* two blocks before the sums, whose additions wait for each other */
        V first = v_mul(part_in_halves(codes[0], x[m].words + t), v_set(steps[0]));
        sums[m] = v_add(sums[m], v_fma(part_in_halves(codes[1], x[m].words + t + NIB_FIXED_BLOCK),
                                       v_set(steps[1]), first));
    }
}

/* The sum of the products of two arrays, the rest of a vector of them masked. */
NIB_INLINE __m256 products_of(size_t n, const float *a, const float *b)
{
    const __m256i order = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256 sum = _mm256_setzero_ps();
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        sum = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), sum);
    if (i < n) {
        __m256i some = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(n - i)), order);
        sum = _mm256_fmadd_ps(_mm256_maskload_ps(a + i, some), _mm256_maskload_ps(b + i, some),
                              sum);
    }
    return sum;
}

/* step: terms at a time, of which groups are multiples; group: row->group, or the same as a
 * constant. */
NIB_INLINE void dot(size_t M, unsigned bits, size_t step, size_t group, const nib_grouped_row *row,
                    const nib_fixed_x *x, const float *ones, size_t ldo, float *y, size_t ldy)
{
    size_t groups = row->terms / group, t = 0;
    const W flip = w_set(row->flip * 0x01010101u);
    nib_fixed_x of[4];
    V sums[4], all[4];

#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) {
        of[m] = nib_fixed_row(x, m);
        all[m] = v_zero();
    }
    for (size_t g = 0; g < groups; g++) {
        const V scale = v_set(row->scales[g]);
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++) sums[m] = v_zero();
        for (size_t end = t + group; t < end; t += step) {
            if (t * bits / 8 % 64 == 0) fetch_ahead(row->codes + t * bits / 8); /* a line */
#pragma GCC unroll 2
            for (size_t i = 0; i < step; i += NIB_GROUPED_ROW_STEP) {
                if (bits == 4) add_4(M, row, t + i, of, sums);
                else add_8(M, row, flip, t + i, of, sums);
            }
        }
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++) all[m] = v_fma(sums[m], scale, all[m]);
    }
#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++)
        y[m * ldy] = v_sum(all[m]) - sum_of(products_of(groups, row->offsets, ones + m * ldo));
}

void NIB_VARIANT(grouped_row_dot)(const nib_grouped_row *row, size_t M, const nib_fixed_x *x,
                                  const float *ones, size_t ldo, float *y, size_t ldy)
{
    size_t group = row->group;

    if (row->bits == 8) NIB_WITH_ROWS(M, dot, 8, 64, group, row, x, ones, ldo, y, ldy);
    else if (group == 64) NIB_WITH_ROWS(M, dot, 4, 64, 64, row, x, ones, ldo, y, ldy);
    else if (group % 128) NIB_WITH_ROWS(M, dot, 4, 64, group, row, x, ones, ldo, y, ldy);
    else NIB_WITH_ROWS(M, dot, 4, 128, group, row, x, ones, ldo, y, ldy);
}
