/* decoder.h - token after token from a graph with state: prefill in chunks, then one row
 * at a time.
 *
 * Where only the greatest logits are asked for, the head's rows that can be among them are found in
 * a sketch of it (quant/sketch.h), which is half the head's size; their logits have the same
 * bits. */
#ifndef NIB_GENERATE_DECODER_H
#define NIB_GENERATE_DECODER_H

#include "generate/sampler.h"
#include "graph/run.h"
#include "quant/sketch.h"

enum { NIB_PREFILL_CHUNK = 512 };

typedef struct nib_decoder {
    nib_ctx *ctx;
    nib_graph *graph;
    nib_plan *plan;
    nib_run *run;
    size_t rows;                /* of logits: of the last so many tokens pushed */
    nib_logits logits[NIB_DOT_ROWS];
    float *values;              /* [NIB_DOT_ROWS, V] the logits' */
    float *hidden;              /* [NIB_DOT_ROWS, D] the head's inputs, where they are bfloat16 */
    nib_sketch *sketch;         /* of the head, once it pays */
    bool sketch_pays;           /* the head is a large share of what a token reads */
    size_t sketchable;          /* tokens so far for which it would have been read */
    uint32_t offsets[2], logit_index[NIB_DOT_ROWS];
    uint32_t *positions;        /* [chunk] */
    uint8_t slot;               /* adapter of the sequence, or NIB_NO_SLOT */
    nib_batch batch;
} nib_decoder;

/* State for `capacity` tokens. */
nib_status nib_decoder_create(nib_ctx *ctx, nib_graph *graph, size_t capacity, nib_decoder **out,
                              nib_error *err);
void nib_decoder_destroy(nib_decoder *d);
/* Begins a new sequence. */
void nib_decoder_begin(nib_decoder *d, uint8_t slot);
/* Goes on with ids; afterwards nib_decoder_logits(d, 0, ...) are those after the last one.  The
 * capacity must not be passed.  most: how many of the greatest logits are wanted, 0: all.
 * NIB_E_INTERRUPTED; NIB_E_NOMEM. */
nib_status nib_decoder_push(nib_decoder *d, const uint32_t *ids, size_t count, size_t most,
                            nib_error *err);
/* The same with logits after each of count <= NIB_DOT_ROWS ids, with the bits that pushing one by
 * one gives. */
nib_status nib_decoder_try(nib_decoder *d, const uint32_t *ids, size_t count, size_t most,
                           nib_error *err);
/* Forgets the last `count` tokens tried. */
void nib_decoder_take_back(nib_decoder *d, size_t count);
/* Of all words, or perhaps, when `most` was not 0, only of some, among them the `most` greatest and
 * all that equal the last of these; in d's memory until the next push.  NIB_E_NUMERIC when a logit
 * is not finite. */
nib_status nib_decoder_logits(const nib_decoder *d, size_t row, nib_logits *logits, nib_error *err);

#endif
