/* shape.c - telling shapes apart; text made of them is in shape_text.c and shape_chat.c, what those
 * share in shape_fields.c. */
#include "train/shape.h"

#include <stdio.h>

#include "train/choices.h"

static bool is_one_of(const char *word, const char *a, const char *b, const char *c)
{
    return !word || strcmp(word, a) == 0 || strcmp(word, b) == 0 || strcmp(word, c) == 0;
}

nib_status nib_shape_check(const nib_data_options *o, nib_error *err)
{
    if ((o->prompt_template != NULL) != (o->completion_template != NULL))
        return nib_fail(err, NIB_E_INVALID, "prompt_template and completion_template go together");
    if (o->template_text && o->prompt_template)
        return nib_fail(err, NIB_E_INVALID, "template and prompt_template exclude each other");
    if (!is_one_of(o->train_on_turns, "all", "last", "everything"))
        return nib_fail(err, NIB_E_INVALID,
                        "train_on_turns: '%.60s' is not all, last or everything",
                        o->train_on_turns);
    if (!is_one_of(o->long_records, "drop", "cut", "cut"))
        return nib_fail(err, NIB_E_INVALID, "long_records: '%.60s' is not drop or cut",
                        o->long_records);
    if (!is_one_of(o->alpaca_ending, "newline", "space", "none"))
        return nib_fail(err, NIB_E_INVALID, "alpaca_ending: '%.60s' is not newline, space or none",
                        o->alpaca_ending);
    return NIB_OK;
}

/* --- detection --- */

static bool has(const json_t *record, const char *key)
{
    return json_object_get(record, key) != NULL;
}

/* The order of formats.md 15.2: the more telling fields first. */
nib_record_shape nib_shape_of(const nib_data_options *o, const json_t *record)
{
    if (o->template_text) return NIB_SHAPE_TEMPLATE;
    if (o->prompt_template) return NIB_SHAPE_TEMPLATES;
    if (has(record, "input_ids")) return NIB_SHAPE_TOKENS;
    if (has(record, "messages")) return NIB_SHAPE_CHAT;
    if (has(record, "conversations")) return NIB_SHAPE_SHAREGPT;
    if (has(record, "prompt") && has(record, "completion"))
        return json_is_array(json_object_get(record, "prompt")) ? NIB_SHAPE_CHAT_COMPLETION
                                                                : NIB_SHAPE_COMPLETION;
    if (has(record, "instruction") && has(record, "output")) return NIB_SHAPE_ALPACA;
    if (nib_choices_are_in(record))
        return has(record, "question") ? NIB_SHAPE_CHOICES : NIB_SHAPE_PROMPT_CHOICES;
    if (has(record, "questions") || (has(record, "question") && has(record, "answer")))
        return NIB_SHAPE_FAQ;
    if (has(record, "input") && has(record, "output")) return NIB_SHAPE_INPUT_OUTPUT;
    return has(record, "text") ? NIB_SHAPE_TEXT : NIB_SHAPE_UNKNOWN;
}

nib_status nib_shaper_detect(nib_shaper *s, const json_t *record, const char *where, nib_error *err)
{
    nib_record_shape shape;

    if (!json_is_object(record))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s, a record should be an object", where,
                        nib_shape_kind(record));
    shape = nib_shape_of(s->o, record);
    if (shape == NIB_SHAPE_UNKNOWN) {
        char fields[400];
        nib_shape_list_fields(record, fields, sizeof fields);
        return nib_fail(
            err, NIB_E_FORMAT,
            "%s: no known shape; its fields are %s.  Known are messages, conversations, prompt and "
            "completion, instruction and output, question and answer, question and choices and "
            "answer, input and output, text, input_ids; --template takes any fields",
            where, fields);
    }
    s->shape = shape;
    return NIB_OK;
}

static bool is_chat(nib_record_shape shape)
{
    return shape == NIB_SHAPE_CHAT || shape == NIB_SHAPE_SHAREGPT ||
           shape == NIB_SHAPE_CHAT_COMPLETION;
}

nib_status nib_shaper_open(nib_shaper *s, nib_error *err)
{
    nib_status status = NIB_OK;

    if (!is_chat(s->shape) || s->chat) return NIB_OK;
    s->source.template_path = s->o->chat_template;
    if (s->o->chat_template_kwargs)
        status = nib_chat_parse_kwargs(s->o->chat_template_kwargs, &s->kwargs, err);
    return status ? status : nib_chat_open(s->ctx, &s->source, &s->chat, err);
}

void nib_shaper_close(nib_shaper *s)
{
    if (!s->ctx) return;
    nib_chat_close(s->chat);
    nib_text_free(&s->example.text);
    nib_free(s->ctx, s->example.spans);
    json_decref(s->kwargs);
    *s = (nib_shaper){ 0 };
}

/* --- records --- */

static const json_t *questions_of(nib_record_shape shape, const json_t *record)
{
    const json_t *list = shape == NIB_SHAPE_FAQ ? json_object_get(record, "questions") : NULL;
    return json_is_array(list) ? list : NULL;
}

size_t nib_shape_parts(nib_record_shape shape, const json_t *record)
{
    const json_t *list = questions_of(shape, record);
    return list ? json_array_size(list) : 1;
}

const json_t *nib_shape_part(nib_record_shape shape, const json_t *record, size_t i)
{
    const json_t *list = questions_of(shape, record);
    return list ? json_array_get(list, i) : record;
}

nib_status nib_shaper_fill(nib_shaper *s, const json_t *record, const char *where, nib_error *err)
{
    nib_example *x = &s->example;
    nib_status status;

    x->text.ctx = s->ctx;
    x->text.bytes = 0;
    x->span_count = 0;
    x->rendered = x->has_prompt = x->empty = false;
    if (!json_is_object(record))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s, a record should be an object", where,
                        nib_shape_kind(record));
    status = is_chat(s->shape) ? nib_shape_fill_chat(s, record, where, err)
                               : nib_shape_fill_text(s, record, where, err);
    if (!status && x->text.failed) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    return status;
}
