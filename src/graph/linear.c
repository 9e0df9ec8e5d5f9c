/* linear.c - the products of a linear over runs of equal adapter slots, forward and backward.
 *
 * Each run has its own branch, so a batch trains several adapters: the inner values of a run's rows
 * lie one after the other from where those of the greatest rank would begin. */
#include "graph/linear.h"

#include "base/random.h"
#include "graph/rows.h"
#include "quant/product.h"

/* Scratch: [x or dy made ready][inner values u or v][dropped input][the products' own].  What is
 * first lies at the same place for linears of the same x. */
typedef struct parts { void *ready; float *inner; void *dropped, *rest; } parts;

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

static parts divide(const nib_run *run, const nib_linear *l, size_t rows, bool dy_ready,
                    void *scratch)
{
    char *p = scratch;
    parts d = { .ready = p };
    d.inner = (float *)(void *)(p += ready_bytes(run->graph, l, rows, dy_ready));
    d.dropped = p += inner_bytes(l, rows);
    d.rest = p + dropped_bytes(run->graph, l, rows);
    return d;
}

size_t nib_linear_scratch_bytes(const nib_graph *g, const nib_linear *l, size_t rows, bool dy_ready)
{
    size_t out = l->weight->out, in = l->weight->in, rank = nib_branches_rank(&l->branches);
    size_t product = nib_max(nib_product_scratch_bytes(g->ctx, in, rank, rows),
                             nib_product_own_bytes(g->ctx, l->weight, rank, rows));
    size_t lowrank = rank ? nib_lowrank_scratch_bytes(g->ctx, out, in, rank, rows) : 0;
    size_t full = l->full ? nib_lowrank_scratch_bytes(g->ctx, out, in, out, rows) : 0;

    return inner_bytes(l, rows) + dropped_bytes(g, l, rows) + ready_bytes(g, l, rows, dy_ready) +
           nib_max(product, nib_max(lowrank, full));
}

/* --- dropout of the low-rank branch's input --- */

typedef struct drop {
    nib_run *run;
    const nib_branch *branch;
    nib_axis axis;
    size_t r0, rows, width, rank;
    nib_operand x;      /* forward: what is dropped into y */
    void *y;
    const float *v, *a; /* backward: y += mask * (v A) */
} drop;

/* Scales of four neighbouring channels: 0 or 1 / (1 - p), a function of where they are. */
static void drop_scales(const drop *d, uint32_t record, size_t position, size_t channel,
                        float scale[4])
{
    const uint32_t key[2] = { (uint32_t)d->run->dropout_seed ^ d->branch->key,
                              (uint32_t)(d->run->dropout_seed >> 32) };
    const uint32_t counter[4] = { record, (uint32_t)position, (uint32_t)(channel / 4),
                                  d->run->batch->epoch };
    uint32_t bits[4];

    nib_philox(key, counter, bits);
    for (int i = 0; i < 4; i++)
        scale[i] = nib_unit_float(bits[i]) < d->branch->dropout ? 0 : 1 / (1 - d->branch->dropout);
}

static float load_value(nib_dtype type, const void *x, size_t i)
{
    return type == NIB_F32 ? ((const float *)x)[i] : nib_bf16_to_f32(((const uint16_t *)x)[i]);
}

static void store_value(nib_dtype type, void *x, size_t i, float value)
{
    if (type == NIB_F32) ((float *)x)[i] = value;
    else ((uint16_t *)x)[i] = nib_f32_to_bf16(value);
}

