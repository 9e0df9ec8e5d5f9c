/* embedder.h - a batch of records as embeddings: forward a chunk of texts at a time, the loss of
 * the whole batch, backward a chunk at a time.
 *
 * A loss that compares texts with all others of the batch needs every embedding before any text has
 * a gradient.  Where the batch is one chunk its forward pass is kept; else each chunk is run again
 * before its backward pass (GradCache, arXiv:2101.06983), with the same dropout, which is a
 * function of the text.  The result is that of one chunk to rounding. */
#ifndef NIB_TRAIN_EMBEDDER_H
#define NIB_TRAIN_EMBEDDER_H

#include "graph/run.h"
#include "train/dense_layer.h"
#include "train/pooling.h"
#include "train/similarity.h"
#include "train/texts.h"

typedef struct nib_embedder_extent { /* the most of a micro-batch, and of a chunk of it */
    size_t records, chunk_texts, chunk_tokens, chunk_rows;
} nib_embedder_extent;

typedef struct nib_embedder {
    nib_ctx *ctx;
    const nib_graph *graph;
    const nib_texts *texts;
    nib_pooler pooler;
    const nib_dense *dense; /* [dense_count] behind the pooling */
    size_t dense_count;
    bool normalize;      /* embeddings have length 1 */
    size_t chunk;        /* texts at a time; 0: all */
    nib_similarity loss;
    size_t hidden, width;/* of a row, of an embedding */
    nib_embedder_extent most;
    uint32_t *numbers;   /* [records * columns] texts of the micro-batch, column after column */
    uint32_t *offsets, *ids, *positions, *types, *picks, *records;
    float *rows;         /* [longest text, hidden] */
    float *d_rows;       /* [chunk_rows, hidden]; NULL: only forward */
    float *vectors, *d_vectors; /* [records * columns, width] */
    float *traces;       /* [records * columns, trace] of Dense modules; NULL: there are none */
    float *d_dense;      /* [3, widest] on the way back through them */
    double *lengths;     /* [records * columns] of what was brought to length 1 */
    float *answers;      /* [records] scores */
    nib_batch batch;
} nib_embedder;

/* ctx, graph, texts, pooler, dense, normalize, chunk and the loss's kind, scale, margin and dims
 * are set; `trains`: backward too. */
nib_status nib_embedder_allocate(nib_embedder *e, nib_embedder_extent most, bool trains,
                                 nib_error *err);
void nib_embedder_free(nib_embedder *e); /* zeroed is fine */
/* Numbers of an embedding: what is pooled, or what the last Dense gives. */
static inline size_t nib_embedder_width(const nib_embedder *e)
{
    return nib_dense_width(e->dense, e->dense_count,
                           e->graph->values[e->graph->hidden].width * e->pooler.count);
}
uint64_t nib_embedder_bytes(const nib_embedder *e, nib_embedder_extent most, bool trains);

/* Widens *most to the records order[0..count). */
void nib_embedder_widen(const nib_embedder *e, const uint32_t *order, size_t count,
                        nib_embedder_extent *most);

/* Embeddings of the records into e->vectors, [count] of each column one after another. */
void nib_embedder_forward(nib_embedder *e, nib_run *run, const uint32_t *order, size_t count);
/* The loss of the records that went forward last. */
double nib_embedder_loss(nib_embedder *e, size_t count);
/* Forward and backward: adds to the parameters' gradients and sets run->loss_sum and loss_weight
 * (1).  run->abandoned: given up. */
void nib_embedder_step(nib_embedder *e, nib_run *run, const uint32_t *order, size_t count,
                       uint32_t epoch);

#endif
