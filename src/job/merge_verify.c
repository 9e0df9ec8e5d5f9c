/* merge_verify.c - see merge_verify.h.  The models run one after another over each batch; of their
 * logits a few rows are there at a time. */
#include "job/merge_verify.h"

#include <math.h>

#include "graph/readout.h"
#include "job/divergence.h"
#include "train/batch.h"

/* A model and what computes with it. */
typedef struct side {
    nib_plan *plan;
    nib_run *run;
    nib_batch_maker maker;
    float *logits; /* [chunk, V] */
    double loss, weight;
} side;

typedef struct job {
    nib_ctx *ctx;
    const nib_merge_records *records;
    nib_survivors *survivors;
    size_t tapped;           /* tokens that the survivors have seen */
    side adapter, base, merged;
    bool has_base;
    bool words;              /* the next token is predicted */
    uint8_t *no_slots;       /* [records of a batch] */
    nib_divergence *scores;  /* [chunk] */
    nib_mean divergence;
    uint64_t tokens, agreed;
} job;

static nib_status open_side(job *j, nib_model *m, side *s, bool logits, nib_error *err)
{
    const nib_merge_records *r = j->records;
    nib_status status = nib_batch_maker_init(j->ctx, m->graph, r->most_records, r->most_tokens,
                                             r->most_targets, &s->maker, err);

    if (!status)
        status = nib_plan_create(m->graph, NIB_PLAN_INFERENCE, r->most_tokens, r->most_targets,
                                 &s->plan, err);
    if (!status) status = nib_run_create(j->ctx, m->graph, s->plan, r->longest, &s->run, err);
    if (status || !logits) return status;
    s->logits = nib_new_array(j->ctx, s->plan->logit_chunk * m->head->weight->out,
                              sizeof *s->logits);
    return s->logits ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "logits: out of memory");
}

static void close_side(job *j, side *s)
{
    nib_free(j->ctx, s->logits);
    nib_batch_maker_free(&s->maker);
    nib_run_destroy(s->run);
    nib_plan_destroy(j->ctx, s->plan);
}

static nib_status open_all(job *j, const nib_merge_sides *sides, nib_error *err)
{
    nib_status status = open_side(j, sides->adapter, &j->adapter, j->words, err);

    if (!status) status = open_side(j, sides->merged, &j->merged, j->words, err);
    if (!status && j->has_base) status = open_side(j, sides->base, &j->base, false, err);
    if (status) return status;
    j->no_slots = nib_alloc(j->ctx, j->records->most_records);
    j->scores = nib_new_array(j->ctx, j->adapter.plan->logit_chunk, sizeof *j->scores);
    if (!j->no_slots || !j->scores) return nib_fail(err, NIB_E_NOMEM, "scores: out of memory");
    memset(j->no_slots, NIB_NO_SLOT, j->records->most_records);
    return NIB_OK;
}

static const nib_batch *batch_of(job *j, side *s, size_t i)
{
    const nib_merge_records *r = j->records;

    return nib_batch_make(&s->maker, r->set, r->order + r->first[i], r->first[i + 1] - r->first[i],
                          0);
}

static nib_status add_loss(const job *j, side *s, const nib_batch *b, size_t batch, const char *who,
                           nib_error *err)
{
    nib_run_loss(s->run);
    if (!isfinite(s->run->loss_sum))
        return nib_fail(err, NIB_E_NUMERIC, "%s: records %zu to %zu: the loss of %s is not finite; "
                        "the first value that is not comes out of %s", j->records->name,
                        j->records->first[batch], j->records->first[batch + 1] - 1, who,
                        nib_run_find_bad(s->run, b));
    s->loss += s->run->loss_sum;
    s->weight += s->run->loss_weight;
    return NIB_OK;
}

