/* outline.h - what config.json alone says of a model: its sizes, without a tensor.
 *
 * The architecture's function builds its graph, with the head that gives words if it has one, over
 * weights that are shapes and nothing else, and the sizes are read off the graph, so that they
 * cannot disagree with it. */
#ifndef NIB_MODEL_OUTLINE_H
#define NIB_MODEL_OUTLINE_H

#include "model/arch.h"

typedef struct nib_outline {
    size_t vocabulary;  /* rows of the head, else of the table of words */
    size_t width;       /* of the final hidden states */
    size_t layers;
    size_t heads, kv_heads, head_dim; /* of the first attention; 0 without one */
    size_t positions;   /* the most tokens of a sequence that it was made for */
    size_t linears;     /* the head not counted */
    size_t box_limit;   /* boxes of words have numbers below this; 0: it reads none */
    const char *const *refused_fields; /* the architecture's (arch.h) */
    bool tied;          /* the head is the embedding */
} nib_outline;

/* Calls `see` with the graph, which lives no longer than that.  Fails as the builder does, with
 * `where` before its message. */
nib_status nib_outline_show(nib_ctx *ctx, const nib_config *config, const char *where,
                            void (*see)(void *self, const nib_graph *g), void *self,
                            nib_error *err);
/* Fails alike. */
nib_status nib_outline_make(nib_ctx *ctx, const nib_config *config, const char *where,
                            nib_outline *out, nib_error *err);

#endif
