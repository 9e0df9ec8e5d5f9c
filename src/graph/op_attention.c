/* op_attention.c - softmax attention within each sequence, or from each sequence to its rows on
 * another axis (kernel/attention.h).
 *
 * Forward: one tile a head and 128 queries.  Backward: one tile a head of a sequence,
 * which writes dq and the head's own dk, dv and sink's part in float; then the heads of a group
 * are added in order, and the sequences of a sink.  Keys and values of a sequence that has a state
 * go into it, and its queries see all of it.
 *
 * Numbers by distance are laid out for the longest sequence of the batch before either.
 *
 * Side value: logarithm of the softmax's denominator, [heads, rows] with the batch's rows. */
#include "graph/distances.h"
#include "graph/operations.h"
#include "graph/rows.h"
#include "graph/state.h"
#include "kernel/attention_place.h"

enum { QUERIES_A_TILE = 128, BEHIND = 32 }; /* BEHIND: numbers behind a head's distances */

typedef struct attention_work {
    nib_run *run;
    const nib_node *n;
    nib_attention_args args; /* all but the place */
    nib_axis q_axis, kv_axis;
    const uint32_t *q_offsets, *kv_offsets; /* [sequences + 1] */
    float *dk, *dv;          /* [rows, heads, head_dim or v_dim] by sequence and head */
    float *d_sinks;          /* [sequences, heads] */
    char *scratch;
    size_t scratch_each;
} attention_work;

static size_t value_dim(const nib_node *n)
{
    return n->attention.v_dim ? n->attention.v_dim : n->attention.head_dim;
}

static size_t head_scratch(const nib_node *n, size_t rows)
{
    size_t widest = nib_max(n->attention.head_dim, value_dim(n));
    return nib_round_up(nib_attention_scratch_bytes(widest, rows), 64);
}

static nib_attention_args args_of(const nib_run *run, const nib_node *n, const nib_io *io)
{
    const nib_attention_desc *d = &n->attention;
    const nib_graph *g = run->graph;
    size_t v_dim = value_dim(n);

    return (nib_attention_args){
        .type = g->type, .heads = d->heads, .kv_heads = d->kv_heads, .head_dim = d->head_dim,
        .v_dim = v_dim, .scale = d->scale, .cap = d->cap, .full = d->full, .window = d->window,
        .chunk = d->chunk, .prefix = d->of_globals ? 0 : d->globals,
        .alibi_slopes = d->alibi_slopes,
        .alibi_exact = d->alibi_exact,
        .sinks = d->sinks ? d->sinks->value : NULL,
        .drop_p = run->training ? d->drop.p : 0,
        .drop_key = { (uint32_t)run->dropout_seed ^ d->drop.key,
                      (uint32_t)(run->dropout_seed >> 32) },
        .epoch = run->batch->epoch,
        .q_heads = nib_heads_in(g, n->inputs[0], d->heads, d->head_dim),
        .kv_heads_k = nib_heads_in(g, n->inputs[1], d->kv_heads, d->head_dim),
        .kv_heads_v = nib_heads_in(g, n->inputs[2], d->kv_heads, v_dim),
        .q = io->in[0], .k = io->in[1], .v = io->in[2], .o = io->out, .lse = io->side,
        .lse_stride = nib_node_rows(run, n)
    };
}

static attention_work work_of(nib_run *run, const nib_node *n, const nib_io *io)
{
    const nib_value_info *values = run->graph->values;
    nib_axis q_axis = values[n->inputs[0]].axis, kv_axis = values[n->inputs[1]].axis;
    size_t most = nib_max(run->plan->rows[kv_axis], run->positions);

    return (attention_work){
        .run = run, .n = n, .args = args_of(run, n, io), .q_axis = q_axis, .kv_axis = kv_axis,
        .q_offsets = run->batch->axes[q_axis].offsets,
        .kv_offsets = run->batch->axes[kv_axis].offsets,
        .scratch = (char *)run->scratch.base, .scratch_each = head_scratch(n, most)
    };
}

/* --- keys of a state, [room, kv_heads, head_dim], then its values ---
 *
 * With a window, keys that no later query sees are dropped where room is needed: the piece begins
 * with the position of its first row, a multiple of the kernels' tile, so that sums have the bits
 * that they have over all keys. */

enum { HEADER = 64, TILE = NIB_ATTENTION_KEYS };

static bool slides(const nib_node *n)
{
    const nib_attention_desc *d = &n->attention;
    return d->window && !d->full && !d->chunk && !d->globals && !d->alibi_slopes && !d->buckets;
}

