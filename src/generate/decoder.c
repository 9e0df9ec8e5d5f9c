/* decoder.c - running new tokens through the graph. */
#include "generate/decoder.h"

#include <math.h>

/* Making a sketch takes as long as some ten tokens gain by it, so it waits for as many: at worst
 * generation takes as much longer as it could have been faster. */
enum {
    TOKENS_BEFORE_SKETCH = 10,
    WORDS_SHARE = 16, /* of the words: with more of them asked for nothing is gained */
    FOUND_SHARE = 4,  /* of the words: more rows than that are read faster one after the other */
    BYTES_SHARE = 8   /* of all weights: a smaller head's gain is not worth a sketch's memory */
};

/* A sketch is of what is stored wide, and bounds nothing that is added to the products. */
static bool sketch_pays(const nib_graph *g)
{
    const nib_linear *head = g->head;
    size_t all = head->weight->bytes;

    for (size_t i = 0; i < g->node_count; i++)
        if (g->nodes[i].linear && g->nodes[i].linear != head)
            all += g->nodes[i].linear->weight->bytes;
    return nib_weight_is_dense(head->weight) && !head->bias &&
           head->weight->bytes >= all / BYTES_SHARE;
}

nib_status nib_decoder_create(nib_ctx *ctx, nib_graph *graph, size_t capacity, nib_decoder **out,
                              nib_error *err)
{
    nib_decoder *d = nib_new(ctx, sizeof *d);
    size_t chunk = nib_min(capacity, NIB_PREFILL_CHUNK);
    nib_status status;

    if (!d) return nib_fail(err, NIB_E_NOMEM, "decoder: out of memory");
    *d = (nib_decoder){ .ctx = ctx, .graph = graph, .slot = NIB_NO_SLOT,
                        .sketch_pays = sketch_pays(graph) };
    d->values = nib_new_array(ctx, graph->head->weight->out, NIB_DOT_ROWS * sizeof *d->values);
    d->hidden = nib_new_array(ctx, graph->head->weight->in, NIB_DOT_ROWS * sizeof *d->hidden);
    d->positions = nib_new_array(ctx, chunk, sizeof *d->positions);
    if (!d->values || !d->hidden || !d->positions) {
        status = nib_fail(err, NIB_E_NOMEM, "decoder: out of memory");
        goto done;
    }
    status = nib_plan_create(graph, NIB_PLAN_INFERENCE, chunk, NIB_DOT_ROWS, &d->plan, err);
    if (!status) status = nib_run_create(ctx, graph, d->plan, capacity, capacity, &d->run, err);
    if (status) goto done;
    *out = d;
    d = NULL; /* handed over */
done:
    nib_decoder_destroy(d);
    return status;
}

void nib_decoder_destroy(nib_decoder *d)
{
    if (!d) return;
    nib_run_destroy(d->run);
    nib_plan_destroy(d->ctx, d->plan);
    nib_sketch_destroy(d->sketch);
    nib_free(d->ctx, d->values);
    nib_free(d->ctx, d->hidden);
    nib_free(d->ctx, d->positions);
    nib_free(d->ctx, d);
}

void nib_decoder_begin(nib_decoder *d, uint8_t slot)
{
    nib_run_reset_state(d->run);
    d->slot = slot;
}

/* One chunk; logits of its last `rows` tokens can be had afterwards. */
static void push_chunk(nib_decoder *d, const uint32_t *ids, size_t count, size_t rows)
{
    for (size_t i = 0; i < count; i++) d->positions[i] = (uint32_t)(d->run->state_tokens + i);
    for (size_t i = 0; i < rows; i++) d->logit_index[i] = (uint32_t)(count - rows + i);
    d->offsets[1] = (uint32_t)count;
    d->batch = (nib_batch){ .sequences = 1, .slots = &d->slot };
    d->batch.axes[NIB_TOKENS] = (nib_axis_rows){ .count = count, .offsets = d->offsets };
    d->batch.axes[NIB_LOGIT_ROWS] = (nib_axis_rows){ .count = rows, .picks = d->logit_index };
    d->batch.inputs[NIB_IDS] = ids;
    d->batch.inputs[NIB_POSITIONS] = d->positions;
    nib_run_forward(d->run, &d->batch);
}

