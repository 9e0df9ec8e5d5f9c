/* gemm.h - micro-kernels of the matrix product and the packers of its panels.
 *
 *     c[M, N] (+)= a[M, K] panel[K, N]
 *
 * A panel is made of strips of NIB_STRIP columns, k by k, so that a micro-kernel reads one or two
 * streams, from the second cache where a strip outgrows the first:
 *
 *     float     panel[n / 16][k][16]
 *     bfloat16  panel[n / 16][k / 2][16][2]     pairs of neighbouring k
 *
 * Packers make NIB_PANEL columns, two strips, at a time.
 *
 * a is read where it lies, row by row: the rows of a tile fit in the first cache, unless lda is a
 * multiple of 4096 bytes, when they all fall into the same few sets of it (a third slower).
 * Each sum runs over k in order, in float; a row's values do not depend on the others.
 * Source of the loops: Van Zee and van de Geijn 2015 (BLIS). */
#ifndef NIB_KERNEL_GEMM_H
#define NIB_KERNEL_GEMM_H

#include "base/base.h"
#include "base/dtype.h"

enum { NIB_STRIP = 16, NIB_PANEL = 2 * NIB_STRIP };

/* What a panel's values are: floats, floats rounded to bfloat16, pairs of bfloat16. */
typedef enum nib_pack_kind { NIB_PACK_F32, NIB_PACK_ROUNDED, NIB_PACK_PAIRS } nib_pack_kind;

static inline size_t nib_pack_value_bytes(nib_pack_kind kind)
{
    return kind == NIB_PACK_PAIRS ? sizeof(uint16_t) : sizeof(float);
}

/* Puts the value of a term and of one of the 32 columns into a panel, the references' way; strip:
 * values from the first strip to the second. */
static inline void nib_pack_put(nib_pack_kind kind, void *panel, size_t strip, size_t term,
                                size_t column, float x)
{
    size_t first = column / NIB_STRIP * strip, n = column % NIB_STRIP;

    if (kind == NIB_PACK_PAIRS)
        ((uint16_t *)panel)[first + term / 2 * 2 * NIB_STRIP + 2 * n + term % 2] =
            nib_f32_to_bf16(x);
    else
        ((float *)panel)[first + term * NIB_STRIP + n] =
            kind == NIB_PACK_ROUNDED ? nib_round_bf16(x) : x;
}

/* What ends each sum, with the last of its terms, in its register.  All zeros: nothing. */
typedef struct nib_gemm_end {
    size_t K;               /* more terms, of a low-rank branch, in float: */
    const float *a, *panel; /* a [M, K], panel [K, N] in strips */
    const float *gain;      /* [N], which the sums are then multiplied by, or NULL: not with sums
                               that began in c before this product */
    const float *bias;      /* [N], added then, or NULL */
    uint16_t *y;            /* [M, ldy]: where sums go, rounded to bfloat16, or NULL; c is then
                               read at most, when its sums are added to */
    size_t ldy;
    bool accumulate; /* y += */
} nib_gemm_end;

/* c [M, ldc] float; N a multiple of 16 (of 32 with pairs), ldc >= N; add: c += instead of c =.
 * end: NULL where more terms follow. */
typedef void nib_gemm_f32_fn(size_t M, size_t N, size_t K, const float *a, size_t lda,
                             const float *panel, float *c, size_t ldc, bool add,
                             const nib_gemm_end *end);
/* K even. */
typedef void nib_gemm_bf16_fn(size_t M, size_t N, size_t K, const uint16_t *a, size_t lda,
                              const uint16_t *panel, float *c, size_t ldc, bool add,
                              const nib_gemm_end *end);

/* dst[n / 16][k][n % 16] = src[n][k], 32 rows of `k` 32-bit words, row stride ld: floats, or pairs
 * of bfloat16.  strip: words from the first strip to the second, k * 16 where the panel is no
 * longer than this. */
typedef void nib_pack_transposed_fn(size_t k, const uint32_t *src, size_t ld, uint32_t *dst,
                                    size_t strip);
/* The same of 32 rows of `k` bfloat16 values, row stride ld, as floats. */
typedef void nib_pack_widened_fn(size_t k, const uint16_t *src, size_t ld, float *dst);
/* dst[n / 16][i][n % 16] = src[i][n]: `rows` rows of 32 values, float32 or bfloat16, as they lie,
 * as floats. */
typedef void nib_pack_rows_fn(nib_dtype type, size_t rows, const void *src, size_t ld, float *dst);
/* dst[i] = bf16(a[i]) | bf16(b[i]) << 16: pairs of rows for the backward panel. */
typedef void nib_pack_pairs_fn(size_t n, const float *a, const float *b, uint32_t *dst);
/* dst[i] = a[i] | b[i] << 16: the same of values that are bfloat16 already. */
typedef void nib_interleave_fn(size_t n, const uint16_t *a, const uint16_t *b, uint32_t *dst);
/* sum of x[i] * y[i], n values, in the lanes' fixed order. */
typedef float nib_dot_fn(size_t n, const float *x, const float *y);

#endif
