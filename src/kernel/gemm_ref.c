/* gemm_ref.c - the product and its packers, plainly. */
#include "kernel/kernels.h"

static float add_terms(float sum, size_t K, const float *a, const float *panel, size_t n)
{
    const float *b = panel + n / NIB_STRIP * K * NIB_STRIP + n % NIB_STRIP;
    for (size_t k = 0; k < K; k++) sum += a[k] * b[k * NIB_STRIP];
    return sum;
}

void nib_gemm_f32_ref(size_t M, size_t N, size_t K, const float *a, size_t lda, const float *panel,
                      float *c, size_t ldc, bool add, const nib_gemm_end *end)
{
    for (size_t m = 0; m < M; m++)
        for (size_t n = 0; n < N; n++) {
            float sum = add_terms(add ? c[m * ldc + n] : 0, K, a + m * lda, panel, n);
            if (end) sum = add_terms(sum, end->K, end->a + m * end->K, end->panel, n);
            if (end && end->gain) sum *= end->gain[n];
            if (end && end->bias) sum += end->bias[n];
            if (end && end->y) {
                uint16_t *y = end->y + m * end->ldy + n;
                *y = nib_f32_to_bf16(end->accumulate ? nib_bf16_to_f32(*y) + sum : sum);
            } else {
                c[m * ldc + n] = sum;
            }
        }
}

void nib_pack_transposed_ref(size_t k, const uint32_t *src, size_t ld, uint32_t *dst, size_t strip)
{
    for (size_t i = 0; i < k; i++)
        for (size_t n = 0; n < NIB_PANEL; n++)
            dst[n / NIB_STRIP * strip + i * NIB_STRIP + n % NIB_STRIP] = src[n * ld + i];
}

void nib_pack_widened_ref(size_t k, const uint16_t *src, size_t ld, float *dst)
{
    for (size_t i = 0; i < k; i++)
        for (size_t n = 0; n < NIB_PANEL; n++)
            dst[(n / NIB_STRIP * k + i) * NIB_STRIP + n % NIB_STRIP] = nib_bf16_to_f32(
                src[n * ld + i]);
}

void nib_pack_rows_ref(nib_dtype type, size_t rows, const void *src, size_t ld, float *dst)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t n = 0; n < NIB_PANEL; n++)
            dst[(n / NIB_STRIP * rows + i) * NIB_STRIP + n % NIB_STRIP] =
                nib_get(type, src, i * ld + n);
}

void nib_pack_pairs_ref(size_t n, const float *a, const float *b, uint32_t *dst)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = nib_f32_to_bf16(a[i]) | (uint32_t)nib_f32_to_bf16(b[i]) << 16;
}

void nib_interleave_ref(size_t n, const uint16_t *a, const uint16_t *b, uint32_t *dst)
{
    for (size_t i = 0; i < n; i++) dst[i] = a[i] | (uint32_t)b[i] << 16;
}

float nib_dot_ref(size_t n, const float *x, const float *y)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}
