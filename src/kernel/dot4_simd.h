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
 * and AHEAD, how many bytes are fetched before they are read. */
#include "kernel/kernels.h"

NIB_INLINE void dot4(size_t M, const nib_dot4 *d, const x_type *x, size_t ldx, bool nested,
                     float *y, size_t ldy)
{
    const table t = table_of(d->table);
    const uint8_t *codes = d->codes;
    size_t block = 0;

    for (size_t r = 0; r < d->rows; r++) {
        V sum[NIB_DOT_ROWS];
        for (size_t m = 0; m < M; m++) sum[m] = v_zero();
        for (size_t b = 0; b < d->blocks; b++, block++, codes += NIB_DOT4_BLOCK / 2) {
            const values v = look_up64(&t, codes);
            const float scale = nib_dot4_scale(d, nested, block);
            _mm_prefetch((const char *)codes + AHEAD, _MM_HINT_T0);
            for (size_t m = 0; m < M; m++) {
                const x_type *row = x + m * ldx;
                V part = dot64(&v, row + b * NIB_DOT4_BLOCK);
                sum[m] = v_fma(part, v_set(scale * step_of_block(row, d->blocks, b)), sum[m]);
            }
        }
        for (size_t m = 0; m < M; m++) y[m * ldy + r] = v_sum(sum[m]) * unit_of(&t);
    }
}

#define DOT4_VARIANT(name)                                                                         \
    void name(const nib_dot4 *d, size_t M, const x_type *x, size_t ldx, float *y, size_t ldy)      \
    {                                                                                              \
        if (d->scales) NIB_WITH_ROWS(M, dot4, d, x, ldx, false, y, ldy);                           \
        else NIB_WITH_ROWS(M, dot4, d, x, ldx, true, y, ldy);                                      \
    }
