/* weight.h - the one door to a weight.
 *
 * A weight is a frozen matrix [out, in] in some scheme.  A scheme must give
 * decode_tile; from that alone generic packers make every panel of the product,
 * forward and backward.  Everyone (linear, embedding, merging, error reports)
 * goes through here, so each adapter and each architecture works with a new
 * scheme on the day it lands.
 *
 * A decoded value is rounded once, to the compute type, forward and backward. */
#ifndef NIB_QUANT_WEIGHT_H
#define NIB_QUANT_WEIGHT_H

#include "base/base.h"
#include "base/dtype.h"
#include "kernel/kernels.h"

typedef struct nib_weight nib_weight;

/* A piece of a product's panel (kernel/gemm.h): 32 columns (two strips), all of a block of terms.
 *     forward    columns are the rows c0 .. c0 + 32 of the weight, terms its columns t0 ..
 *     backward   columns are its columns c0 .. c0 + 32, terms its rows t0 .. */
typedef struct nib_pack {
    enum {
        NIB_PACK_F32,
        NIB_PACK_ROUNDED,
        NIB_PACK_PAIRS
    } kind; /* floats; floats rounded to bfloat16; pairs of it */
    bool backward;
    size_t c0, t0, terms;
} nib_pack;

typedef enum nib_dot_kind {
    NIB_DOT_NONE,
    NIB_DOT_FLOATS,
    NIB_DOT_FIXED, /* x and table in 16 bits of fixed point (kernel/dot4.h) */
    NIB_DOT_PAIRS  /* of bfloat16 */
} nib_dot_kind;

/* What a product of few rows may lose where x is float32, in the words of
 * torch.set_float32_matmul_precision: "highest" is float's own rounding, "high" some 16 bits. */
typedef enum nib_precision { NIB_PRECISION_HIGHEST, NIB_PRECISION_HIGH } nib_precision;

typedef struct nib_scheme {
    const char *name; /* "dense", "bnb4" */
    /* Decodes rows [r0, r1) x columns [k0, k1) to float, unrounded, row r at
     * dst + (r - r0) * ld.  Any rectangle inside the matrix; reads nothing else. */
    void (*decode_tile)(const nib_weight *w, size_t r0, size_t r1, size_t k0, size_t k1, float *dst,
                        size_t ld);
    void (*destroy)(nib_ctx *ctx, nib_weight *w); /* frees what the weight owns, and w */
    /* Optional: packs a piece of a panel without decoding it to floats first.  The bits are those
     * of decode_tile and the generic packer; false when this weight's shape does not allow it. */
    bool (*pack)(const nib_weight *w, const nib_kernels *k, const nib_pack *p, void *panel);
    /* Optional, all three: products of few rows x with rows of the weight, read once
     * (kernel/dot4.h). How this weight takes x of a compute type, where float32 may lose
     * `precision`; NIB_DOT_NONE: not at all. */
    nib_dot_kind (*dot_kind)(const nib_weight *w, const nib_kernels *k, nib_dtype type,
                             nib_precision precision);
    /* Puts x [in], of floats, or of bfloat16 for NIB_DOT_PAIRS, into the form that dot reads, in no
     * more bytes. */
    void (*dot_ready)(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, const void *x,
                      void *ready);
    /* y[m * ldy + r - r0] = row r . row m < M of x, M at most NIB_DOT_ROWS; rows made ready lie one
     * after the other. */
    void (*dot)(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, size_t M,
                const void *ready, size_t r0, size_t r1, float *y, size_t ldy);
} nib_scheme;

/* Dense: rows of float32, float16 or bfloat16, in file order, perhaps on a map. */
typedef struct nib_dense {
    nib_dtype dtype;
    const void *data; /* [out, in], row-major */
    void *owned;      /* what to free, or NULL when data lies on a map */
} nib_dense;

/* bitsandbytes' 4-bit formats, NF4 and FP4 (formats.md 4).  Blocks run over the
 * flattened matrix and may cross rows. */
