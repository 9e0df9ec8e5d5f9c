/* divergence.h - from logits to losses, and to the distance between two models. */
#ifndef NIB_JOB_DIVERGENCE_H
#define NIB_JOB_DIVERGENCE_H

#include "base/thread.h"

/* Of one position. */
typedef struct nib_divergence {
    double loss, reference_loss; /* -log p(token), in nats */
    double divergence;           /* KL(reference || model) >= 0, up to rounding */
    bool agrees;                 /* the likeliest token is the same */
} nib_divergence;

/* out [rows]: of logits [rows, width] and the tokens that came.  reference [rows, width] or NULL.
 * In double, rows on all threads, the same bits for any number of them. */
void nib_divergence_of(nib_ctx *ctx, const float *logits, const float *reference,
                       const uint32_t *tokens, size_t rows, size_t width, nib_divergence *out);

/* A mean with its standard error. */
typedef struct nib_mean { double sum, squares; uint64_t count; } nib_mean;
void nib_mean_add(nib_mean *m, double x);
double nib_mean_of(const nib_mean *m);    /* NaN of nothing */
double nib_mean_error(const nib_mean *m); /* NaN of fewer than two */

#endif
