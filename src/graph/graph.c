/* graph.c - making a graph, and finding what a gradient must reach. */
#include "graph/graph.h"

nib_graph *nib_graph_create(nib_ctx *ctx, nib_dtype type)
{
    nib_graph *g = nib_new(ctx, sizeof *g);

    if (!g) return NULL;
    *g = (nib_graph){ .ctx = ctx, .type = type, .cpu = nib_ctx_cpu(ctx), .hidden = NIB_NONE,
                      .padding = -1, .position_padding = -1,
                      .logit_scale = 1, .noise_scale = 1 };
    g->kernels = nib_kernels_for(g->cpu);
    g->axes[NIB_TOKENS] = (nib_axis_info){ .name = "tokens", .kind = NIB_AXIS_GIVEN,
                                            .parent = NIB_TOKENS, .times = 1 };
    g->axes[NIB_LOGIT_ROWS] = (nib_axis_info){ .name = "logit rows", .kind = NIB_AXIS_PICKED,
                                                .parent = NIB_TOKENS, .times = 1 };
    g->axis_count = NIB_LOGIT_ROWS + 1;
    g->inputs[NIB_IDS] = (nib_input_info){ "ids", NIB_TOKENS };
    g->inputs[NIB_POSITIONS] = (nib_input_info){ "positions", NIB_TOKENS };
    g->inputs[NIB_TYPES] = (nib_input_info){ "token types", NIB_TOKENS };
    g->input_count = NIB_TYPES + 1;
    return g;
}

void nib_graph_place(const nib_graph *g, const uint32_t *ids, size_t count, uint32_t *positions)
{
    uint32_t next = 0;

    for (size_t i = 0; i < count; i++)
        positions[i] = (int64_t)ids[i] == g->position_padding ? UINT32_MAX : next++;
}

size_t nib_graph_row_read(const nib_graph *g, const uint32_t *ids, size_t count)
{
    size_t row = g->rows_read == NIB_READ_LAST ? count - 1 : 0;

    while (row > 0 && (int64_t)ids[row] == g->padding) row--;
    return row;
}

void nib_graph_destroy(nib_graph *g)
{
    if (!g) return;
    for (size_t i = 0; i < g->node_count; i++) nib_free(g->ctx, g->nodes[i].experts);
    nib_free(g->ctx, g->nodes);
    nib_free(g->ctx, g->values);
    nib_free(g->ctx, g);
}

static bool experts_train(const nib_node *n)
{
    for (size_t e = 0; n->experts && e < n->route.experts; e++)
        if (nib_linear_trains(n->experts[e])) return true;
    return false;
}

/* The greatest rank of its branches. */
static size_t node_rank(const nib_node *n)
{
    size_t rank = n->linear ? nib_branches_rank(&n->linear->branches) : 0;

    for (size_t e = 0; n->experts && e < n->route.experts; e++)
        rank = nib_max(rank, nib_branches_rank(&n->experts[e]->branches));
    return rank;
}

/* Does a trained parameter belong to the node itself? */
static bool node_trains(const nib_node *n)
{
    return (n->linear && nib_linear_trains(n->linear)) || experts_train(n) ||
           (n->embedding && nib_embedding_trains(n->embedding)) ||
           (n->norm && nib_norm_trains(n->norm)) ||
           (n->attention.sinks && nib_vector_trains(n->attention.sinks));
}

static void mark_reads(nib_graph *g)
{
    for (size_t v = 0; v < g->value_count; v++) g->values[v].last_read = NIB_NONE;
    for (size_t i = 0; i < g->node_count; i++)
        for (int j = 0; j < g->nodes[i].input_count; j++) {
            nib_value_info *v = &g->values[g->nodes[i].inputs[j]];
            if (v->view_of != NIB_NONE) v = &g->values[v->view_of];
            if (g->nodes[i].segment > v->last_read) v->last_read = g->nodes[i].segment;
        }
}

void nib_graph_mark(nib_graph *g)
{
    mark_reads(g);
    for (size_t i = 0; i < g->node_count; i++) {
        nib_node *n = &g->nodes[i];
        bool needs = n->trains = node_trains(n);

        for (int j = 0; j < n->input_count; j++) needs |= g->values[n->inputs[j]].needs_grad;
        needs &= !n->op->constant;
        g->values[n->output].needs_grad = needs;
        /* Views follow their base: they were made after it and before its users. */
        for (size_t v = (size_t)n->output + 1; v < g->value_count; v++)
            if (g->values[v].view_of == n->output) g->values[v].needs_grad = needs;
        if (n->side != NIB_NONE && (n->linear || n->experts))
            g->values[n->side].width = nib_max(node_rank(n), 1);
    }
}

bool nib_node_keeps_input(const nib_graph *g, const nib_node *n, int i)
{
    (void)g;
    if (n->op->objective) return true;
    if (i == 0 && (n->linear || n->experts))
        return n->trains; /* dA and dW need x; dx needs only the weight */
    if (n->conv.taps && !n->conv.silu) return false; /* dx needs only the taps */
    return n->op->keeps_inputs >> i & 1;
}

nib_loss_kind nib_graph_loss(const nib_graph *g)
{
    for (size_t i = 0; i < g->node_count; i++)
        if (g->nodes[i].op->objective) return g->nodes[i].loss;
    return NIB_LOSS_CROSS_ENTROPY;
}

size_t nib_logit_chunk(size_t vocabulary, size_t logit_rows)
{
    return nib_min(nib_max((48u << 20) / (vocabulary * sizeof(float)), 64), nib_max(logit_rows, 1));
}
