/* grouped_row_simd.h - products of few rows with a row of grouped codes: the body of
 * grouped_row_avx2.c and grouped_row_avx512.c, with vectors of 32 bytes in both.
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
                      __m256 sums[4])
{
    const __m256i mask = _mm256_set1_epi8(15);
    __m256i codes = vector_at(row->codes + t / 2), even = _mm256_and_si256(codes, mask);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi16(codes, 4), mask);

#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++)
        sums[m] = _mm256_fmadd_ps(split_sums(even, odd, x[m].words + t),
                                  _mm256_loadu_ps(repeated_steps(row, &x[m]) + t / 8), sums[m]);
}

NIB_INLINE void add_8(size_t M, const nib_grouped_row *row, size_t t, const nib_fixed_x x[4],
                      __m256 sums[4])
{
#pragma GCC unroll 2
    for (size_t b = t; b < t + NIB_GROUPED_ROW_STEP; b += NIB_FIXED_BLOCK) {
        __m256i bytes = _mm256_xor_si256(vector_at(row->codes + b),
                                         _mm256_set1_epi8((char)row->flip));
        words codes = { _mm256_and_si256(bytes, _mm256_set1_epi16(255)),
                        _mm256_srli_epi16(bytes, 8) };
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++)
            sums[m] = _mm256_fmadd_ps(part_sums(codes, x[m].words + b),
                                      _mm256_broadcast_ss(x[m].steps + b / NIB_FIXED_BLOCK),
                                      sums[m]);
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

NIB_INLINE void dot(size_t M, unsigned bits, const nib_grouped_row *row, const nib_fixed_x *x,
                    const float *ones, size_t ldo, float *y, size_t ldy)
{
    size_t groups = row->terms / row->group, t = 0;
    nib_fixed_x of[4];
    __m256 sums[4], all[4];

#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) {
        of[m] = nib_fixed_row(x, m);
        all[m] = _mm256_setzero_ps();
    }
    for (size_t g = 0; g < groups; g++) {
        const __m256 scale = _mm256_broadcast_ss(row->scales + g);
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++) sums[m] = _mm256_setzero_ps();
        for (size_t end = t + row->group; t < end; t += NIB_GROUPED_ROW_STEP) {
            _mm_prefetch((const char *)row->codes + t * bits / 8 + AHEAD, _MM_HINT_T0);
            if (bits == 4) add_4(M, row, t, of, sums);
            else add_8(M, row, t, of, sums);
        }
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++) all[m] = _mm256_fmadd_ps(sums[m], scale, all[m]);
    }
#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++)
        y[m * ldy] = sum_of(_mm256_sub_ps(all[m],
                                         products_of(groups, row->offsets, ones + m * ldo)));
}

void NIB_VARIANT(grouped_row_dot)(const nib_grouped_row *row, size_t M, const nib_fixed_x *x,
                                  const float *ones, size_t ldo, float *y, size_t ldy)
{
    if (row->bits == 4) NIB_WITH_ROWS(M, dot, 4, row, x, ones, ldo, y, ldy);
    else NIB_WITH_ROWS(M, dot, 8, row, x, ones, ldo, y, ldy);
}
