/* linear.c - the products of a linear, forward and backward, over pieces: runs of rows of one
 * adapter slot and one role.
 *
 * Each piece has its own branch, so a batch trains several adapters: the inner values of its rows
 * lie one after the other from where those of the greatest rank would begin.  What is special to
 * magnitudes is in linear_magnitude.c. */
#include "graph/linear.h"

#include "base/random.h"
#include "graph/linear_magnitude.h"
#include "graph/rows.h"
#include "quant/product.h"
#include "quant/replaced.h"

/* Scratch: [x or dy made ready][inner values u or v][dropped input][of magnitudes][the products'
 * own].  What is first lies at the same place for linears of the same x. */
typedef struct parts { void *ready; float *inner; void *dropped, *magnitude, *rest; } parts;

static size_t inner_bytes(const nib_linear *l, size_t rows)
{
    return nib_round_up(rows * nib_max(nib_branches_rank(&l->branches), 1) * sizeof(float), 64);
}

static size_t dropped_bytes(const nib_graph *g, const nib_linear *l, size_t rows)
{
    if (!nib_branches_drop(&l->branches)) return 0;
    return nib_round_up(rows * l->weight->in * nib_dtype_bytes(g->type), 64);
}

/* x forward, or dy backward unless it comes ready. */
static size_t ready_bytes(const nib_graph *g, const nib_linear *l, size_t rows, bool dy_ready)
{
    size_t x = nib_operand_bytes(&g->kernels, g->type, l->weight->in, rows);
    return dy_ready ? x : nib_max(x, nib_operand_bytes(&g->kernels, g->type, l->weight->out, rows));
}

static parts divide(const nib_linear_rows *w, bool dy_ready)
{
    size_t rows = w->r1 - w->r0;
    char *p = w->scratch;
    parts d = { .ready = p };
    d.inner = (float *)(void *)(p += ready_bytes(w->run->graph, w->linear, rows, dy_ready));
    d.dropped = p += inner_bytes(w->linear, rows);
    d.magnitude = p += dropped_bytes(w->run->graph, w->linear, rows);
    d.rest = p + nib_linear_magnitude_bytes(w->run->graph, w->linear, rows);
    return d;
}

/* What comes back to the outputs whose rows of the weight are trained. */
static size_t rows_bytes(const nib_linear *l, size_t rows)
{
    return nib_round_up(rows * l->rows->rows * sizeof(float), 64);
}

size_t nib_linear_scratch_bytes(const nib_graph *g, const nib_linear *l, size_t rows, bool dy_ready)
{
    size_t out = l->weight->out, in = l->weight->in, rank = nib_branches_rank(&l->branches);
    size_t product = nib_max(nib_product_scratch_bytes(g->ctx, in, rank, rows),
                             nib_product_own_bytes(g->ctx, l->weight, rank, rows));
    size_t lowrank = rank ? nib_lowrank_scratch_bytes(g->ctx, out, in, rank, rows) : 0;
    size_t trained = l->rows ? rows_bytes(l, rows) +
                                   nib_lowrank_scratch_bytes(g->ctx, out, in, l->rows->rows, rows)
                             : 0;
    size_t full = l->full ? nib_lowrank_scratch_bytes(g->ctx, out, in, out, rows) : 0;

    return inner_bytes(l, rows) + dropped_bytes(g, l, rows) + ready_bytes(g, l, rows, dy_ready) +
           nib_linear_magnitude_bytes(g, l, rows) +
           nib_max(nib_max(product, trained), nib_max(lowrank, full));
}

/* --- dropout of the low-rank branch's input --- */

typedef struct drop {
    const nib_linear_rows *w; /* of which [first, first + rows) are dropped */
    const nib_branch *branch;
    size_t first, rows;
    nib_operand x;            /* forward: what is dropped into y */
    void *y;
    const float *v;           /* backward: y += mask * (v A), or */
    const void *dx;           /* y += mask * dx, of the compute type */
} drop;

