/* data_compared.c - records of texts that are compared, for training and measuring embeddings:
 *
 *     {anchor, positive, negative?}   {query, positive, negative?}   {query, passage}
 *     {question, answer}              {sentence1, sentence2, score?}
 *
 * negative is a text or a list of as many in each record; negative_1, negative_2, ... are the same.
 * A score is also called scores, label or labels; with one there are no negatives.  Each text is
 * encoded by itself with its special tokens; the mark of a token is the number of its text. */
#include <stdio.h>

#include "train/data_reader.h"

static const struct { const char *first, *second; } pairs[] = {
    { "anchor", "positive" }, { "query", "positive" }, { "query", "passage" },
    { "question", "answer" }, { "sentence1", "sentence2" },
};
static const char *const scores[] = { "score", "scores", "label", "labels" };

static const json_t *negative_at(const json_t *record, size_t i)
{
    const json_t *all = json_object_get(record, "negative");
    char name[32];

    if (json_is_array(all)) return json_array_get(all, i);
    if (all && i == 0) return all;
    snprintf(name, sizeof name, "negative_%zu", i + 1);
    return json_object_get(record, name);
}

static size_t count_negatives(const json_t *record)
{
    size_t n = 0;

    while (n <= NIB_MOST_NEGATIVES && negative_at(record, n)) n++;
    return n;
}

bool nib_compared_is_negative(const char *key)
{
    return strncmp(key, "negative", 8) == 0 && (!key[8] || key[8] == '_');
}

/* Are there fields of negatives that are not among the `count` read: 'negative' beside others, or a
 * gap in their numbers? */
static bool leaves_negatives(const json_t *record, size_t count)
{
    const json_t *value, *all = json_object_get(record, "negative");
    const char *key;
    size_t fields = 0;

    json_object_foreach((json_t *)(uintptr_t)record, key, value)
        fields += nib_compared_is_negative(key) && !json_is_null(value);
    return fields != (json_is_array(all) ? 1 : count);
}

void nib_compared_settle(nib_data_reader *r, const json_t *record)
{
    nib_labelled *l = &r->labelled;

    for (size_t i = 0; i < NIB_COUNT(pairs) && !l->first; i++) {
        if (!json_object_get(record, pairs[i].first) || !json_object_get(record, pairs[i].second))
            continue;
        l->first = pairs[i].first;
        l->second = pairs[i].second;
    }
    for (size_t i = 0; i < NIB_COUNT(scores) && !l->label; i++)
        if (json_object_get(record, scores[i])) l->label = scores[i];
    l->negatives = l->label ? 0 : count_negatives(record);
}

nib_status nib_compared_detect(nib_data_reader *r, const json_t *record, const char *where,
                               nib_error *err)
{
    char fields[400];

    if (!json_is_object(record))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s, a record should be an object", where,
                        nib_shape_kind(record));
    r->labelled.first = r->labelled.second = r->labelled.label = NULL;
    nib_compared_settle(r, record);
    if (r->labelled.negatives > NIB_MOST_NEGATIVES)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: more than %d negatives", where,
                        NIB_MOST_NEGATIVES);
    r->d->labels.kind = r->labelled.label ? NIB_LABEL_NUMBERS : NIB_LABEL_NONE;
    r->d->labels.count = r->labelled.label ? 1 : 0;
    r->shaper.shape = r->labelled.label ? NIB_SHAPE_SCORED : NIB_SHAPE_COMPARED;
    if (r->labelled.first) return NIB_OK;
    nib_shape_list_fields(record, fields, sizeof fields);
    return nib_fail(err, NIB_E_FORMAT, "%s: its fields are %s; expected anchor and positive (or "
                    "query and positive, query and passage, question and answer, sentence1 and "
                    "sentence2), then negative, or a score", where, fields);
}

static nib_status add_text(nib_data_reader *r, const json_t *text, const char *field,
                           size_t number, const char *where, nib_error *err)
{
    nib_windows *w = &r->labelled.windows;
    nib_inputs in = { .text = json_string_value(text), .bytes = json_string_length(text),
                      .special = true };
    nib_status status = NIB_OK;

    if (!json_is_string(text))
        return nib_fail(err, NIB_E_FORMAT, "%s: field '%s' is %s, expected a text", where, field,
                        text ? nib_shape_kind(text) : "absent");
    status = nib_tokenizer_encode_inputs(r->in->tokenizer, &in, w, err);
    if (!status && w->tokens.count > nib_labelled_limit(r)) {
        in.max_length = nib_labelled_limit(r);
        r->labelled.cut = true;
        status = nib_tokenizer_encode_inputs(r->in->tokenizer, &in, w, err);
    }
    if (status) return nib_fail_in(err, status, "%s", where);
    if (!w->tokens.count)
        return nib_fail(err, NIB_E_FORMAT, "%s: field '%s' has no tokens", where, field);
    for (size_t i = 0; i < w->tokens.count && !status; i++)
        status = nib_data_add_token(r, where, w->tokens.items[i].id, (uint8_t)number, err);
    return status;
}

static nib_status add_score(nib_data_reader *r, const json_t *record, const char *where,
                            nib_error *err)
{
    const json_t *value = json_object_get(record, r->labelled.label);

    if (!json_is_number(value))
        return nib_fail(err, NIB_E_FORMAT, "%s: field '%s' is %s, expected a number", where,
                        r->labelled.label, value ? nib_shape_kind(value) : "absent");
    return nib_labels_put(&r->d->labels, (float)json_number_value(value), where, err);
}

nib_status nib_data_add_compared(nib_data_reader *r, const json_t *record, const char *where,
                                 nib_error *err)
{
    nib_labelled *l = &r->labelled;
    size_t negatives = count_negatives(record);
    nib_status status;

    if (!r->in->tokenizer) return r->fatal = true, nib_tokenizer_missing(r->in->model_dir, err);
    if (!l->label && negatives != l->negatives)
        return nib_fail(err, NIB_E_FORMAT, "%s: %zu negatives, the first record has %zu", where,
                        negatives, l->negatives);
    if (!l->label && leaves_negatives(record, negatives))
        return nib_fail(err, NIB_E_FORMAT, "%s: negatives are one field 'negative', a text or a "
                        "list, or negative_1, negative_2, ... without a gap", where);
    l->cut = false;
    status = add_text(r, json_object_get(record, l->first), l->first, 0, where, err);
    if (!status) status = add_text(r, json_object_get(record, l->second), l->second, 1, where, err);
    for (size_t i = 0; i < l->negatives && !status; i++)
        status = add_text(r, negative_at(record, i), "negative", 2 + i, where, err);
    if (!status && l->label) status = add_score(r, record, where, err);
    if (status) return status;
    r->d->counts.truncated += l->cut;
    return nib_dataset_end(r->d, where, err);
}
