/* linear_magnitude.c - see linear_magnitude.h.
 *
 * Space: [dy times gains][x made ready, some rows][z, some rows].  How many rows `some` are
 * follows from the weight's shape alone. */
#include "graph/linear_magnitude.h"

#include "base/thread.h"
#include "graph/rows.h"
#include "quant/product.h"

enum { Z_VALUES = 1 << 20, FEWEST = 32, COLUMNS = 64 };

/* Rows whose z is at hand: few enough for little room, enough for the weight to be decoded for
 * many at once. */
static size_t some_rows(const nib_weight *w, size_t rows)
{
    return nib_min(rows, nib_max(Z_VALUES / w->out, FEWEST));
}

static size_t ready_bytes(const nib_graph *g, const nib_weight *w, size_t some)
{
    /* what a dropout made is of the compute type, and so is x */
    return nib_round_up(nib_operand_bytes(&g->kernels, g->type, w->in, some), 64);
}

size_t nib_linear_magnitude_bytes(const nib_graph *g, const nib_linear *l, size_t rows)
{
    const nib_weight *w = l->weight;
    size_t some = some_rows(w, rows);

    if (!nib_branches_measure(&l->branches)) return 0;
    return nib_operand_scaled_bytes(w->out, rows) + ready_bytes(g, w, some) +
           nib_round_up(some * w->out * sizeof(float), 64);
}

typedef struct parts { char *ready; float *z; size_t some; } parts;

static parts divide(const nib_magnitude_rows *m)
{
    size_t some = some_rows(m->weight, m->rows);
    char *ready = (char *)m->space + nib_operand_scaled_bytes(m->weight->out, m->rows);

    return (parts){ ready, (float *)(void *)(ready + ready_bytes(m->run->graph, m->weight, some)),
                    some };
}

/* x W^T + u B^T of rows first .. first + count. */
static nib_product_args product_of(const nib_magnitude_rows *m, const parts *p, size_t first,
                                   size_t count)
{
    const nib_branch *b = m->branch;
    nib_run *run = m->run;
    nib_operand x = m->x;

    x.x = nib_operand_row(&x, first);
    return (nib_product_args){
        .type = run->graph->type, .decode = true, .rows = count,
        .x = nib_operand_ready(run->ctx, run->k, count, m->weight->in, x, p->ready),
        .u = m->u + first * b->a->rows, .factor = b->b->value, .rank = b->a->rows };
}

void nib_magnitude_add_dropped(const nib_magnitude_rows *m, void *y, size_t ld, nib_dtype type)
{
    const parts p = divide(m);

    for (size_t r = 0, count; r < m->rows; r += count) {
        nib_product_args args;
        count = nib_min(p.some, m->rows - r);
        args = product_of(m, &p, r, count);
        args.y = nib_at_mut(y, type, r * ld);
        args.ldy = ld;
        args.y_type = type;
        args.accumulate = true;
        args.gain = nib_branch_excess(m->branch);
        nib_product_forward(m->run->ctx, m->run->k, m->weight, &args, m->rest);
    }
}

/* --- the way back --- */

typedef struct sums {
    const nib_magnitude_rows *m;
    const float *z;
    nib_operand dy; /* of the same rows */
    size_t rows;
} sums;

static void sum_columns(void *arg, size_t tile, unsigned worker)
{
    const sums *s = arg;
    const nib_branch *b = s->m->branch;
    size_t out = s->m->weight->out, first = tile * COLUMNS, end = nib_min(first + COLUMNS, out);
    double sum[COLUMNS] = { 0 };

    (void)worker;
    for (size_t r = 0; r < s->rows; r++) {
        const void *dy = nib_operand_row(&s->dy, r);
        for (size_t o = first; o < end; o++)
            sum[o - first] += (double)nib_get(s->dy.type, dy, o) * (double)s->z[r * out + o];
    }
    for (size_t o = first; o < end; o++)
        if (b->norms[o] > 0)
            b->magnitude->grad[o] += (float)(sum[o - first] / (double)b->norms[o]);
}

void nib_magnitude_add_gradient(const nib_magnitude_rows *m, nib_operand dy)
{
    const parts p = divide(m);
    size_t out = m->weight->out;

    if (!nib_param_wants(m->branch->magnitude)) return;
    for (size_t r = 0, count; r < m->rows; r += count) {
        nib_product_args args;
        sums s = { .m = m, .z = p.z, .dy = dy };
        s.rows = count = nib_min(p.some, m->rows - r);
        s.dy.x = nib_operand_row(&dy, r);
        args = product_of(m, &p, r, count);
        args.y = p.z;
        args.ldy = out;
        args.y_type = NIB_F32;
        nib_product_forward(m->run->ctx, m->run->k, m->weight, &args, m->rest);
        nib_parallel_for(m->run->ctx, nib_ceil_div(out, COLUMNS), sum_columns, &s);
    }
}

void nib_magnitude_dropped_back(const nib_magnitude_rows *m, nib_operand dy, void *dx)
{
    const nib_branch *b = m->branch;
    nib_run *run = m->run;
    nib_product_args args = { .type = run->graph->type, .rows = m->rows, .y = dx,
                              .ldy = m->weight->in, .y_type = run->graph->type, .u = m->u,
                              .factor = b->a->value, .rank = b->a->rows };

    args.x = nib_operand_scaled(run->ctx, run->k, m->rows, m->weight->out, dy,
                                nib_branch_excess(b), m->space);
    nib_product_backward(run->ctx, run->k, m->weight, &args, m->rest);
}
