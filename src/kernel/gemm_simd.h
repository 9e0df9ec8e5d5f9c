/* gemm_simd.h - the body of gemm_avx2.c and gemm_avx512.c. */
#include "kernel/gemm_fetch.h"
#include "kernel/kernels.h"

enum {
    ROW_BLOCK = VN == 16 ? 56 : 72
}; /* rows of a that stay in the second cache for all strips */

void NIB_VARIANT(gemm_f32)(size_t M, size_t N, size_t K, const float *a, size_t lda,
                           const float *panel, float *c, size_t ldc, bool add,
                           const nib_gemm_end *end)
{
    /* of 0 terms nothing is read */
    const nib_gemm_end last = end ? *end : (nib_gemm_end){ .a = c, .panel = c };

    for (size_t m = 0, rows; m < M; m += rows) {
        rows = nib_min(nib_round_up(nib_ceil_div(M - m, nib_ceil_div(M - m, ROW_BLOCK)), TILE_ROWS),
                       M - m);
        for (size_t n = 0; n < N; n += TILE_COLUMNS)
            for (size_t i = m, height; i < m + rows; i += height) {
                terms t = terms_at(K, a + i * lda, lda, panel, n);
                terms more = terms_at(last.K, last.a + i * last.K, last.K, last.panel, n);
                results to = results_at(c, ldc, add, &last, i, n);
                height = tile_height(m + rows - i);
                fetch_results(&to, height, m + rows - i);
                if (N - n >= TILE_COLUMNS) tile_rows(height, t, more, to);
                else tile_rows_strip(height, t, more, to);
            }
    }
}

void NIB_VARIANT(pack_pairs)(size_t count, const float *a, const float *b, uint32_t *dst)
{
    uint16_t low[VN], high[VN];
    for (size_t i = 0; i < count; i += VN) {
        size_t n = nib_min(VN, count - i);
        v_put(NIB_BF16, low, 0, n, v_get(NIB_F32, a, i, n));
        v_put(NIB_BF16, high, 0, n, v_get(NIB_F32, b, i, n));
        NIB_VARIANT(interleave)(n, low, high, dst + i);
    }
}

void NIB_VARIANT(interleave)(size_t count, const uint16_t *a, const uint16_t *b, uint32_t *dst)
{
    size_t i = 0;

    for (; i + 8 <= count; i += 8) {
        __m256i low = _mm256_cvtepu16_epi32(
            _mm_loadu_si128((const __m128i *)(const void *)(a + i)));
        __m256i high = _mm256_cvtepu16_epi32(
            _mm_loadu_si128((const __m128i *)(const void *)(b + i)));
        _mm256_storeu_si256((__m256i *)(void *)(dst + i),
                            _mm256_or_si256(low, _mm256_slli_epi32(high, 16)));
    }
    nib_interleave_ref(count - i, a + i, b + i, dst + i);
}

float NIB_VARIANT(dot)(size_t count, const float *x, const float *y)
{
    V s[4] = { v_zero(), v_zero(), v_zero(), v_zero() };
    size_t i = 0;

    for (; i + 4 * VN <= count; i += 4 * VN)
        for (size_t j = 0; j < 4; j++)
            s[j] = v_fma(v_load(x + i + j * VN), v_load(y + i + j * VN), s[j]);
    for (; i < count; i += VN) {
        size_t n = nib_min(VN, count - i);
        s[0] = v_fma(v_get(NIB_F32, x, i, n), v_get(NIB_F32, y, i, n), s[0]);
    }
    return v_sum(v_add(v_add(s[0], s[1]), v_add(s[2], s[3])));
}

void NIB_VARIANT(pack_transposed)(size_t k, const uint32_t *src, size_t ld, uint32_t *dst,
                                  size_t strip)
{
    for (size_t n = 0; n < NIB_PANEL; n += 8) {
        uint32_t *to = dst + n / NIB_STRIP * strip + n % NIB_STRIP;
        size_t i = 0;
        for (; i + 8 <= k; i += 8) {
            __m256i r[8];
            for (size_t j = 0; j < 8; j++)
                r[j] = _mm256_loadu_si256((const __m256i *)(src + (n + j) * ld + i));
            transpose8(r, to + i * NIB_STRIP, NIB_STRIP);
        }
        for (; i < k; i++)
            for (size_t j = 0; j < 8; j++) to[i * NIB_STRIP + j] = src[(n + j) * ld + i];
    }
}

NIB_INLINE __m256i widened8(const uint16_t *p)
{
    return _mm256_slli_epi32(
        _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)), 16);
}

void NIB_VARIANT(pack_widened)(size_t k, const uint16_t *src, size_t ld, float *dst)
{
    for (size_t n = 0; n < NIB_PANEL; n += 8) {
        uint32_t *strip = (uint32_t *)(void *)dst + n / NIB_STRIP * k * NIB_STRIP + n % NIB_STRIP;
        size_t i = 0;
        for (; i + 8 <= k; i += 8) {
            __m256i r[8];
            for (size_t j = 0; j < 8; j++) r[j] = widened8(src + (n + j) * ld + i);
            transpose8(r, strip + i * NIB_STRIP, NIB_STRIP);
        }
        for (; i < k; i++)
            for (size_t j = 0; j < 8; j++)
                strip[i * NIB_STRIP + j] = (uint32_t)src[(n + j) * ld + i] << 16;
    }
}

enum { ROWS_AHEAD = 24 }; /* a row of the matrix is a cache line or two here, far from the next */

NIB_INLINE void pack_rows_of(nib_dtype type, size_t rows, const void *src, size_t ld, float *dst)
{
    const size_t bytes = nib_dtype_bytes(type);

    for (size_t i = 0; i < rows; i++) {
        const char *ahead = (const char *)src + (i + ROWS_AHEAD) * ld * bytes;
        for (size_t line = 0; i + ROWS_AHEAD < rows && line < NIB_PANEL * bytes; line += 64)
            _mm_prefetch(ahead + line, _MM_HINT_T0);
        for (size_t n = 0; n < NIB_PANEL; n += VN)
            v_store(dst + (n / NIB_STRIP * rows + i) * NIB_STRIP + n % NIB_STRIP,
                    v_get(type, src, i * ld + n, VN));
    }
}

void NIB_VARIANT(pack_rows)(nib_dtype type, size_t rows, const void *src, size_t ld, float *dst)
{
    if (type == NIB_F32) pack_rows_of(NIB_F32, rows, src, ld, dst);
    else pack_rows_of(NIB_BF16, rows, src, ld, dst);
}
