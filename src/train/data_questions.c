/* data_questions.c - records of questions about a context:
 *
 *     {question, context, answers: {text: ["..."], answer_start: [12]}, id?, is_impossible?}
 *
 * answers may also be a list of {text, answer_start}; empty lists: the context has no answer.
 * Places are counted in characters.  The question is the first text, the context the second and the
 * only one that is cut: into windows, doc_stride tokens of each being those of the one before.  A
 * window is trained to say where the first answer begins and ends in it, or, where it does not hold
 * all of it, its first token for both (formats-encoder.md 6.1, as run_qa does it). */
#include "format/json.h"
#include "text/utf8.h"
#include "train/data_reader.h"

enum { LONGEST_ANSWER = 30 }; /* tokens: run_qa's */

typedef struct place { size_t begin, end; bool known; } place; /* bytes of the first answer */

bool nib_question_reads(const char *key)
{
    return strcmp(key, "id") == 0 || strcmp(key, "is_impossible") == 0;
}

void nib_question_settle(nib_data_reader *r, const json_t *record)
{
    nib_labelled *l = &r->labelled;

    if (!json_object_get(record, "question") || !json_object_get(record, "context")) return;
    l->first = "question";
    l->second = "context";
    l->label = json_object_get(record, "answers") ? "answers" : NULL;
}

/* --- answers --- */

/* Where character n of the text begins; SIZE_MAX: behind its end. */
static size_t byte_of(const char *text, size_t bytes, json_int_t n)
{
    size_t at = 0;

    while (n > 0 && at < bytes) at += nib_utf8_length(text[at]), n--;
    return n ? SIZE_MAX : at;
}

static nib_status check_place(const char *where, const char *context, size_t bytes, size_t at,
                              const json_t *text, json_int_t start, nib_error *err)
{
    size_t n = json_string_length(text), end = at;

    if (at != SIZE_MAX && n <= bytes - at && memcmp(context + at, json_string_value(text), n) == 0)
        return NIB_OK;
    for (size_t i = 0; at != SIZE_MAX && i < 40 && end < bytes; i++)
        end += nib_utf8_length(context[end]);
    return nib_fail(err, NIB_E_FORMAT,
                    "%s: field 'answers': '%.60s' does not begin at character "
                    "%" JSON_INTEGER_FORMAT " of the context, where '%.*s' stands",
                    where, json_string_value(text), start,
                    at == SIZE_MAX ? 0 : (int)(end - at), at == SIZE_MAX ? "" : context + at);
}

static nib_status add_answer(nib_data_reader *r, const json_t *text, const json_t *start,
                             const char *where, place *first, nib_error *err)
{
    nib_questions *q = &r->d->questions;
    const nib_question *x = &q->items[q->count - 1];
    const char *context = nib_questions_text(q, x->context);
    json_int_t n = json_integer_value(start);
    size_t at;
    nib_status status;

    if (!json_is_string(text) || !json_string_length(text))
        return nib_fail(err, NIB_E_FORMAT, "%s: field 'answers': a text is %s, expected some words "
                        "of the context (of a question without an answer the lists are empty)",
                        where, json_is_string(text) ? "empty" : nib_shape_kind(text));
    if (!json_is_integer(start) || n < 0)
        return nib_fail(err, NIB_E_FORMAT, "%s: field 'answers': answer_start is %s, expected the "
                        "character of the context that the answer begins with, from 0", where,
                        json_is_integer(start) ? "below 0" : nib_shape_kind(start));
    at = byte_of(context, x->context_bytes, n);
    status = check_place(where, context, x->context_bytes, at, text, n, err);
    if (!status && !first->known)
        *first = (place){ at, at + json_string_length(text), true };
    if (!status) /* which may move the context */
        status = nib_questions_answer(q, json_string_value(text), json_string_length(text), err);
    return status;
}