/* Rows of a state for `capacity` tokens. */
static size_t room_of(const nib_node *n, size_t capacity)
{
    size_t needed = n->attention.window + NIB_TAKEN_BACK + TILE + NIB_STATE_ROWS;
    return slides(n) ? nib_min(capacity, nib_round_up(needed, TILE)) : capacity;
}

/* The position of the first row; NULL: it is always 0. */
static size_t *first_of(const nib_state *s, const nib_node *n)
{
    return slides(n) ? nib_state_piece(s, n) : NULL;
}

static size_t first_held(const nib_state *s, const nib_node *n)
{
    return slides(n) && s->tokens ? *first_of(s, n) : 0;
}

/* Of d channels a head. */
static size_t row_bytes(const nib_graph *g, const nib_node *n, size_t d)
{
    return n->attention.kv_heads * d * nib_dtype_bytes(g->type);
}

static size_t state_part(const nib_graph *g, const nib_node *n, size_t capacity, size_t d)
{
    return nib_round_up(room_of(n, capacity) * row_bytes(g, n, d), 64);
}

static size_t state_bytes(const nib_graph *g, const nib_node *n, size_t capacity)
{
    return (slides(n) ? HEADER : 0) + state_part(g, n, capacity, n->attention.head_dim) +
           state_part(g, n, capacity, value_dim(n));
}

static uint8_t *state_keys(const nib_state *s, const nib_node *n)
{
    return (uint8_t *)nib_state_piece(s, n) + (slides(n) ? HEADER : 0);
}

static uint8_t *state_values(const nib_state *s, const nib_node *n)
{
    return state_keys(s, n) + state_part(s->graph, n, s->capacity, n->attention.head_dim);
}

bool nib_attention_holds(const nib_state *s, const nib_node *n, size_t tokens)
{
    size_t first = first_held(s, n);
    return first == 0 || tokens >= first + n->attention.window - 1;
}

/* What a state of `held` tokens must keep: from this position on. */
static size_t needed_from(const nib_node *n, size_t held)
{
    size_t behind = n->attention.window + NIB_TAKEN_BACK;
    return held > behind ? (held - behind) / TILE * TILE : 0;
}

static void copy_state(const nib_node *n, nib_state *to, const nib_state *from)
{
    size_t first = first_held(from, n), begin = first;
    size_t keys = row_bytes(from->graph, n, n->attention.head_dim),
           values = row_bytes(from->graph, n, value_dim(n));

    if (from->tokens - first > room_of(n, to->capacity)) begin = needed_from(n, from->tokens);
    memcpy(state_keys(to, n), state_keys(from, n) + (begin - first) * keys,
           (from->tokens - begin) * keys);
    memcpy(state_values(to, n), state_values(from, n) + (begin - first) * values,
           (from->tokens - begin) * values);
    if (slides(n)) *first_of(to, n) = begin;
}

/* Makes room for `rows` rows more. */
static void make_room(const nib_state *s, const nib_node *n, size_t rows)
{
    size_t first = first_held(s, n), begin = needed_from(n, s->tokens), held = s->tokens - begin;
    size_t keys = row_bytes(s->graph, n, n->attention.head_dim),
           values = row_bytes(s->graph, n, value_dim(n));

    if (!slides(n)) return;
    assert(rows <= NIB_STATE_ROWS || s->tokens + rows <= room_of(n, s->capacity));
    if (s->tokens + rows - first > room_of(n, s->capacity)) {
        memmove(state_keys(s, n), state_keys(s, n) + (begin - first) * keys, held * keys);
        memmove(state_values(s, n), state_values(s, n) + (begin - first) * values, held * values);
        first = begin;
    }
    *first_of(s, n) = first;
}

/* Copies rows [r0, r1) of the batch's keys (or values), of d channels a head, behind those that the
 * state holds. */
static void append_rows(const nib_state *state, const nib_node *n, const void *rows, size_t r0,
                        size_t r1, nib_heads layout, size_t d, void *part)
{
    nib_dtype type = state->graph->type;
    size_t width = n->attention.kv_heads * d;
    size_t at = state->tokens - (slides(n) ? *first_of(state, n) : 0);

    for (size_t r = r0; r < r1; r++)
        for (size_t h = 0; h < n->attention.kv_heads; h++)
            memcpy(nib_at_mut(part, type, (at + r - r0) * width + h * d),
                   nib_at(rows, type, nib_head_at(layout, r, h)), d * nib_dtype_bytes(type));
}

