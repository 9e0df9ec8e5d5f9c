/* weight.h - the one door to a weight.
 *
 * A weight is a frozen matrix [out, in] in some scheme.  A scheme must give
 * decode_tile; from that alone generic packers make every panel of the product,
 * forward and backward.  Everyone (linear, embedding, merging, error reports)
 * goes through here, so each adapter and each architecture works with a new
 * scheme on the day it lands.  What a scheme keeps beside nib_weight is private to quant/.
 *
 * A decoded value is rounded once, to the compute type, forward and backward. */
#ifndef NIB_QUANT_WEIGHT_H
#define NIB_QUANT_WEIGHT_H

#include "base/base.h"
#include "base/dtype.h"
#include "kernel/kernels.h"

typedef struct nib_weight nib_weight;
typedef struct nib_scheme nib_scheme;
struct nib_product_args;

/* A scheme and its settings: how a matrix is held, or is to be.  Two forms are one if their texts
 * (nib_form_text) and types are. */
enum { NIB_FORM_SETTINGS = 6, NIB_FORM_ROOM = 48 };
typedef struct nib_form {
    const nib_scheme *scheme;
    nib_dtype dtype; /* of the values: what is stored dense, or what was before it was encoded */
    unsigned settings[NIB_FORM_SETTINGS]; /* the scheme's own; nobody else reads them */
} nib_form;

/* A piece of a product's panel (kernel/gemm.h): 32 columns (two strips), all of a block of terms.
 *     forward    columns are the rows c0 .. c0 + 32 of the weight, terms its columns t0 ..
 *     backward   columns are its columns c0 .. c0 + 32, terms its rows t0 .. */
typedef struct nib_pack {
    nib_pack_kind kind;
    bool backward;
    size_t c0, t0, terms;
} nib_pack;

/* Outputs of a dot at a time, at most; for all rows of x together, where a scheme asks for many. */
enum { NIB_DOT_OUTPUTS = 1024, NIB_DOT_SUMS = 4 * NIB_DOT_OUTPUTS };

typedef enum nib_dot_kind {
    NIB_DOT_NONE,
    NIB_DOT_FLOATS,
    NIB_DOT_FIXED, /* x and table in 16 bits of fixed point (kernel/dot4.h) */
    NIB_DOT_BYTES, /* x in bytes of fixed point (kernel/blocks.h) */
    NIB_DOT_PAIRS  /* of bfloat16 */
} nib_dot_kind;

/* What a product of few rows may lose where x is float32, in the words of
 * torch.set_float32_matmul_precision: "highest" is float's own rounding, "high" some 16 bits. */
typedef enum nib_precision { NIB_PRECISION_HIGHEST, NIB_PRECISION_HIGH } nib_precision;

struct nib_scheme {
    const char *name; /* "dense", "bnb4" */

    /* --- of a weight --- */

    /* Decodes rows [r0, r1) x columns [k0, k1) to float, unrounded, row r at
     * dst + (r - r0) * ld.  Any rectangle inside the matrix; reads nothing else. */
    void (*decode_tile)(const nib_weight *w, size_t r0, size_t r1, size_t k0, size_t k1, float *dst,
                        size_t ld);
    void (*destroy)(nib_ctx *ctx, nib_weight *w); /* frees what the weight owns, and w */
    nib_form (*form)(const nib_weight *w);
    /* Optional: for each value of a row, how far the original may at most have been from it, when
     * the weight is what encoding gave. */
    void (*error_row)(const nib_weight *w, size_t row, float *most);
    /* Optional: whether the scales are finite numbers: they are not if a value of the original was
     * not. */
    bool (*finite)(const nib_weight *w);
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
    /* y[m * ldy + r - r0] = row r . row m < M of x, M at most NIB_DOT_ROWS, r1 - r0 at most
     * NIB_DOT_OUTPUTS, or, where dot_wide, M times that NIB_DOT_SUMS; rows made ready lie one after
     * the other. */
    void (*dot)(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, size_t M,
                const void *ready, size_t r0, size_t r1, float *y, size_t ldy);
    /* Optional: whether dot is best called for many outputs, which lie side by side in memory. */
    bool (*dot_wide)(const nib_weight *w);
    /* Optional: row `row` as GGUF's blocks of this type ("MXFP4"), where these say the very same
     * numbers without being chosen anew; false: there are none.  to NULL: asks alone. */
    bool (*block_row)(const nib_weight *w, const char *type, size_t row, uint8_t *to);
    /* Optional, both: the forward product in the scheme's own way, for any number of rows, each
     * from that row alone.  It takes the place of nib_product_forward() and nib_product_dot(),
     * whose arguments it gets (x as they do: ready, or as it lies); the backward product decodes.
     * `scratch` holds forward_bytes() for up to so many rows, aligned to 64. */
    size_t (*forward_bytes)(nib_ctx *ctx, const nib_weight *w, size_t max_rank, size_t max_rows);
    void (*forward)(nib_ctx *ctx, const nib_kernels *k, const nib_weight *w,
                    const struct nib_product_args *args, void *scratch);

