/* grouped.h - the scheme of grouped integers: GPTQ's, AWQ's, compressed-tensors' and MLX's weights,
 * for quant/ alone.
 *
 *     W[o, i] = (code[o, i] - zero[group of i][o]) * scale[group of i][o]
 *     W[o, i] = code[o, i] * scale[group of i][o] + bias[group of i][o]          MLX
 *
 * each product and MLX's sum rounded to the scales' type, as the libraries compute it.  Codes of 2
 * to 8 bits stay on the map in the file's order, and so do scales and biases; zero points, a byte
 * each, are taken apart once, for files pack them in five ways, unless all are the same.
 *
 * Act-order (GPTQ's desc_act): input channel i has the group g_idx[i].  The scales are chosen
 * channel by channel while packing, from a table of all groups that lies in the first cache.  x
 * could be permuted instead, but a word holds codes of neighbouring channels, whose groups differ:
 * the words would have to be written anew, and linears of one input could not share it.
 *
 * Source: formats.md 6, 7; formats-quant.md 2, 8.1. */
#ifndef NIB_QUANT_GROUPED_H
#define NIB_QUANT_GROUPED_H

#include "quant/weight.h"

/* Whose files: what a form's text begins with. */
typedef enum nib_grouped_maker {
    NIB_GROUPED_GPTQ, /* "gptq" */
    NIB_GROUPED_AWQ,  /* "awq" */
    NIB_GROUPED_PACK, /* "pack-quantized", compressed-tensors */
    NIB_GROUPED_INT,  /* "int-quantized", compressed-tensors: a byte a code */
    NIB_GROUPED_MLX   /* "mlx": biases in place of zero points; read alone */
} nib_grouped_maker;

enum {
    NIB_GROUP_ROW = 0,          /* one group a row */
    NIB_GROUP_TENSOR = 1 << 30  /* one group in all */
};

/* The form's settings. */
typedef struct nib_grouped_options {
    nib_grouped_maker maker;
    unsigned bits, group; /* group: inputs that share a scale, or one of the names above */
    bool asymmetric;      /* zero points of its own for each group */
    bool act_order;
    nib_dtype dtype;      /* of the values before they were encoded */
} nib_grouped_options;

nib_form nib_grouped_form(const nib_grouped_options *o);
nib_grouped_options nib_grouped_form_options(const nib_form *f);

/* How words lie in the file. */
typedef enum nib_grouped_order {
    NIB_WORDS_DOWN, /* [words][out], along the inputs: GPTQ */
    NIB_WORDS_ROWS, /* [out][words], along the inputs: compressed-tensors */
    NIB_WORDS_OUT   /* [in][words], along the outputs: AWQ */
} nib_grouped_order;

typedef struct nib_grouped {
    nib_weight base;
    nib_grouped_options options;
    nib_grouped_order order;
    const uint8_t *codes; /* words of 32 bits, or bytes, of any alignment */
    size_t row_bytes;     /* from a row of words to the next */
    unsigned per_word;    /* codes of a word where they do not cross words (old files), else 0 */
    uint32_t flip;        /* codes are taken ^ flip: of signed bytes */
    size_t group, groups; /* inputs of a group, and how many there are */
    const int32_t *g_idx; /* [in], act-order's; NULL: group of i is i / group */
    const void *scales;   /* of group g and output o: element g * scale_group + o * scale_out */
    nib_dtype scale_type;
    size_t scale_group, scale_out;
    const uint8_t *zeros; /* [groups][out], or NULL: */
    unsigned zero;        /* of all */
    const void *biases;   /* in place of zero points, as the scales lie; or NULL */
    const void *file_zeros, *file_groups; /* as they are written, or NULL */
    nib_kernels kernels;  /* for the processor at hand */
    void *owned;          /* one block holding those of the arrays that lie on no map, or NULL */
} nib_grouped;

extern const nib_scheme nib_grouped_scheme;

static inline const nib_grouped *nib_as_grouped(const nib_weight *w)
{
    return (const nib_grouped *)w;
}

/* Bits that a code takes: int-quantized has a byte for each, however few bits it has. */
static inline unsigned nib_grouped_code_bits(const nib_grouped *q)
{
    return q->options.maker == NIB_GROUPED_INT ? 8 : q->options.bits;
}

/* A weight as `made` describes it, its kernels and scheme set; base.out, in, bytes, owned_bytes,
 * dtype and source are the caller's.  made->owned is freed with it, and stays the caller's after a
 * failure. NIB_E_NOMEM. */
nib_status nib_grouped_create(nib_ctx *ctx, const nib_grouped *made, nib_weight **w,
                              nib_error *err);

/* The sizes of what a file of such a form holds of a matrix, in bytes; what a form does not have is
 * 0. False: too large. */
typedef struct nib_grouped_sizes {
    uint64_t codes, scales, zeros, groups; /* groups: g_idx */
    uint64_t unpacked;                     /* the zero points, taken apart */
    size_t group, group_count;
} nib_grouped_sizes;
bool nib_grouped_sizes_of(const nib_grouped_options *o, size_t out, size_t in,
                          nib_grouped_sizes *sizes);

/* --- its pieces --- */

/* grouped_pack.c */
bool nib_grouped_pack(const nib_weight *w, const nib_kernels *k, const nib_pack *p, void *panel);
void nib_grouped_decode_tile(const nib_weight *w, size_t r0, size_t r1, size_t k0, size_t k1,
                             float *dst, size_t ld);
