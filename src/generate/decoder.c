/* decoder.c - running new tokens through the graph. */
#include "generate/decoder.h"

#include <math.h>

#include "graph/readout.h"

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

/* The most tokens of a batch. */
static size_t batch_tokens(size_t capacity, size_t conversations)
{
    return nib_max(nib_min(capacity, NIB_PREFILL_CHUNK), conversations);
}

nib_status nib_decoder_create(nib_ctx *ctx, nib_graph *graph, size_t capacity, size_t conversations,
                              nib_decoder **out, nib_error *err)
{
    nib_decoder *d = nib_new(ctx, sizeof *d);
    size_t tokens = batch_tokens(capacity, conversations),
           rows = nib_max(conversations, NIB_DOT_ROWS);
    const nib_weight *head = graph->head->weight;
    nib_status status;

    if (!d) return nib_fail(err, NIB_E_NOMEM, "decoder: out of memory");
    *d = (nib_decoder){ .ctx = ctx, .graph = graph, .most_rows = rows,
                        .sketch_pays = sketch_pays(graph) };
    d->logits = nib_new_array(ctx, rows, sizeof *d->logits);
    d->values = nib_new_array(ctx, head->out, rows * sizeof *d->values);
    d->hidden = nib_new_array(ctx, head->in, NIB_DOT_ROWS * sizeof *d->hidden);
    if (d->sketch_pays && rows > NIB_DOT_ROWS)
        d->found = nib_new_array(ctx, head->out, rows * sizeof *d->found);
    d->picks = nib_new_array(ctx, rows, sizeof *d->picks);
    d->positions = nib_new_array(ctx, tokens, sizeof *d->positions);
    d->offsets = nib_new_array(ctx, conversations + 1, sizeof *d->offsets);
    d->states = nib_new_array(ctx, conversations, sizeof *d->states);
    d->slots = nib_new_array(ctx, conversations, sizeof *d->slots);
    d->generated = nib_new_array(ctx, conversations, sizeof *d->generated);
    if (!d->logits || !d->values || !d->hidden || !d->picks || !d->positions || !d->offsets ||
        !d->states || !d->slots || !d->generated ||
        (d->sketch_pays && rows > NIB_DOT_ROWS && !d->found)) {
        status = nib_fail(err, NIB_E_NOMEM, "decoder: out of memory");
        goto done;
    }
    status = nib_plan_create(graph, NIB_PLAN_INFERENCE, tokens, rows, &d->plan, err);
    if (!status) status = nib_run_create(ctx, graph, d->plan, capacity, &d->run, err);
    if (status) goto done;
    *out = d;
    d = NULL; /* handed over */
done:
    nib_decoder_destroy(d);
    return status;
}

nib_status nib_decoder_bytes(nib_ctx *ctx, nib_graph *graph, size_t capacity, size_t conversations,
                             uint64_t *bytes, nib_error *err)
{
    const nib_weight *head = graph->head->weight;
    uint64_t rows = nib_max(conversations, NIB_DOT_ROWS),
             tokens = batch_tokens(capacity, conversations);
    bool sketch = sketch_pays(graph);
    nib_plan *plan = NULL;
    nib_status status = nib_plan_create(graph, NIB_PLAN_INFERENCE, tokens, rows, &plan, err);

    if (status) return status;
    *bytes = plan->arena_bytes + nib_run_bytes(graph, plan, capacity) +
             rows * head->out * sizeof(float) + NIB_DOT_ROWS * head->in * sizeof(float) +
             tokens * sizeof(uint32_t);
    if (sketch) *bytes += nib_sketch_bytes(ctx, head);
    if (sketch && rows > NIB_DOT_ROWS) *bytes += rows * head->out * sizeof(uint32_t);
    nib_plan_destroy(ctx, plan);
    return NIB_OK;
}

void nib_decoder_forget_head(nib_decoder *d)
{
    nib_sketch_destroy(d->sketch);
    d->sketch = NULL;
    d->sketchable = 0;
}

