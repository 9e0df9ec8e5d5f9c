/* op_embedding.c - rows of the table by id, and its adapter: y = E[id] + s A[:, id]^T B^T.
 * The ids are an input of the batch: tokens, positions where those are learned, types.
 *
 * Backward: dA[:, id] += s B^T dy;  dB += s dy A[:, id]^T;  a trained copy, or single trained rows:
 * dE[id] += dy, but for the row of padding.  With magnitudes y is multiplied by the gains
 * (magnitude.h), and so is the dy of what they multiply.
 * Tokens are taken in order, so sums have a fixed order.
 *
 * While training, the tokens' embedding may get NEFTune's noise: of a sequence of L tokens each
 * value uniform in +-alpha / sqrt(L width), a function of where it is and of the epoch.  It is a
 * constant of the step, so the gradients are the same sums. */
#include <math.h>

#include "base/random.h"
#include "graph/operations.h"
#include "graph/rows.h"
#include "quant/replaced.h"

/* A table of distances has no ids: its rows are the middle ones (graph.h, nib_span). */
typedef struct embed_work {
    nib_run *run;
    const nib_embedding *e;
    const nib_io *io;
    nib_axis axis;
    const uint32_t *ids;
    uint32_t offset; /* of the ids in the table */
    float *scratch; /* a row for each worker */
    bool noisy, spans;
} embed_work;

static embed_work work_of(nib_run *run, const nib_node *n, const nib_io *io)
{
    embed_work w = { .run = run, .e = n->embedding, .io = io, .offset = n->row_offset,
                     .axis = run->graph->values[n->output].axis,
                     .scratch = (float *)run->scratch.base,
                     .noisy = run->training && run->noise > 0 && n->row_input == NIB_IDS };

    w.spans = run->graph->axes[w.axis].kind == NIB_AXIS_SPAN;
    if (w.spans) w.offset = (uint32_t)(w.e->weight->out - nib_run_rows(run, w.axis)) / 2;
    else w.ids = run->batch->inputs[n->row_input];
    return w;
}

static uint32_t row_id(const embed_work *w, size_t r)
{
    return (w->ids ? w->ids[r] : w->spans ? (uint32_t)r : 0) + w->offset;
}

static const nib_branch *branch_at(const embed_work *w, size_t row, size_t *end)
{
    nib_row_run alike = nib_run_alike(w->run, w->axis, row);

    *end = alike.end;
    return nib_branch_at(&w->e->branches, alike.slot);
}

/* Adds the noise of a token to its row. */
static void add_noise(const embed_work *w, size_t r, float *row)
{
    static const uint32_t noise_key = 0x6e656674; /* apart from the keys of branches, which are
                                                   * hashes of names */
    const nib_run *run = w->run;
    size_t position, sequence = nib_run_sequence(run, w->axis, r, &position);
    size_t width = w->e->weight->in, length = nib_run_length(run, w->axis, sequence);
    double most = run->noise / sqrt((double)length * (double)width);
    float reach = (float)most * run->graph->noise_scale;
    const uint32_t key[2] = { (uint32_t)run->dropout_seed ^ noise_key,
                              (uint32_t)(run->dropout_seed >> 32) };
    uint32_t record = run->batch->records ? run->batch->records[sequence] : (uint32_t)sequence;

    for (size_t c = 0; c < width; c += 4) {
        const uint32_t counter[4] = { record, (uint32_t)position, (uint32_t)(c / 4),
                                      run->batch->epoch };
        uint32_t bits[4];

        nib_philox(key, counter, bits);
        for (size_t i = 0; i < 4 && c + i < width; i++)
            row[c + i] += reach * (2 * nib_unit_float(bits[i]) - 1);
    }
}

/* E[id] + s A[:, id]^T B^T. */
static void make_row(const nib_embedding *e, const nib_branch *branch, uint32_t id, float *row)
{
    size_t width = e->weight->in, vocabulary = e->weight->out;

    nib_weight_decode(e->weight, id, id + 1, row);
    for (size_t c = 0; branch && c < width; c++) {
        size_t rank = branch->a->rows;
        float sum = 0;
        for (size_t i = 0; i < rank; i++)
            sum += branch->a->value[i * vocabulary + id] * branch->b->value[c * rank + i];
        row[c] += branch->scale * sum;
    }
}