/* --- logits --- */

static bool can_sketch(const nib_decoder *d, size_t most)
{
    const nib_linear *head = d->graph->head;

    return d->sketch_pays && most > 0 && most <= head->weight->out / WORDS_SHARE &&
           !nib_branch_at(&head->branches, d->slot);
}

/* The words that can be among the `most` likeliest after each row; count 0: all of them. */
static nib_status likeliest(nib_decoder *d, size_t most, nib_found found[NIB_DOT_ROWS],
                            nib_error *err)
{
    const nib_weight *head = d->graph->head->weight;
    const void *hidden = nib_run_hidden(d->run, 0);
    nib_status status = NIB_OK;

    for (size_t m = 0; m < d->rows; m++) found[m].count = 0;
    if (!can_sketch(d, most) || ++d->sketchable <= TOKENS_BEFORE_SKETCH) return NIB_OK;
    if (!d->sketch)
        status = nib_sketch_create(d->ctx, &d->graph->kernels, d->graph->type, head, &d->sketch,
                                   err);
    if (status) return status;
    if (d->graph->type == NIB_BF16) {
        d->run->k->from_bf16(d->rows * head->in, hidden, d->hidden);
        hidden = d->hidden;
    }
    nib_sketch_find(d->sketch, d->rows, hidden, most, found);
    return NIB_OK;
}

static nib_status make_logits(nib_decoder *d, size_t rows, size_t most, nib_error *err)
{
    size_t v = d->graph->head->weight->out;
    nib_found found[NIB_DOT_ROWS];
    bool all = false;
    nib_status status;

    d->rows = rows;
    status = likeliest(d, most, found, err);
    if (status) return status;
    for (size_t m = 0; m < rows; m++)
        all = all || !found[m].count || found[m].count > v / FOUND_SHARE;
    if (all) nib_run_logits(d->run, 0, rows, d->values);
    for (size_t m = 0; m < rows; m++) {
        float *values = d->values + m * v;
        if (!all) nib_run_some_logits(d->run, m, found[m].rows, found[m].count, values);
        d->logits[m] = (nib_logits){ all ? v : found[m].count, values, all ? NULL : found[m].rows };
    }
    return NIB_OK;
}

nib_status nib_decoder_logits(const nib_decoder *d, size_t row, nib_logits *logits, nib_error *err)
{
    nib_logits l = d->logits[row];

    assert(row < d->rows);
    for (size_t i = 0; i < l.count; i++)
        if (!isfinite(l.values[i]))
            return nib_fail(err, NIB_E_NUMERIC,
                            "the logit of word %zu after token %zu is not finite",
                            l.ids ? (size_t)l.ids[i] : i, d->run->state_tokens - d->rows + row + 1);
    *logits = l;
    return NIB_OK;
}

/* --- tokens --- */

nib_status nib_decoder_push(nib_decoder *d, const uint32_t *ids, size_t count, size_t most,
                            nib_error *err)
{
    assert(d->run->state_tokens + count <= d->run->state_capacity);
    for (size_t done = 0; done < count;) {
        size_t chunk = nib_min(count - done, d->plan->rows[NIB_TOKENS]);
        if (nib_should_stop(d->ctx)) return nib_fail(err, NIB_E_INTERRUPTED, "interrupted");
        push_chunk(d, ids + done, chunk, 1);
        done += chunk;
    }
    return make_logits(d, 1, most, err);
}

nib_status nib_decoder_try(nib_decoder *d, const uint32_t *ids, size_t count, size_t most,
                           nib_error *err)
{
    assert(count > 0 && count <= NIB_DOT_ROWS && count <= d->plan->rows[NIB_TOKENS]);
    assert(d->run->state_tokens + count <= d->run->state_capacity);
    if (nib_should_stop(d->ctx)) return nib_fail(err, NIB_E_INTERRUPTED, "interrupted");
    push_chunk(d, ids, count, count);
    return make_logits(d, count, most, err);
}

void nib_decoder_take_back(nib_decoder *d, size_t count)
{
    assert(count <= d->run->state_tokens);
    d->run->state_tokens -= count;
}
