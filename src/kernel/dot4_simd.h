/* dot4_simd.h - the loop over rows and blocks of 4-bit codes that the float and the fixed-point
 * dots share.  A file says before it
 *
 *     x_type              of x
 *     table, table_of     what codes are looked up in
 *     unit_of             what sums are to be multiplied by
 *     values, look_up64   of 64 codes
 *     dot64               sums of their products with 64 of x, by lanes
 *     step_of_block       what block b of a row of x is to be multiplied by
 *
 * Two rows are read side by side, half of all rows apart (blocks_rows.h says why). */
#include "kernel/kernels.h"

/* Rows r[0] and r[1]. */
NIB_INLINE void dot4_rows(size_t M, const nib_dot4 *d, const table *t, const size_t r[2],
                          const x_type *x, size_t ldx, bool nested, float *y, size_t ldy)
{
    V sum[2][NIB_DOT_ROWS];

    for (size_t m = 0; m < M; m++) sum[0][m] = sum[1][m] = v_zero();
    for (size_t b = 0; b < d->blocks; b++) {
        for (size_t i = 0; i < 2; i++) {
            size_t block = r[i] * d->blocks + b;
            const uint8_t *codes = (const uint8_t *)d->codes + block * (NIB_DOT4_BLOCK / 2);
            const values v = look_up64(t, codes);
            const float scale = nib_dot4_scale(d, nested, block);
            _mm_prefetch((const char *)codes + EACH_AHEAD, _MM_HINT_T0);
            for (size_t m = 0; m < M; m++) {
                const x_type *row = x + m * ldx;
                V part = dot64(&v, row + b * NIB_DOT4_BLOCK);
                sum[i][m] = v_fma(part, v_set(scale * step_of_block(row, d->blocks, b)),
                                  sum[i][m]);
            }
        }
    }
    for (size_t i = 0; i < 2; i++)
        for (size_t m = 0; m < M; m++)
            y[m * ldy + r[i]] = v_sum(sum[i][m]) * unit_of(t);
}

NIB_INLINE void dot4(size_t M, const nib_dot4 *d, const x_type *x, size_t ldx, bool nested,
                     float *y, size_t ldy)
{
    const table t = table_of(d->table);
    size_t half = nib_ceil_div(d->rows, 2);

    /* of an odd number one row is taken twice */
    for (size_t i = 0; i < half; i++) {
        const size_t two[2] = { i, nib_min(half + i, d->rows - 1) };
        dot4_rows(M, d, &t, two, x, ldx, nested, y, ldy);
    }
}

#define DOT4_VARIANT(name)                                                                         \
    void name(const nib_dot4 *d, size_t M, const x_type *x, size_t ldx, float *y, size_t ldy)      \
    {                                                                                              \
        if (d->scales) NIB_WITH_ROWS(M, dot4, d, x, ldx, false, y, ldy);                           \
        else NIB_WITH_ROWS(M, dot4, d, x, ldx, true, y, ldy);                                      \
    }
