/* op_dropout.c - dropout of a value while training: y = m x / (1 - p), m 0 with probability p and
 * else 1; otherwise y = x.
 *
 *     dx = m dy / (1 - p)
 *
 * m is a function of the seed, the node, the record, the token's position, the channel and the
 * epoch, so it is made again in backward, and a resumed run has the same. */
#include "base/random.h"
#include "graph/operations.h"
#include "graph/rows.h"

typedef struct drop_work {
    const nib_run *run;
    const nib_node *n;
    nib_axis axis;
    nib_dtype type;
    size_t width, rows;
    const void *from;
    void *to;
    bool add;
} drop_work;

static void drop_row(const drop_work *w, size_t row)
{
    const nib_batch *batch = w->run->batch;
    const nib_drop *d = &w->n->drop;
    size_t position, sequence = nib_run_sequence(w->run, w->axis, row, &position);
    const uint32_t record = batch->records ? batch->records[sequence] : (uint32_t)sequence;
    const uint32_t key[2] = { (uint32_t)w->run->dropout_seed ^ d->key,
                              (uint32_t)(w->run->dropout_seed >> 32) };

    for (size_t c = 0; c < w->width; c += 4) {
        const uint32_t counter[4] = { record, (uint32_t)position, (uint32_t)(c / 4), batch->epoch };
        float kept[4];

        nib_dropout_factors(d->p, key, counter, kept);
        for (size_t i = 0; i < 4 && c + i < w->width; i++) {
            size_t at = row * w->width + c + i;
            float value = kept[i] * nib_get(w->type, w->from, at);
            nib_put(w->type, w->to, at, w->add ? nib_get(w->type, w->to, at) + value : value);
        }
    }
}

static void drop_tile(void *arg, size_t tile, unsigned worker)
{
    const drop_work *w = arg;
    size_t r0, r1;

    (void)worker;
    nib_tile_rows(tile, w->rows, &r0, &r1);
    for (size_t r = r0; r < r1; r++) drop_row(w, r);
}

static void drop(nib_run *run, const nib_node *n, const void *from, void *to, bool add)
{
    const nib_value_info *v = &run->graph->values[n->output];
    drop_work w = { run, n, v->axis, run->graph->type, v->width, nib_node_rows(run, n), from, to,
                    add };

    if (run->training) nib_parallel_for(run->ctx, nib_row_tiles(w.rows), drop_tile, &w);
    else memcpy(to, from, w.rows * w.width * nib_dtype_bytes(w.type));
}

static void forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    drop(run, n, io->in[0], io->out, false);
}

static void backward(nib_run *run, const nib_node *n, const nib_io *io)
{
    drop(run, n, io->d_out, io->d_in[0], io->accumulate[0]);
}

const nib_op nib_op_dropout = { .id = NIB_OP_DROPOUT, .name = "dropout", .cheap = true,
                                .row_wise = true };
const nib_op_functions nib_cpu_dropout = { forward, backward };