/* Scales of four neighbouring channels: 0 or 1 / (1 - p), a function of where they are. */
static void drop_scales(const drop *d, uint32_t record, size_t position, size_t channel,
                        float scale[4])
{
    const uint32_t key[2] = { (uint32_t)d->w->run->dropout_seed ^ d->branch->key ^
                                  d->w->use * 0x9e3779b9u,
                              (uint32_t)(d->w->run->dropout_seed >> 32) };
    const uint32_t counter[4] = { record, (uint32_t)position, (uint32_t)(channel / 4),
                                  d->w->run->batch->epoch };
    uint32_t bits[4];

    nib_philox(key, counter, bits);
    for (int i = 0; i < 4; i++)
        scale[i] = nib_unit_float(bits[i]) < d->branch->dropout ? 0 : 1 / (1 - d->branch->dropout);
}

/* Row `row` of those that are worked on, as a row of the axis. */
static size_t place_of(const nib_linear_rows *w, size_t row)
{
    return w->places ? w->places[row] : w->r0 + row;
}

static void drop_row(const drop *d, size_t row)
{
    const nib_run *run = d->w->run;
    nib_dtype type = run->graph->type;
    size_t rank = d->branch->a->rows, width = d->branch->a->cols, position,
           sequence = nib_run_sequence(run, d->w->axis, place_of(d->w, d->first + row), &position);
    uint32_t record = run->batch->records ? run->batch->records[sequence] : (uint32_t)sequence;
    bool back = d->v || d->dx;
    const void *x = back ? NULL : nib_operand_row(&d->x, row);

    for (size_t c = 0; c < width; c += 4) {
        float scale[4], sum[4] = { 0 };
        drop_scales(d, record, position, c, scale);
        for (size_t r = 0; d->v && r < rank; r++)
            for (size_t i = 0; i < 4 && c + i < width; i++)
                sum[i] += d->v[row * rank + r] * d->branch->a->value[r * width + c + i];
        for (size_t i = 0; i < 4 && c + i < width; i++) {
            size_t at = row * width + c + i;
            float value;
            if (d->dx) sum[i] = nib_get(type, d->dx, at);
            value = back ? nib_get(type, d->y, at) + scale[i] * sum[i]
                         : scale[i] * nib_get(d->x.type, x, c + i);
            nib_put(type, d->y, at, value);
        }
    }
}

static void drop_tile(void *arg, size_t tile, unsigned worker)
{
    const drop *d = arg;
    size_t r0, r1;

    (void)worker;
    nib_tile_rows(tile, d->rows, &r0, &r1);
    for (size_t r = r0; r < r1; r++) drop_row(d, r);
}

static bool drops(const nib_run *run, const nib_branch *branch)
{
    return run->training && branch && branch->dropout > 0;
}

static nib_operand from_row(nib_operand x, size_t row)
{
    if (x.x) x.x = nib_operand_row(&x, row);
    return x;
}

/* --- a piece: a run of rows with one slot and one role --- */

/* Rows [first, end), counted from w->r0. */
typedef struct piece {
    const nib_linear_rows *w;
    const nib_branch *branch;
    size_t first, end;
    bool generated; /* its rows are those of generated tokens */
    parts p;
} piece;

/* The piece that begins at row `first`. */
static piece piece_at(const nib_linear_rows *w, const parts *p, size_t first)
{
    nib_row_run rows = nib_run_alike(w->run, w->axis, place_of(w, first));
    size_t end = first;

    if (!w->places) end = nib_min(rows.end, w->r1) - w->r0;
    while (w->places && end < w->r1 && w->places[end] < rows.end) end++;
    return (piece){ w, nib_branch_at(&w->linear->branches, rows.slot), first, end, rows.generated,
                    *p };
}

/* The input of the low-rank branch: x itself, or x after dropout. */
static nib_operand branch_input(const piece *s, nib_operand x)
{
    drop d = { .w = s->w, .branch = s->branch, .first = s->first, .rows = s->end - s->first, .x = x,
               .y = s->p.dropped };

    if (!drops(s->w->run, s->branch)) return x;
    nib_parallel_for(s->w->run->ctx, nib_row_tiles(d.rows), drop_tile, &d);
    return (nib_operand){ s->p.dropped, s->branch->a->cols, s->w->run->graph->type };
}

/* Where the inner values of a piece lie. */
static float *inner_of(const piece *s)
{
    return s->w->u ? s->w->u + s->first * nib_branches_rank(&s->w->linear->branches) : s->p.inner;
}

