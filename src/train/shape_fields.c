/* shape_fields.c - what the files of the shapes share: a record's fields, names for messages, the
 * spans that are trained. */
#include "train/shape.h"

#include <stdio.h>

const char *nib_shape_name(nib_record_shape shape)
{
    static const char *const names[] = {
        [NIB_SHAPE_UNKNOWN] = "unknown",
        [NIB_SHAPE_TOKENS] = "tokens (input_ids)",
        [NIB_SHAPE_TEXT] = "text",
        [NIB_SHAPE_COMPLETION] = "prompt and completion",
        [NIB_SHAPE_INPUT_OUTPUT] = "prompt and completion (input, output)",
        [NIB_SHAPE_CHAT_COMPLETION] = "prompt and completion, both chats",
        [NIB_SHAPE_ALPACA] = "Alpaca (instruction, input, output)",
        [NIB_SHAPE_CHAT] = "chat (messages)",
        [NIB_SHAPE_SHAREGPT] = "ShareGPT (conversations)",
        [NIB_SHAPE_FAQ] = "FAQ (question, answer)",
        [NIB_SHAPE_CHOICES] = "multiple choice (question, choices, answer)",
        [NIB_SHAPE_PROMPT_CHOICES] = "multiple choice (prompt, choices, answer)",
        [NIB_SHAPE_TEMPLATE] = "fields in a template",
        [NIB_SHAPE_TEMPLATES] = "fields in templates of prompt and completion",
        [NIB_SHAPE_STREAM] = "one text, cut into windows",
        [NIB_SHAPE_LABELLED] = "texts with labels",
        [NIB_SHAPE_TAGGED] = "words with tags",
        [NIB_SHAPE_QUESTIONS] = "questions about a context",
        [NIB_SHAPE_COMPARED] = "texts to compare",
        [NIB_SHAPE_SCORED] = "texts to compare, with scores"
    };
    return names[shape];
}

const char *nib_shape_kind(const json_t *value)
{
    if (!value) return "missing";
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: case JSON_REAL: return "a number";
    case JSON_TRUE: case JSON_FALSE: return "true or false";
    case JSON_NULL: break;
    }
    return "null";
}

void nib_shape_list_fields(const json_t *record, char *out, size_t room)
{
    const char *key;
    json_t *value;
    size_t used = 0;

    snprintf(out, room, "none");
    json_object_foreach((json_t *)(uintptr_t)record, key, value) {
        int n = snprintf(out + used, room - used, "%s'%.40s'", used ? ", " : "", key);
        if (n < 0 || used + (size_t)n + 8 >= room) {
            snprintf(out + used, room - used, ", ...");
            return;
        }
        used += (size_t)n;
    }
}

const json_t *nib_shape_field(const json_t *record, const char *key)
{
    const json_t *value = json_object_get(record, key);
    return json_is_null(value) ? NULL : value;
}

nib_status nib_shape_string(const nib_shaper *s, const json_t *record, const char *key,
                            const char *where, const json_t **out, nib_error *err)
{
    const json_t *value = json_object_get(record, key);

    if (!json_is_string(value))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: field '%s' is %s, it should be a string (the records' shape is %s)",
                        where, key, nib_shape_kind(value), nib_shape_name(s->shape));
    *out = value;
    return NIB_OK;
}

nib_status nib_shape_train(nib_shaper *s, size_t begin, size_t end, const char *where,
                           nib_error *err)
{
    nib_example *x = &s->example;

    if (begin >= end) return NIB_OK;
    if (!nib_grow(s->ctx, &x->spans, &x->span_room, x->span_count + 1, sizeof *x->spans))
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    x->spans[x->span_count++] = (nib_text_span){ begin, end };
    return NIB_OK;
}