/* A list of texts and one of places. */
static nib_status add_lists(nib_data_reader *r, const json_t *answers, const char *where,
                            place *first, nib_error *err)
{
    const json_t *texts = json_object_get(answers, "text");
    const json_t *starts = json_object_get(answers, "answer_start");
    nib_status status = NIB_OK;

    if (!json_is_array(texts) || !json_is_array(starts) ||
        json_array_size(texts) != json_array_size(starts))
        return nib_fail(err, NIB_E_FORMAT, "%s: field 'answers': expected the lists text and "
                        "answer_start of one length, found %s and %s of %zu and %zu", where,
                        nib_shape_kind(texts), nib_shape_kind(starts), json_array_size(texts),
                        json_array_size(starts));
    for (size_t i = 0; i < json_array_size(texts) && !status; i++)
        status = add_answer(r, json_array_get(texts, i), json_array_get(starts, i), where, first,
                            err);
    return status;
}

static nib_status add_answers(nib_data_reader *r, const json_t *record, const char *where,
                              place *first, nib_error *err)
{
    const json_t *answers = json_object_get(record, "answers");
    const json_t *impossible = json_object_get(record, "is_impossible");
    nib_questions *q = &r->d->questions;
    nib_status status = NIB_OK;

    if (json_is_object(answers)) {
        status = add_lists(r, answers, where, first, err);
    } else if (json_is_array(answers)) {
        for (size_t i = 0; i < json_array_size(answers) && !status; i++) {
            const json_t *a = json_array_get(answers, i);
            status = add_answer(r, json_object_get(a, "text"), json_object_get(a, "answer_start"),
                                where, first, err);
        }
    } else
        return nib_fail(err, NIB_E_FORMAT, "%s: field 'answers' is %s, expected {\"text\": [...], "
                        "\"answer_start\": [...]}, the lists empty where there is no answer", where,
                        nib_shape_kind(answers));
    if (status || !impossible || json_is_null(impossible)) return status;
    if (!json_is_boolean(impossible) ||
        json_is_true(impossible) != (q->items[q->count - 1].answer_count == 0))
        return nib_fail(err, NIB_E_FORMAT, "%s: field 'is_impossible' is %s, but there are %u "
                        "answers", where, nib_shape_kind(impossible),
                        q->items[q->count - 1].answer_count);
    return NIB_OK;
}

/* --- windows --- */

static nib_token_range range_of(const nib_token *t)
{
    if (t->added_by_template || !t->text) return (nib_token_range){ NIB_NO_PLACE, NIB_NO_PLACE };
    return (nib_token_range){ (uint32_t)t->begin, (uint32_t)t->end };
}

/* The tokens that an answer begins and ends in; 0 and 0: the window does not hold all of it. */
static void find_edges(const nib_token_range *ranges, size_t count, const place *answer,
                       size_t edges[2])
{
    size_t first = 0, last = count;

    edges[0] = edges[1] = 0;
    while (first < count && ranges[first].begin == NIB_NO_PLACE) first++;
    while (last > first && ranges[last - 1].begin == NIB_NO_PLACE) last--;
    if (!answer->known || first == last || ranges[first].begin > answer->begin ||
        ranges[last - 1].end < answer->end)
        return;
    edges[0] = first;
    edges[1] = last - 1;
    for (size_t i = first; i < last && ranges[i].begin <= answer->begin; i++) edges[0] = i;
    for (size_t i = last; i-- > first && ranges[i].end >= answer->end;) edges[1] = i;
}

static nib_status add_window(nib_data_reader *r, const nib_token *items, size_t count,
                             const place *answer, const char *where, nib_error *err)
{
    nib_questions *q = &r->d->questions;
    size_t begin = q->placed, edges[2];
    nib_status status = NIB_OK;

    for (size_t i = 0; i < count && !status; i++) {
        status = nib_data_add_token(r, where, items[i].id, items[i].type, err);
        if (!status) status = nib_questions_place(q, range_of(&items[i]), err);
    }
    if (status) return status;
    find_edges(q->ranges + begin, count, answer, edges);
    for (size_t i = 0; i < NIB_COUNT(edges) && !r->in->unlabelled && !status; i++)
        status = nib_labels_put(&r->d->labels, (float)edges[i], where, err);
    if (!status) status = nib_dataset_end(r->d, where, err);
    if (!status) q->items[q->count - 1].windows++;
    return status;
}

