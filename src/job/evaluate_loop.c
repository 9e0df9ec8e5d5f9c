/* evaluate_loop.c - see evaluate_loop.h. */
#include "job/evaluate_loop.h"

#include <math.h>

#include "graph/readout.h"

static nib_status make_plan(nib_eval_loop *e, nib_graph *graph, nib_error *err)
{
    size_t n = nib_dataset_count(e->data);

    e->graph = graph;
    e->grades = nib_dataset_labels(e->data)->kind == NIB_LABEL_NUMBERS &&
                nib_graph_loss(graph) == NIB_LOSS_BINARY;
    e->longest = nib_max(nib_dataset_counts(e->data).longest, 1);
    e->order = nib_new_array(e->ctx, n, sizeof *e->order);
    if (!e->order) return nib_fail(err, NIB_E_NOMEM, "evaluation: out of memory");
    nib_batch_extent(e->data, e->batch, false, 0, 1, e->order, &e->tokens, &e->targets);
    nib_dataset_order(e->data, false, 0, 0, e->order);
    return nib_plan_create(graph, NIB_PLAN_INFERENCE, e->tokens, e->targets, &e->plan, err);
}

nib_status nib_eval_loop_allocate(nib_eval_loop *e, nib_error *err)
{
    nib_status status;

    if (!e->ctx) return NIB_OK;
    if (e->compared.ctx) return nib_compared_allocate(&e->compared, err);
    status = nib_batch_maker_init(e->ctx, e->graph, nib_min(e->batch, nib_dataset_count(e->data)),
                                  e->tokens, e->targets, &e->maker, err);
    if (!status) status = nib_run_create(e->ctx, e->graph, e->plan, e->longest, &e->run, err);
    if (status || !nib_dataset_labels(e->data)->kind) return status;
    if (nib_dataset_labels(e->data)->kind == NIB_LABEL_SPAN)
        return nib_answered_create(e->ctx, e->data, &e->answered, err);
    status = nib_scorer_create(e->ctx, nib_dataset_labels(e->data), e->graph->head->weight->out,
                               (size_t)nib_dataset_counts(e->data).targets, &e->scorer, err);
    if (status) return status;
    e->logits = nib_new_array(e->ctx, e->plan->logit_chunk * e->graph->head->weight->out,
                              sizeof *e->logits);
    return e->logits ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "evaluation: out of memory");
}

nib_status nib_eval_loop_open(nib_ctx *ctx, nib_graph *graph, const char *name, nib_dataset *data,
                              size_t batch, nib_eval_loop *out, nib_error *err)
{
    nib_status status;

    *out = (nib_eval_loop){ .ctx = ctx, .name = name, .data = data, .batch = batch };
    status = make_plan(out, graph, err);
    if (status) nib_eval_loop_close(out);
    return status;
}

nib_status nib_eval_loop_open_compared(nib_ctx *ctx, nib_graph *graph, const nib_embedder *from,
                                       const char *name, nib_dataset *data, nib_dataset *corpus,
                                       size_t batch, nib_eval_loop *out, nib_error *err)
{
    *out = (nib_eval_loop){ .ctx = ctx, .name = name, .batch = batch };
    return nib_compared_open(ctx, graph, from, data, corpus, batch, &out->compared, err);
}

/* The records, whoever holds them. */
static const nib_dataset *data_of(const nib_eval_loop *e)
{
    return e->data ? e->data : e->compared.data;
}

void nib_eval_loop_close(nib_eval_loop *e)
{
    if (!e->ctx) return;
    nib_compared_close(&e->compared);
    nib_batch_maker_free(&e->maker);
    nib_run_destroy(e->run);
    nib_plan_destroy(e->ctx, e->plan);
    nib_free(e->ctx, e->order);
    nib_free(e->ctx, e->logits);
    nib_scorer_free(&e->scorer);
    nib_answered_free(&e->answered);
    nib_dataset_close(e->data);
    *e = (nib_eval_loop){ 0 };
}

uint64_t nib_eval_loop_bytes(const nib_eval_loop *e)
{
    if (e->compared.ctx) return nib_compared_bytes(&e->compared);
    return e->plan ? e->plan->arena_bytes + nib_run_bytes(e->graph, e->plan, e->longest) +
                         nib_scorer_bytes(&e->scorer)
                   : 0;
}

size_t nib_eval_loop_records(const nib_eval_loop *e) { return nib_dataset_count(data_of(e)); }
size_t nib_eval_loop_batches(const nib_eval_loop *e)
{
    return nib_ceil_div(nib_dataset_count(data_of(e)), e->batch);
}

