/* op_conv.c - a depthwise causal convolution within each sequence, with an activation or without
 * (kernel/conv.h); and a token mixed with the one before it, which is one of two taps.
 *
 *     z_t = b + sum over j < k of w_j x_(t-k+1+j)     y = z or silu(z)
 *     dz = dy silu'(z)     dx_t = sum over j of w_j dz_(t+k-1-j)
 *
 * Rows before a sequence's start are zeros, or those of its state: [taps - 1, width] of the compute
 * type, the latest last.  x may be a view of heads.  The taps are not trained, so only z's slope
 * needs x.  Scratch: dz, [rows, width] float. */
#include "graph/operations.h"
#include "graph/rows.h"
#include "graph/state.h"

typedef struct conv_work {
    nib_run *run;
    const nib_node *n;
    const nib_io *io;
    const nib_conv_desc *d;
    nib_dtype type;
    size_t rows, width;
    size_t heads, head_dim; /* pieces that lie together in a row of x */
    nib_heads x;
    float *dz;              /* scratch, where there is an activation */
} conv_work;

static conv_work work_of(nib_run *run, const nib_node *n, const nib_io *io)
{
    const nib_value_info *x = &run->graph->values[n->inputs[0]];
    conv_work w = { .run = run, .n = n, .io = io, .d = &n->conv, .type = run->graph->type,
                    .rows = nib_node_rows(run, n), .width = run->graph->values[n->output].width,
                    .dz = (float *)run->scratch.base };

    w.heads = x->view_of == NIB_NONE ? 1 : x->heads;
    w.head_dim = w.width / w.heads;
    w.x = nib_heads_in(run->graph, n->inputs[0], w.heads, w.head_dim);
    return w;
}

/* Channels from `channel` on of the row `back` rows before `row`, which is at `position` of its
 * sequence s; NULL: there is no such row. */
static const void *row_before(const conv_work *w, size_t s, size_t row, size_t position,
                              size_t back, size_t head)
{
    const nib_state *state;
    size_t behind;

    if (back <= position) return nib_at(w->io->in[0], w->type, nib_head_at(w->x, row - back, head));
    state = nib_batch_state(w->run->batch, s);
    behind = back - position; /* rows from the state's end */
    if (!state || behind > state->tokens) return NULL;
    return nib_at(nib_state_piece(state, w->n), w->type,
                  (w->d->taps - 1 - behind) * w->width + head * w->head_dim);
}

static nib_conv_args args_of(const conv_work *w, size_t head)
{
    const nib_conv_desc *d = w->d;
    size_t at = d->offset + head * w->head_dim;

    return (nib_conv_args){ .width = w->head_dim, .taps = d->taps, .stride = d->channels,
                            .w = d->weight->value + at,
                            .bias = d->bias ? d->bias->value + at : NULL, .silu = d->silu,
                            .in = w->type, .out = w->type };
}

typedef void row_fn(const conv_work *w, nib_conv_args *a, size_t s, size_t row, size_t position,
                    size_t head);
typedef struct conv_tiles { const conv_work *w; row_fn *f; } conv_tiles;

static void run_tile(void *arg, size_t tile, unsigned worker)
{
    const conv_tiles *t = arg;
    const conv_work *w = t->w;
    size_t r0, r1;

    (void)worker;
    nib_tile_rows(tile, w->rows, &r0, &r1);
    for (size_t r = r0; r < r1; r++) {
        size_t position, s = nib_run_sequence(w->run, NIB_TOKENS, r, &position);
        for (size_t h = 0; h < w->heads; h++) {
            nib_conv_args a = args_of(w, h);
            t->f(w, &a, s, r, position, h);
        }
    }
}

static void run_all(const conv_work *w, row_fn *f)
{
    nib_parallel_for(w->run->ctx, nib_row_tiles(w->rows), run_tile, &(conv_tiles){ w, f });
}

static void take_rows(const conv_work *w, nib_conv_args *a, size_t s, size_t row, size_t position,
                      size_t head)
{
    for (size_t j = 0; j < a->taps; j++)
        a->rows[j] = row_before(w, s, row, position, a->taps - 1 - j, head);
}

