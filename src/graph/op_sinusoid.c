/* op_sinusoid.c - y = x + s(p) of a token at position p, which no tensor holds (XGLM; Vaswani et
 * al. 2017, arXiv:1706.03762, with the sines in front):
 *
 *     s(p) = [sin(w_0 (p + o)), sin(w_1 (p + o)), ... | cos(w_0 (p + o)), ...]
 *
 * s is rounded to the compute type before it is added, as a table of it would be. */
#include <math.h>

#include "graph/operations.h"
#include "graph/rows.h"

enum { PIECE = 64 };

typedef struct sinusoid_work {
    nib_run *run;
    const nib_node *n;
    const nib_io *io;
    size_t rows, width;
} sinusoid_work;

/* s of one row, in the compute type; a channel too many of an odd width is 0. */
static void write_row(const sinusoid_work *w, uint32_t position, void *to)
{
    nib_dtype type = w->run->graph->type;
    size_t half = w->width / 2;
    float p = (float)(position + w->n->row_offset), piece[PIECE];

    for (size_t j = 0; j < w->width; j += PIECE) {
        size_t count = nib_min((size_t)PIECE, w->width - j);
        for (size_t k = 0; k < count; k++) {
            size_t at = j + k;
            piece[k] = at < half ? sinf(p * w->n->frequencies[at])
                                 : at < 2 * half ? cosf(p * w->n->frequencies[at - half]) : 0;
        }
        nib_convert(nib_at_mut(to, type, j), type, piece, NIB_F32, count);
    }
}

static void forward_tile(void *arg, size_t tile, unsigned worker)
{
    const sinusoid_work *w = arg;
    nib_dtype type = w->run->graph->type;
    size_t r0, r1;

    (void)worker;
    nib_tile_rows(tile, w->rows, &r0, &r1);
    for (size_t r = r0; r < r1; r++) {
        void *y = nib_at_mut(w->io->out, type, r * w->width);
        write_row(w, w->run->batch->inputs[NIB_POSITIONS][r], y);
        w->run->k->add(type, w->width, nib_at(w->io->in[0], type, r * w->width), y, y);
    }
}

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    sinusoid_work w = { run, n, io, nib_node_rows(run, n), run->graph->values[n->output].width };

    nib_parallel_for(run->ctx, nib_row_tiles(w.rows), forward_tile, &w);
}

/* Only where the gradient could not share dy's place (plan.c). */
static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    nib_dtype type = run->graph->type;
    size_t count = nib_node_rows(run, n) * run->graph->values[n->output].width;
    void *dx = io->d_in[0];

    if (dx && io->accumulate[0]) run->k->add(type, count, dx, io->d_out, dx);
    else if (dx) memcpy(dx, io->d_out, count * nib_dtype_bytes(type));
}

const nib_op nib_op_sinusoid = { .id = NIB_OP_SINUSOID, .name = "sinusoidal positions",
                                 .passes_gradient = true };
const nib_op_functions nib_cpu_sinusoid = { forward, backward };