static nib_status add_windows(nib_data_reader *r, const json_t *question, const place *answer,
                              const char *where, nib_error *err)
{
    const nib_questions *q = &r->d->questions;
    const nib_question *x = &q->items[q->count - 1];
    nib_windows *w = &r->labelled.windows;
    nib_inputs in = { .text = json_string_value(question), .bytes = json_string_length(question),
                      .pair = nib_questions_text(q, x->context), .pair_bytes = x->context_bytes,
                      .special = true, .max_length = nib_labelled_limit(r),
                      .truncation = NIB_ONLY_SECOND, .windows = true,
                      .stride = (size_t)r->o->doc_stride };
    nib_status status;

    while (in.bytes && nib_is_python_space(nib_utf8_read(in.text))) { /* as run_qa: str.lstrip() */
        size_t n = nib_utf8_length(*in.text);
        in.text += n;
        in.bytes -= n;
    }
    status = nib_tokenizer_encode_inputs(r->in->tokenizer, &in, w, err);
    if (status)
        return nib_fail_in(err, status, "%s: max_seq_length %zu, doc_stride %d", where,
                           in.max_length, r->o->doc_stride);
    for (size_t i = 0; i < w->count && !status; i++) {
        size_t begin = i ? w->ends[i - 1] : 0;
        status = add_window(r, w->tokens.items + begin, w->ends[i] - begin, answer, where, err);
    }
    return status;
}

/* --- records --- */

static nib_status add_question(nib_data_reader *r, const json_t *record, const char *where,
                               nib_error *err)
{
    const json_t *question, *context;
    const json_t *id = json_object_get(record, "id");
    char *text = nib_json_dump(r->ctx, id ? id : json_null(), JSON_ENCODE_ANY | JSON_COMPACT);
    place answer = { 0 };
    nib_status status = nib_shape_string(&r->shaper, record, "question", where, &question, err);

    if (!status) status = nib_shape_string(&r->shaper, record, "context", where, &context, err);
    if (!status && !text) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    if (!status && json_string_length(context) >= NIB_NO_PLACE)
        status = nib_fail(err, NIB_E_UNSUPPORTED, "%s: a context of %zu bytes", where,
                          json_string_length(context));
    if (!status)
        status = nib_questions_add(&r->d->questions, text, json_string_value(context),
                                   json_string_length(context), err);
    if (!status && !r->in->unlabelled) status = add_answers(r, record, where, &answer, err);
    if (!status) status = add_windows(r, question, &answer, where, err);
    nib_free(r->ctx, text);
    return status;
}

/* A question is added with all of its windows, or none of it is. */
nib_status nib_data_add_question(nib_data_reader *r, const json_t *record, const char *where,
                                 nib_error *err)
{
    nib_questions *q = &r->d->questions;
    nib_questions_mark mark = nib_questions_now(q);
    size_t count = r->d->count;
    nib_status status;

    r->d->labels.kind = NIB_LABEL_SPAN;
    q->rules = (nib_answer_rules){
        .longest = r->o->max_answer_length > 0 ? (size_t)r->o->max_answer_length : LONGEST_ANSWER,
        .may_be_none = r->o->version_2_with_negative || r->o->null_score_diff_threshold != 0,
        .null_threshold = r->o->null_score_diff_threshold,
    };
    status = add_question(r, record, where, err);
    if (!status) return NIB_OK;
    nib_questions_restore(q, mark);
    nib_dataset_cut(r->d, count);
    return status;
}