void nib_decoder_destroy(nib_decoder *d)
{
    if (!d) return;
    nib_run_destroy(d->run);
    nib_plan_destroy(d->ctx, d->plan);
    nib_sketch_destroy(d->sketch);
    nib_free(d->ctx, d->logits);
    nib_free(d->ctx, d->values);
    nib_free(d->ctx, d->hidden);
    nib_free(d->ctx, d->found);
    nib_free(d->ctx, d->picks);
    nib_free(d->ctx, d->positions);
    nib_free(d->ctx, d->offsets);
    nib_free(d->ctx, d->states);
    nib_free(d->ctx, d->slots);
    nib_free(d->ctx, d->generated);
    nib_free(d->ctx, d);
}

/* Runs `each` tokens of each of `count` conversations; logits of the last `rows` of each can be had
 * afterwards. */
static void decode(nib_decoder *d, const nib_conversation *c, size_t count, const uint32_t *ids,
                   size_t each, size_t rows, bool generated)
{
    size_t row = 0;

    for (size_t s = 0; s < count; s++) {
        d->states[s] = c[s].state;
        d->slots[s] = c[s].slot;
        d->generated[s] = generated;
        d->offsets[s + 1] = (uint32_t)((s + 1) * each);
        for (size_t i = 0; i < each; i++)
            d->positions[s * each + i] = (uint32_t)(c[s].state->tokens + i);
        for (size_t i = each - rows; i < each; i++) d->picks[row++] = (uint32_t)(s * each + i);
    }
    d->batch = (nib_batch){ .sequences = count,
                            .axes = { [NIB_TOKENS] = { count * each, d->offsets, NULL },
                                      [NIB_LOGIT_ROWS] = { row, NULL, d->picks } },
                            .inputs = { [NIB_IDS] = ids, [NIB_POSITIONS] = d->positions },
                            .slots = d->slots, .generated = d->generated, .states = d->states };
    nib_run_forward(d->run, &d->batch);
}

/* --- logits --- */

/* Of rows that follow one another, `rows` of them from r0 on; at most NIB_DOT_ROWS. */
typedef struct group { size_t r0, rows, most; } group;

static uint8_t slot_of(const nib_decoder *d, size_t row)
{
    size_t s = 0;

    while (d->picks[row] >= d->offsets[s + 1]) s++;
    return d->slots[s];
}

static bool can_sketch(const nib_decoder *d, const group *g)
{
    const nib_linear *head = d->graph->head;

    if (!d->sketch_pays || g->most == 0 || g->most > head->weight->out / WORDS_SHARE) return false;
    for (size_t m = 0; m < g->rows; m++)
        if (nib_branch_at(&head->branches, slot_of(d, g->r0 + m))) return false;
    return true;
}

/* The words that can be among the `most` likeliest after each row; count 0: all of them. */
static nib_status likeliest(nib_decoder *d, const group *g, nib_found found[NIB_DOT_ROWS],
                            nib_error *err)
{
    const nib_weight *head = d->graph->head->weight;
    const void *hidden = nib_run_hidden(d->run, g->r0);
    nib_status status = NIB_OK;

    for (size_t m = 0; m < g->rows; m++) found[m].count = 0;
    if (!can_sketch(d, g) || ++d->sketchable <= TOKENS_BEFORE_SKETCH) return NIB_OK;
    if (!d->sketch)
        status = nib_sketch_create(d->ctx, &d->graph->kernels, d->graph->type, head, &d->sketch,
                                   err);
    if (status) return status;
    if (d->graph->type == NIB_BF16) {
        d->run->k->from_bf16(g->rows * head->in, hidden, d->hidden);
        hidden = d->hidden;
    }
    nib_sketch_find(d->sketch, g->rows, hidden, g->most, found);
    return NIB_OK;
}

