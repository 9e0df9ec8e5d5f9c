/* similarity.h - losses that compare the embeddings of a batch with each other, and their
 * gradients (formats-encoder.md 7.4).
 *
 * Vectors lie column after column: those of the records' first texts, then those of the second
 * ones, ... [columns * records, width].  cos is the dot of vectors of length 1, s the scale, n the
 * records, y_i the score of a record:
 *
 *   RANKING   S_ij = s cos(first_i, other_j), j over all texts that are no first ones;
 *             mean_i (logsumexp_j S_ij - S_ii)                MultipleNegativesRankingLoss
 *   COSENT    log(1 + sum_{y_i < y_j} exp(s cos_i - s cos_j)) one value, no mean
 *   COSINE    mean_i (cos_i - y_i)^2
 *   TRIPLET   mean_i max(0, |a - p| - |a - n| + margin)
 *
 * With dims (Matryoshka) the loss is the sum over dims of the loss of the first so many numbers,
 * each brought to length 1. */
#ifndef NIB_TRAIN_SIMILARITY_H
#define NIB_TRAIN_SIMILARITY_H

#include "kernel/kernels.h"
#include "nibble/finetune.h"

typedef enum nib_similarity_kind {
    NIB_SIMILARITY_RANKING,
    NIB_SIMILARITY_COSENT,
    NIB_SIMILARITY_COSINE,
    NIB_SIMILARITY_TRIPLET,
    NIB_SIMILARITY_KINDS
} nib_similarity_kind;

typedef struct nib_similarity {
    nib_ctx *ctx;
    const nib_kernels *k;
    nib_similarity_kind kind;
    double scale, margin;
    const int *dims;     /* [dim_count], borrowed; none: the whole vectors */
    size_t dim_count;
    size_t records, columns, width; /* the most, and the vectors' */
    size_t n, dim;       /* of the batch at hand, and the numbers that are compared */
    float *x, *dx;       /* [columns * records, width] the vectors compared, their gradient */
    double *lengths;     /* [columns * records] what divided them */
    float *scores;       /* [records, others] of RANKING, else [records] */
    double *losses;      /* [records] */
    const float *answers;
    bool gradient;
} nib_similarity;

/* sentence-transformers' name of a loss: "MultipleNegativesRankingLoss". */
const char *nib_similarity_name(nib_similarity_kind kind);
/* false: no loss is called so. */
bool nib_similarity_parse(const char *name, nib_similarity_kind *kind);
/* Does it want a score of each record? */
static inline bool nib_similarity_is_scored(nib_similarity_kind k)
{
    return k == NIB_SIMILARITY_COSENT || k == NIB_SIMILARITY_COSINE;
}

/* Room for `records` of `columns` texts each.  kind, scale, margin, dims, ctx and k are set. */
nib_status nib_similarity_init(nib_similarity *s, size_t records, size_t columns, size_t width,
                               nib_error *err);
void nib_similarity_free(nib_similarity *s); /* zeroed is fine */
uint64_t nib_similarity_bytes(const nib_similarity *s, size_t records, size_t columns,
                              size_t width);

/* The loss of n records; answers [n] are their scores, where the kind wants some.  Adds to
 * d_vectors, unless that is NULL.  The same bits with any number of threads. */
double nib_similarity_loss(nib_similarity *s, size_t n, const float *vectors, const float *answers,
                           float *d_vectors);

#endif
