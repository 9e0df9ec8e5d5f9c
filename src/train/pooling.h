/* pooling.h - from the rows of a text to its embedding (formats-encoder.md 7.2). */
#ifndef NIB_TRAIN_POOLING_H
#define NIB_TRAIN_POOLING_H

#include "base/base.h"

typedef enum nib_pool_mode {
    NIB_MODE_CLS,
    NIB_MODE_MAX,
    NIB_MODE_MEAN,
    NIB_MODE_MEAN_SQRT, /* the sum over the root of the length */
    NIB_MODE_WEIGHTED,  /* a token weighs its place, from 1 */
    NIB_MODE_LAST,
    NIB_POOL_MODES
} nib_pool_mode;

/* What is joined, in this order. */
typedef struct nib_pooler {
    nib_pool_mode modes[NIB_POOL_MODES];
    size_t count;
} nib_pooler;

/* "mean", "cls"; as sentence-transformers calls them. */
const char *nib_pool_name(nib_pool_mode mode);
/* Adds a mode by `bytes` of its name: NIB_E_INVALID with those that are known, or where it is there
 * already; `where` names the place. */
nib_status nib_pooler_add(nib_pooler *p, const char *name, size_t bytes, const char *where,
                          nib_error *err);
/* The modes of a list with commas, in place of those that are there. */
nib_status nib_pooler_read(nib_pooler *p, const char *list, const char *where, nib_error *err);
/* Only these rows of a text are read: [*first, *last) of `length` tokens, the first `skip` of which
 * do not count. */
void nib_pooler_rows(const nib_pooler *p, size_t length, size_t skip, size_t *first, size_t *last);
/* out [count * width] of rows [n, width], of which the first is the text's token `place`. */
void nib_pooler_pool(const nib_pooler *p, const float *rows, size_t n, size_t width, size_t place,
                     float *out);
/* The way back: the rows' gradient d_rows [n, width] of the embedding's, d_out [count * width]. */
void nib_pooler_spread(const nib_pooler *p, const float *rows, size_t n, size_t width, size_t place,
                       const float *d_out, float *d_rows);
/* In place: x / max(|x|, 1e-12). */
void nib_unit_length(float *x, size_t n);

#endif