static void append_state(const attention_work *w, size_t s)
{
    const nib_state *state = nib_batch_state(w->run->batch, s);
    size_t r0 = w->kv_offsets[s], r1 = w->kv_offsets[s + 1];

    if (!state || w->n->shares_state) return;
    assert(state->tokens + r1 - r0 <= nib_min(state->capacity, w->run->positions));
    make_room(state, w->n, r1 - r0);
    append_rows(state, w->n, w->args.k, r0, r1, w->args.kv_heads_k, w->args.head_dim,
                state_keys(state, w->n));
    append_rows(state, w->n, w->args.v, r0, r1, w->args.kv_heads_v, w->args.v_dim,
                state_values(state, w->n));
}

/* The keys and values that a sequence's queries see: the batch's own, or all of its state.  The
 * position of its first query, counted from the first key. */
static size_t place_keys(const attention_work *w, size_t s, nib_attention_args *a)
{
    const nib_state *state = nib_batch_state(w->run->batch, s);
    size_t held;

    a->kv0 = w->kv_offsets[s];
    a->kv_len = w->kv_offsets[s + 1] - a->kv0;
    if (!state) return 0;
    held = state->tokens - first_held(state, w->n);
    a->kv0 = 0;
    a->kv_len += held;
    a->k = state_keys(state, w->n);
    a->v = state_values(state, w->n);
    a->kv_heads_k = nib_plain_heads(a->kv_heads, a->head_dim);
    a->kv_heads_v = nib_plain_heads(a->kv_heads, a->v_dim);
    return held;
}

/* --- distances --- */

/* Floats that the distances of sequences of at most `rows` rows take. */
static size_t distance_floats(const nib_node *n, size_t rows)
{
    const nib_attention_desc *d = &n->attention;
    return nib_has_distances(d) ? nib_round_up(d->heads * (2 * rows + BEHIND), 16) : 0;
}

/* Fills `to`, divided by the scale, which the kernel multiplies with. */
static void lay_out_distances(attention_work *w, float *to)
{
    const nib_attention_desc *d = &w->n->attention;
    size_t longest = 1;

    if (!nib_has_distances(d)) return;
    for (size_t s = 0; s < w->run->batch->sequences; s++)
        longest = nib_max(longest, w->kv_offsets[s + 1] - w->kv_offsets[s]);
    w->args.distances = to;
    w->args.reach = longest - 1;
    w->args.distances_ld = 2 * longest - 1 + BEHIND;
    for (size_t i = 0; i < 2 * longest - 1; i++) /* query - key = i - reach */
        for (size_t h = 0; h < d->heads; h++)
            to[h * w->args.distances_ld + i] =
                nib_distance_number(d, h, (int64_t)w->args.reach - (int64_t)i) / d->scale;
    for (size_t h = 0; h < d->heads; h++)
        memset(to + h * w->args.distances_ld + 2 * longest - 1, 0, BEHIND * sizeof *to);
}

static uint32_t record_of(const nib_batch *b, size_t s)
{
    return b->records ? b->records[s] : (uint32_t)s;
}

/* --- global tokens --- */

/* The places in sequence s whose queries this attention has. */
typedef struct queries { size_t from, to; } queries;

static queries queries_of(const attention_work *w, size_t s)
{
    const nib_attention_desc *d = &w->n->attention;
    size_t length = w->q_offsets[s + 1] - w->q_offsets[s], globals = nib_min(d->globals, length);

    return d->of_globals ? (queries){ 0, globals } : (queries){ globals, length };
}

/* Clears the heads' channels of rows [r0, r1). */
static void clear_rows(const attention_work *w, void *x, nib_heads layout, size_t d, size_t r0,
                       size_t r1)
{
    size_t bytes = d * nib_dtype_bytes(w->args.type);

    for (size_t r = r0; r < r1; r++)
        for (size_t h = 0; h < w->args.heads; h++)
            memset(nib_at_mut(x, w->args.type, nib_head_at(layout, r, h)), 0, bytes);
}

/* The rows whose queries another attention has. */
static void clear_others(const attention_work *w, void *x, nib_heads layout, size_t d)
{
    if (!w->n->attention.globals) return;
    for (size_t s = 0; s < w->run->batch->sequences; s++) {
        queries own = queries_of(w, s);
        clear_rows(w, x, layout, d, w->q_offsets[s], w->q_offsets[s] + own.from);
        clear_rows(w, x, layout, d, w->q_offsets[s] + own.to, w->q_offsets[s + 1]);
    }
}

/* --- forward --- */

