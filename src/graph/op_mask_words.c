/* op_mask_words.c - ESM's token dropout: rows of the mask's word become 0, and what is left of a
 * sequence is scaled as if the fraction of masks that training had were there (Rives et al. 2021,
 * doi:10.1073/pnas.2016239118; formats-encoder.md 3.8).
 *
 *     y_t = 0 where id_t is the mask, else c_s x_t          c_s = kept / (1 - masks / length)
 *
 * Backward is the same with dx for y and dy for x.  It is no dropout: evaluation does it too. */
#include "graph/operations.h"
#include "graph/rows.h"

typedef struct mask_work {
    const nib_run *run;
    const nib_node *n;
    nib_dtype type;
    size_t width;
    const void *from;
    void *to;
    bool add;
} mask_work;

static void scale_row(const mask_work *w, size_t row, float c)
{
    for (size_t i = 0; i < w->width; i++) {
        size_t at = row * w->width + i;
        float value = c == 0 ? 0 : c * nib_get(w->type, w->from, at);
        nib_put(w->type, w->to, at, w->add ? nib_get(w->type, w->to, at) + value : value);
    }
}

static void scale_sequence(void *arg, size_t s, unsigned worker)
{
    const mask_work *w = arg;
    const uint32_t *offsets = w->run->batch->axes[NIB_TOKENS].offsets;
    const uint32_t *ids = w->run->batch->inputs[NIB_IDS];
    size_t masks = 0, length = offsets[s + 1] - offsets[s];
    float c;

    (void)worker;
    for (size_t t = offsets[s]; t < offsets[s + 1]; t++) masks += ids[t] == w->n->row_offset;
    c = masks < length ? w->n->scale / (1 - (float)masks / (float)length) : 0;
    for (size_t t = offsets[s]; t < offsets[s + 1]; t++)
        scale_row(w, t, ids[t] == w->n->row_offset ? 0 : c);
}

static void scale(nib_run *run, const nib_node *n, const void *from, void *to, bool add)
{
    mask_work w = { run, n, run->graph->type, run->graph->values[n->output].width, from, to, add };

    nib_parallel_for(run->ctx, run->batch->sequences, scale_sequence, &w);
}

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    scale(run, n, io->in[0], io->out, false);
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    scale(run, n, io->d_out, io->d_in[0], io->accumulate[0]);
}

const nib_op nib_op_mask_words = { .id = NIB_OP_MASK_WORDS, .name = "masked words",
                                   .cheap = true };
const nib_op_functions nib_cpu_mask_words = { forward, backward };
