/* op_activate.c - y = act(x), y = xIELU(x), y = act(gate) * up, y = a + b and y = c x: value by
 * value.
 *
 * Inputs may be views of wider values (phi3's gate and up are halves of one projection); y is
 * plain.  Backward then writes its part of the wider value's gradient. */
#include <math.h>

#include "graph/operations.h"
#include "graph/rows.h"

enum { MOST_INPUTS = 2 };

typedef struct flat_work {
    nib_run *run;
    const nib_node *n;
    const nib_io *io;
    nib_dtype type;
    size_t rows, width;
    size_t heads, head_dim;       /* of the views; 0: there is none */
    nib_heads in[MOST_INPUTS], out; /* where heads lie */
} flat_work;

/* Values that lie one after another in all operands: where they begin. */
typedef struct flat_run { size_t in[MOST_INPUTS], out, count; } flat_run;

static flat_work work_of(nib_run *run, const nib_node *n, const nib_io *io)
{
    const nib_value_info *values = run->graph->values;
    flat_work w = { .run = run, .n = n, .io = io, .type = run->graph->type,
                    .rows = nib_node_rows(run, n), .width = values[n->output].width };

    assert(n->input_count <= MOST_INPUTS);
    for (int i = 0; i < n->input_count; i++) {
        const nib_value_info *x = &values[n->inputs[i]];
        if (x->view_of != NIB_NONE && x->heads > w.heads)
            w.heads = x->heads, w.head_dim = x->head_dim;
    }
    for (int i = 0; w.heads && i < n->input_count; i++)
        w.in[i] = nib_heads_in(run->graph, n->inputs[i], w.heads, w.head_dim);
    if (w.heads) w.out = nib_plain_heads(w.heads, w.head_dim);
    return w;
}

typedef void run_fn(const flat_work *w, flat_run at);

typedef struct flat_tiles { const flat_work *w; run_fn *f; } flat_tiles;

/* The rows of a tile: all at once, or head by head where an operand is a view. */
static void run_tile(void *arg, size_t tile, unsigned worker)
{
    const flat_tiles *t = arg;
    const flat_work *w = t->w;
    size_t r0, r1;

    (void)worker;
    nib_tile_rows(tile, w->rows, &r0, &r1);
    if (!w->heads) {
        size_t at = r0 * w->width;
        t->f(w, (flat_run){ { at, at }, at, (r1 - r0) * w->width });
        return;
    }
    for (size_t r = r0; r < r1; r++)
        for (size_t h = 0; h < w->heads; h++)
            t->f(w, (flat_run){ { nib_head_at(w->in[0], r, h),
                                  w->n->input_count > 1 ? nib_head_at(w->in[1], r, h) : 0 },
                                nib_head_at(w->out, r, h), w->head_dim });
}

static void run_all(nib_run *run, const nib_node *n, const nib_io *io, run_fn *f)
{
    flat_work w = work_of(run, n, io);
    flat_tiles t = { &w, f };

    nib_parallel_for(run->ctx, nib_row_tiles(w.rows), run_tile, &t);
}

static const void *x_at(const flat_work *w, int i, flat_run at)
{
    return nib_at(w->io->in[i], w->type, at.in[i]);
}
static void *y_at(const flat_work *w, flat_run at)
{
    return nib_at_mut(w->io->out, w->type, at.out);
}
static const void *dy_at(const flat_work *w, flat_run at)
{
    return nib_at(w->io->d_out, w->type, at.out);
}
static void *dx_at(const flat_work *w, int i, flat_run at)
{
    return w->io->d_in[i] ? nib_at_mut(w->io->d_in[i], w->type, at.in[i]) : NULL;
}

/* --- y = act(x) --- */

static void activate_run(const flat_work *w, flat_run at)
{
    w->run->k->activate(w->type, w->n->activation, at.count, x_at(w, 0, at), y_at(w, at));
}
static void activate_back_run(const flat_work *w, flat_run at)
{
    w->run->k->activate_back(w->type, w->n->activation, at.count, x_at(w, 0, at), dy_at(w, at),
                             dx_at(w, 0, at), w->io->accumulate[0]);
}
static void activate_forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    run_all(run, n, io, activate_run);
}
static void activate_backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    run_all(run, n, io, activate_back_run);
}

/* --- y = xIELU(x), by numbers that stay as they are --- */

/* The reference keeps these numbers in bfloat16, whatever it computes in. */
static float number(const nib_vector *v) { return nib_round_bf16(v->value[0]); }
static float softplus(float x) /* with torch's limit */
{
    return nib_round_bf16(x > 20 ? x : log1pf(expf(x)));
}

