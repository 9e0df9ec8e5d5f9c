/* op_attention.c - softmax attention within each sequence (kernel/attention.h).
 *
 * Forward: one tile a head and 128 queries.  Backward: one tile a head of a sequence,
 * which writes dq and the head's own dk and dv in float; then the heads of a group are
 * added in order.  While generating, keys and values go into the state, and the queries
 * see all of it.
 *
 * Side value: log-sum-exp, [heads, rows] with the batch's rows. */
#include "graph/operations.h"
#include "graph/rows.h"

enum { QUERIES_A_TILE = 128 };

typedef struct attention_work {
    nib_run *run;
    const nib_node *n;
    nib_attention_args args; /* all but the place */
    float *dk, *dv;          /* [rows, heads, head_dim] by sequence and head */
    char *scratch;
    size_t scratch_each;
    size_t state_tokens;     /* before this batch's; the one sequence goes on from there */
} attention_work;

static size_t head_scratch(const nib_node *n, size_t rows)
{
    return nib_round_up(nib_attention_scratch_bytes(n->attention.head_dim, rows), 64);
}

static attention_work work_of(nib_run *run, const nib_node *n, const nib_io *io)
{
    const nib_attention_desc *d = &n->attention;
    const nib_value_info *values = run->graph->values;
    size_t most = nib_max(run->plan->rows[NIB_TOKENS], run->state_capacity);

    return (attention_work){
        .run = run, .n = n,
        .args = { .type = run->graph->type, .heads = d->heads, .kv_heads = d->kv_heads,
                  .head_dim = d->head_dim, .v_dim = d->head_dim, .scale = d->scale,
                  .window = d->window,
                  .alibi_slopes = d->alibi_slopes, .q_heads = values[n->inputs[0]].layout,
                  .kv_heads_k = values[n->inputs[1]].layout, .kv_heads_v = values[n->inputs[2]].layout,
                  .q = io->in[0], .k = io->in[1], .v = io->in[2], .o = io->out, .lse = io->side,
                  .lse_stride = run->batch->axes[NIB_TOKENS].count },
        .scratch = (char *)run->scratch.base, .scratch_each = head_scratch(n, most),
        .state_tokens = run->state_capacity ? run->state_tokens : 0
    };
}

/* Tiles follow each other by sequence, then by head, so that a head's keys and values stay in the
 * caches, then by queries, the last ones first: they see the most keys, and what is long goes before
 * what is short. */
static void forward_tile(void *arg, size_t tile, unsigned worker)
{
    const attention_work *w = arg;
    const uint32_t *offsets = w->run->batch->axes[NIB_TOKENS].offsets;
    nib_attention_args a = w->args;
    size_t s = 0, chunk, chunks, length;

    for (;; s++) {
        length = offsets[s + 1] - offsets[s];
        chunks = nib_ceil_div(length, QUERIES_A_TILE);
        if (tile < chunks * a.heads) break;
        tile -= chunks * a.heads;
    }
    a.head = tile / chunks;
    chunk = (chunks - 1 - tile % chunks) * QUERIES_A_TILE;
    a.q0 = offsets[s] + chunk;
    a.q_len = nib_min(QUERIES_A_TILE, length - chunk);
    a.pos0 = w->state_tokens + chunk;
    a.kv0 = w->run->state_capacity ? 0 : offsets[s];
    a.kv_len = w->state_tokens + length;
    w->run->k->attention_forward(&a, w->scratch + worker * w->scratch_each);
}

static size_t kv_width(const nib_node *n) { return n->attention.kv_heads * n->attention.head_dim; }

/* Copies the batch's keys (or values) behind those of the state. */
static void append_state(nib_run *run, const nib_node *n, const void *rows, nib_heads layout,
                         void *state)
{
    nib_dtype type = run->graph->type;
    size_t d = n->attention.head_dim;

    for (size_t t = 0; t < run->batch->axes[NIB_TOKENS].count; t++)
        for (size_t h = 0; h < n->attention.kv_heads; h++)
            memcpy(nib_at_mut(state, type, (run->state_tokens + t) * kv_width(n) + h * d),
                   nib_at(rows, type,
                          t * layout.row_stride + h / layout.per_group * layout.group_stride +
                              h % layout.per_group * layout.head_stride),
                   d * nib_dtype_bytes(type));
}

static size_t state_bytes(const nib_graph *g, const nib_node *n, size_t capacity)
{
    return nib_round_up(capacity * kv_width(n) * nib_dtype_bytes(g->type), 64) * 2;
}

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    attention_work w = work_of(run, n, io);
    const uint32_t *offsets = run->batch->axes[NIB_TOKENS].offsets;
    size_t tiles = 0;

    if (run->state_capacity) {
        size_t bytes = state_bytes(run->graph, n, run->state_capacity);
        uint8_t *keys = run->state.base + n->state_index * bytes, *values = keys + bytes / 2;

        assert(run->batch->sequences == 1);
        assert(run->state_tokens + run->batch->axes[NIB_TOKENS].count <= run->state_capacity);
        append_state(run, n, io->in[1], w.args.kv_heads_k, keys);
        append_state(run, n, io->in[2], w.args.kv_heads_v, values);
        w.args.k = keys;
        w.args.v = values;
        w.args.kv_heads_k = w.args.kv_heads_v = nib_plain_heads(n->attention.kv_heads,
                                                                n->attention.head_dim);
    }
    for (size_t s = 0; s < run->batch->sequences; s++)
        tiles += nib_ceil_div(offsets[s + 1] - offsets[s], QUERIES_A_TILE) * n->attention.heads;
    nib_parallel_for(run->ctx, tiles, forward_tile, &w);
}

