/* batch.h - records laid one after another as a ragged batch: no padding, positions from 0. */
#ifndef NIB_TRAIN_BATCH_H
#define NIB_TRAIN_BATCH_H

#include "graph/graph.h"
#include "train/data.h"

/* Buffers for the largest batch, filled again and again. */
typedef struct nib_batch_maker {
    nib_ctx *ctx;
    const nib_graph *graph;
    size_t sequences, tokens, logit_rows; /* room */
    uint32_t *offsets, *ids, *positions, *types, *logit_index, *targets, *records;
    uint32_t *boxes; /* [NIB_BOX_INPUTS, tokens] of a graph that reads boxes */
    float *wanted;  /* [logit_rows, rows of the head] of losses that are no cross-entropy */
    float *weights; /* [logit_rows] */
    nib_batch batch;
} nib_batch_maker;

nib_status nib_batch_maker_init(nib_ctx *ctx, const nib_graph *graph, size_t sequences,
                                size_t tokens, size_t logit_rows, nib_batch_maker *out,
                                nib_error *err);
void nib_batch_maker_free(nib_batch_maker *b);
/* The records order[0..count) of d.  Logit rows are the positions before supervised tokens; of
 * records with labels the row of each sequence that the graph reads, or the tokens with a tag. */
const nib_batch *nib_batch_make(nib_batch_maker *b, const nib_dataset *d, const uint32_t *order,
                                size_t count, uint32_t epoch);

/* The most tokens and targets that `batch_size` records in a row have, over the epochs'
 * orders: what buffers are made for. */
void nib_batch_extent(const nib_dataset *d, size_t batch_size, bool shuffle, uint64_t seed,
                      uint64_t epochs, uint32_t *order, size_t *tokens, size_t *targets);

#endif
