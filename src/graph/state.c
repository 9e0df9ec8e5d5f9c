/* state.c - a state's memory: one arena, a piece for each operation that asks for one. */
#include "graph/state.h"

/* The bytes of all pieces, and where each begins unless `pieces` is NULL. */
static size_t divide(const nib_graph *g, size_t capacity, size_t *pieces)
{
    size_t bytes = 0;

    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        if (!n->op->state) continue;
        if (pieces) pieces[n->state_index] = bytes;
        bytes += nib_round_up(n->op->state(g, n, capacity), 64);
    }
    return bytes;
}

size_t nib_state_bytes(const nib_graph *g, size_t capacity) { return divide(g, capacity, NULL); }

/* Token by token: every attention sees earlier tokens of its own axis alone. */
static nib_status check_generates(const nib_graph *g, nib_error *err)
{
    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        if (n->op->state && n->attention.full)
            return nib_fail(err, NIB_E_UNSUPPORTED,
                            "generate: the attention of layer %d sees later tokens or another "
                            "text, expected causal attention",
                            n->segment - 1);
    }
    return NIB_OK;
}

nib_status nib_state_create(nib_ctx *ctx, const nib_graph *g, size_t capacity, nib_state **out,
                            nib_error *err)
{
    nib_state *s = nib_new(ctx, sizeof *s);
    nib_status status = check_generates(g, err);

    if (!s) return nib_fail(err, NIB_E_NOMEM, "state for %zu tokens: out of memory", capacity);
    *s = (nib_state){ .ctx = ctx, .graph = g, .capacity = capacity };
    s->pieces = nib_new_array(ctx, g->attention_count, sizeof *s->pieces);
    if (!status && !s->pieces)
        status = nib_fail(err, NIB_E_NOMEM, "state for %zu tokens: out of memory", capacity);
    if (!status) status = nib_arena_create(ctx, divide(g, capacity, s->pieces), &s->memory, err);
    if (status) goto done;
    *out = s;
    s = NULL; /* handed over */
done:
    nib_state_destroy(s);
    return status;
}

void nib_state_destroy(nib_state *s)
{
    if (!s) return;
    nib_arena_destroy(s->ctx, &s->memory);
    nib_free(s->ctx, s->pieces);
    nib_free(s->ctx, s);
}

void nib_state_reset(nib_state *s) { s->tokens = s->reach = 0; }

void nib_state_truncate(nib_state *s, size_t tokens)
{
    assert(tokens <= s->tokens);
    s->tokens = tokens;
}

void nib_state_copy(nib_state *to, const nib_state *from)
{
    const nib_graph *g = from->graph;

    assert(to->graph == g && from->tokens <= to->capacity);
    for (size_t i = 0; i < g->node_count; i++)
        if (g->nodes[i].op->state) g->nodes[i].op->copy_state(&g->nodes[i], to, from);
    to->tokens = from->tokens;
    to->reach = from->reach;
}
