/* data_labelled.c - records of classifiers: a text or two with a label, words with a tag each.
 *
 *     {text | sentence, label}         {sentence1, sentence2, label}
 *     {premise, hypothesis, label}     {question1, question2, label}
 *     {question, sentence, label}      {query, passage, label}
 *     {text, text_pair, label}         {tokens | words, ner_tags | tags | pos_tags | labels}
 *
 * QUESTION_ANS reads {question, context, answers} (data_questions.c).  A model that reads boxes
 * takes {tokens | words, bboxes | boxes | bbox, label} too, and boxes beside tags (data_boxes.c).
 * FEATURE_EXTRACTION reads {text | sentence} alone, behind a prompt; to train, data_compared.c.
 * MASKED_LM reads the same, and marks what may be hidden.
 *
 * A label is also called labels or label_ids.  The first record's fields decide.  Texts are cut to
 * the limit by longest_first, as transformers' truncation=True; of words the last ones go.  The
 * first token of a word has its tag (formats-encoder.md 6). */
#include <stdio.h>

#include "train/data_reader.h"

static const struct { const char *first, *second; } texts[] = {
    { "sentence1", "sentence2" }, { "premise", "hypothesis" }, { "question1", "question2" },
    { "text", "text_pair" }, { "query", "passage" }, { "question", "sentence" },
    { "text", NULL }, { "sentence", NULL },
};
static const char *const labels[] = { "label", "labels", "label_ids", NULL };
static const char *const single[] = { "text", "sentence", NULL };
static const char *const words[] = { "tokens", "words", NULL };
static const char *const boxes[] = { "bboxes", "boxes", "bbox", NULL };
static const char *const tags[] = { "ner_tags", "tags", "pos_tags", "labels", NULL };

static const char *find(const json_t *record, const char *const *names)
{
    for (; *names; names++)
        if (json_object_get(record, *names)) return *names;
    return NULL;
}

const char *nib_labelled_label(const json_t *record)
{
    for (const char *const *name = labels; *name; name++) {
        const json_t *value = json_object_get(record, *name);
        if (value && !json_is_null(value)) return *name;
    }
    return NULL;
}

bool nib_labelled_is_label(const char *name)
{
    for (const char *const *known = labels; *known; known++)
        if (strcmp(name, *known) == 0) return true;
    return false;
}

void nib_labelled_settle(nib_data_reader *r, const json_t *record)
{
    nib_labelled *l = &r->labelled;

    if (l->first) return;
    if (nib_data_is_compared(r)) {
        nib_compared_settle(r, record);
        return;
    }
    l->boxes = r->in->box_limit ? find(record, boxes) : NULL;
    if (r->in->task == NIB_TASK_TOKEN_CLS) {
        l->of_words = true;
        l->first = find(record, words);
        l->label = find(record, tags);
        return;
    }
    if (r->in->task == NIB_TASK_FEATURE_EXTRACTION || r->in->task == NIB_TASK_MASKED_LM) {
        l->first = find(record, single);
        return;
    }
    if (r->in->task == NIB_TASK_QUESTION_ANS) {
        nib_question_settle(r, record);
        return;
    }
    l->label = find(record, labels);
    if (r->in->box_limit && (l->first = find(record, words))) {
        l->of_words = true;
        return;
    }
    for (size_t i = 0; i < NIB_COUNT(texts) && !l->first; i++) {
        if (!json_object_get(record, texts[i].first)) continue;
        if (texts[i].second && !json_object_get(record, texts[i].second)) continue;
        l->first = texts[i].first;
        l->second = texts[i].second;
    }
    l->boxes = NULL; /* a text by itself has none: the field is reported as not used */
}

/* A field that the reference would read beside the text: leaving it out would be another answer. */
static nib_status refuse_fields(const nib_data_reader *r, const json_t *record, const char *where,
                                nib_error *err)
{
    static const char *const pictures[] = { "image", "images", "pixel_values", NULL };
    /* readers of pages have them beside the boxes, and what is embedded is one text by itself */
    bool text_alone = !r->in->box_limit && r->in->task != NIB_TASK_FEATURE_EXTRACTION &&
                      r->in->task != NIB_TASK_MASKED_LM;
    const char *const *lists[] = { r->in->refused, text_alone ? pictures : NULL };

    for (size_t i = 0; i < NIB_COUNT(lists); i++)
        for (const char *const *f = lists[i]; f && *f; f++) {
            const json_t *value = json_object_get(record, *f);
            if (value && !json_is_null(value))
                return nib_fail(err, NIB_E_UNSUPPORTED,
                                "%s: field '%s' is %s: this model takes the text alone here; leave "
                                "the field out", where, *f, nib_shape_kind(value));
        }
    return NIB_OK;
}

