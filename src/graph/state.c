/* state.c - a state's memory: one arena, a piece for each operation that asks for one. */
#include "graph/state.h"

/* The bytes of all pieces and marks, and where each begins unless `s` is NULL. */
static size_t divide(const nib_graph *g, size_t capacity, nib_state *s)
{
    size_t bytes = 0;

    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        size_t piece;
        if (!n->op->state || n->shares_state) continue;
        piece = nib_round_up(n->op->state(g, n, capacity), 64);
        if (s) s->pieces[n->state_index] = bytes;
        bytes += piece;
        if (!n->op->folds) continue;
        if (s) s->marks[n->state_index] = bytes;
        bytes += piece;
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
    *s = (nib_state){ .ctx = ctx, .graph = g, .capacity = capacity, .mark = NIB_UNMARKED };
    s->pieces = nib_new_array(ctx, 2 * g->state_count, sizeof *s->pieces);
    if (!status && !s->pieces)
        status = nib_fail(err, NIB_E_NOMEM, "state for %zu tokens: out of memory", capacity);
    if (!status) s->marks = s->pieces + g->state_count;
    if (!status) status = nib_arena_create(ctx, divide(g, capacity, s), &s->memory, err);
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

void nib_state_reset(nib_state *s)
{
    s->tokens = s->reach = 0;
    s->mark = NIB_UNMARKED;
}

/* Copies the pieces that cannot be cut to their marks, or back.  True: there are some. */
static bool copy_marks(nib_state *s, bool back)
{
    const nib_graph *g = s->graph;
    bool any = false;

    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        uint8_t *piece, *mark;
        if (!n->op->state || !n->op->folds) continue;
        any = true;
        piece = (uint8_t *)s->memory.base + s->pieces[n->state_index];
        mark = (uint8_t *)s->memory.base + s->marks[n->state_index];
        memcpy(back ? piece : mark, back ? mark : piece, n->op->state(g, n, s->capacity));
    }
    return any;
}

void nib_state_mark(nib_state *s) { s->mark = copy_marks(s, false) ? s->tokens : NIB_UNMARKED; }

static bool folds(const nib_graph *g)
{
    for (size_t i = 0; i < g->node_count; i++)
        if (g->nodes[i].op->state && g->nodes[i].op->folds) return true;
    return false;
}

static bool can_be_cut(const nib_state *s, size_t tokens)
{
    for (size_t i = 0; i < s->graph->node_count; i++) {
        const nib_node *n = &s->graph->nodes[i];
        if (n->op->state && !n->op->folds && !nib_attention_holds(s, n, tokens)) return false;
    }
    return true;
}

size_t nib_state_truncate(nib_state *s, size_t tokens)
{
    assert(tokens <= s->tokens);
    if (tokens < s->tokens && folds(s->graph)) {
        /* a state of no tokens is not read, so going back to the start needs no copy */
        tokens = s->mark <= tokens ? s->mark : 0;
        if (tokens) copy_marks(s, true);
    }
    if (!can_be_cut(s, tokens)) tokens = 0;
    s->tokens = tokens;
    if (s->mark != NIB_UNMARKED && s->mark > tokens) s->mark = NIB_UNMARKED;
    return tokens;
}

void nib_state_copy(nib_state *to, const nib_state *from)
{
    const nib_graph *g = from->graph;

    assert(to->graph == g && from->tokens <= to->capacity);
    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        if (!n->op->state || n->shares_state) continue;
        if (n->op->copy_state) n->op->copy_state(n, to, from);
        else memcpy(nib_state_piece(to, n), nib_state_piece(from, n),
                    n->op->state(g, n, from->capacity));
    }
    to->tokens = from->tokens;
    to->reach = from->reach;
    to->mark = NIB_UNMARKED;
}