/* `count` scales, or biases, which lie as scales do: value `first` and each `step` behind the one
 * before. */
void nib_grouped_values(const nib_grouped *q, const nib_kernels *k, const void *values,
                        size_t first, size_t step, size_t count, float *to);
/* Scales of outputs [o0, o0 + count) for a group. */
void nib_grouped_scales(const nib_grouped *q, const nib_kernels *k, size_t group, size_t o0,
                        size_t count, float *scales);
/* Scales and zero points of a piece of a panel: of 32 columns times 256 groups, or the terms. */
enum { NIB_GROUPED_SCALES = 8192 };
typedef struct nib_grouped_tables {
    float scales[NIB_GROUPED_SCALES], zeros[NIB_GROUPED_SCALES];
} nib_grouped_tables;
/* Zero points alike, or biases where it has them. */
void nib_grouped_zeros(const nib_grouped *q, const nib_kernels *k, size_t group, size_t o0,
                       size_t count, float *zeros);
/* Whether kernel/grouped_dot.h or awq_dot.h takes it. */
bool nib_grouped_has_dot(const nib_grouped *q, const nib_kernels *k);
/* Of NIB_WORDS_ROWS: sums[m * 32 + n] += output o0 + n, o0 a multiple of 32, for M rows of x,
 * arranged, ldx bytes apart. */
void nib_grouped_dot_rows(const nib_grouped *q, const nib_kernels *k, size_t M, const void *ready,
                          size_t ldx, size_t o0, float *sums);
/* grouped_rows.c: of NIB_WORDS_ROWS too, row by row, where kernel/grouped_row.h takes it. */
bool nib_grouped_by_rows(const nib_grouped *q, const nib_kernels *k);
void nib_grouped_rows_ready(const nib_grouped *q, const nib_kernels *k, const void *x, void *ready);
/* y[m * ldy + o - r0]: outputs [r0, r1). */
void nib_grouped_rows_dot(const nib_grouped *q, const nib_kernels *k, size_t M, const void *ready,
                          size_t r0, size_t r1, float *y, size_t ldy);
/* grouped_dot.c */
nib_dot_kind nib_grouped_dot_kind(const nib_weight *w, const nib_kernels *k, nib_dtype type,
                                  nib_precision precision);
void nib_grouped_dot_ready(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind,
                           const void *x, void *ready);
bool nib_grouped_dot_wide(const nib_weight *w);
void nib_grouped_dot(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, size_t M,
                     const void *ready, size_t r0, size_t r1, float *y, size_t ldy);
/* grouped_encode.c: round to nearest, as the maker's library does it, as nib_grouped_create() takes
 * it; made->owned is the caller's. */
nib_status nib_grouped_encode(nib_ctx *ctx, const nib_form *f, const nib_weight *from,
                              nib_grouped *made, nib_error *err);
/* What the layout asks of a shape; found: of what was found.  NIB_E_UNSUPPORTED. */
nib_status nib_grouped_check_shape(const nib_grouped_options *o, size_t out, size_t in, bool found,
                                   nib_error *err);
/* A scale as compressed-tensors' files hold it, in the type of the values: bfloat16 is coarse
 * enough for codes to be chosen with it.  Of other files it is given back as it is. */
float nib_grouped_scale(const nib_grouped_options *o, float scale);
/* rows [n, in], floats, become what rounding them to nearest in the form gives. */
void nib_grouped_round(const nib_form *f, float *rows, size_t n, size_t in);
/* What a calibrated encoder found of a matrix [out, in]. */
typedef struct nib_grouped_found {
    const uint8_t *codes;    /* [out, in] */
    const float *scales;     /* [groups, out] */
    const uint8_t *zeros;    /* [groups, out] */
    const int32_t *group_of; /* [in] */
} nib_grouped_found;
/* The same of what was found.  NIB_E_UNSUPPORTED: the layout does not take the shape. */
nib_status nib_grouped_encode_found(nib_ctx *ctx, const nib_form *f, size_t out, size_t in,
                                    const nib_grouped_found *found, nib_grouped *made,
                                    nib_error *err);
/* grouped_form.c */
nib_form nib_grouped_form_of(const nib_scheme *scheme, const nib_grouped_options *o);
void nib_grouped_describe(const nib_form *f, char text[NIB_FORM_ROOM]);
bool nib_grouped_parse(const nib_scheme *scheme, const char *text, nib_form *f);

/* --- streams of codes --- */

/* Code v of a stream of words that lie `next` bytes apart, least significant bit first. */
static inline unsigned nib_stream_code(const uint8_t *words, size_t next, unsigned bits, size_t v)
{
    size_t at = v * bits;
    const uint8_t *p = words + at / 32 * next;
    uint32_t code = nib_load_le32(p) >> at % 32;

    if (at % 32 + bits > 32) code |= nib_load_le32(p + next) << (32 - at % 32);
    return code & ((1u << bits) - 1);
}

/* Puts it there; its bits were 0. */
static inline void nib_stream_put(uint8_t *words, size_t next, unsigned bits, size_t v,
                                  uint32_t code)
{
    for (unsigned b = 0; b < bits; b++) {
        size_t at = v * bits + b;
        words[at / 32 * next + at % 32 / 8] |= (uint8_t)((code >> b & 1) << at % 8);
    }
}

#endif