/* What takes the place of words that are hidden. */
static nib_status find_mask(nib_data_reader *r, nib_error *err)
{
    const nib_dataset_source *s = r->in;
    const json_t *named = s->tokenizer ? nib_tokenizer_named(s->tokenizer) : NULL;
    const char *mask = json_string_value(json_object_get(named, "mask_token"));
    int64_t id = mask ? nib_tokenizer_find(s->tokenizer, mask) : -1;

    if (s->task != NIB_TASK_MASKED_LM || r->d->masking.vocabulary) return NIB_OK;
    r->fatal = true;
    if (id < 0 || id >= s->vocabulary)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: no mask token is named by "
                        "tokenizer_config.json or special_tokens_map.json, or the model has no row "
                        "for it: no word can be hidden", s->model_dir);
    r->d->masking = (nib_masking){ .seed = s->mask_seed, .mask = (uint32_t)id,
                                   .vocabulary = s->vocabulary };
    r->fatal = false;
    return NIB_OK;
}

nib_status nib_labelled_detect(nib_data_reader *r, const json_t *record, const char *where,
                               nib_error *err)
{
    bool of_words = r->in->task == NIB_TASK_TOKEN_CLS;
    bool masked = r->in->task == NIB_TASK_MASKED_LM;
    bool answers = r->in->task == NIB_TASK_QUESTION_ANS;
    bool of_one = r->in->task == NIB_TASK_FEATURE_EXTRACTION || masked;
    const char *guessed = !r->in->guessed_task ? ""
                          : "; that the model is for such records is what config.json's "
                            "architectures make of it: set task_type for another task";
    char fields[400];

    if (r->o->template_text || r->o->prompt_template)
        return r->fatal = true,
               nib_fail(err, NIB_E_INVALID, "%s: records of classifiers are read by their fields; "
                        "leave it out",
                        r->o->template_text ? "template" : "prompt_template");
    if (!json_is_object(record))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s, a record should be an object", where,
                        nib_shape_kind(record));
    if (nib_data_is_compared(r)) return nib_compared_detect(r, record, where, err);
    nib_labelled_settle(r, record);
    if (masked && r->in->guessed_task && (find(record, labels) || find(record, tags)))
        return r->fatal = true,
               nib_fail(err, NIB_E_INVALID, "%s: field '%s', but config.json makes the model one "
                        "for masked words: set task_type to SEQ_CLS, TOKEN_CLS or MASKED_LM", where,
                        find(record, labels) ? find(record, labels) : find(record, tags));
    if (r->labelled.first && (r->labelled.label || r->in->unlabelled || masked)) {
        r->shaper.shape = of_words  ? NIB_SHAPE_TAGGED
                          : masked  ? NIB_SHAPE_TEXT
                          : answers ? NIB_SHAPE_QUESTIONS
                                    : NIB_SHAPE_LABELLED;
        r->d->second = r->labelled.second;
        return find_mask(r, err);
    }
    r->labelled = (nib_labelled){ .windows = r->labelled.windows };
    nib_shape_list_fields(record, fields, sizeof fields);
    return nib_fail(err, NIB_E_FORMAT,
                    of_one ? "%s: its fields are %s; expected text (or sentence)%s"
                    : answers ? "%s: its fields are %s; expected question, context and answers%s"
                    : of_words ? "%s: its fields are %s; expected tokens (or words) and ner_tags "
                               "(or tags, pos_tags, labels)%s"
                             : "%s: its fields are %s; expected a text (text, sentence) or a pair "
                               "(sentence1 and sentence2, premise and hypothesis, question1 and "
                               "question2, question and sentence, query and passage, text and "
                               "text_pair), and label (or labels, label_ids)%s",
                    where, fields, guessed);
}

static nib_status add_tokens(nib_data_reader *r, const nib_token *items, size_t count,
                             const char *where, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < count && !status; i++)
        status = nib_data_add_token(r, where, items[i].id, items[i].type, err);
    return status;
}

/* --- texts --- */

