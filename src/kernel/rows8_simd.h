/* rows8_simd.h - rows of signed 8-bit integers: the body of rows8_avx2.c and rows8_avx512.c. */
#include "kernel/kernels.h"
#include "kernel/words.h"

enum { STEP = sizeof(W) };

/* The last n bytes of a row, n < STEP, behind them zeros. */
NIB_INLINE W w_load_some(const int8_t *p, size_t n)
{
    int8_t bytes[STEP] = { 0 };

    memcpy(bytes, p, n);
    return w_load(bytes);
}

NIB_INLINE W w_get(const int8_t *p, size_t n)
{
    return n == STEP ? w_load(p) : w_load_some(p, n);
}

/* sums[m][r] += products of `terms` values, STEP or the rest of a row, of each pair of rows. */
NIB_INLINE void add_step(size_t M, size_t N, size_t terms, const int8_t *x, size_t ldx,
                         const int8_t *w, size_t ldw, W sums[4][4])
{
    W weights[4], sizes[4];

#pragma GCC unroll 4
    for (size_t r = 0; r < N; r++) {
        weights[r] = w_get(w + r * ldw, terms);
        sizes[r] = w_abs(weights[r]);
    }
#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) {
        W row = w_get(x + m * ldx, terms);
#pragma GCC unroll 4
        for (size_t r = 0; r < N; r++)
            sums[m][r] = w_add(sums[m][r], w_products8(sizes[r], w_signed_by(row, weights[r])));
    }
}

/* M rows of x by N rows of w. */
NIB_INLINE void block(size_t M, size_t N, size_t n, const int8_t *x, size_t ldx, const int8_t *w,
                      size_t ldw, int32_t *y, size_t ldy)
{
    W sums[4][4];
    size_t i = 0;

    for (size_t m = 0; m < M; m++)
        for (size_t r = 0; r < N; r++) sums[m][r] = w_zero();
    for (; i + STEP <= n; i += STEP) {
        if (M == 1) /* generation: weights come from memory */
            for (size_t r = 0; r < N; r++)
                _mm_prefetch((const char *)w + r * ldw + i + AHEAD, _MM_HINT_T0);
        add_step(M, N, STEP, x + i, ldx, w + i, ldw, sums);
    }
    if (i < n) add_step(M, N, n - i, x + i, ldx, w + i, ldw, sums);
    for (size_t m = 0; m < M; m++)
        for (size_t r = 0; r < N; r++) y[m * ldy + r] = w_sum(sums[m][r]);
}

/* M rows of x by all of w: two rows of it at a time, or four where x is one row, for each sum waits
 * for the one before. */
NIB_INLINE void rows(size_t M, size_t n, const int8_t *x, size_t ldx, nib_int8_rows w, int32_t *y,
                     size_t ldy)
{
    size_t N = M == 1 ? 4 : 2, r = 0;

    for (; r + N <= w.rows; r += N)
        block(M, N, n, x, ldx, w.codes + r * w.ld, w.ld, y + r, ldy);
    for (; r < w.rows; r++) block(M, 1, n, x, ldx, w.codes + r * w.ld, w.ld, y + r, ldy);
}

void NIB_VARIANT(int8_products)(size_t n, nib_int8_rows x, nib_int8_rows w, int32_t *y, size_t ldy)
{
    assert(n <= NIB_INT8_MOST_TERMS);
    for (size_t m = 0; m < x.rows; m += 4) {
        size_t M = nib_min(4, x.rows - m);
        NIB_WITH_ROWS(M, rows, n, x.codes + m * x.ld, x.ld, w, y + m * ldy, ldy);
    }
}

/* --- rows of numbers --- */

nib_int8_row NIB_VARIANT(int8_encode)(size_t n, const float *x, float threshold, int8_t *codes,
                                      uint64_t *outliers)
{
    V most = v_zero(), by, limit = v_set(threshold);
    nib_int8_row row = { 0 };
    bool nan = false;

    memset(outliers, 0, nib_ceil_div(n, 64) * sizeof *outliers);
    for (size_t i = 0; i < n; i += VN) {
        V size = v_abs(v_round_f16(v_get(NIB_F32, x, i, nib_min(VN, n - i))));
        uint64_t out = v_at_least(size, limit);
        outliers[i / 64] |= out << i % 64;
        row.outliers += (size_t)__builtin_popcountll(out);
        nan |= v_any_nan(size, size);
        most = v_max(v_if_less(size, limit, size, v_zero()), most);
    }
    row.absmax = nan ? __builtin_nanf("") : v_greatest(most);
    by = v_set(row.absmax > 0 ? 1 / row.absmax * 127 : 0);
    for (size_t i = 0; i < n; i += VN) {
        size_t count = nib_min(VN, n - i);
        V value = v_round_f16(v_get(NIB_F32, x, i, count));
        uint8_t bytes[16];
        value = v_if_less(v_abs(value), limit, value, v_zero()); /* and of NaN */
        _mm_storeu_si128((__m128i *)(void *)bytes,
                         _mm_xor_si128(w_bytes(v_round(v_mul(value, by)), 128),
                                       _mm_set1_epi8((char)128)));
        if (count == VN) memcpy(codes + i, bytes, VN);
        else memcpy(codes + i, bytes, count);
    }
    return row;
}

void NIB_VARIANT(int8_decode)(size_t n, const int8_t *codes, float step, float *x)
{
    V by = v_set(step);
    size_t i = 0;

    for (; i + VN <= n; i += VN) v_store(x + i, v_mul(w_widen(codes + i), by));
    for (; i < n; i++) x[i] = (float)codes[i] * step;
}
