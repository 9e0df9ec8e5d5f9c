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

/* gemm_tile.h's tile with pairs, and its pointers; the terms of `more` are floats and come last. */
#define PAIRS_TILE(ROWS, VECTORS)                                                                  \
    NIB_INLINE void pairs_tile_##ROWS(size_t pairs, const uint16_t *a, size_t lda,                 \
                                      const uint16_t *b, terms more, results to)                   \
    {                                                                                              \
        V s[ROWS][2];                                                                              \
        const uint16_t *rows[(ROWS + 2) / 3];                                                      \
        BEGIN_SUMS(ROWS, 2, to)                                                                    \
        _Pragma("GCC unroll 16") for (size_t i = 0; i < (ROWS + 2) / 3; i++)                       \
            rows[i] = a + 3 * i * lda;                                                             \
        for (size_t k = 0; k < pairs; k++) {                                                       \
            __m512i b0 = _mm512_loadu_si512(b + k * 32);                                           \
            __m512i b1 = _mm512_loadu_si512(b + (pairs + k) * 32);                                 \
            _Pragma("GCC unroll 16") for (int r = 0; r < ROWS; r++) {                              \
                __m512i x = pair_at(rows[r / 3] + (size_t)(r % 3) * lda);                          \
                s[r][0] = dot_pairs(s[r][0], x, b0);                                               \
                s[r][1] = dot_pairs(s[r][1], x, b1);                                               \
            }                                                                                      \
            _Pragma("GCC unroll 16") for (size_t i = 0; i < (ROWS + 2) / 3; i++) rows[i] += 2;     \
        }                                                                                          \
        ADD_TERMS(ROWS, 2, more)                                                                   \
        END_SUMS(ROWS, 2, to)                                                                      \
    }
TILE_HEIGHTS(PAIRS_TILE, 2)

static void pairs_tile_rows(size_t rows, size_t pairs, const uint16_t *a, size_t lda,
                            const uint16_t *b, terms more, results to)
{
    switch (rows) {
#define RUN(ROWS, VECTORS) case ROWS: pairs_tile_##ROWS(pairs, a, lda, b, more, to); break;
        TILE_HEIGHTS(RUN, 2)
#undef RUN
    }
}

void NIB_PAIRS_VARIANT(gemm_bf16)(size_t M, size_t N, size_t K, const uint16_t *a, size_t lda,
                                  const uint16_t *panel, float *c, size_t ldc, bool add,
                                  const nib_gemm_end *end)
{
    /* of 0 terms nothing is read */
    const nib_gemm_end last = end ? *end : (nib_gemm_end){ .a = c, .panel = c };

    assert(K % 2 == 0);
    for (size_t m = 0, rows; m < M; m += rows) { /* rows that stay in the caches for all panels */
        rows = nib_ceil_div(M - m, nib_ceil_div(M - m, 56));
        for (size_t n = 0; n < N; n += NIB_PANEL)
            for (size_t i = m, height; i < m + rows; i += height) {
                terms more = terms_at(last.K, last.a + i * last.K, last.K, last.panel, n);
                results to = results_at(c, ldc, add, &last, i, n);
                height = tile_height(m + rows - i);
                fetch_results(&to, height, m + rows - i);
                pairs_tile_rows(height, K / 2, a + i * lda, lda, panel + n * K, more, to);
            }
    }
}
