/* decoder.h - token after token from a graph: a prompt in chunks, then one row at a time, of one
 * conversation or of several at once.
 *
 * The tokens of a conversation lie in its own state (graph/state.h); the decoder has the buffers
 * that all of them use in turn.  A token's logits have the same bits whichever conversations it is
 * decoded with.
 *
 * Where only the greatest logits are asked for, the head's rows that can be among them are found in
 * a sketch of it (quant/sketch.h), which is half the head's size; their logits have the same
 * bits. */
#ifndef NIB_GENERATE_DECODER_H
#define NIB_GENERATE_DECODER_H

#include "generate/sampler.h"
#include "graph/run.h"
#include "graph/state.h"
#include "quant/sketch.h"

enum { NIB_PREFILL_CHUNK = NIB_STATE_ROWS };

typedef struct nib_conversation {
    nib_state *state;
    uint8_t slot;               /* its adapter's, or NIB_NO_SLOT */
} nib_conversation;

typedef struct nib_decoder {
    nib_ctx *ctx;
    nib_graph *graph;
    nib_plan *plan;
    nib_run *run;
    size_t rows, most_rows;     /* of logits: after so many of the tokens decoded last */
    nib_logits *logits;         /* [most_rows] */
    float *values;              /* [most_rows, V] the logits' */
    float *hidden;              /* [NIB_DOT_ROWS, D] the head's inputs, where they are bfloat16 */
    uint32_t *found;            /* [most_rows, V] words whose logits they are, where not all are */
    nib_sketch *sketch;         /* of the head, once it pays */
    bool sketch_pays;           /* the head is a large part of what a token reads */
    size_t sketchable;          /* tokens so far for which it would have been read */
    uint32_t *picks;            /* [most_rows] */
    uint32_t *positions;        /* [tokens of a batch] */
    uint32_t *offsets;          /* [conversations + 1] */
    nib_state **states;         /* [conversations], like the next two */
    uint8_t *slots;
    bool *generated;
    nib_batch batch;
} nib_decoder;

/* For conversations of at most `capacity` tokens, at most `conversations` of them at once. */
nib_status nib_decoder_create(nib_ctx *ctx, nib_graph *graph, size_t capacity, size_t conversations,
                              nib_decoder **out, nib_error *err);
void nib_decoder_destroy(nib_decoder *d); /* NULL is fine */
/* What such a decoder takes, its sketch among it.  NIB_E_NOMEM. */
nib_status nib_decoder_bytes(nib_ctx *ctx, nib_graph *graph, size_t capacity, size_t conversations,
                             uint64_t *bytes, nib_error *err);
/* The head has other values than before: what was made of them is dropped. */
void nib_decoder_forget_head(nib_decoder *d);
/* Decodes a prompt, or another piece of one; afterwards nib_decoder_logits(d, 0, ...) are those
 * after its last token.  The capacity must not be passed.  most: how many of the greatest logits
 * are wanted, 0: all.  NIB_E_INTERRUPTED; NIB_E_NOMEM. */
nib_status nib_decoder_read(nib_decoder *d, nib_conversation c, const uint32_t *ids, size_t count,
                            size_t most, nib_error *err);
/* Decodes tokens that were generated or guessed, with logits after each; with the bits that one
 * after the other gives.  count <= most_rows, which is NIB_DOT_ROWS or more. */
nib_status nib_decoder_try(nib_decoder *d, nib_conversation c, const uint32_t *ids, size_t count,
                           size_t most, nib_error *err);
/* Decodes ids[i], which was generated, for each of `count` conversations c[i]; afterwards
 * nib_decoder_logits(d, i, ...) are those after it. */
nib_status nib_decoder_next(nib_decoder *d, const nib_conversation *c, const uint32_t *ids,
                            size_t count, size_t most, nib_error *err);
/* Of all words, or perhaps, when `most` was not 0, only of some, among them the `most` greatest and
 * all that equal the last of these; in d's memory until it decodes again.  NIB_E_NUMERIC when a
 * logit is not finite. */
nib_status nib_decoder_logits(const nib_decoder *d, size_t row, nib_logits *logits, nib_error *err);

#endif