static nib_xielu xielu_of(const nib_node *n)
{
    const nib_xielu_desc *d = &n->xielu;
    float beta = number(d->beta);

    return (nib_xielu){ softplus(number(d->alpha_p)),
                        nib_round_bf16(beta + softplus(number(d->alpha_n))), beta,
                        number(d->eps) };
}

static void xielu_run(const flat_work *w, flat_run at)
{
    nib_xielu p = xielu_of(w->n);

    w->run->k->xielu(w->type, &p, at.count, x_at(w, 0, at), y_at(w, at));
}
static void xielu_back_run(const flat_work *w, flat_run at)
{
    nib_xielu p = xielu_of(w->n);

    w->run->k->xielu_back(w->type, &p, at.count, x_at(w, 0, at), dy_at(w, at), dx_at(w, 0, at),
                          w->io->accumulate[0]);
}
static void xielu_forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    run_all(run, n, io, xielu_run);
}
static void xielu_backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    run_all(run, n, io, xielu_back_run);
}

/* --- y = act(gate) * up --- */

static void gate_run(const flat_work *w, flat_run at)
{
    w->run->k->gated(w->type, w->n->activation, at.count, x_at(w, 0, at), x_at(w, 1, at),
                     y_at(w, at));
}
static void gate_back_run(const flat_work *w, flat_run at)
{
    w->run->k->gated_back(w->type, w->n->activation, at.count, x_at(w, 0, at), x_at(w, 1, at),
                          dy_at(w, at), dx_at(w, 0, at), w->io->accumulate[0], dx_at(w, 1, at),
                          w->io->accumulate[1]);
}
static void gate_forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    run_all(run, n, io, gate_run);
}
static void gate_backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    run_all(run, n, io, gate_back_run);
}

/* --- y = a + b --- */

static void add_run(const flat_work *w, flat_run at)
{
    w->run->k->add(w->type, at.count, x_at(w, 0, at), x_at(w, 1, at), y_at(w, at));
}
/* Only for inputs whose gradient could not share dy's place (plan.c). */
static void add_back_run(const flat_work *w, flat_run at)
{
    for (int i = 0; i < 2; i++) {
        void *dx = dx_at(w, i, at);
        if (dx && w->io->accumulate[i]) w->run->k->add(w->type, at.count, dx, dy_at(w, at), dx);
        else if (dx) memcpy(dx, dy_at(w, at), at.count * nib_dtype_bytes(w->type));
    }
}
static void add_forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    run_all(run, n, io, add_run);
}
static void add_backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    run_all(run, n, io, add_back_run);
}

/* --- y = c x --- */

static float factor_of(const nib_node *n)
{
    return n->scale_by ? n->scale_by->value[0] : n->scale;
}

static void scale_run(const flat_work *w, flat_run at)
{
    w->run->k->scale(w->type, at.count, factor_of(w->n), x_at(w, 0, at), y_at(w, at), false);
}
static void scale_back_run(const flat_work *w, flat_run at)
{
    w->run->k->scale(w->type, at.count, factor_of(w->n), dy_at(w, at), dx_at(w, 0, at),
                     w->io->accumulate[0]);
}
static void scale_forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    run_all(run, n, io, scale_run);
}
static void scale_backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    run_all(run, n, io, scale_back_run);
}

const nib_op nib_op_activate = { .id = NIB_OP_ACTIVATE, .name = "activation", .keeps_inputs = 1,
                                 .cheap = true, .row_wise = true };
const nib_op_functions nib_cpu_activate = { activate_forward, activate_backward };
const nib_op nib_op_xielu = { .id = NIB_OP_XIELU, .name = "xielu", .keeps_inputs = 1,
                              .cheap = true, .row_wise = true };
const nib_op_functions nib_cpu_xielu = { xielu_forward, xielu_backward };
const nib_op nib_op_gate = { .id = NIB_OP_GATE, .name = "gate", .keeps_inputs = 3, .cheap = true,
                             .row_wise = true };
const nib_op_functions nib_cpu_gate = { gate_forward, gate_backward };
const nib_op nib_op_add = { .id = NIB_OP_ADD, .name = "add", .passes_gradient = true,
                            .row_wise = true };
const nib_op_functions nib_cpu_add = { add_forward, add_backward };
const nib_op nib_op_scale = { .id = NIB_OP_SCALE, .name = "scale", .cheap = true,
                              .row_wise = true };
const nib_op_functions nib_cpu_scale = { scale_forward, scale_backward };