/* input: of the branch; u: its inner values. */
static nib_magnitude_rows magnitude_rows(const piece *s, nib_operand input, const float *u)
{
    return (nib_magnitude_rows){ .run = s->w->run, .weight = s->w->linear->weight,
                                 .branch = s->branch, .rows = s->end - s->first, .x = input, .u = u,
                                 .space = s->p.magnitude, .rest = s->p.rest };
}

/* x: as it lies for dots, else ready. */
static void forward_piece(const piece *s, nib_operand x, bool dots, const nib_linear_out *out)
{
    const nib_linear *l = s->w->linear;
    nib_run *run = s->w->run;
    size_t rows = s->end - s->first, most = dots ? NIB_DOT_ROWS : rows;
    nib_product_args args = { .type = run->graph->type, .decode = run->training,
                              .precision = run->graph->precision, .ldy = out->ld,
                              .y_type = out->type, .bias = l->bias };
    nib_operand input;
    float *u = NULL;

    if (s->branch) {
        u = inner_of(s);
        args.rank = s->branch->a->rows;
        args.factor = s->branch->b->value;
        input = branch_input(s, x);
        nib_lowrank_inner(run->ctx, run->k, rows, l->weight->in, args.rank, input,
                          s->branch->a->value, s->branch->scale, u, s->p.rest);
        if (s->branch->magnitude && !drops(run, s->branch)) args.gain = nib_branch_gains(s->branch);
    }
    for (size_t r = 0; r < rows; r += most) {
        args.rows = nib_min(most, rows - r);
        args.x = from_row(x, r);
        args.y = nib_at_mut(out->y, out->type, (s->first + r) * out->ld);
        args.u = u ? u + r * args.rank : NULL;
        if (dots) nib_product_dot(run->ctx, run->k, l->weight, &args, s->p.rest);
        else nib_product_forward(run->ctx, run->k, l->weight, &args, s->p.rest);
    }
    if (s->branch && s->branch->magnitude && drops(run, s->branch)) {
        const nib_magnitude_rows m = magnitude_rows(s, input, u);
        nib_magnitude_add_dropped(&m, nib_at_mut(out->y, out->type, s->first * out->ld), out->ld,
                                  out->type);
    }
}

void nib_linear_forward(const nib_linear_rows *w, const nib_linear_out *out)
{
    nib_run *run = w->run;
    size_t in = w->linear->weight->in, rows = w->r1 - w->r0;
    parts p = divide(w, true);
    nib_operand plain = { w->x, in, run->graph->type },
                ready = nib_operand_place(run->k, in, plain, p.ready);
    bool made = out->same_x; /* the batch, not the linear, says which rows are dots */

    for (size_t r = 0, end; r < rows; r = end) {
        piece s = piece_at(w, &p, r);
        bool dots = s.generated || out->dots;

        end = s.end;
        if (!dots && !made) nib_operand_ready(run->ctx, run->k, rows, in, plain, p.ready);
        made |= !dots;
        forward_piece(&s, from_row(dots ? plain : ready, r), dots, out);
    }
}

/* What the branch itself learns; v: its inner values of the way back. */
static void train_branch(const piece *s, nib_operand x, nib_operand dy, nib_operand scaled)
{
    const nib_linear *l = s->w->linear;
    const nib_branch *branch = s->branch;
    nib_run *run = s->w->run;
    size_t rows = s->end - s->first, rank = branch->a->rows;
    nib_operand input = branch_input(s, x);

    if (branch->magnitude) {
        const nib_magnitude_rows m = magnitude_rows(s, input, inner_of(s));
        nib_magnitude_add_gradient(&m, dy);
    }
    nib_lowrank_grad_b(run->ctx, run->k, rows, l->weight->out, rank, inner_of(s), scaled,
                       branch->b->grad, s->p.rest);
    nib_lowrank_grad_a(run->ctx, run->k, rows, l->weight->in, rank, s->p.inner, input,
                       branch->a->grad, s->p.rest);
}

