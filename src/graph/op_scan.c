/* op_scan.c - a matrix of each head that fades, is added to and read from token to token, within
 * each sequence: the gated delta rule and Mamba-2's state space (kernel/scan.h).
 *
 *     delta rule    q^ = q / |q| / sqrt(rows), k^ = k / |k|, beta = sigmoid(b)
 *                   ln c = -exp(A_log) softplus(a + dt_bias)
 *     state space   q = C, k = B, v = x, beta = step = clamp(softplus(dt + dt_bias)), skip = D
 *                   ln c = -exp(A_log) step
 *
 * Inputs: q, k, v, a or dt, and for the delta rule b; all may be views.  What lies between them
 * and the recurrence is made again in backward: scratch holds q^ and k^, c and beta in float, and
 * behind them in backward their gradients.  Those of q^ and k^ are the sums of what the heads of v
 * give that read them: in parts, which threads take one by one and whose sums are added up in
 * order, so that no thread's number tells and not every head's gradient lies in memory.  Of the
 * delta rule there are at most PARTS; a state space's kernel takes the heads of one together.
 *
 *     a' = (ln c)' (-exp(A_log)) sigmoid(a + dt_bias)       b' = beta' beta (1 - beta)
 *     dt' = (beta' + (ln c)' (-exp(A_log))) sigmoid(dt + dt_bias), 0 where it was clamped
 *
 * State: a matrix a head in the kernel's blocks, float; one of no tokens is zeros. */
#include <math.h>

#include "graph/operations.h"
#include "graph/rows.h"
#include "graph/state.h"

enum { Q, K, VALUES, A, BETA, INPUTS };
enum { PARTS = 16 };

typedef struct scan_work {
    nib_run *run;
    const nib_node *n;
    const nib_io *io;
    const nib_scan_desc *d;
    nib_dtype type;
    size_t rows, blocks;      /* tokens of the batch; blocks of a head */
    nib_heads layout[INPUTS];
    float *unit[2];           /* q^, k^ [tokens, key heads, rows] */
    float *fade, *beta;       /* [tokens, heads] */
    size_t parts;             /* of the heads of v that read one of k */
    float *d_unit[2];         /* [key heads, parts, tokens, rows] */
    size_t d_unit_of;         /* numbers of a part */
    float *d_log, *d_beta;    /* [tokens, heads] */
    float *each;              /* of a worker */
    size_t each_count;
} scan_work;

/* Floats of scratch: what all threads read, and what backward adds. */
typedef struct scan_sizes { size_t unit, gate, d_unit; } scan_sizes;

static size_t parts_of(const nib_scan_desc *d)
{
    size_t group = d->heads / d->key_heads;
    return d->delta ? nib_min(group, PARTS) : nib_ceil_div(group, NIB_SPACE_HEADS);
}

/* Heads of a part: the first parts have the most. */
static size_t heads_of_part(const nib_scan_desc *d, size_t part)
{
    size_t group = d->heads / d->key_heads, parts = parts_of(d);
    return group / parts + (part < group % parts);
}

/* What a thread has is for one sequence: kernels go back over all of its tokens. */
static size_t each_count(const nib_scan_desc *d, size_t longest, bool back)
{
    if (!back) return nib_round_up(d->rows * NIB_SCAN_COLUMNS, 16);
    return nib_round_up(d->delta ? nib_scan_scratch(d->rows, longest)
                                 : nib_space_scratch(d->rows, d->columns, longest,
                                                     heads_of_part(d, 0)), 16);
}

static scan_sizes sizes_of(const nib_scan_desc *d, size_t tokens, bool back)
{
    size_t unit = tokens * d->rows;

    return (scan_sizes){ nib_round_up(unit * d->key_heads, 16),
                         nib_round_up(tokens * d->heads, 16),
                         back ? nib_round_up(unit * d->key_heads * parts_of(d), 16) : 0 };
}

