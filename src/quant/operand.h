/* operand.h - the rows on the left of a product, x or dy, in the form that it reads.
 *
 * Rows of bfloat16 are multiplied as they are where the processor has an instruction for it and
 * there is an even number of terms; elsewhere they are widened to floats, once for all products
 * that read them.  Rows a multiple of 4096 bytes apart would all fall into the same few sets of the
 * first cache (a third of the speed at 4096 columns): they are moved apart. */
#ifndef NIB_QUANT_OPERAND_H
#define NIB_QUANT_OPERAND_H

#include "base/context.h"
#include "kernel/kernels.h"

/* Rows of `type`, NIB_F32 or NIB_BF16, ld values from one to the next. */
typedef struct nib_operand {
    const void *x;
    size_t ld;
    nib_dtype type;
} nib_operand;

/* The type in which a product reads rows of `width` values of `type`. */
nib_dtype nib_operand_type(const nib_kernels *k, nib_dtype type, size_t width);
bool nib_operand_is_ready(const nib_kernels *k, size_t width, nib_operand x);
/* x itself where it is ready, else where nib_operand_ready() copies it. */
nib_operand nib_operand_place(const nib_kernels *k, size_t width, nib_operand x, void *space);
/* The same, copied; `space` of nib_operand_bytes(). */
nib_operand nib_operand_ready(nib_ctx *ctx, const nib_kernels *k, size_t rows, size_t width,
                              nib_operand x, void *space);
/* For up to max_rows rows, whatever lies between them. */
size_t nib_operand_bytes(const nib_kernels *k, nib_dtype type, size_t width, size_t max_rows);

/* x with column i multiplied by gain[i], ready, in `space` of nib_operand_scaled_bytes(); rounded
 * again where it is bfloat16. */
nib_operand nib_operand_scaled(nib_ctx *ctx, const nib_kernels *k, size_t rows, size_t width,
                               nib_operand x, const float *gain, void *space);
size_t nib_operand_scaled_bytes(size_t width, size_t max_rows); /* of any type */

static inline const void *nib_operand_row(const nib_operand *x, size_t row)
{
    return (const char *)x->x + row * x->ld * nib_dtype_bytes(x->type);
}

#endif
