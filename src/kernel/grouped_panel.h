/* grouped_panel.h - packing grouped integer codes of 2 to 8 bits into the product's panels
 * (gemm.h), 32 columns each: two strips.
 *
 *     value = (code - zero) * scale        one product, rounded to `through`, the scales' type, as
 *                                          the libraries that write such files compute it
 *     value = code * scale + bias          MLX's: the product is rounded to it, then the sum
 *
 * and then to bfloat16 where the panel asks for it.  Codes are streams of words of 32 bits, least
 * significant bit first: code v of a stream is its bits [v * bits, (v + 1) * bits), so that 3, 5, 6
 * and 7 bits cross words.  AWQ's order puts the codes 8 w + m, m = 0 .. 7, of word w at the nibbles
 * 0 4 1 5 2 6 3 7.  A panel reads streams in one of two directions:
 *
 *     down     a column is a stream, its terms the codes of it        16 words side by side
 *     across   a term is a stream, its columns are 32 codes of it
 *
 * Every variant gives the same bits.
 * Source of the layouts: formats.md 6.2, 7.1; formats-quant.md 2.3. */
#ifndef NIB_KERNEL_GROUPED_PANEL_H
#define NIB_KERNEL_GROUPED_PANEL_H

#include "base/base.h"
#include "base/dtype.h"
#include "kernel/gemm.h"

typedef struct nib_grouped_codes {
    const uint8_t *words; /* little-endian, of any alignment: the first word of the first stream */
    size_t next;          /* bytes from a word to the next of its stream */
    size_t other;         /* bytes from a stream to the next; down: 4 */
    size_t second;        /* down: bytes from the 16 streams of the first strip to the second's */
    unsigned bits;
    bool awq;             /* 4 bits in AWQ's order */
    uint32_t flip;        /* each word is taken ^ flip: 0x80808080 makes signed bytes codes */
    /* [group][32] columns, or, by_term, [terms] */
    const float *scales, *zeros;
    bool biased; /* zeros are biases, which are added */
    bool by_term;
    const int32_t *groups; /* not by_term: the group of each term; NULL: */
    size_t group, begun;   /* terms of a group, and of the first one those before the first term:
                              multiples of 32 */
    nib_dtype through;     /* NIB_F32, NIB_F16, NIB_BF16 */
} nib_grouped_codes;

/* strip: values from the first strip of the panel to the second.  terms: down a multiple of 32;
 * across any number, even for pairs. */
typedef void nib_grouped_down_fn(const nib_grouped_codes *c, size_t terms, nib_pack_kind kind,
                                 void *panel, size_t strip);
typedef void nib_grouped_across_fn(const nib_grouped_codes *c, size_t terms, nib_pack_kind kind,
                                   void *panel, size_t strip);

/* Where in its word AWQ's code m of 8 begins. */
static inline unsigned nib_awq_shift(size_t m) { return (unsigned)(m % 8 / 2 + m % 2 * 4) * 4; }

static inline uint32_t nib_word_at(const uint8_t *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Code v of the stream whose words begin at `stream`. */
static inline unsigned nib_grouped_code(const nib_grouped_codes *c, const uint8_t *stream, size_t v)
{
    size_t at = v * c->bits, shift = c->awq ? nib_awq_shift(v) : at % 32;
    const uint8_t *p = stream + at / 32 * c->next;
    uint32_t code = (nib_word_at(p) ^ c->flip) >> shift;

    if (shift + c->bits > 32) code |= (nib_word_at(p + c->next) ^ c->flip) << (32 - shift);
    return code & ((1u << c->bits) - 1);
}

/* The group of a term. */
static inline size_t nib_grouped_group(const nib_grouped_codes *c, size_t term)
{
    return c->groups ? (size_t)c->groups[term] : (term + c->begun) / c->group;
}

#endif
