/* op_join.c - heads of two parts: [a_h | b_h], where b may be one head that all get (the rotated
 * key of multi-head latent attention).  Either may be a view of a wider value.
 *
 * Backward cuts dy in two; that of a head that all got is the sum over the heads, in float. */
#include "graph/operations.h"
#include "graph/rows.h"

typedef struct join_work {
    nib_run *run;
    const nib_node *n;
    const nib_io *io;
    nib_dtype type;
    size_t rows, heads, width[2];
    nib_heads in[2];
    bool shared; /* b has one head */
    float *sums; /* [workers] rows of b */
} join_work;

static join_work work_of(nib_run *run, const nib_node *n, const nib_io *io)
{
    const nib_value_info *values = run->graph->values;
    size_t heads = values[n->output].heads;
    join_work w = { .run = run, .n = n, .io = io, .type = run->graph->type,
                    .rows = nib_node_rows(run, n), .heads = heads,
                    .sums = (float *)(void *)run->scratch.base };

    w.width[0] = values[n->inputs[0]].width / heads;
    w.width[1] = values[n->output].width / heads - w.width[0];
    w.shared = values[n->inputs[1]].width == w.width[1] && heads > 1;
    w.in[0] = nib_heads_in(run->graph, n->inputs[0], heads, w.width[0]);
    w.in[1] = nib_heads_in(run->graph, n->inputs[1], w.shared ? 1 : heads, w.width[1]);
    return w;
}

/* Where head h of part p begins in row r of the output. */
static size_t out_at(const join_work *w, size_t r, size_t h, int p)
{
    return (r * w->heads + h) * (w->width[0] + w->width[1]) + (p ? w->width[0] : 0);
}

static size_t in_at(const join_work *w, size_t r, size_t h, int p)
{
    return nib_head_at(w->in[p], r, p && w->shared ? 0 : h);
}

static void forward_row(const join_work *w, size_t r)
{
    for (int p = 0; p < 2; p++)
        for (size_t h = 0; h < w->heads; h++)
            memcpy(nib_at_mut(w->io->out, w->type, out_at(w, r, h, p)),
                   nib_at(w->io->in[p], w->type, in_at(w, r, h, p)),
                   w->width[p] * nib_dtype_bytes(w->type));
}

static void add_or_copy(const join_work *w, size_t r, size_t h, int p)
{
    const void *dy = nib_at(w->io->d_out, w->type, out_at(w, r, h, p));
    void *dx = nib_at_mut(w->io->d_in[p], w->type, in_at(w, r, h, p));

    if (w->io->accumulate[p]) w->run->k->add(w->type, w->width[p], dx, dy, dx);
    else memcpy(dx, dy, w->width[p] * nib_dtype_bytes(w->type));
}

static void sum_heads(const join_work *w, size_t r, float *sum)
{
    void *dx = nib_at_mut(w->io->d_in[1], w->type, in_at(w, r, 0, 1));
    float *row = sum + nib_round_up(w->width[1], 16);

    memset(sum, 0, w->width[1] * sizeof *sum);
    if (w->io->accumulate[1]) nib_convert(sum, NIB_F32, dx, w->type, w->width[1]);
    for (size_t h = 0; h < w->heads; h++) {
        nib_convert(row, NIB_F32, nib_at(w->io->d_out, w->type, out_at(w, r, h, 1)), w->type,
                    w->width[1]);
        w->run->k->axpy(w->width[1], 1, row, sum);
    }
    nib_convert(dx, w->type, sum, NIB_F32, w->width[1]);
}

static void backward_row(const join_work *w, size_t r, float *sum)
{
    for (int p = 0; p < 2; p++)
        for (size_t h = 0; w->io->d_in[p] && !(p && w->shared) && h < w->heads; h++)
            add_or_copy(w, r, h, p);
    if (w->io->d_in[1] && w->shared) sum_heads(w, r, sum);
}

static void run_tile(void *arg, size_t tile, unsigned worker)
{
    const join_work *w = arg;
    size_t r0, r1;

    nib_tile_rows(tile, w->rows, &r0, &r1);
    for (size_t r = r0; r < r1; r++)
        if (w->io->d_out)
            backward_row(w, r, w->sums + 2 * worker * nib_round_up(w->width[1], 16));
        else forward_row(w, r);
}

static void run_rows(nib_run *run, const nib_node *n, const nib_io *io)
{
    join_work w = work_of(run, n, io);

    nib_parallel_for(run->ctx, nib_row_tiles(w.rows), run_tile, &w);
}

static size_t scratch(const nib_graph *g, const nib_node *n, const size_t rows[NIB_MAX_AXES])
{
    (void)rows;
    return 2 * nib_round_up(g->values[n->output].head_dim, 16) * sizeof(float) *
           nib_threads(g->ctx);
}

const nib_op nib_op_join = { .id = NIB_OP_JOIN, .name = "join of heads", .cheap = true,
                             .row_wise = true, .scratch = scratch };
const nib_op_functions nib_cpu_join = { run_rows, run_rows };
