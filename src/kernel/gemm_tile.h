/* gemm_tile.h - one register tile of the float product: up to 14 rows times 32 columns with
 * AVX-512, 6 times 16 with AVX2.
 *
 * All sums stay in registers; each step loads the columns of the panel and broadcasts one value
 * a row.  A tile of every height exists, and M rows are split evenly (64 = 13 + 13 + 13 + 13 + 12),
 * so that no tail runs at the speed of its latency.  The order of a sum is the same in each. */
#include "kernel/gemm.h"
#include "kernel/simd.h"

enum { TILE_VECTORS = 2, TILE_COLUMNS = TILE_VECTORS * VN };

#define TILE(ROWS)                                                                                  \
    NIB_INLINE void tile_##ROWS(size_t K, const float *a, size_t lda, size_t ka, const float *b,     \
                                size_t ldb, float *c, size_t ldc, bool add)                         \
    {                                                                                               \
        V s[ROWS][TILE_VECTORS];                                                                    \
        _Pragma("GCC unroll 16") for (int r = 0; r < ROWS; r++)                                     \
            _Pragma("GCC unroll 2") for (int v = 0; v < TILE_VECTORS; v++)                          \
                s[r][v] = add ? v_load(c + (size_t)r * ldc + v * VN) : v_zero();                    \
        for (size_t k = 0; k < K; k++) {                                                            \
            V column[TILE_VECTORS];                                                                 \
            _Pragma("GCC unroll 2") for (int v = 0; v < TILE_VECTORS; v++)                          \
                column[v] = v_load(b + k * ldb + (size_t)v * VN);                                   \
            _Pragma("GCC unroll 16") for (int r = 0; r < ROWS; r++) {                               \
                V x = v_set(a[(size_t)r * lda + k * ka]);                                           \
                _Pragma("GCC unroll 2") for (int v = 0; v < TILE_VECTORS; v++)                      \
                    s[r][v] = v_fma(x, column[v], s[r][v]);                                         \
            }                                                                                       \
        }                                                                                           \
        _Pragma("GCC unroll 16") for (int r = 0; r < ROWS; r++)                                     \
            _Pragma("GCC unroll 2") for (int v = 0; v < TILE_VECTORS; v++)                          \
                v_store(c + (size_t)r * ldc + v * VN, s[r][v]);                                     \
    }

TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6)
#if defined(__AVX512F__)
enum { TILE_ROWS = 14 };
TILE(7) TILE(8) TILE(9) TILE(10) TILE(11) TILE(12) TILE(13) TILE(14)
#define TILE_CASES(RUN) RUN(1) RUN(2) RUN(3) RUN(4) RUN(5) RUN(6) RUN(7) RUN(8) RUN(9) RUN(10) RUN(11) RUN(12) RUN(13) RUN(14)
#else
enum { TILE_ROWS = 6 };
#define TILE_CASES(RUN) RUN(1) RUN(2) RUN(3) RUN(4) RUN(5) RUN(6)
#endif

/* Rows of the next tile when `left` rows are to be split evenly. */
NIB_INLINE size_t tile_height(size_t left) { return nib_ceil_div(left, nib_ceil_div(left, TILE_ROWS)); }

/* `rows` <= TILE_ROWS rows times TILE_COLUMNS columns.  a has lda floats from row to row and ka from
 * one k to the next, b has ldb from one k to the next. */
NIB_INLINE void tile_rows(size_t rows, size_t K, const float *a, size_t lda, size_t ka, const float *b, size_t ldb,
                          float *c, size_t ldc, bool add)
{
    switch (rows) {
#define RUN(ROWS) case ROWS: tile_##ROWS(K, a, lda, ka, b, ldb, c, ldc, add); break;
        TILE_CASES(RUN)
#undef RUN
    }
}

/* M rows times 32 columns. */
static inline void tile_column(size_t M, size_t K, const float *a, size_t lda, size_t ka, const float *b,
                               size_t ldb, float *c, size_t ldc, bool add)
{
    for (size_t m = 0, rows; m < M; m += rows) {
        rows = tile_height(M - m);
        for (size_t n = 0; n < NIB_PANEL; n += TILE_COLUMNS)
            tile_rows(rows, K, a + m * lda, lda, ka, b + n, ldb, c + m * ldc + n, ldc, add);
    }
}