static void drop_row(const drop *d, size_t row)
{
    nib_dtype type = d->run->graph->type;
    const nib_batch *batch = d->run->batch;
    size_t position, sequence = nib_run_sequence(d->run, d->axis, d->r0 + row, &position);
    uint32_t record = batch->records ? batch->records[sequence] : (uint32_t)sequence;
    const void *x = d->v ? NULL : nib_operand_row(&d->x, row);

    for (size_t c = 0; c < d->width; c += 4) {
        float scale[4], sum[4] = { 0 };
        drop_scales(d, record, position, c, scale);
        for (size_t r = 0; d->v && r < d->rank; r++)
            for (size_t i = 0; i < 4 && c + i < d->width; i++)
                sum[i] += d->v[row * d->rank + r] * d->a[r * d->width + c + i];
        for (size_t i = 0; i < 4 && c + i < d->width; i++) {
            size_t at = row * d->width + c + i;
            float value = d->v ? load_value(type, d->y, at) + scale[i] * sum[i]
                               : scale[i] * load_value(d->x.type, x, c + i);
            store_value(type, d->y, at, value);
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

/* The input of the low-rank branch: x itself, or x after dropout in `to`. */
static nib_operand branch_input(nib_run *run, const nib_branch *branch, nib_axis axis, size_t r0,
                                size_t rows, size_t width, nib_operand x, void *to)
{
    drop d = { .run = run, .branch = branch, .axis = axis, .r0 = r0, .rows = rows, .width = width,
               .x = x, .y = to };

    if (!drops(run, branch)) return x;
    nib_parallel_for(run->ctx, nib_row_tiles(rows), drop_tile, &d);
    return (nib_operand){ to, width, run->graph->type };
}

/* --- one run of rows with one slot --- */

/* Few rows of a generation are dots; elsewhere a row's bits hang on no other row. */
static bool few(const nib_run *run, size_t rows)
{
    return rows <= NIB_DOT_ROWS && run->state_capacity;
}

/* x: as it lies for dots, else ready. */
static void forward_run(nib_run *run, const nib_linear *l, const nib_branch *branch, nib_axis axis,
                        size_t r0, size_t rows, nib_operand x, bool dots, void *y, size_t ld,
                        nib_dtype y_type, float *u, const parts *p)
{
    size_t in = l->weight->in;
    nib_product_args args = { .type = run->graph->type, .precision = run->graph->precision,
                              .rows = rows, .x = x, .y = y, .ldy = ld, .y_type = y_type,
                              .bias = l->bias };

    if (branch) {
        args.rank = branch->a->rows;
        args.factor = branch->b->value;
        args.u = u ? u : p->inner;
        nib_lowrank_inner(run->ctx, run->k, rows, in, args.rank,
                          branch_input(run, branch, axis, r0, rows, in, x, p->dropped),
                          branch->a->value, branch->scale, u ? u : p->inner, p->rest);
    }
    if (dots) nib_product_dot(run->ctx, run->k, l->weight, &args, p->rest);
    else nib_product_forward(run->ctx, run->k, l->weight, &args, p->rest);
}

void nib_linear_forward(nib_run *run, const nib_linear *l, nib_axis axis, size_t r0, size_t r1,
                        const void *x, bool same_x, void *y, size_t ld, nib_dtype y_type, float *u,
                        void *scratch)
{
    nib_dtype type = run->graph->type;
    size_t in = l->weight->in, rank = nib_branches_rank(&l->branches), end;
    parts p = divide(run, l, r1 - r0, true, scratch);
    nib_operand plain = { x, in, type }, ready = nib_operand_place(run->k, in, plain, p.ready);
    bool made = same_x; /* the batch, not the linear, says where runs end and which are few */

    for (size_t r = r0; r < r1; r = end) {
        const nib_branch *branch = nib_branch_at(&l->branches, nib_run_slot(run, axis, r, &end));
        nib_operand from;
        bool dots;

        end = nib_min(end, r1);
        dots = few(run, end - r);
        if (!dots && !made) nib_operand_ready(run->ctx, run->k, r1 - r0, in, plain, p.ready);
        made |= !dots;
        from = dots ? plain : ready;
        from.x = nib_operand_row(&from, r - r0);
        forward_run(run, l, branch, axis, r, end - r, from, dots,
                    nib_at_mut(y, y_type, (r - r0) * ld), ld, y_type, u ? u + (r - r0) * rank : NULL,
                    &p);
    }
}

/* dy: as it lies, and made ready.  x is read when the branch trains. */
static void backward_run(nib_run *run, const nib_linear *l, const nib_branch *branch, nib_axis axis,
                         size_t r0, size_t rows, nib_operand x, const float *u, nib_operand dy,
                         nib_operand ready, void *dx, bool accumulate, const parts *p)
{
    size_t in = l->weight->in, out = l->weight->out, rank = branch ? branch->a->rows : 0;
    bool dropping = drops(run, branch);
    nib_product_args args = { .type = run->graph->type, .rows = rows, .x = ready, .y = dx, .ldy = in,
                              .accumulate = accumulate, .y_type = run->graph->type };

    if (branch)
        nib_lowrank_inner_back(run->ctx, run->k, rows, out, rank, ready, branch->b->value,
                               branch->scale, p->inner, p->rest);
    if (branch && branch->a->wants_grad) {
        nib_lowrank_grad_b(run->ctx, run->k, rows, out, rank, u, dy, branch->b->grad, p->rest);
        nib_lowrank_grad_a(run->ctx, run->k, rows, in, rank, p->inner,
                           branch_input(run, branch, axis, r0, rows, in, x, p->dropped),
                           branch->a->grad, p->rest);
    }
    if (!dx) return;
    if (branch && !dropping) {
        args.u = p->inner;
        args.factor = branch->a->value;
        args.rank = rank;
    }
    nib_product_backward(run->ctx, run->k, l->weight, &args, p->rest);
    if (dropping) {
        drop d = { .run = run, .branch = branch, .axis = axis, .r0 = r0, .rows = rows, .width = in,
                   .rank = rank, .y = dx, .v = p->inner, .a = branch->a->value };
        nib_parallel_for(run->ctx, nib_row_tiles(rows), drop_tile, &d);
    }
}

void nib_linear_backward(nib_run *run, const nib_linear *l, nib_axis axis, size_t r0, size_t r1,
                         const void *x, const float *u, nib_operand dy, void *dx, bool accumulate,
                         void *scratch)
{
    nib_dtype type = run->graph->type;
    size_t in = l->weight->in, out = l->weight->out, rows = r1 - r0, end,
           rank = nib_branches_rank(&l->branches);
    parts p = divide(run, l, rows, nib_operand_is_ready(run->k, out, dy), scratch);
    nib_operand plain = { x, in, type }, ready = dy;

    if (rank || dx) ready = nib_operand_ready(run->ctx, run->k, rows, out, dy, p.ready);
    if (nib_param_wants(l->bias_param)) nib_sum_rows(run, rows, out, dy, l->bias_param->grad);
    if (nib_param_wants(l->full))
        nib_product_grad_weight(run->ctx, run->k, rows, out, in, dy, plain, l->full->grad, p.rest);
    for (size_t r = r0; (rank || dx) && r < r1; r = end) {
        const nib_branch *branch = nib_branch_at(&l->branches, nib_run_slot(run, axis, r, &end));
        size_t at = r - r0;

        end = nib_min(end, r1);
        backward_run(run, l, branch, axis, r, end - r,
                     (nib_operand){ x ? nib_operand_row(&plain, at) : NULL, in, type },
                     u ? u + at * rank : NULL,
                     (nib_operand){ nib_operand_row(&dy, at), dy.ld, dy.type },
                     (nib_operand){ nib_operand_row(&ready, at), ready.ld, ready.type },
                     dx ? nib_at_mut(dx, type, at * in) : NULL, accumulate, &p);
    }
}