static nib_status read_text(const nib_data_reader *r, const json_t *record, const char *field,
                            const char *where, const char **text, size_t *bytes, nib_error *err)
{
    const json_t *value;
    nib_status status;

    if (!field) return NIB_OK;
    status = nib_shape_string(&r->shaper, record, field, where, &value, err);
    if (status) return status;
    *text = json_string_value(value);
    *bytes = json_string_length(value);
    return NIB_OK;
}

/* The prompt and the text, in room that is kept from record to record. */
static nib_status put_prompt(nib_data_reader *r, nib_inputs *in, const char *where,
                             nib_error *err)
{
    nib_labelled *l = &r->labelled;
    size_t n = r->in->prompt ? strlen(r->in->prompt) : 0;

    if (!n) return NIB_OK;
    if (!nib_grow(r->ctx, &l->prompted, &l->prompted_room, n + in->bytes, 1))
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    memcpy(l->prompted, r->in->prompt, n);
    memcpy(l->prompted + n, in->text, in->bytes);
    in->text = l->prompted;
    in->bytes += n;
    return NIB_OK;
}

static nib_status add_maskable(nib_data_reader *r, const nib_windows *w, const char *where,
                               nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < w->tokens.count && !status; i++) {
        const nib_token *t = &w->tokens.items[i];
        bool special = t->added_by_template || nib_tokenizer_is_special(r->in->tokenizer, t->id);
        status = nib_data_add_token(r, where, t->id, !special, err);
    }
    return status;
}

/* Is there a word in the record at hand that may be hidden? */
static bool has_maskable(const nib_data_reader *r)
{
    for (size_t i = nib_dataset_begin(r->d); i < r->d->used; i++)
        if (r->d->trained[i]) return true;
    return false;
}

static nib_status add_texts(nib_data_reader *r, const json_t *record, const char *where,
                            nib_error *err)
{
    nib_windows *w = &r->labelled.windows;
    nib_inputs in = { .special = true };
    nib_status status = read_text(r, record, r->labelled.first, where, &in.text, &in.bytes, err);

    if (!status)
        status = read_text(r, record, r->labelled.second, where, &in.pair, &in.pair_bytes, err);
    if (!status) status = put_prompt(r, &in, where, err);
    if (status) return status;
    status = nib_tokenizer_encode_inputs(r->in->tokenizer, &in, w, err);
    if (!status && w->tokens.count > nib_labelled_limit(r)) {
        in.max_length = nib_labelled_limit(r);
        r->d->counts.truncated++;
        status = nib_tokenizer_encode_inputs(r->in->tokenizer, &in, w, err);
    }
    if (status) return nib_fail_in(err, status, "%s", where);
    if (r->in->task == NIB_TASK_MASKED_LM) return add_maskable(r, w, where, err);
    return add_tokens(r, w->tokens.items, w->tokens.count, where, err);
}

static nib_status add_label(nib_data_reader *r, const json_t *record, const char *where,
                            nib_error *err)
{
    const char *field = r->labelled.label;
    const json_t *value = field ? nib_shape_field(record, field) : NULL;
    nib_labels *l = &r->d->labels;
    nib_status status;

    if (r->in->unlabelled) return NIB_OK;
    if (!value)
        return nib_fail(err, NIB_E_FORMAT, "%s: field '%s' is %s, expected a label", where, field,
                        nib_shape_kind(json_object_get(record, field)));
    status = nib_labels_detect(l, value, r->in->regression, where, field, err);
    return status ? status : nib_labels_add(l, value, where, field, err);
}

/* --- words --- */

/* The tokens that the post-processor puts before and behind a text. */
static nib_status find_frame(nib_data_reader *r, nib_error *err)
{
    nib_labelled *l = &r->labelled;
    nib_inputs in = { .text = "x", .bytes = 1, .special = true };
    nib_status status;

    if (l->has_frame) return NIB_OK;
    status = nib_tokenizer_encode_inputs(r->in->tokenizer, &in, &l->frame, err);
    if (status) return status;
    while (l->before < l->frame.tokens.count && l->frame.tokens.items[l->before].added_by_template)
        l->before++;
    l->behind = l->before;
    while (l->behind < l->frame.tokens.count && !l->frame.tokens.items[l->behind].added_by_template)
        l->behind++;
    l->has_frame = true;
    return NIB_OK;
}

/* What the model should say of the token added last, where each has an answer. */
static nib_status put_tag(nib_data_reader *r, float tag, const char *where, nib_error *err)
{
    nib_labels *l = &r->d->labels;

    return l->kind == NIB_LABEL_TAGS ? nib_labels_put(l, tag, where, err) : NIB_OK;
}

