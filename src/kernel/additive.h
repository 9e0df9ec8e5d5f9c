/* additive.h - rows of additively quantized weights (AQLM): each group of inputs is a sum of
 * entries of several codebooks, times a scale of the row.
 *
 *     w[g * G + v] = scale * sum over k of book[k][code[g, k]][part + v]
 *
 * Sums are float, k after k, whatever type the books have.  Codes are little-endian integers of
 * `width` bytes, of which the low `bits` count: any bytes are codes of an entry that there is.
 *
 * Source: Egiazarian et al. 2024, arXiv:2401.06118; formats.md 8.1. */
#ifndef NIB_KERNEL_ADDITIVE_H
#define NIB_KERNEL_ADDITIVE_H

#include "base/base.h"
#include "base/dtype.h"
#include "kernel/gemm.h"

typedef struct nib_additive_row {
    const uint8_t *codes; /* of the first group: `books` codes, one after another */
    size_t step;          /* bytes from there to those of the next group */
    const void *entries;  /* [books][2^bits][entry] of `type`: NIB_F16, NIB_BF16 or NIB_F32 */
    nib_dtype type;
    unsigned width, bits, books;
    unsigned group;       /* inputs of a group */
    unsigned entry, part; /* values of an entry, and where in it this row's begin */
    float scale;
} nib_additive_row;

/* Code k of the group that begins at `codes`. */
static inline size_t nib_additive_code(const nib_additive_row *r, const uint8_t *codes, unsigned k)
{
    const uint8_t *c = codes + (size_t)k * r->width;
    size_t code = c[0] | (r->width > 1 ? (size_t)c[1] << 8 : 0);

    return code & (((size_t)1 << r->bits) - 1);
}

/* Where the values lie that code k of a group means, in values of `type`. */
static inline size_t nib_additive_place(const nib_additive_row *r, const uint8_t *codes, unsigned k)
{
    return (((size_t)k << r->bits) + nib_additive_code(r, codes, k)) * r->entry + r->part;
}

/* dst[groups * group].  Every variant gives the same bits. */
typedef void nib_additive_decode_fn(const nib_additive_row *r, size_t groups, float *dst);

/* 32 columns of some rows, which follow each other by `stride` bytes of codes. */
typedef struct nib_additive_column {
    nib_additive_row first; /* from the columns on; its group divides 32 */
    size_t stride;
    const float *scales; /* [rows]; first.scale is not read */
} nib_additive_column;

/* Packs them as a panel whose terms are the rows (gemm.h); strip: values from the first strip to
 * the second; terms even for pairs.  The bits are those of additive_decode. */
typedef void nib_additive_back_fn(const nib_additive_column *c, size_t terms, nib_pack_kind pack,
                                  void *panel, size_t strip);

/* y[m * ldy] = the row . row m < M of x [M, groups * group], M at most NIB_DOT_ROWS.  Sums in
 * float, in an order of the variant's own, which is the same for every M. */
typedef void nib_additive_dot_fn(const nib_additive_row *r, size_t M, size_t groups,
                                 const float *x, float *y, size_t ldy);

#endif