/* dx += d/dx of what comes of the dropped input. */
static void add_dropped_back(const piece *s, nib_operand dy, void *dx)
{
    drop d = { .w = s->w, .branch = s->branch, .first = s->first, .rows = s->end - s->first,
               .y = dx, .v = s->p.inner };

    if (s->branch->magnitude) {
        const nib_magnitude_rows m = magnitude_rows(s, (nib_operand){ 0 }, s->p.inner);
        nib_magnitude_dropped_back(&m, dy, s->p.dropped);
        d.v = NULL;
        d.dx = s->p.dropped;
    }
    nib_parallel_for(s->w->run->ctx, nib_row_tiles(d.rows), drop_tile, &d);
}

/* dy: as it lies, and made ready.  x is read when the branch trains. */
static void backward_piece(const piece *s, nib_operand x, nib_operand dy, nib_operand ready,
                           void *dx, bool accumulate)
{
    const nib_linear *l = s->w->linear;
    const nib_branch *branch = s->branch;
    nib_run *run = s->w->run;
    size_t in = l->weight->in, out = l->weight->out, rows = s->end - s->first,
           rank = branch ? branch->a->rows : 0;
    nib_product_args args = { .type = run->graph->type, .rows = rows,
                              .x = ready, .y = dx, .ldy = in,
                              .accumulate = accumulate, .y_type = run->graph->type };
    nib_operand scaled = ready; /* dy as it comes to what the gains multiply */

    if (branch && branch->magnitude)
        scaled = nib_operand_scaled(run->ctx, run->k, rows, out, dy, nib_branch_gains(branch),
                                    s->p.magnitude);
    if (branch)
        nib_lowrank_inner_back(run->ctx, run->k, rows, out, rank, scaled, branch->b->value,
                               branch->scale, s->p.inner, s->p.rest);
    if (branch && branch->a->wants_grad) train_branch(s, x, dy, scaled);
    if (!dx) return;
    if (branch && !drops(run, branch)) {
        args.x = scaled;
        args.u = s->p.inner;
        args.factor = branch->a->value;
        args.rank = rank;
    }
    nib_product_backward(run->ctx, run->k, l->weight, &args, s->p.rest);
    if (drops(run, branch)) add_dropped_back(s, dy, dx);
}

/* Single trained rows of the weight: those outputs' part of dW = dy^T x. */
static void train_rows(const nib_linear_rows *w, nib_operand x, nib_operand dy, void *scratch)
{
    const nib_linear *l = w->linear;
    nib_run *run = w->run;
    size_t rows = w->r1 - w->r0, count = l->rows->rows;
    float *some = scratch;

    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < count; i++)
            some[r * count + i] = nib_get(dy.type, nib_operand_row(&dy, r),
                                          nib_replaced_row(l->weight, i));
    nib_lowrank_grad_a(run->ctx, run->k, rows, l->weight->in, count, some, x, l->rows->grad,
                       (char *)scratch + rows_bytes(l, rows));
}

void nib_linear_backward(const nib_linear_rows *w, nib_operand dy, void *dx, bool accumulate)
{
    nib_run *run = w->run;
    const nib_linear *l = w->linear;
    nib_dtype type = run->graph->type;
    size_t in = l->weight->in, out = l->weight->out, rows = w->r1 - w->r0;
    bool pieces = dx || l->branches.count;
    parts p = divide(w, nib_operand_is_ready(run->k, out, dy));
    nib_operand plain = { w->x, in, type }, ready = dy;

    if (pieces) ready = nib_operand_ready(run->ctx, run->k, rows, out, dy, p.ready);
    if (nib_param_wants(l->bias_param)) nib_sum_rows(run, rows, out, dy, l->bias_param->grad);
    if (nib_param_wants(l->full))
        nib_product_grad_weight(run->ctx, run->k, rows, out, in, dy, plain, l->full->grad, p.rest);
    if (nib_param_wants(l->rows)) train_rows(w, plain, dy, p.rest);
    for (size_t r = 0, end; pieces && r < rows; r = end) {
        piece s = piece_at(w, &p, r);

        end = s.end;
        backward_piece(&s, from_row(plain, r), from_row(dy, r), from_row(ready, r),
                       dx ? nib_at_mut(dx, type, r * in) : NULL, accumulate);
    }
}