bool nib_eval_loop_scores(nib_eval_loop *e, nib_scores *scores)
{
    if (!e->compared.ctx && !e->answered.ctx && !e->logits) return false;
    if (scores)
        *scores = e->compared.ctx   ? e->compared.scores
                  : e->answered.ctx ? nib_answered_scores(&e->answered)
                                    : nib_scorer_scores(&e->scorer);
    return true;
}

/* What the model says of the batch's rows, beside what is right; each record's rows are in one
 * piece. */
static void score(nib_eval_loop *e, const nib_batch *b, const uint32_t *order)
{
    size_t rows = b->axes[NIB_LOGIT_ROWS].count, width = e->graph->head->weight->out;
    size_t left = nib_dataset_record(e->data, *order).targets;

    for (size_t r0 = 0; r0 < rows; r0 += e->plan->logit_chunk) {
        size_t r1 = nib_min(r0 + e->plan->logit_chunk, rows);
        nib_run_logits(e->run, r0, r1, e->logits);
        for (size_t r = r0; r < r1; r++) {
            float *z = e->logits + (r - r0) * width;
            while (!left) { /* a record may have no rows */
                nib_spans_end(&e->scorer.spans);
                left = nib_dataset_record(e->data, *++order).targets;
            }
            if (e->grades) z[0] = 1 / (1 + expf(-z[0]));
            if (b->wanted) nib_scorer_add_each(&e->scorer, z, b->wanted + r * width);
            else nib_scorer_add_class(&e->scorer, z, b->targets[r]);
            left--;
        }
    }
    if (rows) nib_spans_end(&e->scorer.spans);
}

/* The windows of the batch; those of a question may lie in several. */
static nib_status answer(nib_eval_loop *e, const uint32_t *order, size_t count, nib_error *err)
{
    size_t row = 0;
    nib_status status = NIB_OK;

    for (size_t i = 0; i < count && !status; i++) {
        nib_record r = nib_dataset_record(e->data, order[i]);
        nib_answer said;
        bool done;

        status = nib_answered_add(&e->answered, e->run, r, row, &done, &said, err);
        if (!status && done) status = nib_answered_count(&e->answered, &said, err);
        row += r.length;
    }
    return status;
}

nib_status nib_eval_loop_run(nib_eval_loop *e, double *loss, nib_error *err)
{
    size_t n = nib_dataset_count(data_of(e));
    double sum = 0, targets = 0;

    if (e->compared.ctx) {
        nib_status status = nib_compared_run(&e->compared, err);
        *loss = e->compared.loss;
        return status;
    }
    nib_scorer_clear(&e->scorer);
    if (e->answered.ctx) nib_answered_clear(&e->answered);
    for (size_t first = 0; first < n; first += e->batch) {
        size_t count = nib_min(e->batch, n - first);
        const nib_batch *b = nib_batch_make(&e->maker, e->data, e->order + first, count, 0);

        if (nib_should_stop(e->ctx))
            return nib_fail(err, NIB_E_INTERRUPTED, "interrupted while evaluating");
        nib_run_forward(e->run, b);
        nib_run_loss(e->run);
        if (!isfinite(e->run->loss_sum))
            return nib_fail(
                err, NIB_E_NUMERIC,
                "%s: records %zu to %zu: the loss is not finite; the first value that is "
                "not comes out of %s",
                e->name, first, first + count - 1, nib_run_find_bad(e->run, b));
        if (e->logits) score(e, b, e->order + first);
        if (e->answered.ctx) {
            nib_status status = answer(e, e->order + first, count, err);
            if (status) return status;
        }
        sum += e->run->loss_sum;
        targets += e->run->loss_weight;
    }
    *loss = sum / targets;
    return NIB_OK;
}

double nib_eval_loop_trial(nib_eval_loop *e)
{
    double start = nib_clock_seconds(), tokens = 0, first = 0;
    size_t n, count;

    if (!e->ctx) return 0;
    if (e->compared.ctx) return nib_compared_trial(&e->compared);
    n = nib_dataset_count(e->data);
    count = nib_min(e->batch, n);
    nib_run_forward(e->run, nib_batch_make(&e->maker, e->data, e->order, count, 0));
    nib_run_loss(e->run);
    start = nib_clock_seconds() - start;
    for (size_t i = 0; i < n; i++) {
        tokens += (double)nib_dataset_record(e->data, e->order[i]).length;
        if (i + 1 == count) first = tokens;
    }
    return start * tokens / fmax(first, 1);
}