static void backward_tile(void *arg, size_t tile, unsigned worker)
{
    const attention_work *w = arg;
    const uint32_t *offsets = w->run->batch->axes[NIB_TOKENS].offsets;
    nib_attention_args a = w->args;
    size_t s = tile / a.heads, first = offsets[s], length = offsets[s + 1] - first, at;

    a.head = tile % a.heads;
    a.q0 = a.kv0 = first;
    a.q_len = a.kv_len = length;
    at = (first * a.heads + a.head * length) * a.head_dim;
    a.dk = w->dk + at;
    a.dv = w->dv + at;
    w->run->k->attention_backward(&a, w->scratch + worker * w->scratch_each);
}

/* Adds the query heads of each key/value head, in order, for the tokens of one sequence. */
static void gather_group(const attention_work *w, const float *heads, void *to, nib_heads layout,
                         size_t row, size_t first, size_t length)
{
    const nib_attention_args *a = &w->args;
    size_t group = a->heads / a->kv_heads;

    for (size_t h = 0; h < a->kv_heads; h++) {
        size_t at = row * layout.row_stride + h / layout.per_group * layout.group_stride +
                    h % layout.per_group * layout.head_stride;
        for (size_t c = 0; c < a->head_dim; c++) {
            float sum = 0;
            for (size_t i = 0; i < group; i++)
                sum += heads[(first * a->heads + (h * group + i) * length + row - first) *
                                 a->head_dim +
                             c];
            if (a->type == NIB_F32) ((float *)to)[at + c] = sum;
            else ((uint16_t *)to)[at + c] = nib_f32_to_bf16(sum);
        }
    }
}

typedef struct gather_work { const attention_work *w; const nib_io *io; } gather_work;

static void gather_tile(void *arg, size_t tile, unsigned worker)
{
    const gather_work *g = arg;
    const nib_run *run = g->w->run;
    const uint32_t *offsets = run->batch->axes[NIB_TOKENS].offsets;
    size_t r0, r1, position;

    (void)worker;
    nib_tile_rows(tile, run->batch->axes[NIB_TOKENS].count, &r0, &r1);
    for (size_t r = r0; r < r1; r++) {
        size_t s = nib_run_sequence(run, NIB_TOKENS, r, &position);
        size_t first = offsets[s], length = offsets[s + 1] - first;
        if (g->io->d_in[1])
            gather_group(g->w, g->w->dk, g->io->d_in[1], g->w->args.kv_heads_k, r, first, length);
        if (g->io->d_in[2])
            gather_group(g->w, g->w->dv, g->io->d_in[2], g->w->args.kv_heads_v, r, first, length);
    }
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    attention_work w = work_of(run, n, io);
    gather_work g = { &w, io };
    size_t wide = run->plan->rows[NIB_TOKENS] * n->attention.heads * n->attention.head_dim;

    assert(!io->accumulate[0] && !io->accumulate[1] && !io->accumulate[2]);
    w.dk = (float *)(w.scratch + w.scratch_each * nib_threads(run->ctx));
    w.dv = w.dk + nib_round_up(wide, 16);
    w.args.o = io->out;
    w.args.d_o = io->d_out;
    /* When q needs no gradient (nothing is trained below it) dq still has its place to go. */
    w.args.dq = io->d_in[0] ? io->d_in[0] : (void *)(w.dv + nib_round_up(wide, 16));
    nib_parallel_for(run->ctx, run->batch->sequences * n->attention.heads, backward_tile, &w);
    nib_parallel_for(run->ctx, nib_row_tiles(run->batch->axes[NIB_TOKENS].count), gather_tile, &g);
}

static size_t scratch(const nib_graph *g, const nib_node *n, const size_t rows[NIB_MAX_AXES])
{
    size_t tokens = rows[NIB_TOKENS];
    size_t wide = nib_round_up(tokens * n->attention.heads * n->attention.head_dim, 16) *
                  sizeof(float);
    size_t row = g->values[n->inputs[0]].layout.row_stride; /* of a dq that nobody wants */
    bool trains = g->values[n->output].needs_grad, dq = g->values[n->inputs[0]].needs_grad;

    return head_scratch(n, tokens) * nib_threads(g->ctx) + (trains ? 2 * wide : 0) +
           (trains && !dq ? tokens * row * sizeof(float) : 0);
}

const nib_op nib_op_attention = { .name = "attention", .forward = forward, .backward = backward,
                                  .keeps_inputs = 7, .keeps_output = true, .keeps_side = true,
                                  .scratch = scratch, .state = state_bytes };
