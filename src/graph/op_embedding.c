/* op_embedding.c - rows of the table by id, and its adapter: y = E[id] + s A[:, id]^T B^T.
 * The ids are an input of the batch: tokens, positions where those are learned, types.
 *
 * Backward: dA[:, id] += s B^T dy;  dB += s dy A[:, id]^T;  a trained copy: dE[id] += dy.
 * Tokens are taken in order, so sums have a fixed order. */
#include "graph/operations.h"
#include "graph/rows.h"

typedef struct embed_work {
    nib_run *run;
    const nib_embedding *e;
    const nib_io *io;
    nib_axis axis;
    const uint32_t *ids;
    float *scratch; /* a row for each worker */
} embed_work;

static embed_work work_of(nib_run *run, const nib_node *n, const nib_io *io)
{
    return (embed_work){ run, n->embedding, io, run->graph->values[n->output].axis,
                         run->batch->inputs[n->row_input], (float *)run->scratch.base };
}

static const nib_lora *lora_at(const embed_work *w, size_t row)
{
    size_t end;
    unsigned slot = nib_run_slot(w->run, w->axis, row, &end);
    return slot < NIB_MAX_SLOTS && w->e->slots[slot].a ? &w->e->slots[slot] : NULL;
}

static void forward_tile(void *arg, size_t tile, unsigned worker)
{
    const embed_work *w = arg;
    nib_dtype type = w->run->graph->type;
    size_t r0, r1, width = w->e->weight->in, vocabulary = w->e->weight->out;
    float *row = w->scratch + worker * nib_round_up(width, 16);

    nib_tile_rows(tile, nib_run_rows(w->run, w->axis), &r0, &r1);
    for (size_t r = r0; r < r1; r++) {
        uint32_t id = w->ids[r];
        const nib_lora *lora = lora_at(w, r);

        assert(id < vocabulary);
        nib_weight_decode(w->e->weight, id, id + 1, row);
        for (size_t c = 0; lora && c < width; c++) {
            float sum = 0;
            for (size_t i = 0; i < lora->a->rows; i++)
                sum += lora->a->value[i * vocabulary + id] * lora->b->value[c * lora->a->rows + i];
            row[c] += lora->scale * sum;
        }
        nib_convert(nib_at_mut(w->io->out, type, r * width), type, row, NIB_F32, width);
    }
}

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    embed_work w = work_of(run, n, io);
    nib_parallel_for(run->ctx, nib_row_tiles(nib_run_rows(run, w.axis)), forward_tile, &w);
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    embed_work w = work_of(run, n, io);
    const nib_embedding *e = n->embedding;
    size_t width = e->weight->in, vocabulary = e->weight->out;
    const nib_lora *lora = e->slots[0].a ? &e->slots[0] : NULL;
    float *dy = w.scratch;

    for (size_t t = 0; t < nib_run_rows(run, w.axis); t++) {
        uint32_t id = w.ids[t];

        nib_convert(dy, NIB_F32, nib_at(io->d_out, run->graph->type, t * width), run->graph->type,
                    width);
        if (e->full) run->k->axpy(width, 1, dy, e->full->grad + (size_t)id * width);
        if (!lora) continue;
        for (size_t i = 0; i < lora->a->rows; i++) {
            float a = lora->a->value[i * vocabulary + id], sum = 0;
            for (size_t c = 0; c < width; c++) {
                sum += dy[c] * lora->b->value[c * lora->a->rows + i];
                lora->b->grad[c * lora->a->rows + i] += lora->scale * dy[c] * a;
            }
            lora->a->grad[i * vocabulary + id] += lora->scale * sum;
        }
    }
}

static size_t scratch(const nib_graph *g, const nib_node *n, const size_t rows[NIB_MAX_AXES])
{
    (void)rows;
    return nib_round_up(n->embedding->weight->in, 16) * sizeof(float) * nib_threads(g->ctx);
}

const nib_op nib_op_embedding = { .name = "embedding", .forward = forward, .backward = backward,
                                  .scratch = scratch };