typedef struct nib_bnb4 {
    const uint8_t *codes;      /* ceil(out * in / 2) bytes, high nibble first, file order */
    float table[16];           /* code -> value: the file's quant_map */
    unsigned blocksize;        /* 32 to 4096, a power of two */
    const float *absmax;       /* [blocks], or NULL when nested: */
    const uint8_t *absmax_q;   /* [blocks] */
    const float *nested_absmax;/* [ceil(blocks / 256)] */
    float nested_table[256];
    float nested_offset; /* absmax[i] = nested_table[q[i]] * nested_absmax[i / 256] + offset */
    bool is_fp4;
    nib_dtype dtype;           /* the blob's dtype: what the original was */
    /* Decodes a run of one block (kernel/quant4.h), for the processor at hand. */
    void (*decode)(const uint8_t *codes, size_t n, const float values[16], float *dst);
    void *owned; /* one block holding those of the arrays above that lie on no map, or NULL */
} nib_bnb4;

/* The scale of a block. */
static inline float nib_bnb4_absmax(const nib_bnb4 *q, size_t block)
{
    if (q->absmax) return q->absmax[block];
    return nib_nested_scale(q->nested_table, q->absmax_q, q->nested_absmax, q->nested_offset,
                            block);
}

struct nib_weight {
    const nib_scheme *scheme;
    size_t out, in;
    union {
        nib_dense dense;
        nib_bnb4 bnb4;
    } as;
    size_t resident_bytes; /* what the weight takes, mapped or owned */
    const char *source;    /* tensor name in its file, borrowed from the file's view */
};

/* A dense weight over `data`, which must outlive it unless `owned` (freed with it). */
nib_status nib_weight_dense(nib_ctx *ctx, size_t out, size_t in, nib_dtype dtype, const void *data,
                            void *owned, nib_weight **w, nib_error *err);
const nib_dense *nib_weight_as_dense(const nib_weight *w); /* NULL: of another scheme */
void nib_weight_destroy(nib_ctx *ctx, nib_weight *w); /* NULL is fine */

/* One row range decoded to float, unrounded (embedding, merging, reports). */
static inline void nib_weight_decode(const nib_weight *w, size_t r0, size_t r1, float *dst)
{
    w->scheme->decode_tile(w, r0, r1, 0, w->in, dst, w->in);
}

/* Rounds decoded values to the compute type where they are multiplied as floats; through: room for
 * n. */
static inline void nib_weight_round(const nib_kernels *k, nib_dtype type, size_t n, float *x,
                                    uint16_t *through)
{
    if (type != NIB_BF16) return;
    k->to_bf16(n, x, through);
    k->from_bf16(n, through, x);
}

/* --- bitsandbytes 4 bit --- */
typedef struct nib_bnb4_options {
    bool fp4;            /* else nf4 */
    bool double_quant;
    unsigned blocksize;  /* 64 */
    nib_dtype dtype;     /* recorded in the blob: what dequantizing returns */
} nib_bnb4_options;

/* Encodes a matrix in one pass over `rows(arg, r0, r1, dst)`, which gives rows as float
 * (so pages of a map can be given back when it is done).  Parallel: `rows` is called by
 * several threads at once, and a row in which two tiles meet is asked for twice.
 * Codes and absmax are bit-equal to bitsandbytes' CPU library (formats.md 4.4): a NaN or
 * infinity gives such an absmax, which the caller may look for with nib_bnb4_finite();
 * with double quantization it fails with NIB_E_NUMERIC, for the mean would be lost.
 * Fails with NIB_E_INVALID (block size), NIB_E_NOMEM too. */
typedef void (*nib_rows_fn)(void *arg, size_t r0, size_t r1, float *dst);
nib_status nib_bnb4_encode(nib_ctx *ctx, const nib_bnb4_options *options, size_t out, size_t in,
                           nib_rows_fn rows, void *arg, nib_weight **w, nib_error *err);
/* The same from a weight of any scheme; a dense one is read where it lies, which is faster. */
nib_status nib_bnb4_encode_weight(nib_ctx *ctx, const nib_bnb4_options *options,
                                  const nib_weight *from, nib_weight **w, nib_error *err);
bool nib_bnb4_finite(const nib_weight *w); /* every block scale is a finite number */

#endif
