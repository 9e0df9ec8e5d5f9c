/* int8.h - the scheme of bitsandbytes' 8-bit weights (LLM.int8), for quant/ alone.
 *
 *     W[o, i] = codes[o, i] * (SCB[o] * (1 / 127))        SCB: the row's absmax, float16 exactly
 *
 * Source: formats.md 4.6, 4.7; Dettmers et al. 2022, arXiv:2208.07339. */
#ifndef NIB_QUANT_INT8_H
#define NIB_QUANT_INT8_H

#include "quant/bnb_config.h"
#include "quant/weight.h"

typedef struct nib_int8 {
    nib_weight base;
    const int8_t *codes; /* [out, in], file order */
    const float *scb;    /* [out] */
    float threshold;     /* llm_int8_threshold; 0: no outliers */
    nib_int8_decode_fn *decode; /* kernel/rows8.h, for the processor at hand */
    void *owned;         /* one block holding those of the arrays that lie on no map, or NULL */
} nib_int8;

extern const nib_scheme nib_int8_scheme;

/* The step between two codes of a row: a decoded value is one product. */
static inline float nib_int8_step(const nib_int8 *q, size_t row)
{
    return q->scb[row] * (1.0f / 127);
}

nib_form nib_int8_form(nib_dtype dtype, float threshold);
float nib_int8_form_threshold(const nib_form *f);

/* A weight over arrays that must outlive it unless they lie in `owned`, which is freed with it.
 * NIB_E_UNSUPPORTED: rows longer than NIB_INT8_MOST_TERMS; NIB_E_NOMEM. */
nib_status nib_int8_create(nib_ctx *ctx, const nib_form *f, size_t out, size_t in,
                           const int8_t *codes, const float *scb, void *owned, nib_weight **w,
                           nib_error *err);

/* The scheme's forward product (int8_product.c), as nib_scheme.forward says. */
size_t nib_int8_forward_bytes(nib_ctx *ctx, const nib_weight *w, size_t max_rank, size_t max_rows);
void nib_int8_forward(nib_ctx *ctx, const nib_kernels *k, const nib_weight *w,
                      const struct nib_product_args *args, void *scratch);

#endif
