/* questions.c - see questions.h. */
#include "train/questions.h"

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "questions: out of memory");
}

void nib_questions_free(nib_questions *q)
{
    nib_free(q->ctx, q->texts);
    nib_free(q->ctx, q->answers);
    nib_free(q->ctx, q->items);
    nib_free(q->ctx, q->ranges);
    *q = (nib_questions){ 0 };
}

nib_questions_mark nib_questions_now(const nib_questions *q)
{
    return (nib_questions_mark){ q->used, q->answer_count, q->count, q->placed };
}

void nib_questions_restore(nib_questions *q, nib_questions_mark mark)
{
    q->used = mark.used;
    q->answer_count = mark.answers;
    q->count = mark.count;
    q->placed = mark.placed;
}

static bool put(nib_questions *q, const char *text, size_t bytes, size_t *at)
{
    if (bytes > SIZE_MAX / 2 - q->used - 1 ||
        !nib_grow(q->ctx, &q->texts, &q->room, q->used + bytes + 1, 1))
        return false;
    *at = q->used;
    if (bytes) memcpy(q->texts + q->used, text, bytes);
    q->texts[q->used + bytes] = 0;
    q->used += bytes + 1;
    return true;
}

nib_status nib_questions_add(nib_questions *q, const char *id, const char *context, size_t bytes,
                             nib_error *err)
{
    nib_question x = { .context_bytes = bytes, .answers = q->answer_count };

    if (!put(q, id, strlen(id), &x.id) || !put(q, context, bytes, &x.context) ||
        !nib_grow(q->ctx, &q->items, &q->capacity, q->count + 1, sizeof *q->items))
        return no_memory(err);
    q->items[q->count++] = x;
    return NIB_OK;
}

nib_status nib_questions_answer(nib_questions *q, const char *text, size_t bytes, nib_error *err)
{
    size_t at;

    assert(q->count && q->items[q->count - 1].answer_count < UINT32_MAX);
    if (!put(q, text, bytes, &at) ||
        !nib_grow(q->ctx, &q->answers, &q->answer_room, q->answer_count + 1, sizeof *q->answers))
        return no_memory(err);
    q->answers[q->answer_count++] = at;
    q->items[q->count - 1].answer_count++;
    return NIB_OK;
}

nib_status nib_questions_place(nib_questions *q, nib_token_range range, nib_error *err)
{
    if (!nib_grow(q->ctx, &q->ranges, &q->range_room, q->placed + 1, sizeof *q->ranges))
        return no_memory(err);
    q->ranges[q->placed++] = range;
    return NIB_OK;
}

nib_status nib_questions_copy(const nib_questions *from, size_t i, nib_questions *to,
                              nib_error *err)
{
    const nib_question *x = &from->items[i];
    nib_status status = nib_questions_add(to, from->texts + x->id, from->texts + x->context,
                                          x->context_bytes, err);

    for (size_t a = 0; a < x->answer_count && !status; a++) {
        const char *text = nib_question_answer(from, i, a);
        status = nib_questions_answer(to, text, strlen(text), err);
    }
    if (!status) to->items[to->count - 1].windows = x->windows;
    return status;
}