/* The distance from the one with the adapter, of words. */
static void compare(job *j, const nib_batch *b)
{
    size_t rows = b->axes[NIB_LOGIT_ROWS].count, chunk = j->adapter.plan->logit_chunk,
           width = j->adapter.run->graph->head->weight->out;

    j->tokens += rows;
    for (size_t r0 = 0; j->words && r0 < rows; r0 += chunk) {
        size_t n = nib_min(chunk, rows - r0);
        nib_run_logits(j->adapter.run, r0, r0 + n, j->adapter.logits);
        nib_run_logits(j->merged.run, r0, r0 + n, j->merged.logits);
        nib_divergence_of(j->ctx, j->merged.logits, j->adapter.logits, b->targets + r0, n, width,
                          j->scores);
        for (size_t i = 0; i < n; i++) {
            nib_mean_add(&j->divergence, j->scores[i].divergence);
            j->agreed += j->scores[i].agrees;
        }
    }
}

/* Without the adapter: another model's, or the same with no slot. */
static nib_status run_base(job *j, size_t i, nib_error *err)
{
    side *s = j->has_base ? &j->base : &j->adapter;
    nib_batch b = *batch_of(j, s, i);
    double loss = j->adapter.loss, weight = j->adapter.weight;
    nib_status status;

    b.slots = j->no_slots;
    nib_run_forward(s->run, &b);
    status = add_loss(j, s, &b, i, "the base", err);
    if (j->has_base || status) return status;
    j->base.loss += j->adapter.loss - loss;
    j->base.weight += j->adapter.weight - weight;
    j->adapter.loss = loss;
    j->adapter.weight = weight;
    return NIB_OK;
}

static nib_status run_batch(job *j, size_t i, nib_error *err)
{
    const nib_batch *b = batch_of(j, &j->adapter, i), *m;
    nib_status status = NIB_OK;

    if (nib_should_stop(j->ctx))
        return nib_fail(err, NIB_E_INTERRUPTED, "stopped; nothing is written");
    j->adapter.run->tap = NULL;
    if (j->tapped < NIB_MERGE_TAPPED) nib_survivors_tap(j->survivors, j->adapter.run);
    nib_run_forward(j->adapter.run, b);
    if (j->adapter.run->tap) status = nib_survivors_end_batch(j->survivors, j->adapter.run, err);
    j->tapped += b->axes[NIB_TOKENS].count;
    j->adapter.run->tap = NULL;
    if (!status) status = add_loss(j, &j->adapter, b, i, "the base with the adapter", err);
    if (status) return status;
    m = batch_of(j, &j->merged, i);
    nib_run_forward(j->merged.run, m);
    status = add_loss(j, &j->merged, m, i, "the merged model", err);
    if (!status) compare(j, b);
    return status ? status : run_base(j, i, err);
}

static nib_merge_losses losses_of(const job *j)
{
    nib_merge_losses l = { .base = j->base.loss / j->base.weight,
                           .adapter = j->adapter.loss / j->adapter.weight,
                           .merged = j->merged.loss / j->merged.weight, .kept = NAN,
                           .divergence = nib_mean_of(&j->divergence),
                           .divergence_error = nib_mean_error(&j->divergence),
                           .agreement = NAN, .tokens = j->tokens,
                           .records = j->records->count };

    if (l.base > l.adapter) l.kept = (l.base - l.merged) / (l.base - l.adapter);
    if (j->words && j->tokens) l.agreement = (double)j->agreed / (double)j->tokens;
    return l;
}

nib_status nib_merge_verify(nib_ctx *ctx, const nib_merge_sides *sides,
                            const nib_merge_records *records, nib_survivors *survivors,
                            nib_merge_losses *out, nib_error *err)
{
    job j = { .ctx = ctx, .records = records, .survivors = survivors,
              .has_base = sides->base != NULL,
              .words = sides->adapter->purpose.task == NIB_TASK_CAUSAL_LM };
    nib_status status = open_all(&j, sides, err);

    for (size_t i = 0; i < records->batches && !status; i++) {
        status = run_batch(&j, i, err);
        if (sides->on_progress)
            sides->on_progress(sides->user, "measuring",
                               (double)(i + 1) / (double)records->batches);
    }
    if (!status) *out = losses_of(&j);
    close_side(&j, &j.adapter);
    close_side(&j, &j.merged);
    close_side(&j, &j.base);
    nib_free(ctx, j.no_slots);
    nib_free(ctx, j.scores);
    return status;
}