static scan_work work_of(nib_run *run, const nib_node *n, const nib_io *io, bool back)
{
    const nib_scan_desc *d = &n->scan;
    scan_work w = { .run = run, .n = n, .io = io, .d = d, .type = run->graph->type,
                    .rows = nib_node_rows(run, n),
                    .blocks = nib_ceil_div(d->columns, NIB_SCAN_COLUMNS) };
    scan_sizes s = sizes_of(d, run->plan->rows[NIB_TOKENS], back);
    const size_t heads[INPUTS] = { d->key_heads, d->key_heads, d->heads, d->heads, d->heads };
    const size_t widths[INPUTS] = { d->rows, d->rows, d->columns, 1, 1 };
    float *at = (float *)run->scratch.base;

    for (int i = 0; i < n->input_count; i++)
        w.layout[i] = nib_heads_in(run->graph, n->inputs[i], heads[i], widths[i]);
    w.unit[Q] = at;
    w.unit[K] = w.unit[Q] + s.unit;
    w.fade = w.unit[K] + s.unit;
    w.beta = w.fade + s.gate;
    at = w.beta + s.gate;
    if (back) {
        w.d_unit[Q] = at;
        w.d_unit[K] = w.d_unit[Q] + s.d_unit;
        w.d_log = w.d_unit[K] + s.d_unit;
        w.d_beta = w.d_log + s.gate;
        at = w.d_beta + s.gate;
    }
    w.parts = parts_of(d);
    w.d_unit_of = run->plan->rows[NIB_TOKENS] * d->rows;
    w.each = at;
    w.each_count = each_count(d, nib_run_longest(run), back);
    return w;
}

/* --- from the inputs to what the recurrence reads --- */

static void give(nib_dtype type, void *x, size_t at, float value, bool add)
{
    if (add) value += nib_get(type, x, at);
    nib_put(type, x, at, value);
}

static float sigmoid(float x) { return 1 / (1 + expf(-x)); }
static float softplus(float x) { return x > 20 ? x : log1pf(expf(x)); } /* torch's threshold */

static float scale_of(const scan_work *w, int i)
{
    return i == Q ? 1 / sqrtf((float)w->d->rows) : 1;
}

static float step_input(const scan_work *w, size_t row, size_t h)
{
    return nib_get(w->type, w->io->in[A], nib_head_at(w->layout[A], row, h)) +
           w->d->dt_bias->value[h];
}

/* rate = exp(A_log), of the head. */
static void make_gates(const scan_work *w, size_t row, size_t h, float rate)
{
    const nib_scan_desc *d = w->d;
    float step = softplus(step_input(w, row, h)), *beta = &w->beta[row * d->heads + h];

    if (d->delta)
        *beta = sigmoid(nib_get(w->type, w->io->in[BETA], nib_head_at(w->layout[BETA], row, h)));
    else
        *beta = step = fminf(fmaxf(step, d->least), d->most);
    w->fade[row * d->heads + h] = expf(-rate * step);
}

static void make_row(const scan_work *w, size_t row)
{
    const nib_scan_desc *d = w->d;

    for (size_t h = 0; h < d->key_heads; h++)
        for (int i = Q; i <= K; i++) {
            const void *x = nib_at(w->io->in[i], w->type, nib_head_at(w->layout[i], row, h));
            float *to = w->unit[i] + (row * d->key_heads + h) * d->rows;
            if (d->delta) w->run->k->unit(w->type, d->rows, x, scale_of(w, i), to);
            else if (w->type == NIB_F32) memcpy(to, x, d->rows * sizeof *to);
            else w->run->k->from_bf16(d->rows, x, to);
        }
}

static void make_tile(void *arg, size_t tile, unsigned worker)
{
    const scan_work *w = arg;
    size_t r0, r1;

    (void)worker;
    nib_tile_rows(tile, w->rows, &r0, &r1);
    for (size_t r = r0; r < r1; r++) make_row(w, r);
    for (size_t h = 0; h < w->d->heads; h++) {
        float rate = expf(w->d->log_decay->value[h]);
        for (size_t r = r0; r < r1; r++) make_gates(w, r, h, rate);
    }
}

/* Block `block` of head h of sequence s. */
static nib_scan_args args_of(const scan_work *w, size_t s, size_t h, size_t block)
{
    const nib_scan_desc *d = w->d;
    const uint32_t *offsets = w->run->batch->axes[NIB_TOKENS].offsets;
    size_t r0 = offsets[s], c0 = block * NIB_SCAN_COLUMNS, gate = r0 * d->heads + h;
    size_t unit = (r0 * d->key_heads + h / (d->heads / d->key_heads)) * d->rows;

    return (nib_scan_args){
        .type = w->type, .delta = d->delta, .tokens = offsets[s + 1] - r0, .rows = d->rows,
        .columns = nib_min(d->columns - c0, NIB_SCAN_COLUMNS), .q = w->unit[Q] + unit,
        .k = w->unit[K] + unit, .qk_stride = d->key_heads * d->rows, .fade = w->fade + gate,
        .beta = w->beta + gate, .gate_stride = d->heads, .skip = d->skip ? d->skip->value[h] : 0,
        .v = nib_at(w->io->in[VALUES], w->type, nib_head_at(w->layout[VALUES], r0, h) + c0),
        .v_stride = w->layout[VALUES].row_stride, .o_stride = d->heads * d->columns
    };
}

