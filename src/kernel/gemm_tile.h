/* gemm_tile.h - one register tile of the float product: up to 14 rows times 32 columns with
 * AVX-512, 6 times 16 with AVX2.
 *
 * All sums stay in registers; each step loads the columns of the panel and broadcasts one value
 * a row.  A tile of every height exists, and M rows are split evenly (64 = 13 + 13 + 13 + 13 + 12),
 * so that no tail runs at the speed of its latency.  The order of a sum is the same in each. */
#ifndef NIB_KERNEL_GEMM_TILE_H
#define NIB_KERNEL_GEMM_TILE_H

#include "kernel/gemm.h"
#include "kernel/simd.h"

enum { TILE_VECTORS = 2, TILE_COLUMNS = TILE_VECTORS * VN };

/* Terms of a sum.  a has lda floats from row to row and ka from one k to the next; b has ldb from
 * one k to the next, and bv from one vector to the next. */
typedef struct terms {
    size_t K;
    const float *a;
    size_t lda, ka;
    const float *b;
    size_t ldb, bv;
} terms;

/* Rows from `a` times the columns from n on of a panel of K terms. */
NIB_INLINE terms terms_at(size_t K, const float *a, size_t lda, const float *panel, size_t n)
{
    /* from one vector of columns to the other */
    const size_t next = (int)VN == (int)NIB_STRIP ? NIB_STRIP * K : VN;
    return (terms){ .K = K, .a = a, .lda = lda, .ka = 1, .b = panel + n * K, .ldb = NIB_STRIP,
                    .bv = next };
}

/* None, as `more` of a tile.  Nothing is read of them, but a null pointer takes no offset. */
NIB_INLINE terms no_terms(terms t)
{
    t.K = 0;
    return t;
}

/* s[ROWS][VECTORS] += t.  A pointer for every three rows: an address may have one stride, or twice
 * it. */
#define ADD_TERMS(ROWS, VECTORS, t)                                                                \
    {                                                                                              \
        const float *at[(ROWS + 2) / 3], *columns = (t).b;                                         \
        _Pragma("GCC unroll 16") for (size_t i = 0; i < (ROWS + 2) / 3; i++)                       \
            at[i] = (t).a + 3 * i * (t).lda;                                                       \
        for (size_t k = 0; k < (t).K; k++, columns += (t).ldb) {                                   \
            V column[VECTORS];                                                                     \
            _Pragma("GCC unroll 2") for (int v = 0; v < VECTORS; v++)                              \
                column[v] = v_load(columns + (size_t)v * (t).bv);                                  \
            _Pragma("GCC unroll 16") for (int r = 0; r < ROWS; r++) {                              \
                V x = v_set(at[r / 3][(size_t)(r % 3) * (t).lda]);                                 \
                _Pragma("GCC unroll 2") for (int v = 0; v < VECTORS; v++)                          \
                    s[r][v] = v_fma(x, column[v], s[r][v]);                                        \
            }                                                                                      \
            _Pragma("GCC unroll 16") for (size_t i = 0; i < (ROWS + 2) / 3; i++) at[i] += (t).ka;  \
        }                                                                                          \
    }

/* Where the sums of a tile begin and end (nib_gemm_end). */
typedef struct results {
    float *c;
    size_t ldc;
    bool add, accumulate;
    const float *gain, *bias;
    uint16_t *y;
    size_t ldy;
} results;

/* Sums in c alone. */
NIB_INLINE results results_in(float *c, size_t ldc, bool add)
{
    return (results){ .c = c, .ldc = ldc, .add = add };
}
/* Of the tile at row i and column n of a product. */
NIB_INLINE results results_at(float *c, size_t ldc, bool add, const nib_gemm_end *end, size_t i,
                              size_t n)
{
    return (results){ .c = c + i * ldc + n, .ldc = ldc, .add = add, .accumulate = end->accumulate,
                      .gain = end->gain ? end->gain + n : NULL,
                      .bias = end->bias ? end->bias + n : NULL,
                      .y = end->y ? end->y + i * end->ldy + n : NULL, .ldy = end->ldy };
}

#define BEGIN_SUMS(ROWS, VECTORS, to)                                                              \
    _Pragma("GCC unroll 16") for (int r = 0; r < ROWS; r++)                                        \
        _Pragma("GCC unroll 2") for (int v = 0; v < VECTORS; v++)                                  \
            s[r][v] = (to).add ? v_load((to).c + (size_t)r * (to).ldc + v * VN) : v_zero();

