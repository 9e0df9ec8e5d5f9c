/* decoder.c - running new tokens through the graph. */
#include "generate/decoder.h"

#include <math.h>

nib_status nib_decoder_create(nib_ctx *ctx, nib_graph *graph, size_t capacity, nib_decoder **out,
                              nib_error *err)
{
    nib_decoder *d = nib_new(ctx, sizeof *d);
    size_t chunk = nib_min(capacity, NIB_PREFILL_CHUNK);
    nib_status status;

    if (!d) return nib_fail(err, NIB_E_NOMEM, "decoder: out of memory");
    *d = (nib_decoder){ .ctx = ctx, .graph = graph, .slot = NIB_NO_SLOT, .bad_position = -1 };
    d->values = nib_new_array(ctx, graph->head->weight->out, sizeof *d->values);
    d->positions = nib_new_array(ctx, chunk, sizeof *d->positions);
    if (!d->values || !d->positions) {
        status = nib_fail(err, NIB_E_NOMEM, "decoder: out of memory");
        goto done;
    }
    status = nib_plan_create(graph, NIB_PLAN_INFERENCE, chunk, 1, &d->plan, err);
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
    nib_free(d->ctx, d->values);
    nib_free(d->ctx, d->positions);
    nib_free(d->ctx, d);
}

void nib_decoder_begin(nib_decoder *d, uint8_t slot)
{
    nib_run_reset_state(d->run);
    d->slot = slot;
}

static void push_chunk(nib_decoder *d, const uint32_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++) d->positions[i] = (uint32_t)(d->run->state_tokens + i);
    d->offsets[1] = (uint32_t)count;
    d->logit_index[0] = (uint32_t)count - 1;
    d->batch = (nib_batch){ .sequences = 1, .tokens = count, .logit_rows = 1, .offsets = d->offsets,
                            .ids = ids, .positions = d->positions, .logit_index = d->logit_index,
                            .slots = &d->slot };
    nib_run_forward(d->run, &d->batch);
}

nib_status nib_decoder_push(nib_decoder *d, const uint32_t *ids, size_t count, nib_error *err)
{
    size_t v = d->graph->head->weight->out;

    assert(d->run->state_tokens + count <= d->run->state_capacity);
    for (size_t done = 0; done < count;) {
        size_t chunk = nib_min(count - done, d->plan->rows[NIB_AXIS_TOKENS]);
        if (nib_should_stop(d->ctx)) return nib_fail(err, NIB_E_INTERRUPTED, "interrupted");
        push_chunk(d, ids + done, chunk);
        done += chunk;
    }
    nib_run_logits(d->run, 0, 1, d->values);
    d->logits = (nib_logits){ v, d->values, NULL };
    for (size_t i = 0; i < v; i++)
        if (!isfinite(d->values[i]))
            return nib_fail(err, NIB_E_NUMERIC, "the logit of word %zu after token %zu is not finite", i,
                            d->run->state_tokens);
    return NIB_OK;
}
