/* gemm_avx512bf16.c - the product of bfloat16 values with float sums: vdpbf16ps, two k a step. */
#include "kernel/gemm_fetch.h"
#include "kernel/kernels.h"
#include "kernel/pairs_avx512bf16.h"

#ifdef NIB_EMULATE_BF16
nib_gemm_bf16_fn NIB_PAIRS_VARIANT(gemm_bf16); /* only the tests know it */
#endif

NIB_INLINE __m512i pair_at(const uint16_t *a)
{
    int32_t both;
    memcpy(&both, a, sizeof both);
    return _mm512_set1_epi32(both);
}

enum { TILE_ROWS = 14 };

#define TILE(ROWS)                                                                                  \
    NIB_INLINE void tile_##ROWS(size_t pairs, const uint16_t *a, size_t lda, const uint16_t *b,     \
                                nib_gemm_tail last, float *c, size_t ldc, bool add)                 \
    {                                                                                               \
        __m512 s[ROWS][2];                                                                          \
        _Pragma("GCC unroll 16") for (int r = 0; r < ROWS; r++)                                     \
            _Pragma("GCC unroll 2") for (int v = 0; v < 2; v++)                                     \
                s[r][v] = add ? v_load(c + (size_t)r * ldc + v * 16) : v_zero();                    \
        for (size_t k = 0; k < pairs; k++) {                                                        \
            __m512i b0 = _mm512_loadu_si512(b + k * 32), b1 = _mm512_loadu_si512(b + (pairs + k) * 32); \
            _Pragma("GCC unroll 16") for (int r = 0; r < ROWS; r++) {                               \
                __m512i x = pair_at(a + (size_t)r * lda + 2 * k);                                   \
                s[r][0] = dot_pairs(s[r][0], x, b0);                                                \
                s[r][1] = dot_pairs(s[r][1], x, b1);                                                \
            }                                                                                       \
        }                                                                                           \
        for (size_t k = 0; k < last.K; k++) {                                                       \
            __m512 b0 = v_load(last.panel + k * 16), b1 = v_load(last.panel + (last.K + k) * 16);   \
            _Pragma("GCC unroll 16") for (int r = 0; r < ROWS; r++) {                               \
                __m512 x = v_set(last.a[(size_t)r * last.K + k]);                                   \
                s[r][0] = v_fma(x, b0, s[r][0]);                                                    \
                s[r][1] = v_fma(x, b1, s[r][1]);                                                    \
            }                                                                                       \
        }                                                                                           \
        _Pragma("GCC unroll 16") for (int r = 0; r < ROWS; r++)                                     \
            _Pragma("GCC unroll 2") for (int v = 0; v < 2; v++)                                     \
                v_store(c + (size_t)r * ldc + v * 16, s[r][v]);                                     \
    }
TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6) TILE(7)
TILE(8) TILE(9) TILE(10) TILE(11) TILE(12) TILE(13) TILE(14)

static void tile_rows(size_t rows, size_t pairs, const uint16_t *a, size_t lda, const uint16_t *b,
                      nib_gemm_tail last, float *c, size_t ldc, bool add)
{
    switch (rows) {
#define RUN(ROWS) case ROWS: tile_##ROWS(pairs, a, lda, b, last, c, ldc, add); break;
        RUN(1) RUN(2) RUN(3) RUN(4) RUN(5) RUN(6) RUN(7)
        RUN(8) RUN(9) RUN(10) RUN(11) RUN(12) RUN(13) RUN(14)
#undef RUN
    }
}

void NIB_PAIRS_VARIANT(gemm_bf16)(size_t M, size_t N, size_t K, const uint16_t *a, size_t lda,
                                  const uint16_t *panel, float *c, size_t ldc, bool add,
                                  const nib_gemm_tail *tail)
{
    /* of 0 terms nothing is read */
    const nib_gemm_tail none = { 0, c, c }, *last = tail ? tail : &none;

    assert(K % 2 == 0);
    for (size_t m = 0, rows; m < M; m += rows) { /* rows that stay in the caches for all panels */
        rows = nib_ceil_div(M - m, nib_ceil_div(M - m, 56));
        for (size_t n = 0; n < N; n += NIB_PANEL)
            for (size_t i = 0, height; i < rows; i += height) {
                height = nib_ceil_div(rows - i, nib_ceil_div(rows - i, TILE_ROWS));
                fetch_results(c + (m + i) * ldc + n, ldc, height, rows - i, add);
                tile_rows(height, K / 2, a + (m + i) * lda, lda, panel + n * K,
                          (nib_gemm_tail){ last->K, last->a + (m + i) * last->K,
                                           last->panel + n * last->K },
                          c + (m + i) * ldc + n, ldc, add);
            }
    }
}
