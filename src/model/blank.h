/* blank.h - weights that are not there: shapes and sizes without data, for planning.
 *
 * A blank weight knows its shape, its scheme and the bytes it would take, and decodes to random
 * values; the graph, the adapters and the memory plan are made over it as over a real one.  Filling
 * it makes a random weight of that scheme, so that a step can be timed before a model is
 * downloaded. */
#ifndef NIB_MODEL_BLANK_H
#define NIB_MODEL_BLANK_H

#include "model/model.h"

/* four NULL: dense values of `dtype`. */
nib_status nib_blank_create(nib_ctx *ctx, size_t out, size_t in, const nib_bnb4_options *four,
                            nib_dtype dtype, nib_weight **w, nib_error *err);

#endif