/* --- forward --- */

static void forward_row(const conv_work *w, nib_conv_args *a, size_t s, size_t row,
                        size_t position, size_t head)
{
    take_rows(w, a, s, row, position, head);
    w->run->k->conv(a, nib_at_mut(w->io->out, w->type, row * w->width + head * w->head_dim), false);
}

/* Moves the latest rows into the state: from the batch, and where it has too few from the state
 * itself, towards its front.  Rows of a state that never were are not read later. */
static void keep_rows(const conv_work *w, size_t s)
{
    const uint32_t *offsets = w->run->batch->axes[NIB_TOKENS].offsets;
    const nib_state *state = nib_batch_state(w->run->batch, s);
    size_t length = offsets[s + 1] - offsets[s], kept = w->d->taps - 1;
    void *piece;

    if (!state || length == 0) return;
    piece = nib_state_piece(state, w->n);
    for (size_t m = 0; m < kept; m++) {
        void *to = nib_at_mut(piece, w->type, m * w->width);
        if (m + length < kept) {
            memcpy(to, nib_at(piece, w->type, (m + length) * w->width),
                   w->width * nib_dtype_bytes(w->type));
            continue;
        }
        for (size_t h = 0; h < w->heads; h++)
            memcpy(nib_at_mut(to, w->type, h * w->head_dim),
                   nib_at(w->io->in[0], w->type, nib_head_at(w->x, offsets[s + 1] - kept + m, h)),
                   w->head_dim * nib_dtype_bytes(w->type));
    }
}

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    conv_work w = work_of(run, n, io);

    run_all(&w, forward_row);
    for (size_t s = 0; s < run->batch->sequences; s++) keep_rows(&w, s);
}

/* --- backward --- */

static void slope_row(const conv_work *w, nib_conv_args *a, size_t s, size_t row, size_t position,
                      size_t head)
{
    size_t at = row * w->width + head * w->head_dim;

    take_rows(w, a, s, row, position, head);
    w->run->k->conv_slope(a, nib_at(w->io->d_out, w->type, at), w->dz + at);
}

static void backward_row(const conv_work *w, nib_conv_args *a, size_t s, size_t row,
                         size_t position, size_t head)
{
    size_t end = w->run->batch->axes[NIB_TOKENS].offsets[s + 1];

    (void)position;
    a->in = w->d->silu ? NIB_F32 : w->type;
    a->silu = false;
    a->bias = NULL;
    for (size_t j = 0; j < a->taps; j++) {
        size_t r = row + a->taps - 1 - j, at = r * w->width + head * w->head_dim;
        if (r >= end) continue;
        a->rows[j] = w->d->silu ? (const void *)(w->dz + at) : nib_at(w->io->d_out, w->type, at);
    }
    w->run->k->conv(a, nib_at_mut(w->io->d_in[0], w->type, nib_head_at(w->x, row, head)),
                    w->io->accumulate[0]);
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    conv_work w = work_of(run, n, io);

    if (n->conv.silu) run_all(&w, slope_row);
    run_all(&w, backward_row);
}

/* --- description --- */

static size_t scratch(const nib_graph *g, const nib_node *n, const size_t rows[NIB_MAX_AXES])
{
    if (!n->conv.silu || !g->values[n->output].needs_grad) return 0;
    return rows[NIB_TOKENS] * g->values[n->output].width * sizeof(float);
}

static size_t state_bytes(const nib_graph *g, const nib_node *n, size_t capacity)
{
    (void)capacity;
    return (n->conv.taps - 1) * g->values[n->output].width * nib_dtype_bytes(g->type);
}

const nib_op nib_op_conv = { .id = NIB_OP_CONV, .name = "convolution", .keeps_inputs = 1,
                             .cheap = true, .scratch = scratch, .state = state_bytes,
                             .folds = true };
const nib_op_functions nib_cpu_conv = { forward, backward };