/* What is not a store of floats, `columns` of each row: gain, bias, rounding to bfloat16.  One
 * function for all heights, for it is much code.  By integers on every processor: what
 * vcvtneps2bf16 makes of subnormals would depend on which columns are whole panels. */
static __attribute__((noinline)) void end_rows(size_t rows, size_t columns, const float *sums,
                                               results to)
{
    for (size_t r = 0; r < rows; r++, sums += columns)
        for (size_t n = 0; n < columns; n += VN) {
            uint16_t *y = to.y ? to.y + r * to.ldy + n : NULL;
            V x = v_load(sums + n);
            if (to.gain) x = v_mul(x, v_load(to.gain + n));
            if (to.bias) x = v_add(x, v_load(to.bias + n));
            if (y && to.accumulate) x = v_add(v_load_bf16(y), x);
            if (y) v_store_bf16(y, x);
            else v_store(to.c + r * to.ldc + n, x);
        }
}

#define END_SUMS(ROWS, VECTORS, to)                                                                \
    bool plain = !(to).y && !(to).gain && !(to).bias;                                              \
    float sums[ROWS * VECTORS * VN], *at = plain ? (to).c : sums;                                  \
    const size_t apart = plain ? (to).ldc : VECTORS * VN;                                          \
    _Pragma("GCC unroll 16") for (int r = 0; r < ROWS; r++)                                        \
        _Pragma("GCC unroll 2") for (int v = 0; v < VECTORS; v++)                                  \
            v_store(at + (size_t)r * apart + v * VN, s[r][v]);                                     \
    if (!plain) end_rows(ROWS, VECTORS * VN, sums, to);

/* ROWS rows times VECTORS vectors of columns; the terms of `more` (K may be 0) come last. */
#define TILE(ROWS, VECTORS)                                                                        \
    NIB_INLINE void tile_##ROWS##x##VECTORS(terms t, terms more, results to)                       \
    {                                                                                              \
        V s[ROWS][VECTORS];                                                                        \
        BEGIN_SUMS(ROWS, VECTORS, to)                                                              \
        ADD_TERMS(ROWS, VECTORS, t)                                                                \
        ADD_TERMS(ROWS, VECTORS, more)                                                             \
        END_SUMS(ROWS, VECTORS, to)                                                                \
    }

#define TILE_HEIGHTS_6(T, V) T(1, V) T(2, V) T(3, V) T(4, V) T(5, V) T(6, V)
TILE_HEIGHTS_6(TILE, 2)
#if defined(__AVX512F__)
enum { TILE_ROWS = 14 };
#define TILE_HEIGHTS(T, V) TILE_HEIGHTS_6(T, V)                                                    \
    T(7, V) T(8, V) T(9, V) T(10, V) T(11, V) T(12, V) T(13, V) T(14, V)
TILE(7, 2) TILE(8, 2) TILE(9, 2) TILE(10, 2) TILE(11, 2) TILE(12, 2) TILE(13, 2) TILE(14, 2)
TILE_HEIGHTS(TILE, 1) /* for a last strip alone */
#else
enum { TILE_ROWS = 6 };
#define TILE_HEIGHTS(T, V) TILE_HEIGHTS_6(T, V)
#endif

/* Rows of the next tile when `left` rows are to be split evenly. */
NIB_INLINE size_t tile_height(size_t left)
{
    return nib_ceil_div(left, nib_ceil_div(left, TILE_ROWS));
}

/* `rows` <= TILE_ROWS rows times TILE_COLUMNS columns. */
NIB_INLINE void tile_rows(size_t rows, terms t, terms more, results to)
{
    switch (rows) {
#define RUN(ROWS, VECTORS) case ROWS: tile_##ROWS##x##VECTORS(t, more, to); break;
        TILE_HEIGHTS(RUN, 2)
    }
}

/* The same times NIB_STRIP columns: a strip of a panel, or columns that lie in rows. */
NIB_INLINE void tile_rows_strip(size_t rows, terms t, terms more, results to)
{
#if defined(__AVX512F__)
    switch (rows) {
        TILE_HEIGHTS(RUN, 1)
    }
#else
    t.bv = more.bv = VN;
    tile_rows(rows, t, more, to);
#endif
#undef RUN
}

#endif