/* The tokens of one word, as far as there is room, with its box, and its tag on the first. */
static nib_status add_word(nib_data_reader *r, const json_t *word, int tag, const uint16_t box[4],
                           size_t *room, const char *where, nib_error *err)
{
    nib_windows *w = &r->labelled.windows;
    nib_inputs in = { .text = json_string_value(word), .bytes = json_string_length(word) };
    size_t fit;
    nib_status status = nib_tokenizer_encode_inputs(r->in->tokenizer, &in, w, err);

    if (status) return nib_fail_in(err, status, "%s", where);
    fit = nib_min(w->tokens.count, *room);
    r->labelled.cut |= fit < w->tokens.count;
    *room -= fit;
    for (size_t i = 0; i < fit && !status; i++) {
        status = add_tokens(r, &w->tokens.items[i], 1, where, err);
        if (!status && r->labelled.boxes) status = nib_dataset_place(r->d, where, box, err);
        if (!status) status = put_tag(r, i ? NIB_NO_TAG : (float)tag, where, err);
    }
    return status;
}

static nib_status add_frame(nib_data_reader *r, size_t from, size_t to, const char *where,
                            nib_error *err)
{
    nib_status status = add_tokens(r, r->labelled.frame.tokens.items + from, to - from, where, err);

    for (size_t i = from; i < to && !status; i++)
        status = put_tag(r, NIB_NO_TAG, where, err);
    return status;
}

static nib_status check_words(nib_data_reader *r, const json_t *record, const char *where,
                              const json_t **list, const json_t **marks, nib_error *err)
{
    const char *field = r->labelled.label;

    *list = json_object_get(record, r->labelled.first);
    *marks = field ? nib_shape_field(record, field) : NULL;
    if (!json_is_array(*list))
        return nib_fail(err, NIB_E_FORMAT, "%s: field '%s' is %s, expected a list of words", where,
                        r->labelled.first, nib_shape_kind(*list));
    for (size_t i = 0; i < json_array_size(*list); i++)
        if (!json_is_string(json_array_get(*list, i)))
            return nib_fail(err, NIB_E_FORMAT, "%s: field '%s': word %zu is %s", where,
                            r->labelled.first, i, nib_shape_kind(json_array_get(*list, i)));
    if (r->in->unlabelled || r->in->task != NIB_TASK_TOKEN_CLS) return *marks = NULL, NIB_OK;
    if (!json_is_array(*marks))
        return nib_fail(err, NIB_E_FORMAT, "%s: field '%s' is %s, expected a list of tags", where,
                        field, nib_shape_kind(*marks));
    if (json_array_size(*list) != json_array_size(*marks))
        return nib_fail(err, NIB_E_FORMAT, "%s: %zu tags in '%s' for %zu words in '%s'", where,
                        json_array_size(*marks), field, json_array_size(*list),
                        r->labelled.first);
    return NIB_OK;
}

/* The number of the tag of word i. */
static nib_status tag_of(nib_data_reader *r, const json_t *marks, size_t i, const char *where,
                         int *tag, nib_error *err)
{
    const json_t *mark = json_array_get(marks, i);

    *tag = (int)i; /* without tags a word is found again by its number */
    if (json_is_integer(mark) && json_integer_value(mark) == -100) return *tag = NIB_NO_TAG, NIB_OK;
    if (!marks) return NIB_OK;
    return nib_labels_class(&r->d->labels, mark, where, r->labelled.label, tag, err);
}

static nib_status add_words(nib_data_reader *r, const json_t *record, const char *where,
                            nib_error *err)
{
    nib_labelled *l = &r->labelled;
    const json_t *list, *marks, *places;
    size_t room, frame, n;
    nib_status status = check_words(r, record, where, &list, &marks, err);

    if (r->in->task == NIB_TASK_TOKEN_CLS) r->d->labels.kind = NIB_LABEL_TAGS;
    if (!status) status = nib_boxes_list(r, record, json_array_size(list), where, &places, err);
    if (!status) status = find_frame(r, err);
    if (status) return status;
    frame = l->before + l->frame.tokens.count - l->behind;
    if (nib_labelled_limit(r) <= frame)
        return nib_fail(err, NIB_E_INVALID,
                        "max_seq_length: %zu leaves no room beside %zu special tokens",
                        nib_labelled_limit(r), frame);
    room = nib_labelled_limit(r) - frame;
    n = json_array_size(list);
    l->cut = false;
    status = add_frame(r, 0, l->before, where, err);
    for (size_t i = 0; i < n && !status; i++) {
        uint16_t box[4];
        int tag;

        status = tag_of(r, marks, i, where, &tag, err);
        if (!status) status = nib_boxes_read(r, places, i, where, box, err);
        if (!status)
            status = add_word(r, json_array_get(list, i), tag, box, &room, where, err);
    }
    r->d->counts.truncated += l->cut;
    return status ? status : add_frame(r, l->behind, l->frame.tokens.count, where, err);
}