/* Where block `block` of head h begins in an output row of sequence s. */
static size_t output_at(const scan_work *w, size_t s, size_t h, size_t block)
{
    size_t row = w->run->batch->axes[NIB_TOKENS].offsets[s];
    return (row * w->d->heads + h) * w->d->columns + block * NIB_SCAN_COLUMNS;
}

/* --- forward --- */

static void forward_tile(void *arg, size_t tile, unsigned worker)
{
    const scan_work *w = arg;
    size_t count = w->d->rows * NIB_SCAN_COLUMNS, block = tile % w->blocks;
    size_t h = tile / w->blocks % w->d->heads, s = tile / w->blocks / w->d->heads;
    const nib_state *state = nib_batch_state(w->run->batch, s);
    float *matrix = w->each + worker * w->each_count;
    nib_scan_args a = args_of(w, s, h, block);

    a.o = nib_at_mut(w->io->out, w->type, output_at(w, s, h, block));
    if (state) matrix = (float *)nib_state_piece(state, w->n) + (h * w->blocks + block) * count;
    if (!state || state->tokens == 0) memset(matrix, 0, count * sizeof *matrix);
    w->run->k->scan(&a, matrix);
}

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    scan_work w = work_of(run, n, io, false);

    nib_parallel_for(run->ctx, nib_row_tiles(w.rows), make_tile, &w);
    nib_parallel_for(run->ctx, run->batch->sequences * n->scan.heads * w.blocks, forward_tile, &w);
}

/* --- backward --- */

/* What one head's backward reads and gives; q^'s and k^'s gradients are written to `at`, or added
 * there. */
static nib_scan_args back_args(const scan_work *w, size_t s, size_t h, size_t at, bool add)
{
    const nib_scan_desc *d = w->d;
    size_t r0 = w->run->batch->axes[NIB_TOKENS].offsets[s];
    nib_scan_args a = args_of(w, s, h, 0);

    a.columns = d->columns;
    a.d_o = nib_at(w->io->d_out, w->type, output_at(w, s, h, 0));
    a.dqk_stride = d->rows;
    a.dq = w->d_unit[Q] + at;
    a.dk = w->d_unit[K] + at;
    a.add_dqk = add;
    a.d_log_fade = w->d_log + r0 * d->heads + h;
    a.d_beta = w->d_beta + r0 * d->heads + h;
    a.add_dv = w->io->accumulate[VALUES];
    if (w->io->d_in[VALUES])
        a.dv = nib_at_mut(w->io->d_in[VALUES], w->type, nib_head_at(w->layout[VALUES], r0, h));
    return a;
}

/* The heads of a part of a key head, in a sequence. */
static void backward_tile(void *arg, size_t tile, unsigned worker)
{
    const scan_work *w = arg;
    const nib_scan_desc *d = w->d;
    const uint32_t *offsets = w->run->batch->axes[NIB_TOKENS].offsets;
    size_t part = tile % w->parts, key_head = tile / w->parts % d->key_heads;
    size_t s = tile / w->parts / d->key_heads, h = key_head * (d->heads / d->key_heads);
    size_t at = (key_head * w->parts + part) * w->d_unit_of + offsets[s] * d->rows;
    size_t count = heads_of_part(d, part);
    float *scratch = w->each + worker * w->each_count;
    nib_scan_args heads[NIB_SPACE_HEADS];

    for (size_t p = 0; p < part; p++) h += heads_of_part(d, p);
    if (!d->delta) {
        for (size_t m = 0; m < count; m++) heads[m] = back_args(w, s, h + m, at, false);
        w->run->k->space_back(heads, count, scratch);
        return;
    }
    for (size_t m = 0; m < count; m++) {
        nib_scan_args a = back_args(w, s, h + m, at, m > 0);
        w->run->k->scan_back(&a, scratch);
    }
}

