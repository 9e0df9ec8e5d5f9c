/* build.h - adding operations to a graph, in the words of the papers.
 *
 * The builder keeps the first error, and later calls do nothing, so an architecture's
 * functions need no checks.  Names are printf formats of module paths; binding a name
 * to its tensors is the model's part (nib_binder). */
#ifndef NIB_GRAPH_BUILD_H
#define NIB_GRAPH_BUILD_H

#include "graph/graph.h"

typedef struct nib_value { int id; } nib_value;

/* How the builder gets weights: by module path.  What is returned belongs to the binder. */
typedef struct nib_binder {
    void *self;
    nib_status (*linear)(void *self, const char *module, nib_linear **out, nib_error *err);
    nib_status (*embedding)(void *self, const char *module, nib_embedding **out, nib_error *err);
    /* bias: the norm has one ("<module>.bias"). */
    nib_status (*norm)(void *self, const char *module, bool bias, nib_norm **out, nib_error *err);
} nib_binder;

typedef struct nib_build {
    nib_graph *graph;
    nib_binder binder;
    int segment;
    bool last_layer; /* what follows its attention is read where logits are made only */
    nib_status status;
    nib_error error;
} nib_build;

void nib_build_fail(nib_build *b, nib_status status, const char *format, ...) NIB_PRINTF(3, 4);

nib_value nib_embed(nib_build *b, const char *module);
nib_value nib_apply_linear(nib_build *b, nib_value x, const char *format, ...) NIB_PRINTF(3, 4);
nib_value nib_apply_rms_norm(nib_build *b, nib_value x, float eps, const char *format, ...)
    NIB_PRINTF(4, 5);
nib_value nib_apply_layer_norm(nib_build *b, nib_value x, float eps, const char *format, ...)
    NIB_PRINTF(4, 5);
nib_value nib_activate(nib_build *b, nib_value x, nib_activation activation);
nib_value nib_gate(nib_build *b, nib_value gate, nib_value up,
                   nib_activation activation); /* act(gate) * up */
nib_value nib_add(nib_build *b, nib_value x, nib_value y);
/* `heads` heads of `head_dim` inside a wider value: a view, not a copy.  The views of one value
 * must not overlap, and together cover it; each is used once. */
nib_value nib_heads_of(nib_build *b, nib_value x, size_t heads, size_t head_dim, size_t offset,
                       nib_heads layout);
/* Fails unless x has `width` channels: before views of it are taken, which must cover it. */
void nib_expect_width(nib_build *b, nib_value x, size_t width, const char *what);
nib_value nib_rotate(nib_build *b, nib_value x, size_t heads, size_t head_dim,
                     const nib_rope *rope);
nib_value nib_attend(nib_build *b, nib_value q, nib_value k, nib_value v,
                     const nib_attention_desc *d);
/* From token rows to logit rows: everything after this works on supervised rows only.  x itself
 * when it is there already. */
nib_value nib_to_logit_rows(nib_build *b, nib_value x);
/* One row a sequence, of the axis of sequences, which is made when it is first asked for. */
nib_value nib_pool_rows(nib_build *b, nib_value x, nib_pooling pooling);
/* Another axis whose rows the batch brings (source tokens), and another input of an axis's rows
 * (type ids). */
nib_axis nib_add_axis(nib_build *b, const char *name);
nib_input nib_add_input(nib_build *b, const char *name, nib_axis axis);
/* For what a layer goes on with after its attention: in the last layer no other token reads it, so
 * it goes to logit rows there; elsewhere x itself. */
nib_value nib_after_attention(nib_build *b, nib_value x);
/* The head: a linear that the loss and the sampler pull rows from. */
void nib_set_head(nib_build *b, nib_value hidden, const char *module);

#endif
