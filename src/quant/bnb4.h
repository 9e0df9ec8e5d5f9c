/* bnb4.h - bitsandbytes' 4-bit formats, NF4 and FP4 (formats.md 4), for quant/ alone.
 *
 * Blocks run over the flattened matrix and may cross rows. */
#ifndef NIB_QUANT_BNB4_H
#define NIB_QUANT_BNB4_H

#include "quant/weight.h"

typedef struct nib_bnb4 {
    nib_weight base;
    const uint8_t *codes;      /* ceil(out * in / 2) bytes, high nibble first, file order */
    float table[16];           /* code -> value: the file's quant_map */
    unsigned blocksize;        /* 32 to 4096, a power of two */
    const float *absmax;       /* [blocks], or NULL when nested: */
    const uint8_t *absmax_q;   /* [blocks] */
    const float *nested_absmax;/* [ceil(blocks / 256)] */
    float nested_table[256];
    float nested_offset; /* absmax[i] = nested_table[q[i]] * nested_absmax[i / 256] + offset */
    bool is_fp4;
    /* Decodes a run of one block (kernel/quant4.h), for the processor at hand. */
    void (*decode)(const uint8_t *codes, size_t n, const float values[16], float *dst);
    void *owned; /* one block holding those of the arrays above that lie on no map, or NULL */
} nib_bnb4;

extern const float nib_nf4_table[16], nib_fp4_table[16]; /* code -> value, formats.md 4.2 */
extern const nib_scheme nib_bnb4_scheme;

bool nib_bnb4_blocksize_known(uint64_t blocksize); /* 32, 64, ... 4096 */

/* The scale of a block. */
static inline float nib_bnb4_absmax(const nib_bnb4 *q, size_t block)
{
    if (q->absmax) return q->absmax[block];
    return nib_nested_scale(q->nested_table, q->absmax_q, q->nested_absmax, q->nested_offset,
                            block);
}

/* The form's settings. */
typedef struct nib_bnb4_options {
    bool fp4;            /* else nf4 */
    bool double_quant;
    unsigned blocksize;  /* 64 */
    nib_dtype dtype;     /* recorded in the blob: what dequantizing returns */
} nib_bnb4_options;

nib_form nib_bnb4_form(const nib_bnb4_options *options);
nib_bnb4_options nib_bnb4_form_options(const nib_form *f);

/* Encodes a matrix in one pass over `rows(arg, r0, r1, dst)`, which gives rows as float
 * (so pages of a map can be given back when it is done).  Parallel: `rows` is called by
 * several threads at once, and a row in which two tiles meet is asked for twice.
 * Codes and absmax are bit-equal to bitsandbytes' CPU library (formats.md 4.4): a NaN or
 * infinity gives such an absmax, which the caller may look for with nib_weight_finite();
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
