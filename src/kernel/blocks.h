/* blocks.h - kernels of ggml's block formats: decoding whole blocks, and dots of rows of them.
 *
 * A block holds 32 or 256 values, in parts of 32.  Every format is at bottom the same: a part has
 * 32 small integers, and each half of it a scale and an offset,
 *
 *     value = code * scale - offset         product and difference rounded by themselves
 *
 * so that a format is one function that unpacks a part.
 * Source: ggml, src/ggml-quants.c; formats.md 12.3, 12.4, formats-quant.md 7.9. */
#ifndef NIB_KERNEL_BLOCKS_H
#define NIB_KERNEL_BLOCKS_H

#include "base/base.h"
#include "kernel/dot4.h"
#include "kernel/fixed.h"
#include "kernel/gemm.h"

/* Name, values and bytes of a block, whether it has offsets. */
#define NIB_BLOCK_LIST(X)                                                                          \
    X(Q4_0, 32, 18, false)                                                                         \
    X(Q4_1, 32, 20, true)                                                                          \
    X(Q5_0, 32, 22, false)                                                                         \
    X(Q5_1, 32, 24, true)                                                                          \
    X(Q8_0, 32, 34, false)                                                                         \
    X(Q2_K, 256, 84, true)                                                                         \
    X(Q3_K, 256, 110, false)                                                                       \
    X(Q4_K, 256, 144, true)                                                                        \
    X(Q5_K, 256, 176, true)                                                                        \
    X(Q6_K, 256, 210, false)                                                                       \
    X(IQ4_NL, 32, 18, false)                                                                       \
    X(IQ4_XS, 256, 136, false)                                                                     \
    X(MXFP4, 32, 17, false)

#define NIB_BLOCK_KIND(name, values, bytes, offset) NIB_BLOCK_##name,
typedef enum nib_block_kind { NIB_BLOCK_LIST(NIB_BLOCK_KIND) NIB_BLOCK_KINDS } nib_block_kind;
#undef NIB_BLOCK_KIND

enum { NIB_BLOCK_PART = 32, NIB_BLOCK_HALF = 16 };

typedef struct nib_block_layout {
    const char *name; /* as GGUF has it: "Q4_K" */
    uint16_t values, bytes;
    bool has_offset;
} nib_block_layout;
extern const nib_block_layout nib_block_layouts[NIB_BLOCK_KINDS];

/* The same as constants, where the kind is one. */
static inline nib_block_layout nib_block_layout_of(nib_block_kind kind)
{
    switch (kind) {
#define NIB_BLOCK_CASE(name, values, bytes, offset)                                                \
    case NIB_BLOCK_##name: return (nib_block_layout){ #name, values, bytes, offset };
        NIB_BLOCK_LIST(NIB_BLOCK_CASE)
#undef NIB_BLOCK_CASE
    case NIB_BLOCK_KINDS: break;
    }
    return (nib_block_layout){ "", 0, 0, false };
}

typedef struct nib_block_part {
    int8_t codes[NIB_BLOCK_PART];
    float scale[2], offset[2]; /* of the values up to 16, and of the others */
} nib_block_part;

/* dst[count * values] of `count` blocks, at any address.  Every variant gives the same bits. */
typedef void nib_blocks_decode_fn(nib_block_kind kind, size_t count, const uint8_t *blocks,
                                  float *dst);

/* Rows of blocks. */
typedef struct nib_block_rows {
    const uint8_t *blocks; /* where row 0 lies */
    size_t stride;         /* bytes from row to row */
    const uint32_t *rows;  /* the row that each is; NULL: 0, 1, 2, ... */
} nib_block_rows;

static inline const uint8_t *nib_block_row(const nib_block_rows *w, size_t i)
{
    return w->blocks + (w->rows ? w->rows[i] : i) * w->stride;
}

/* One part of a block of each of some rows: 32 columns of a matrix. */
typedef struct nib_block_column {
    nib_block_rows of; /* a row for each term, from that block on */
    size_t part;
} nib_block_column;

/* Packs them as a panel whose terms are the rows (gemm.h); strip: values from the first strip to
 * the second; terms even for pairs.  Every variant gives the same bits, those of blocks_decode. */
typedef void nib_blocks_back_fn(nib_block_kind kind, const nib_block_column *c, size_t terms,
                                nib_pack_kind pack, void *panel, size_t strip);

/* y[m * ldy] = row of `count` blocks . row m < M of x, M at most NIB_DOT_ROWS.  x [M, count *
 * values].  Sums in float, in an order of the variant's own, which is the same for every M. */
typedef void nib_blocks_dot_fn(nib_block_kind kind, size_t M, size_t count, const uint8_t *blocks,
                               const float *x, float *y, size_t ldy);

/* y[m * ldy + i] = row i of `rows` rows of `count` blocks . row m of x in fixed point (fixed.h,
 * NIB_FIXED_EVEN_ODD), from the row's first term on.  Not for kinds that have bytes. */
typedef void nib_blocks_dot_fixed_fn(nib_block_kind kind, size_t M, size_t count,
                                     const nib_block_rows *w, size_t rows, const nib_fixed_x *x,
                                     float *y, size_t ldy);

/* The same for kinds that have bytes, an even number of blocks; x arranged as NIB_FIXED_HALVES, its
 * sums those of blocks. */
typedef nib_blocks_dot_fixed_fn nib_blocks_dot_bytes_fn;

/* Blocks of 32 codes of at most 5 bits that count from 0, or can be made to. */
static inline bool nib_block_has_bytes(nib_block_kind kind)
{
    return kind == NIB_BLOCK_Q4_0 || kind == NIB_BLOCK_Q4_1 || kind == NIB_BLOCK_Q5_0 ||
           kind == NIB_BLOCK_Q5_1 || kind == NIB_BLOCK_MXFP4;
}

#endif
