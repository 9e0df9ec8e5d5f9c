/* grouped_row_simd.h - products of few rows with a row of grouped codes: the body of
 * grouped_row_avx2.c and grouped_row_avx512.c.
 *
 * A vector of 64 codes of 4 bits, or of 128, is masked and shifted to its even and its odd ones,
 * bytes that lie as those of x do: the lower half of the sums is of one block of 32 terms, the
 * upper half of the next, or a quarter of each of four. */
#include "kernel/fixed_words.h"
#include "kernel/kernels.h"

NIB_INLINE const float *repeated_steps(const nib_grouped_row *row, const nib_fixed_x *x)
{
    return x->sums + row->terms / NIB_FIXED_HALF;
}

/* sums[m] += 64 terms, `in` a unit of x that begins with term t; whole: a whole one. */
NIB_INLINE void add_4(size_t M, const nib_grouped_row *row, bool whole, size_t t, size_t in,
                      const nib_fixed_x x[4], __m256 sums[4])
{
    const __m256i mask = _mm256_set1_epi8(15);
    __m256i codes = vector_at(row->codes + (t + in) / 2), even = _mm256_and_si256(codes, mask);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi16(codes, 4), mask);

#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++)
        sums[m] = _mm256_fmadd_ps(
            whole ? unit_sums(even, odd, x[m].words + t, in)
                  : turned_sums(even, odd, x[m].words, row->terms, t + in),
            _mm256_loadu_ps(repeated_steps(row, &x[m]) + (t + in) / 8), sums[m]);
}

NIB_INLINE void add_8(size_t M, const nib_grouped_row *row, W flip, size_t t,
                      const nib_fixed_x x[4], V sums[4])
{
    const float *steps;
    W codes[2];

    for (size_t b = 0; b < 2; b++)
        codes[b] = w_xor(part_at(row->codes + t + b * NIB_FIXED_BLOCK), flip);
#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) {
        steps = x[m].steps + t / NIB_FIXED_BLOCK;
        /* two blocks before the sums, whose additions wait for each other */
        V first = v_mul(sums_of_part(codes[0], x[m].words + t), v_set(steps[0]));
        sums[m] = v_add(sums[m], v_fma(sums_of_part(codes[1], x[m].words + t + NIB_FIXED_BLOCK),
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

/* What the offsets make, taken from the rows' sums. */
NIB_INLINE void take_offsets(size_t M, const nib_grouped_row *row, const float *ones, size_t ldo,
                             float *y, size_t ldy)
{
    for (size_t m = 0; m < M; m++)
        y[m * ldy] -= sum_of(products_of(row->terms / row->group, row->offsets, ones + m * ldo));
}

/* whole: the row is of whole units; step: terms at a time, of which groups are multiples. */
NIB_INLINE void dot_4(size_t M, bool whole, size_t step, const nib_grouped_row *row,
                      const nib_fixed_x x[4], float *y, size_t ldy)
{
    __m256 sums[4], all[4];
    size_t t = 0;

#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) all[m] = _mm256_setzero_ps();
    for (size_t g = 0; t < row->terms; g++) {
        const __m256 scale = _mm256_broadcast_ss(row->scales + g);
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++) sums[m] = _mm256_setzero_ps();
        for (size_t end = t + row->group; t < end; t += step) {
            size_t in = step == 128 ? 0 : t % 128;
            fetch_ahead(row->codes + t / 2);
#pragma GCC unroll 2
            for (size_t i = 0; i < step; i += NIB_GROUPED_ROW_STEP)
                add_4(M, row, whole, t - in, in + i, x, sums);
        }
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++) all[m] = _mm256_fmadd_ps(sums[m], scale, all[m]);
    }
#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) y[m * ldy] = sum_of(all[m]);
}

NIB_INLINE void dot_8(size_t M, const nib_grouped_row *row, const nib_fixed_x x[4], float *y,
                      size_t ldy)
{
    const W flip = w_set(row->flip * 0x01010101u);
    V sums[4], all[4];
    size_t t = 0;

#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) all[m] = v_zero();
    for (size_t g = 0; t < row->terms; g++) {
        const V scale = v_set(row->scales[g]);
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++) sums[m] = v_zero();
        for (size_t end = t + row->group; t < end; t += NIB_GROUPED_ROW_STEP) {
            fetch_ahead(row->codes + t);
            add_8(M, row, flip, t, x, sums);
        }
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++) all[m] = v_fma(sums[m], scale, all[m]);
    }
#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) y[m * ldy] = v_sum(all[m]);
}

#if defined(__AVX512F__)
/* 4 bits by vectors of 64 bytes, units of x at a time: of rows of whole ones, where a unit is of
 * one group or of two.  group: row->group, or the same as a constant. */
NIB_INLINE void dot_units(size_t M, size_t group, const nib_grouped_row *row,
                          const nib_fixed_x x[4], float *y, size_t ldy)
{
    enum { UNIT = 128 };
    const size_t each = nib_max(group, UNIT);
    const float *scales = row->scales;
    const W mask = w_set(0x0f0f0f0f);
    V all[4];

#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) all[m] = v_zero();
    for (size_t t = 0; t < row->terms; scales += each / group) {
        V scale = v_set(scales[0]);
        if (group < UNIT) scale = v_of(_mm256_set1_ps(scales[0]), _mm256_set1_ps(scales[1]));
        for (size_t end = t + each; t < end; t += UNIT) {
            W codes = w_load(row->codes + t / 2), even = w_and(codes, mask);
            W odd = w_and(w_right(codes, 4), mask);
            fetch_ahead(row->codes + t / 2);
#pragma GCC unroll 4
            for (size_t m = 0; m < M; m++)
                all[m] = v_fma(sums_of_unit(even, odd, x[m].words + t),
                               v_mul(v_load(repeated_steps(row, &x[m]) + t / 8), scale), all[m]);
        }
    }
#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) y[m * ldy] = v_sum(all[m]);
}
#endif

NIB_INLINE void dot(size_t M, const nib_grouped_row *row, const nib_fixed_x *x, const float *ones,
                    size_t ldo, float *y, size_t ldy)
{
    nib_fixed_x of[4];

#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) of[m] = nib_fixed_row(x, m);
    if (row->bits == 8) dot_8(M, row, of, y, ldy);
#if defined(__AVX512F__)
    else if (row->group == 64 && row->terms % 128 == 0) dot_units(M, 64, row, of, y, ldy);
    else if (row->group % 128 == 0) dot_units(M, row->group, row, of, y, ldy);
#else
    else if (row->group % 128 == 0) dot_4(M, true, 128, row, of, y, ldy);
    else if (row->terms % 128 == 0) dot_4(M, true, 64, row, of, y, ldy);
#endif
    else dot_4(M, false, 64, row, of, y, ldy);
    take_offsets(M, row, ones, ldo, y, ldy);
}

void NIB_VARIANT(grouped_row_dot)(const nib_grouped_row *row, size_t M, const nib_fixed_x *x,
                                  const float *ones, size_t ldo, float *y, size_t ldy)
{
    NIB_WITH_ROWS(M, dot, row, x, ones, ldo, y, ldy);
}