/* --- records --- */

/* The label comes last: that of a record which is left out for its text is no class. */
nib_status nib_data_add_labelled(nib_data_reader *r, const json_t *record, const char *where,
                                 nib_error *err)
{
    nib_status status = refuse_fields(r, record, where, err);

    if (status) return status;
    if (nib_data_is_compared(r)) return nib_data_add_compared(r, record, where, err);
    if (!r->in->tokenizer) return r->fatal = true, nib_tokenizer_missing(r->in->model_dir, err);
    if (r->in->task == NIB_TASK_QUESTION_ANS)
        return nib_data_add_question(r, record, where, err);
    status = r->labelled.of_words ? add_words(r, record, where, err)
                                  : add_texts(r, record, where, err);
    if (!status && r->shaper.shape == NIB_SHAPE_LABELLED)
        status = add_label(r, record, where, err);
    if (status) return status;
    if (r->in->task == NIB_TASK_MASKED_LM && !has_maskable(r) && !r->in->keep_all) {
        r->d->counts.empty++;
        nib_dataset_drop(r->d);
        return NIB_OK;
    }
    if (nib_dataset_targets(r->d) || r->in->keep_all) return nib_dataset_end(r->d, where, err);
    r->d->counts.masked_out++;
    nib_dataset_drop(r->d);
    return NIB_OK;
}

nib_status nib_data_refuse_lines(const nib_data_reader *r, const char *where, nib_error *err)
{
    static const struct { nib_task task; const char *name, *missing, *fields; } needs[] = {
        { NIB_TASK_QUESTION_ANS, "QUESTION_ANS", "questions", "question, context and answers" },
        { NIB_TASK_TOKEN_CLS, "TOKEN_CLS", "tags", "tokens and tags" },
        { NIB_TASK_SEQ_CLS, "SEQ_CLS", "labels", "text and label" }, /* the last: any other */
    };
    size_t i = 0;

    while (i + 1 < NIB_COUNT(needs) && needs[i].task != r->in->task) i++;
    return nib_fail(err, NIB_E_FORMAT,
                    "%s: lines of text have no %s, which %s needs; expected records with %s "
                    "(.jsonl, .json, .csv, .tsv, .parquet)",
                    where, needs[i].missing, needs[i].name, needs[i].fields);
}

nib_status nib_data_add_lines(nib_data_reader *r, const json_t *record, const char *where,
                              nib_error *err)
{
    const json_t *text = json_object_get(record, "text");
    const char *at = json_string_value(text), *end = at + json_string_length(text);
    nib_status status = NIB_OK;

    r->fatal = true;
    if (nib_data_is_compared(r))
        return nib_fail(err, NIB_E_FORMAT, "%s: lines of text cannot be compared; expected records "
                        "with anchor and positive, or sentence1, sentence2 and score", where);
    r->d->shape = r->shaper.shape = r->in->task == NIB_TASK_MASKED_LM ? NIB_SHAPE_TEXT
                                                                     : NIB_SHAPE_LABELLED;
    r->labelled.first = "text";
    status = find_mask(r, err);
    r->fatal = true;
    for (size_t line = 1; at < end && !status; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((stop ? stop : end) - at);
        char place[600];
        json_t *one;

        snprintf(place, sizeof place, "%.500s: line %zu", where, line);
        if (n && at[n - 1] == '\r') n--;
        one = n ? json_pack("{s:s%}", "text", at, n) : NULL;
        if (n && !one) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", place);
        if (one) status = nib_data_add_labelled(r, one, place, err);
        r->d->counts.records += one != NULL;
        json_decref(one);
        at = stop ? stop + 1 : end;
    }
    return status;
}

void nib_labelled_free(nib_data_reader *r)
{
    nib_free(r->ctx, r->labelled.prompted);
    nib_windows_free(r->ctx, &r->labelled.windows);
    nib_windows_free(r->ctx, &r->labelled.frame);
}
