/* choices.c - see choices.h. */
#include "train/choices.h"

#include "format/json.h"
#include "train/shape.h"

static const char *const right_keys[] = { "answer", "label", "answerKey" };

bool nib_choices_are_in(const json_t *record)
{
    bool right = false;

    for (size_t i = 0; i < NIB_COUNT(right_keys); i++)
        right = right || json_object_get(record, right_keys[i]);
    return right && json_object_get(record, "choices") &&
           (json_object_get(record, "question") || json_object_get(record, "prompt"));
}

/* --- reading --- */

/* *labels: of choices that bring their own, else NULL. */
static nib_status read_texts(const json_t *record, const char *where, nib_choices *out,
                             const json_t **labels, nib_error *err)
{
    const json_t *list = json_object_get(record, "choices"), *texts = list;
    size_t n;

    *labels = NULL;
    if (json_is_object(list)) {
        texts = json_object_get(list, "text");
        *labels = nib_shape_field(list, "label");
    }
    n = json_array_size(texts);
    if (!list || json_is_null(list))
        return nib_fail(err, NIB_E_FORMAT, "%s: choices is %s", where, nib_shape_kind(list));
    if (!json_is_array(texts) || n < 2 || n > NIB_MOST_CHOICES)
        return nib_fail(err, NIB_E_FORMAT, "%s: choices is %s with %zu texts, it should be a list "
                        "of 2 to %d, or {\"text\": [...], \"label\": [...]}", where,
                        nib_shape_kind(list), n, NIB_MOST_CHOICES);
    if (*labels && json_array_size(*labels) != n)
        return nib_fail(err, NIB_E_FORMAT, "%s: choices has %zu texts and %zu labels", where, n,
                        json_array_size(*labels));
    for (size_t i = 0; i < n; i++) {
        const json_t *text = json_array_get(texts, i);
        if (!json_is_string(text) || !json_string_length(text))
            return nib_fail(err, NIB_E_FORMAT, "%s: choices[%zu] is %s, it should be a text", where,
                            i, json_is_string(text) ? "empty" : nib_shape_kind(text));
        if (*labels && !json_is_string(json_array_get(*labels, i)))
            return nib_fail(err, NIB_E_FORMAT, "%s: choices: label[%zu] is %s, it should be a "
                            "string", where, i, nib_shape_kind(json_array_get(*labels, i)));
        out->texts[i] = text;
    }
    out->count = n;
    return NIB_OK;
}

/* The right one by what the record calls it; out->count: none is.  A label comes before a text: in
 * ARC the texts may be numbers as the labels are, and its answerKey is a label. */
static size_t find_right(const nib_choices *out, const json_t *labels, const json_t *right)
{
    const char *name = json_string_value(right);
    json_int_t number = json_integer_value(right);

    if (json_is_integer(right))
        return number >= 0 && (uint64_t)number < out->count ? (size_t)number : out->count;
    if (!name) return out->count;
    for (size_t i = 0; labels && i < out->count; i++)
        if (json_equal(json_array_get(labels, i), right)) return i;
    for (size_t i = 0; i < out->count; i++)
        if (json_equal(out->texts[i], right)) return i;
    if (labels || json_string_length(right) != 1 || *name < 'A' || *name > 'Z') return out->count;
    return nib_min((size_t)(*name - 'A'), out->count);
}

static nib_status read_right(nib_ctx *ctx, const json_t *record, const char *where,
                             const json_t *labels, nib_choices *out, nib_error *err)
{
    const json_t *right = NULL;
    const char *key = NULL;
    char *text;

    for (size_t i = 0; i < NIB_COUNT(right_keys); i++) {
        const json_t *value = nib_shape_field(record, right_keys[i]);
        if (value && key)
            return nib_fail(err, NIB_E_FORMAT, "%s: both %s and %s: one of them says which choice "
                            "is right", where, key, right_keys[i]);
        if (value) right = value, key = right_keys[i];
    }
    if (!key)
        return nib_fail(err, NIB_E_FORMAT, "%s: answer, label and answerKey are missing or null: "
                        "one of them says which of the %zu choices is right", where, out->count);
    out->right = find_right(out, labels, right);
    if (out->right < out->count) return NIB_OK;
    text = nib_json_dump(ctx, right, JSON_ENCODE_ANY | JSON_COMPACT);
    nib_fail(err, NIB_E_FORMAT, "%s: %s is %.100s, which is none of the %zu choices: it should be "
             "an index from 0, a choice's %s", where, key,
             text ? text : nib_shape_kind(right), out->count,
             labels ? "label, or its text" : "text, or its letter A to Z");
    nib_free(ctx, text);
    return NIB_E_FORMAT;
}

nib_status nib_choices_read(nib_ctx *ctx, const json_t *record, const char *key, const char *where,
                            nib_choices *out, nib_error *err)
{
    const json_t *labels;
    nib_status status;

    *out = (nib_choices){ .prompt = json_object_get(record, key),
                          .question = strcmp(key, "question") == 0 };
    if (!json_is_string(out->prompt) || !json_string_length(out->prompt))
        return nib_fail(err, NIB_E_FORMAT, "%s: field '%s' is %s, it should be the text before the "
                        "choices", where, key, json_is_string(out->prompt) ? "empty"
                                                   : nib_shape_kind(out->prompt));
    status = read_texts(record, where, out, &labels, err);
    return status ? status : read_right(ctx, record, where, labels, out, err);
}

/* --- as text --- */

static void put(nib_text *to, const json_t *text)
{
    nib_text_put(to, json_string_value(text), json_string_length(text));
}

void nib_choices_put_prompt(const nib_choices *c, nib_text *to)
{
    if (c->question) nib_text_puts(to, "Question: ");
    put(to, c->prompt);
    if (c->question) nib_text_puts(to, "\nAnswer:");
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

void nib_choices_put_choice(const nib_choices *c, size_t i, nib_text *to)
{
    size_t n = json_string_length(c->prompt);
    bool blank = !c->question && is_blank(json_string_value(c->prompt)[n - 1]);

    if (!blank && !is_blank(*json_string_value(c->texts[i]))) nib_text_puts(to, " ");
    put(to, c->texts[i]);
}
