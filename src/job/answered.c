/* answered.c - see answered.h. */
#include "job/answered.h"

#include <math.h>

#include "graph/readout.h"
#include "job/scores.h"
#include "job/squad.h"

nib_status nib_answered_create(nib_ctx *ctx, const nib_dataset *data, nib_answered *out,
                               nib_error *err)
{
    const nib_questions *q = nib_dataset_questions(data);
    nib_answered a = { .ctx = ctx, .data = data, .may_be_none = q->rules.may_be_none };

    /* the records say so; those to predict have none at all */
    for (size_t i = 0; i < q->count && q->answer_count; i++)
        a.may_be_none |= !q->items[i].answer_count;
    a.logits = nib_new_array(ctx, 2 * nib_max(nib_dataset_counts(data).longest, 1),
                             sizeof *a.logits);
    if (!a.logits) return nib_fail(err, NIB_E_NOMEM, "answers: out of memory");
    nib_answered_clear(&a);
    *out = a;
    return NIB_OK;
}

void nib_answered_free(nib_answered *a)
{
    if (!a->ctx) return;
    nib_free(a->ctx, a->logits);
    *a = (nib_answered){ 0 };
}

void nib_answered_clear(nib_answered *a)
{
    a->next = 0;
    a->with = a->without = (nib_answer_sums){ 0 };
    nib_span_finder_begin(&a->finder, nib_dataset_questions(a->data)->rules.longest);
}

/* Whole characters: a token may end within one. */
static void round_to_characters(const char *text, size_t bytes, nib_token_range *at)
{
    while (at->begin > 0 && ((uint8_t)text[at->begin] & 0xc0) == 0x80) at->begin--;
    while (at->end < bytes && ((uint8_t)text[at->end] & 0xc0) == 0x80) at->end++;
}

static nib_answer finish(nib_answered *a)
{
    const nib_questions *q = nib_dataset_questions(a->data);
    const nib_question *x = &q->items[a->next];
    const char *context = nib_questions_text(q, x->context);
    nib_answer out = { .question = a->next, .text = "",
                       .span = nib_span_finder_end(&a->finder, a->may_be_none) };

    a->next++;
    nib_span_finder_begin(&a->finder, q->rules.longest);
    if (!out.span.found || (a->may_be_none && out.span.none > q->rules.null_threshold)) return out;
    round_to_characters(context, x->context_bytes, &out.span.at);
    out.begin = out.span.at.begin;
    out.text = context + out.begin;
    out.bytes = out.span.at.end - out.begin;
    return out;
}

nib_status nib_answered_add(nib_answered *a, nib_run *run, nib_record r, size_t row, bool *done,
                            nib_answer *answer, nib_error *err)
{
    const nib_questions *q = nib_dataset_questions(a->data);

    assert(a->next < q->count);
    for (size_t r0 = 0, r1; r0 < r.length; r0 = r1) {
        r1 = nib_min(r0 + run->plan->logit_chunk, r.length);
        nib_run_logits(run, row + r0, row + r1, a->logits + 2 * r0);
    }
    for (size_t i = 0; i < 2 * (size_t)r.length; i++)
        if (!isfinite(a->logits[i]))
            return nib_fail(err, NIB_E_NUMERIC, "question %zu: a score is not finite", a->next);
    nib_span_finder_add(&a->finder, r, a->logits);
    *done = a->finder.windows == q->items[a->next].windows;
    if (*done) *answer = finish(a);
    return NIB_OK;
}

nib_status nib_answered_count(nib_answered *a, const nib_answer *answer, nib_error *err)
{
    const nib_questions *q = nib_dataset_questions(a->data);
    const nib_question *x = &q->items[answer->question];
    nib_answer_sums *sums = x->answer_count ? &a->with : &a->without;
    const char **right = nib_new_array(a->ctx, nib_max(x->answer_count, 1), sizeof *right);
    nib_squad_score score;
    nib_status status;

    if (!right) return nib_fail(err, NIB_E_NOMEM, "answers: out of memory");
    for (size_t i = 0; i < x->answer_count; i++)
        right[i] = nib_question_answer(q, answer->question, i);
    status = nib_squad_best(a->ctx, answer->text, answer->bytes, right, x->answer_count, &score,
                            err);
    nib_free(a->ctx, right);
    if (status) return status;
    sums->count++;
    sums->exact += score.exact;
    sums->f1 += score.f1;
    return NIB_OK;
}

static double percent(double sum, uint64_t of)
{
    return of ? 100 * sum / (double)of : (double)NAN;
}

nib_scores nib_answered_scores(const nib_answered *a)
{
    nib_scores out = nib_scores_none();

    out.rows = a->with.count + a->without.count;
    out.exact_match = percent((double)(a->with.exact + a->without.exact), out.rows);
    out.f1 = percent(a->with.f1 + a->without.f1, out.rows);
    if (!a->without.count) return out;
    out.has_answer_exact = percent((double)a->with.exact, a->with.count);
    out.has_answer_f1 = percent(a->with.f1, a->with.count);
    out.no_answer_exact = percent((double)a->without.exact, a->without.count);
    out.no_answer_f1 = percent(a->without.f1, a->without.count);
    return out;
}