/* Generated tokens are taken a few at a time, as the kernel takes one (kernel/attention_one.h). */
static size_t queries_a_tile(const nib_batch *b, size_t s)
{
    return b->generated && b->generated[s] ? NIB_DOT_ROWS : QUERIES_A_TILE;
}

/* Tiles follow each other by sequence, then by head, so that a head's keys and values stay in the
 * caches, then by queries, the last ones first: they see the most keys, and what is long goes
 * before what is short. */
static void forward_tile(void *arg, size_t tile, unsigned worker)
{
    const attention_work *w = arg;
    nib_attention_args a = w->args;
    size_t s = 0, chunk, chunks, length, most;
    queries own;

    for (;; s++) {
        own = queries_of(w, s);
        length = own.to - own.from;
        most = queries_a_tile(w->run->batch, s);
        chunks = nib_ceil_div(length, most);
        if (tile < chunks * a.heads) break;
        tile -= chunks * a.heads;
    }
    a.head = tile / chunks;
    chunk = (chunks - 1 - tile % chunks) * most;
    a.q0 = w->q_offsets[s] + own.from + chunk;
    a.q_len = nib_min(most, length - chunk);
    a.pos0 = place_keys(w, s, &a) + own.from + chunk;
    a.drop_pos0 = own.from;
    a.record = record_of(w->run->batch, s);
    w->run->k->attention_forward(&a, w->scratch + worker * w->scratch_each);
}

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    attention_work w = work_of(run, n, io);
    size_t tiles = 0;

    lay_out_distances(&w, (float *)(w.scratch + w.scratch_each * nib_threads(run->ctx)));
    for (size_t s = 0; s < run->batch->sequences; s++) append_state(&w, s);
    for (size_t s = 0; s < run->batch->sequences; s++) {
        queries own = queries_of(&w, s);
        tiles += nib_ceil_div(own.to - own.from, queries_a_tile(run->batch, s)) *
                 n->attention.heads;
    }
    clear_others(&w, io->out, nib_plain_heads(n->attention.heads, w.args.v_dim), w.args.v_dim);
    nib_parallel_for(run->ctx, tiles, forward_tile, &w);
}

/* --- backward --- */

static void backward_tile(void *arg, size_t tile, unsigned worker)
{
    const attention_work *w = arg;
    nib_attention_args a = w->args;
    size_t s = tile / a.heads, at;
    queries own = queries_of(w, s);

    a.head = tile % a.heads;
    a.q0 = w->q_offsets[s] + own.from;
    a.q_len = own.to - own.from;
    a.pos0 = a.drop_pos0 = own.from;
    a.record = record_of(w->run->batch, s);
    a.kv0 = w->kv_offsets[s];
    a.kv_len = w->kv_offsets[s + 1] - a.kv0;
    at = a.kv0 * a.heads + a.head * a.kv_len;
    a.dk = w->dk + at * a.head_dim;
    a.dv = w->dv + at * a.v_dim;
    a.d_sink = w->d_sinks ? w->d_sinks + tile : NULL;
    w->run->k->attention_backward(&a, w->scratch + worker * w->scratch_each);
}

/* Where the gradient of k (or v) goes, and the parts of it that the heads have. */
typedef struct part {
    const float *heads; /* [rows, heads, d] by sequence and head */
    size_t d;
    void *to;
    nib_heads layout;
    bool accumulate;
} part;

static void give(nib_dtype type, void *x, size_t at, float value, bool add)
{
    if (type == NIB_F32) {
        float *to = (float *)x + at;
        *to = add ? *to + value : value;
    } else {
        uint16_t *to = (uint16_t *)x + at;
        *to = nib_f32_to_bf16(add ? nib_bf16_to_f32(*to) + value : value);
    }
}

/* Row `row` of a sequence of `length` rows from `first` on: the sum over each group's heads. */
static void gather_group(const attention_work *w, const part *p, size_t row, size_t first,
                         size_t length)
{
    const nib_attention_args *a = &w->args;
    size_t group = a->heads / a->kv_heads;

    for (size_t h = 0; h < a->kv_heads; h++) {
        size_t at = nib_head_at(p->layout, row, h);
        for (size_t c = 0; c < p->d; c++) {
            float sum = 0;
            for (size_t i = 0; i < group; i++)
                sum += p->heads[(first * a->heads + (h * group + i) * length + row - first) * p->d +
                                c];
            give(a->type, p->to, at + c, sum, p->accumulate);
        }
    }
}

typedef struct gather_work { const attention_work *w; part k, v; } gather_work;