/* Words stay where the sketch has them until the next group needs the place. */
static const uint32_t *keep_found(const nib_decoder *d, size_t row, nib_found found)
{
    uint32_t *to;

    if (!d->found) return found.rows;
    to = d->found + row * d->graph->head->weight->out;
    return memcpy(to, found.rows, found.count * sizeof *to);
}

static nib_status make_group(nib_decoder *d, const group *g, nib_error *err)
{
    size_t v = d->graph->head->weight->out;
    nib_found found[NIB_DOT_ROWS];
    bool all = false;
    nib_status status = likeliest(d, g, found, err);

    if (status) return status;
    for (size_t m = 0; m < g->rows; m++)
        all = all || !found[m].count || found[m].count > v / FOUND_SHARE;
    if (all) nib_run_logits(d->run, g->r0, g->r0 + g->rows, d->values + g->r0 * v);
    for (size_t m = 0; m < g->rows; m++) {
        size_t row = g->r0 + m;
        float *values = d->values + row * v;
        if (!all) nib_run_some_logits(d->run, row, found[m].rows, found[m].count, values);
        d->logits[row] = (nib_logits){ all ? v : found[m].count, values,
                                       all ? NULL : keep_found(d, row, found[m]) };
    }
    return NIB_OK;
}

static nib_status make_logits(nib_decoder *d, size_t rows, size_t most, nib_error *err)
{
    nib_status status = NIB_OK;

    d->rows = rows;
    for (size_t r = 0; r < rows && !status; r += NIB_DOT_ROWS)
        status = make_group(d, &(group){ r, nib_min(NIB_DOT_ROWS, rows - r), most }, err);
    return status;
}

nib_status nib_decoder_logits(const nib_decoder *d, size_t row, nib_logits *logits, nib_error *err)
{
    nib_logits l = d->logits[row];

    assert(row < d->rows);
    for (size_t i = 0; i < l.count; i++)
        if (!isfinite(l.values[i]))
            return nib_fail(err, NIB_E_NUMERIC,
                            "the logit of token %zu after token %zu is not finite: the "
                            "weights hold such values, or the compute type is too narrow (try "
                            "compute_dtype float32)",
                            l.ids ? (size_t)l.ids[i] : i, (size_t)d->positions[d->picks[row]] + 1);
    *logits = l;
    return NIB_OK;
}

/* --- tokens --- */

nib_status nib_decoder_read(nib_decoder *d, nib_conversation c, const uint32_t *ids, size_t count,
                            size_t most, nib_error *err)
{
    c.state->reach = nib_max(c.state->reach, c.state->tokens + count);
    for (size_t done = 0; done < count;) {
        size_t chunk = nib_min(nib_min(count - done, NIB_PREFILL_CHUNK), d->plan->rows[NIB_TOKENS]);
        if (nib_should_stop(d->ctx)) return nib_fail(err, NIB_E_INTERRUPTED, "interrupted");
        decode(d, &c, 1, ids + done, chunk, 1, false);
        done += chunk;
    }
    return make_logits(d, 1, most, err);
}

nib_status nib_decoder_try(nib_decoder *d, nib_conversation c, const uint32_t *ids, size_t count,
                           size_t most, nib_error *err)
{
    assert(count > 0 && count <= d->most_rows && count <= d->plan->rows[NIB_TOKENS]);
    if (nib_should_stop(d->ctx)) return nib_fail(err, NIB_E_INTERRUPTED, "interrupted");
    decode(d, &c, 1, ids, count, count, true);
    return make_logits(d, count, most, err);
}

nib_status nib_decoder_next(nib_decoder *d, const nib_conversation *c, const uint32_t *ids,
                            size_t count, size_t most, nib_error *err)
{
    assert(count > 0 && count <= d->most_rows);
    if (nib_should_stop(d->ctx)) return nib_fail(err, NIB_E_INTERRUPTED, "interrupted");
    decode(d, c, count, ids, 1, 1, true);
    return make_logits(d, count, most, err);
}