/* The gradient of q or k: the parts are added up, in the first one's place. */
static void unit_back(const scan_work *w, int i, size_t row)
{
    const nib_scan_desc *d = w->d;

    for (size_t h = 0; h < d->key_heads; h++) {
        size_t at = nib_head_at(w->layout[i], row, h);
        float *sum = w->d_unit[i] + h * w->parts * w->d_unit_of + row * d->rows;
        void *dx = nib_at_mut(w->io->d_in[i], w->type, at);
        const void *x = nib_at(w->io->in[i], w->type, at);
        for (size_t m = 1; m < w->parts; m++)
            w->run->k->axpy(d->rows, 1, sum + m * w->d_unit_of, sum);
        if (d->delta) {
            w->run->k->unit_back(w->type, d->rows, x, scale_of(w, i), sum, dx,
                                 w->io->accumulate[i]);
            continue;
        }
        for (size_t c = 0; c < d->rows; c++) give(w->type, dx, c, sum[c], w->io->accumulate[i]);
    }
}

/* Whether a state space's step, which begins as softplus(x), was moved to a bound. */
static bool clamped(const nib_scan_desc *d, float x, float step)
{
    if (step > d->least && step < d->most) return false;
    return softplus(x) < d->least || softplus(x) > d->most;
}

static void gates_back(const scan_work *w, size_t row, size_t h, float rate)
{
    const nib_scan_desc *d = w->d;
    size_t at = row * d->heads + h;
    float x = step_input(w, row, h), beta = w->beta[at], d_step = -rate * w->d_log[at];

    if (!d->delta) d_step = clamped(d, x, beta) ? 0 : d_step + w->d_beta[at];
    if (w->io->d_in[A])
        give(w->type, w->io->d_in[A], nib_head_at(w->layout[A], row, h), d_step * sigmoid(x),
             w->io->accumulate[A]);
    if (d->delta && w->io->d_in[BETA])
        give(w->type, w->io->d_in[BETA], nib_head_at(w->layout[BETA], row, h),
             w->d_beta[at] * beta * (1 - beta), w->io->accumulate[BETA]);
}

static void give_tile(void *arg, size_t tile, unsigned worker)
{
    const scan_work *w = arg;
    size_t r0, r1;

    (void)worker;
    nib_tile_rows(tile, w->rows, &r0, &r1);
    for (size_t r = r0; r < r1; r++) {
        if (w->io->d_in[Q]) unit_back(w, Q, r);
        if (w->io->d_in[K]) unit_back(w, K, r);
    }
    for (size_t h = 0; h < w->d->heads; h++) {
        float rate = expf(w->d->log_decay->value[h]);
        for (size_t r = r0; r < r1; r++) gates_back(w, r, h, rate);
    }
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    scan_work w = work_of(run, n, io, true);

    nib_parallel_for(run->ctx, nib_row_tiles(w.rows), make_tile, &w);
    nib_parallel_for(run->ctx, run->batch->sequences * n->scan.key_heads * w.parts, backward_tile,
                     &w);
    nib_parallel_for(run->ctx, nib_row_tiles(w.rows), give_tile, &w);
}

/* --- description --- */

static size_t scratch(const nib_graph *g, const nib_node *n, const size_t rows[NIB_MAX_AXES])
{
    bool back = g->values[n->output].needs_grad;
    scan_sizes s = sizes_of(&n->scan, rows[NIB_TOKENS], back);

    return (2 * s.unit + 2 * s.gate + (back ? 2 * s.d_unit + 2 * s.gate : 0)) * sizeof(float);
}

static size_t longest_scratch(const nib_graph *g, const nib_node *n,
                              const size_t rows[NIB_MAX_AXES])
{
    return each_count(&n->scan, rows[NIB_TOKENS], g->values[n->output].needs_grad) *
           nib_threads(g->ctx) * sizeof(float);
}

static size_t state_bytes(const nib_graph *g, const nib_node *n, size_t capacity)
{
    const nib_scan_desc *d = &n->scan;

    (void)g, (void)capacity;
    return d->heads * nib_ceil_div(d->columns, NIB_SCAN_COLUMNS) * d->rows * NIB_SCAN_COLUMNS *
           sizeof(float);
}

const nib_op nib_op_scan = { .id = NIB_OP_SCAN, .name = "recurrence", .keeps_inputs = 31,
                             .scratch = scratch, .longest_scratch = longest_scratch,
                             .state = state_bytes, .folds = true };
const nib_op_functions nib_cpu_scan = { forward, backward };