static void forward_tile(void *arg, size_t tile, unsigned worker)
{
    const embed_work *w = arg;
    nib_dtype type = w->run->graph->type;
    size_t r0, r1, width = w->e->weight->in;
    float *row = w->scratch + worker * nib_round_up(width, 16);

    nib_tile_rows(tile, nib_run_rows(w->run, w->axis), &r0, &r1);
    for (size_t r = r0; r < r1; r++) {
        uint32_t id = row_id(w, r);
        size_t end;
        const nib_branch *branch = branch_at(w, r, &end);

        assert(id < w->e->weight->out);
        make_row(w->e, branch, id, row);
        for (size_t c = 0; branch && branch->magnitude && c < width; c++)
            row[c] *= nib_branch_gains(branch)[c];
        if (w->noisy) add_noise(w, r, row);
        nib_convert(nib_at_mut(w->io->out, type, r * width), type, row, NIB_F32, width);
    }
}

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    embed_work w = work_of(run, n, io);
    nib_parallel_for(run->ctx, nib_row_tiles(nib_run_rows(run, w.axis)), forward_tile, &w);
}

/* A token's part of the gradient of the magnitudes; dy then is that of what the gains multiply.
 * z: room for a row. */
static void add_magnitude_gradient(const nib_embedding *e, const nib_branch *branch, uint32_t id,
                                   float *dy, float *z)
{
    size_t width = e->weight->in;

    make_row(e, branch, id, z);
    for (size_t c = 0; c < width; c++) {
        if (nib_param_wants(branch->magnitude) && branch->norms[c] > 0)
            branch->magnitude->grad[c] += dy[c] * z[c] / branch->norms[c];
        dy[c] *= nib_branch_gains(branch)[c];
    }
}

/* A token's part of the gradients of A[:, id] and B. */
static void add_branch_gradient(const nib_branch *branch, uint32_t id, size_t width,
                                const float *dy)
{
    size_t rank = branch->a->rows, vocabulary = branch->a->cols;

    for (size_t i = 0; i < rank; i++) {
        float a = branch->a->value[i * vocabulary + id], sum = 0;
        for (size_t c = 0; c < width; c++) {
            sum += dy[c] * branch->b->value[c * rank + i];
            branch->b->grad[c * rank + i] += branch->scale * dy[c] * a;
        }
        branch->a->grad[i * vocabulary + id] += branch->scale * sum;
    }
}

static void add_row_gradient(nib_run *run, const nib_embedding *e, uint32_t id, const float *dy)
{
    size_t width = e->weight->in;
    int64_t at = nib_replaced_find(e->weight, id);

    if (at != NIB_NOT_REPLACED) run->k->axpy(width, 1, dy, e->rows->grad + (size_t)at * width);
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    embed_work w = work_of(run, n, io);
    const nib_embedding *e = n->embedding;
    const nib_branch *branch = NULL;
    size_t width = e->weight->in, end = 0;
    float *dy = w.scratch, *z = dy + nib_round_up(width, 16);

    for (size_t t = 0; t < nib_run_rows(run, w.axis); t++) {
        uint32_t id = row_id(&w, t);

        if (t >= end) branch = branch_at(&w, t, &end);
        nib_convert(dy, NIB_F32, nib_at(io->d_out, run->graph->type, t * width), run->graph->type,
                    width);
        if (nib_param_wants(e->full) && !(e->has_padding && id == e->padding))
            run->k->axpy(width, 1, dy, e->full->grad + (size_t)id * width);
        if (nib_param_wants(e->rows) && !(e->has_padding && id == e->padding))
            add_row_gradient(run, e, id, dy);
        if (branch && branch->magnitude) add_magnitude_gradient(e, branch, id, dy, z);
        if (branch && branch->a->wants_grad) add_branch_gradient(branch, id, width, dy);
    }
}

static size_t scratch(const nib_graph *g, const nib_node *n, const size_t rows[NIB_MAX_AXES])
{
    (void)rows;
    /* a row for each worker; two for the one that goes back */
    return nib_round_up(n->embedding->weight->in, 16) * sizeof(float) *
           nib_max(nib_threads(g->ctx), 2);
}

const nib_op nib_op_embedding = { .id = NIB_OP_EMBEDDING, .name = "embedding", .scratch = scratch };
const nib_op_functions nib_cpu_embedding = { forward, backward };
