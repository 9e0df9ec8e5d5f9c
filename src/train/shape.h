/* shape.h - the shapes records come in, and a record of each made into text with marks.
 *
 *   text               {"text"}, all trained
 *   prompt, completion strings; the completion is trained
 *   the same as chats  both lists of messages; what the assistant says in the completion
 *   input, output      the same under other names
 *   Alpaca             {"instruction", "input"?, "output"}, in the standard prompt
 *   chat               {"messages": [{"role", "content", ...}], "tools"?, "chat_template_kwargs"?}
 *   ShareGPT           {"conversations": [{"from", "value"}], "tools"?}
 *   FAQ                {"question", "answer"}, or {"questions": [...]} of them
 *   multiple choice    {"question", "choices", "answer"}, or {"prompt", ...} (choices.h)
 *   templates          any fields, put into a text as the options say
 *   tokens             {"input_ids", "labels"?, "completion_mask"?, "assistant_masks"?}
 *
 * Those with a prompt and chats may have a "system" text, the first three with a prompt that is a
 * text also a "history" of [question, answer]: they belong to the prompt.
 *
 * The first record's fields decide; every later record must have the same shape.  null and absent
 * mean the same.  Details and sources: docs/formats.md 15.2. */
#ifndef NIB_TRAIN_SHAPE_H
#define NIB_TRAIN_SHAPE_H

#include <jansson.h>

#include "format/jsontext.h"
#include "nibble/finetune.h"
#include "text/chat.h"

typedef enum nib_record_shape {
    NIB_SHAPE_UNKNOWN,
    NIB_SHAPE_TOKENS,
    NIB_SHAPE_TEXT,
    NIB_SHAPE_COMPLETION,
    NIB_SHAPE_INPUT_OUTPUT,
    NIB_SHAPE_CHAT_COMPLETION,
    NIB_SHAPE_ALPACA,
    NIB_SHAPE_CHAT,
    NIB_SHAPE_SHAREGPT,
    NIB_SHAPE_FAQ,
    NIB_SHAPE_CHOICES,        /* the prompt is a question; */
    NIB_SHAPE_PROMPT_CHOICES, /* is put as it stands */
    NIB_SHAPE_TEMPLATE,
    NIB_SHAPE_TEMPLATES,
    NIB_SHAPE_STREAM,
    NIB_SHAPE_LABELLED, /* from here on with answers; of classifiers (data_labelled.c) */
    NIB_SHAPE_TAGGED,
    NIB_SHAPE_QUESTIONS, /* about a context (data_questions.c) */
    NIB_SHAPE_COMPARED, /* texts that are compared (data_compared.c); these with a score: */
    NIB_SHAPE_SCORED
} nib_record_shape;

/* One text to be tokenized, and the bytes of it that are trained, ascending. */
typedef struct nib_example {
    nib_text text;
    nib_text_span *spans;
    size_t span_count, span_room;
    bool rendered;   /* by a chat template: the special tokens are in the text */
    bool has_prompt; /* some of it is given: neither nothing nor everything should be trained */
    bool empty;      /* nothing to train: an empty text or completion */
} nib_example;

typedef struct nib_shaper {
    nib_ctx *ctx;
    const nib_data_options *o;
    nib_chat_source source;
    nib_record_shape shape;
    nib_chat *chat;      /* opened when the shape needs it */
    nib_example example; /* of the record at hand; buffers are kept */
    json_t *kwargs;      /* the options' chat_template_kwargs; or NULL */
    uint64_t masked_turns;   /* of chats: taken out of the loss by their own record, */
    uint64_t empty_thoughts; /* begun by an empty reasoning part, which is not trained, */
    uint64_t asked;          /* messages of other roles whose record asks for them to be trained */
    uint64_t lost_thoughts;  /* turns whose reasoning the template leaves out */
    uint64_t lost_calls;     /* of tools, that the template passes over */
    uint64_t unrendered;     /* messages that the template passes over, the first one's role: */
    char unrendered_role[64];
} nib_shaper;

/* Checks the options that have to do with shapes. */
nib_status nib_shape_check(const nib_data_options *o, nib_error *err);

/* Settles s->shape by the fields of a record.  NIB_E_FORMAT lists the fields that were found. */
nib_status nib_shaper_detect(nib_shaper *s, const json_t *record, const char *where,
                             nib_error *err);
/* The shape that records with these fields have, of which the values are not looked at (but for the
 * prompt of a completion, which may be a text or a chat); NIB_SHAPE_UNKNOWN: none. */
nib_record_shape nib_shape_of(const nib_data_options *o, const json_t *record);
static inline bool nib_shape_has_choices(nib_record_shape shape)
{
    return shape == NIB_SHAPE_CHOICES || shape == NIB_SHAPE_PROMPT_CHOICES;
}
/* Opens the chat template if the shape needs one. */
nib_status nib_shaper_open(nib_shaper *s, nib_error *err);
void nib_shaper_close(nib_shaper *s); /* zeroed is fine */
/* Tells what a person should know of the chats that were read. */
void nib_shaper_report(const nib_shaper *s);

/* "prompt + completion", ...: for a person. */
const char *nib_shape_name(nib_record_shape shape);

/* A FAQ record may hold several; else 1.  Part i is the record itself, or one of its questions. */
size_t nib_shape_parts(nib_record_shape shape, const json_t *record);
const json_t *nib_shape_part(nib_record_shape shape, const json_t *record, size_t i);

/* Makes s->example of a record.  Not for tokens and streams. */
nib_status nib_shaper_fill(nib_shaper *s, const json_t *record, const char *where, nib_error *err);

/* --- what the shapes' files share (shape_fields.c) --- */

/* "'a', 'b', 'c'": the fields that are there. */
void nib_shape_list_fields(const json_t *record, char *out, size_t room);

/* A field that must be a string. */
nib_status nib_shape_string(const nib_shaper *s, const json_t *record, const char *key,
                            const char *where, const json_t **out, nib_error *err);
const json_t *nib_shape_field(const json_t *record, const char *key); /* NULL: absent or null */
const char *nib_shape_kind(const json_t *value); /* "a number", "a list", ...: for messages */
nib_status nib_shape_train(nib_shaper *s, size_t begin, size_t end, const char *where,
                           nib_error *err);

/* shape_message.c: a message as templates want it, *out new also on failure. */
nib_status nib_shape_message(const json_t *from, const char *place, json_t **out, nib_error *err);
/* Whether the record takes it out of the loss, or asks for it to be in (weight, train, training,
 * trainable, loss, mask). */
nib_status nib_shape_masked(const json_t *message, const char *place, bool *masked, bool *asked,
                            nib_error *err);

/* shape_text.c */
nib_status nib_shape_fill_text(nib_shaper *s, const json_t *record, const char *where,
                               nib_error *err);
/* shape_chat.c */
nib_status nib_shape_fill_chat(nib_shaper *s, const json_t *record, const char *where,
                               nib_error *err);

/* What messages call the records of all sources. */
static inline const char *nib_data_name(const nib_data_options *o)
{
    return o->sources.count > 1 ? "the data" : o->data;
}

#endif
