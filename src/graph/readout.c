/* readout.c - the head's rows, on demand. */
#include "graph/readout.h"

#include "graph/backend.h"
#include "graph/linear.h"
#include "graph/rows.h"
#include "quant/product.h"

const void *nib_run_hidden(const nib_run *run, size_t row)
{
    return nib_at(run->arena.base + run->plan->hidden, run->graph->type,
                  row * run->graph->values[run->graph->hidden].width);
}

void nib_run_logits(nib_run *run, size_t r0, size_t r1, float *logits)
{
    const nib_graph *g = run->graph;
    nib_linear_rows rows = { .run = run, .linear = g->head, .axis = g->values[g->hidden].axis,
                             .r0 = r0, .r1 = r1, .scratch = run->scratch.base,
                             .x = nib_run_hidden(run, r0) };
    nib_linear_out out = { .y = logits, .ld = g->head->weight->out, .type = NIB_F32,
                           .dots = run->batch->states != NULL };

    assert(r1 - r0 <= run->plan->logit_chunk);
    nib_linear_forward(&rows, &out);
    nib_finish_logits(run, (r1 - r0) * out.ld, logits);
}

void nib_run_some_logits(nib_run *run, size_t row, const uint32_t *ids, size_t count, float *logits)
{
    const nib_linear *head = run->graph->head;
    nib_product_args args = { .type = run->graph->type, .precision = run->graph->precision,
                              .rows = 1,
                              .x = { nib_run_hidden(run, row), head->weight->in, run->graph->type },
                              .y = logits, .ldy = count, .y_type = NIB_F32, .bias = head->bias };

    nib_product_dot_some(run->ctx, run->k, head->weight, &args, ids, count, run->scratch.base);
    nib_finish_logits(run, count, logits);
}

void nib_run_loss(nib_run *run)
{
    nib_io io = { .in = { run->arena.base + run->plan->hidden } };

    run->loss_sum = run->loss_weight = 0;
    for (size_t i = 0; i < run->graph->node_count; i++) {
        const nib_node *n = &run->graph->nodes[i];
        if (n->op->objective && n->inputs[0] == run->graph->hidden)
            run->backend->operations[n->op->id]->forward(run, n, &io);
    }
}
