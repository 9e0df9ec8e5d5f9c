/* op_mix_near.c - a convolution along the tokens that mixes channels within groups, of an odd
 * number of taps around the token, with zeros beyond a sequence's ends (torch's Conv1d; DeBERTa
 * v2's largest models, formats-encoder.md 3.5):
 *
 *     y_t = b + sum_o W_o x_(t + o)          dx_t = sum_o W_o^T dy_(t - o)        |o| <= taps / 2
 *
 * Neither W [out, in / groups, taps] nor b is trained.  A tile is a block of rows of a sequence. */
#include "graph/operations.h"
#include "graph/rows.h"
#include "graph/tiles.h"

enum { BLOCK = 64 };

typedef struct near_work {
    nib_run *run;
    const nib_node *n;
    const void *from;
    void *to;
    bool back, add;
    size_t width, group, padded, taps; /* group: channels of one; padded: to whole panels */
    float *panels;  /* [groups, taps, group * padded] */
    float *each;    /* of a worker: rows of `from` [BLOCK + taps, width], sums [BLOCK, padded] */
    size_t each_count;
} near_work;

static size_t padded_of(const nib_node *n) { return nib_padded(n->near.width / n->near.groups); }

static size_t panel_count(const nib_node *n)
{
    return n->near.width * n->near.taps * padded_of(n);
}

static size_t each_count(const nib_node *n)
{
    return (BLOCK + n->near.taps) * nib_round_up(n->near.width, 16) + BLOCK * padded_of(n);
}

/* The panel of one tap of a group: of its matrix's rows, backward of the matrix. */
static void pack_tap(const near_work *w, size_t g, size_t tap, float *square, float *panel)
{
    const float *all = w->n->near.weight->value + g * w->group * w->group * w->taps;
    const nib_kernels *k = w->run->k;

    memset(square, 0, w->padded * w->padded * sizeof *square);
    for (size_t out = 0; out < w->group; out++)
        for (size_t in = 0; in < w->group; in++)
            square[out * w->padded + in] = all[(out * w->group + in) * w->taps + tap];
    if (w->back) nib_panel_of(k, square, w->group, w->padded, w->padded, panel);
    else nib_panel_of_rows(k, square, w->group, w->group, w->padded, panel);
}

/* Rows [first, first + rows) of a sequence of `length` in float; zeros beyond its ends. */
static void read_rows(const near_work *w, size_t r0, size_t length, int64_t first, size_t rows,
                      float *to)
{
    size_t ld = nib_round_up(w->width, 16);
    nib_dtype type = w->run->graph->type;

    for (size_t i = 0; i < rows; i++, to += ld) {
        int64_t t = first + (int64_t)i;
        if (t < 0 || t >= (int64_t)length) memset(to, 0, w->width * sizeof *to);
        else
            nib_convert(to, NIB_F32, nib_at(w->from, type, (r0 + (size_t)t) * w->width), type,
                        w->width);
    }
}

static void put_block(const near_work *w, size_t row, size_t rows, size_t c0, const float *sums)
{
    const float *bias = w->n->near.bias->value + c0;
    nib_dtype type = w->run->graph->type;

    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < w->group; c++) {
            size_t at = (row + r) * w->width + c0 + c;
            float value = sums[r * w->padded + c] + (w->back ? 0 : bias[c]);
            nib_put(type, w->to, at, w->add ? nib_get(type, w->to, at) + value : value);
        }
}

static void mix_block(const near_work *w, size_t r0, size_t length, size_t t0, size_t rows,
                      float *x)
{
    size_t ld = nib_round_up(w->width, 16), half = w->taps / 2;
    float *sums = x + (BLOCK + w->taps) * ld;

    read_rows(w, r0, length, (int64_t)t0 - (int64_t)half, rows + w->taps - 1, x);
    for (size_t c0 = 0; c0 < w->width; c0 += w->group) {
        for (size_t tap = 0; tap < w->taps; tap++) {
            size_t shift = w->back ? w->taps - 1 - tap : tap;
            nib_times_panel(w->run->k, rows, w->group, w->group, x + shift * ld + c0, ld,
                            w->panels + (c0 * w->taps + tap * w->group) * w->padded, sums,
                            w->padded, tap > 0);
        }
        put_block(w, r0 + t0, rows, c0, sums);
    }
}

static void mix_tile(void *arg, size_t tile, unsigned worker)
{
    const near_work *w = arg;
    const uint32_t *offsets = w->run->batch->axes[NIB_TOKENS].offsets;
    size_t s = 0, length, blocks;

    for (;; s++) {
        length = offsets[s + 1] - offsets[s];
        blocks = nib_ceil_div(length, (size_t)BLOCK);
        if (tile < blocks) break;
        tile -= blocks;
    }
    mix_block(w, offsets[s], length, tile * BLOCK, nib_min(length - tile * BLOCK, (size_t)BLOCK),
              w->each + worker * w->each_count);
}

static void mix(nib_run *run, const nib_node *n, const void *from, void *to, bool back, bool add)
{
    const uint32_t *offsets = run->batch->axes[NIB_TOKENS].offsets;
    near_work w = { .run = run, .n = n, .from = from, .to = to, .back = back, .add = add,
                    .width = n->near.width, .group = n->near.width / n->near.groups,
                    .padded = padded_of(n), .taps = n->near.taps,
                    .panels = (float *)run->scratch.base, .each_count = each_count(n) };
    float *square = w.panels + panel_count(n);
    size_t tiles = 0;

    w.each = square + w.padded * w.padded;
    for (size_t g = 0; g < n->near.groups; g++)
        for (size_t tap = 0; tap < w.taps; tap++)
            pack_tap(&w, g, tap, square,
                     w.panels + (g * w.taps + tap) * w.group * w.padded);
    for (size_t s = 0; s < run->batch->sequences; s++)
        tiles += nib_ceil_div(offsets[s + 1] - offsets[s], BLOCK);
    nib_parallel_for(run->ctx, tiles, mix_tile, &w);
}

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    mix(run, n, io->in[0], io->out, false, false);
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    mix(run, n, io->d_out, io->d_in[0], true, io->accumulate[0]);
}

static size_t scratch(const nib_graph *g, const nib_node *n, const size_t rows[NIB_MAX_AXES])
{
    (void)rows;
    return (panel_count(n) + padded_of(n) * padded_of(n) + nib_threads(g->ctx) * each_count(n)) *
           sizeof(float);
}

const nib_op nib_op_mix_near = { .id = NIB_OP_MIX_NEAR, .name = "mix of neighbours",
                                 .scratch = scratch };
const nib_op_functions nib_cpu_mix_near = { forward, backward };