static void gather_tile(void *arg, size_t tile, unsigned worker)
{
    const gather_work *g = arg;
    const attention_work *w = g->w;
    size_t r0, r1, position;

    (void)worker;
    nib_tile_rows(tile, nib_run_rows(w->run, w->kv_axis), &r0, &r1);
    for (size_t r = r0; r < r1; r++) {
        size_t s = nib_run_sequence(w->run, w->kv_axis, r, &position);
        size_t first = w->kv_offsets[s], length = w->kv_offsets[s + 1] - first;
        if (g->k.to) gather_group(w, &g->k, r, first, length);
        if (g->v.to) gather_group(w, &g->v, r, first, length);
    }
}

/* Adds the parts of the sequences, in order. */
static void add_sinks(const attention_work *w, float *grad)
{
    for (size_t h = 0; h < w->args.heads; h++)
        for (size_t s = 0; s < w->run->batch->sequences; s++)
            grad[h] += w->d_sinks[s * w->args.heads + h];
}

/* Scratch behind that of the threads: dk, dv, the sinks' parts, and a dq that nobody wants. */
typedef struct back_sizes { size_t dk, dv, sinks, dq; } back_sizes; /* in floats */

static back_sizes back_sizes_of(const nib_graph *g, const nib_node *n,
                                const size_t rows[NIB_MAX_AXES])
{
    const nib_attention_desc *d = &n->attention;
    const nib_value_info *q = &g->values[n->inputs[0]];
    size_t q_rows = rows[q->axis], kv_rows = rows[g->values[n->inputs[1]].axis];
    bool sinks = d->sinks && d->sinks->param;

    return (back_sizes){ nib_round_up(kv_rows * d->heads * d->head_dim, 16),
                         nib_round_up(kv_rows * d->heads * value_dim(n), 16),
                         sinks ? nib_round_up(rows[NIB_TOKENS] * d->heads, 16) : 0,
                         q->needs_grad ? 0 : q_rows * nib_value_stride(g, n->inputs[0]) };
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    attention_work w = work_of(run, n, io);
    back_sizes sizes = back_sizes_of(run->graph, n, run->plan->rows);
    const nib_vector *sinks = n->attention.sinks;
    gather_work g = { .w = &w };
    float *dq;

    assert(run->batch->sequences <= run->plan->rows[NIB_TOKENS]);
    w.dk = (float *)(w.scratch + w.scratch_each * nib_threads(run->ctx));
    lay_out_distances(&w, w.dk);
    w.dk += distance_floats(n, run->plan->rows[w.kv_axis]);
    w.dv = w.dk + sizes.dk;
    if (sinks && sinks->param) w.d_sinks = w.dv + sizes.dv;
    dq = w.dv + sizes.dv + sizes.sinks; /* has its place to go to when nobody wants it */
    w.args.o = io->out;
    w.args.d_o = io->d_out;
    w.args.dq = io->d_in[0] ? io->d_in[0] : (void *)dq;
    w.args.add_dq = io->d_in[0] && io->accumulate[0];
    if (io->d_in[0] && !w.args.add_dq)
        clear_others(&w, io->d_in[0], w.args.q_heads, w.args.head_dim);
    g.k = (part){ w.dk, w.args.head_dim, io->d_in[1], w.args.kv_heads_k, io->accumulate[1] };
    g.v = (part){ w.dv, w.args.v_dim, io->d_in[2], w.args.kv_heads_v, io->accumulate[2] };
    nib_parallel_for(run->ctx, run->batch->sequences * n->attention.heads, backward_tile, &w);
    nib_parallel_for(run->ctx, nib_row_tiles(nib_run_rows(run, w.kv_axis)), gather_tile, &g);
    if (w.d_sinks) add_sinks(&w, sinks->param->grad);
}

static size_t scratch(const nib_graph *g, const nib_node *n, const size_t rows[NIB_MAX_AXES])
{
    back_sizes sizes = back_sizes_of(g, n, rows);
    bool trains = g->values[n->output].needs_grad;
    size_t back = (sizes.dk + sizes.dv + sizes.sinks + sizes.dq) * sizeof(float);

    return head_scratch(n, rows[g->values[n->inputs[1]].axis]) * nib_threads(g->ctx) +
           distance_floats(n, rows[g->values[n->inputs[1]].axis]) * sizeof(float) +
           (trains ? back : 0);
}

const nib_op nib_op_attention = { .id = NIB_OP_ATTENTION, .name = "attention", .keeps_inputs = 7,
                                  .keeps_output = true, .keeps_side = true, .scratch = scratch,
                                  .state = state_bytes, .copy_state = copy_state };
const nib_op_functions nib_cpu_attention = { forward, backward };
