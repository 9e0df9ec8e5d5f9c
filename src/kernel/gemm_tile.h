/* gemm_tile.h - one register tile of the float product: ROWS rows times 32 columns.
 *
 * All sums stay in registers: 14 x 2 vectors of AVX-512, 3 x 4 of AVX2; each step loads 32
 * columns of the panel and broadcasts one value a row.  Tails use lower tiles: the order of
 * a sum is the same in each. */
#include "kernel/gemm.h"
#include "kernel/simd.h"

#define TILE_VECTORS (NIB_PANEL / VN)

#define TILE(ROWS)                                                                                  \
    NIB_INLINE void tile_##ROWS(size_t K, const float *a, size_t lda, size_t ka, const float *b,     \
                                size_t ldb, float *c, size_t ldc, bool add)                         \
    {                                                                                               \
        V s[ROWS][TILE_VECTORS];                                                                    \
        _Pragma("GCC unroll 16") for (int r = 0; r < ROWS; r++)                                     \
            _Pragma("GCC unroll 4") for (int v = 0; v < TILE_VECTORS; v++)                          \
                s[r][v] = add ? v_load(c + (size_t)r * ldc + v * VN) : v_zero();                    \
        for (size_t k = 0; k < K; k++) {                                                            \
            V column[TILE_VECTORS];                                                                 \
            _Pragma("GCC unroll 4") for (int v = 0; v < TILE_VECTORS; v++)                          \
                column[v] = v_load(b + k * ldb + (size_t)v * VN);                                   \
            _Pragma("GCC unroll 16") for (int r = 0; r < ROWS; r++) {                               \
                V x = v_set(a[(size_t)r * lda + k * ka]);                                           \
                _Pragma("GCC unroll 4") for (int v = 0; v < TILE_VECTORS; v++)                      \
                    s[r][v] = v_fma(x, column[v], s[r][v]);                                         \
            }                                                                                       \
        }                                                                                           \
        _Pragma("GCC unroll 16") for (int r = 0; r < ROWS; r++)                                     \
            _Pragma("GCC unroll 4") for (int v = 0; v < TILE_VECTORS; v++)                          \
                v_store(c + (size_t)r * ldc + v * VN, s[r][v]);                                     \
    }

#if defined(__AVX512F__)
enum { TILE_ROWS = 14 };
TILE(14) TILE(7) TILE(4) TILE(2) TILE(1)
#else
enum { TILE_ROWS = 3 };
TILE(3) TILE(2) TILE(1)
#endif

/* M rows times 32 columns; a has lda floats from row to row and ka from one k to the next, b has
 * ldb from one k to the next. */
static inline void tile_column(size_t M, size_t K, const float *a, size_t lda, size_t ka, const float *b,
                               size_t ldb, float *c, size_t ldc, bool add)
{
    size_t m = 0;
#define RUN(ROWS) \
    for (; M - m >= ROWS; m += ROWS) tile_##ROWS(K, a + m * lda, lda, ka, b, ldb, c + m * ldc, ldc, add)
#if defined(__AVX512F__)
    RUN(14);
    RUN(7);
    RUN(4);
#else
    RUN(3);
#endif
    RUN(2);
    RUN(1);
#undef RUN
}
