/* compared.h - a model that embeds texts, measured on records of texts to compare: the loss,
 * correlations of the cosine with scores, recall and reciprocal rank. */
#ifndef NIB_JOB_COMPARED_H
#define NIB_JOB_COMPARED_H

#include "job/retrieval.h"
#include "job/scores.h"
#include "job/sentence.h"
#include "train/embedder.h"

/* The texts of one dataset, and what embeds them. */
typedef struct nib_embedded {
    nib_texts texts;
    nib_embedder embedder;
    nib_plan *plan;
    nib_run *run;
    size_t batch;
    uint32_t *order;       /* [records] */
    float *vectors;        /* [records * columns, width] of length 1; NULL: not kept */
} nib_embedded;

typedef struct nib_compared {
    nib_ctx *ctx;
    nib_dataset *data, *corpus;
    nib_embedded own, more; /* of the records; of the corpus */
    nib_retrieval retrieval;
    nib_scorer scorer;     /* of records with scores */
    bool scored;
    double loss;
    nib_scores scores;
} nib_compared;

/* What training and measuring begin from: pooling, lengths, the loss. */
nib_embedder nib_compared_embedder(nib_ctx *ctx, nib_graph *graph, const nib_sentence *s,
                                   const nib_texts *texts);
/* The loss for what the records have, unless `name` says another: NIB_E_INVALID where that wants
 * other records.  scale, margin and dims are checked and taken. */
nib_status nib_compared_loss(const nib_dataset *d, const nib_train_options *o, size_t columns,
                             size_t width, nib_similarity *out, nib_error *err);

/* Takes data and corpus (NULL: none) over, also on failure.  from: what `own.embedder` begins with,
 * but for its texts. */
nib_status nib_compared_open(nib_ctx *ctx, nib_graph *graph, const nib_embedder *from,
                             nib_dataset *data, nib_dataset *corpus, size_t batch,
                             nib_compared *out, nib_error *err);
nib_status nib_compared_allocate(nib_compared *c, nib_error *err);
uint64_t nib_compared_bytes(const nib_compared *c);
void nib_compared_close(nib_compared *c); /* zeroed is fine */
/* Seconds that the embedding of all texts takes, by that of a batch. */
double nib_compared_trial(nib_compared *c);
/* Sets loss and scores.  NIB_E_INTERRUPTED; NIB_E_NUMERIC: an embedding is not finite. */
nib_status nib_compared_run(nib_compared *c, nib_error *err);

#endif