    /* --- of a form --- */

    /* As text: "dense", "nf4 64 double"; what an adapter records of its base. */
    void (*describe)(const nib_form *f, char text[NIB_FORM_ROOM]);
    bool (*parse)(const char *text, nib_form *f); /* the other way, but for the type */
    /* What nib_weight.bytes of an encoded matrix is; false: too large. */
    bool (*bytes)(const nib_form *f, size_t out, size_t in, uint64_t *bytes);
    /* Optional: the weight `from`, of any scheme, in this form.  source is the caller's to set. */
    nib_status (*encode)(nib_ctx *ctx, const nib_form *f, const nib_weight *from, nib_weight **w,
                         nib_error *err);
    /* Of schemes that do not encode: a weight of random values of about those of models, which owns
     * them. */
    nib_status (*random)(nib_ctx *ctx, const nib_form *f, size_t out, size_t in, nib_weight **w,
                         nib_error *err);
};

/* What all weights have; a scheme's own struct begins with it. */
struct nib_weight {
    const nib_scheme *scheme;
    size_t out, in;
    size_t bytes;       /* what the weight takes, on a map or owned */
    size_t owned_bytes; /* of these the owned ones, which no map gives again */
    nib_dtype dtype;    /* nib_form.dtype */
    const char *source; /* tensor name in its file, borrowed from the file's view; "" or NULL:
                           none */
};

/* A dense weight over `data`, which must outlive it unless `owned` (freed with it). */
nib_status nib_weight_dense(nib_ctx *ctx, size_t out, size_t in, nib_dtype dtype, const void *data,
                            void *owned, nib_weight **w, nib_error *err);
bool nib_weight_is_dense(const nib_weight *w); /* its values are stored as they are */
/* A weight that is not there: it decodes to random values, takes no memory, and `bytes` is what it
 * would be in `form`, which nib_weight_form() gives.
 * NIB_E_FORMAT: too large. */
nib_status nib_weight_blank(nib_ctx *ctx, const nib_form *form, size_t out, size_t in,
                            nib_weight **w, nib_error *err);
bool nib_weight_is_blank(const nib_weight *w);
/* A blank weight in its own form with random values.  NIB_E_UNSUPPORTED, NIB_E_NOMEM. */
nib_status nib_weight_fill(nib_ctx *ctx, const nib_weight *blank, nib_weight **w, nib_error *err);
void nib_random_bytes(size_t n, uint8_t *to); /* the same each time */
void nib_weight_destroy(nib_ctx *ctx, nib_weight *w); /* NULL is fine */

/* One row range decoded to float, unrounded (embedding, merging, reports). */
static inline void nib_weight_decode(const nib_weight *w, size_t r0, size_t r1, float *dst)
{
    w->scheme->decode_tile(w, r0, r1, 0, w->in, dst, w->in);
}

/* Columns k0..k1 as rows, to [k1 - k0, out]: those of a file that holds the weight across. */
void nib_weight_decode_columns(const nib_weight *w, size_t k0, size_t k1, float *to);

/* Rounds decoded values to the compute type where they are multiplied as floats; through: room for
 * n. */
static inline void nib_weight_round(const nib_kernels *k, nib_dtype type, size_t n, float *x,
                                    uint16_t *through)
{
    if (type != NIB_BF16) return;
    k->to_bf16(n, x, through);
    k->from_bf16(n, through, x);
}

/* Whether both decode to the same bits.  NIB_E_NOMEM. */
nib_status nib_weight_same(nib_ctx *ctx, const nib_weight *a, const nib_weight *b, bool *same,
                           nib_error *err);
/* *sum = |A - B|², b NULL: |A|², of matrices of one shape: the same bits for any number of threads.
 * NIB_E_NOMEM. */
nib_status nib_weight_distance(nib_ctx *ctx, const nib_weight *a, const nib_weight *b, double *sum,
                               nib_error *err);
bool nib_weight_finite(const nib_weight *w); /* scheme->finite, true without one */
/* scheme->block_row, false without one. */
bool nib_weight_block_row(const nib_weight *w, const char *type, size_t row, uint8_t *to);

/* --- forms --- */

nib_form nib_form_dense(nib_dtype dtype);
bool nib_form_is_dense(const nib_form *f);
static inline nib_form nib_weight_form(const nib_weight *w) { return w->scheme->form(w); }
static inline void nib_form_text(const nib_form *f, char text[NIB_FORM_ROOM])
{
    f->scheme->describe(f, text);
}
/* The form that a text names, of any scheme; dtype is left to the caller.  False: of none. */
bool nib_form_parse(const char *text, nib_form *f);
/* `from` in the form f.  NIB_E_UNSUPPORTED: nothing can be encoded in it. */
nib_status nib_form_encode(nib_ctx *ctx, const nib_form *f, const nib_weight *from, nib_weight **w,
                           nib_error *err);

#endif
