/* op_wkv.c - RWKV's weighted averages of values within each sequence, channel by channel
 * (kernel/wkv.h): inputs are the keys and the values, the weights of time are not trained.
 *
 * A tile is a block of channels of a sequence.  State: num, den and m of each block, float; the
 * sums of no tokens are made when the first come. */
#include <math.h>

#include "graph/operations.h"
#include "graph/rows.h"
#include "graph/state.h"

typedef struct wkv_work {
    nib_run *run;
    const nib_node *n;
    const nib_io *io;
    size_t width, blocks;
    float *each; /* scratch of a worker */
    size_t each_count;
} wkv_work;

static size_t each_count(size_t tokens, bool back)
{
    return back ? nib_wkv_scratch(tokens) : 3 * NIB_WKV_CHANNELS;
}

static wkv_work work_of(nib_run *run, const nib_node *n, const nib_io *io, bool back)
{
    size_t width = run->graph->values[n->output].width;

    return (wkv_work){ .run = run, .n = n, .io = io, .width = width,
                       .blocks = nib_ceil_div(width, NIB_WKV_CHANNELS),
                       .each = (float *)run->scratch.base,
                       .each_count = each_count(nib_run_longest(run), back) };
}

/* The channels of block `block` of sequence s; *at: where they begin, of width after width. */
static nib_wkv_args args_of(const wkv_work *w, size_t s, size_t block, size_t *at)
{
    const uint32_t *offsets = w->run->batch->axes[NIB_TOKENS].offsets;
    size_t c0 = block * NIB_WKV_CHANNELS;
    nib_dtype type = w->run->graph->type;

    *at = offsets[s] * w->width + c0;
    return (nib_wkv_args){ .type = type, .tokens = offsets[s + 1] - offsets[s],
                           .channels = nib_min(w->width - c0, NIB_WKV_CHANNELS),
                           .decay = w->n->wkv.decay->value + c0,
                           .first = w->n->wkv.first->value + c0,
                           .k = nib_at(w->io->in[0], type, *at),
                           .v = nib_at(w->io->in[1], type, *at),
                           .k_stride = w->width, .v_stride = w->width, .y_stride = w->width };
}

static void forward_tile(void *arg, size_t tile, unsigned worker)
{
    const wkv_work *w = arg;
    size_t s = tile / w->blocks, block = tile % w->blocks, at;
    const nib_state *state = nib_batch_state(w->run->batch, s);
    float *sums = w->each + worker * w->each_count;
    nib_wkv_args a = args_of(w, s, block, &at);

    if (state) sums = (float *)nib_state_piece(state, w->n) + block * 3 * NIB_WKV_CHANNELS;
    if (!state || state->tokens == 0)
        for (size_t c = 0; c < NIB_WKV_CHANNELS; c++) {
            sums[c] = sums[NIB_WKV_CHANNELS + c] = 0;
            sums[2 * NIB_WKV_CHANNELS + c] = NIB_WKV_NONE;
        }
    a.y = nib_at_mut(w->io->out, a.type, at);
    w->run->k->wkv(&a, sums);
}

static void backward_tile(void *arg, size_t tile, unsigned worker)
{
    const wkv_work *w = arg;
    size_t s = tile / w->blocks, at;
    nib_wkv_args a = args_of(w, s, tile % w->blocks, &at);

    a.dy = nib_at(w->io->d_out, a.type, at);
    if (w->io->d_in[0]) a.dk = nib_at_mut(w->io->d_in[0], a.type, at);
    if (w->io->d_in[1]) a.dv = nib_at_mut(w->io->d_in[1], a.type, at);
    a.add_dk = w->io->accumulate[0];
    a.add_dv = w->io->accumulate[1];
    w->run->k->wkv_back(&a, w->each + worker * w->each_count);
}

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    wkv_work w = work_of(run, n, io, false);
    nib_parallel_for(run->ctx, run->batch->sequences * w.blocks, forward_tile, &w);
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    wkv_work w = work_of(run, n, io, true);
    nib_parallel_for(run->ctx, run->batch->sequences * w.blocks, backward_tile, &w);
}

static size_t longest_scratch(const nib_graph *g, const nib_node *n,
                              const size_t rows[NIB_MAX_AXES])
{
    bool back = g->values[n->output].needs_grad;
    return nib_max(each_count(rows[NIB_TOKENS], back), each_count(0, false)) *
           nib_threads(g->ctx) * sizeof(float);
}

static size_t state_bytes(const nib_graph *g, const nib_node *n, size_t capacity)
{
    (void)capacity;
    return nib_ceil_div(g->values[n->output].width, NIB_WKV_CHANNELS) * 3 * NIB_WKV_CHANNELS *
           sizeof(float);
}

const nib_op nib_op_wkv = { .id = NIB_OP_WKV, .name = "weighted average", .keeps_inputs = 3,
                            .longest_scratch = longest_scratch, .state = state_bytes,
                            .folds = true };
const nib_op_functions nib_cpu_wkv = { forward, backward };
