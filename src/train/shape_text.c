/* shape_text.c - shapes that become text without a chat template. */
#include "train/shape.h"
#include "train/template.h"

/* The two prompts of the Alpaca data set (Stanford, tatsu-lab/stanford_alpaca). */
static const char with_input[] =
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a response "
    "that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:";
static const char without_input[] =
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:";

/* Of a shape with a prompt: all up to here is given, the rest is the completion. */
static nib_status end_prompt(nib_shaper *s, size_t prompt, const char *where, nib_error *err)
{
    nib_example *x = &s->example;

    x->has_prompt = !s->o->train_on_prompt;
    x->empty = x->text.bytes == prompt;
    return nib_shape_train(s, s->o->train_on_prompt ? 0 : prompt, x->text.bytes, where, err);
}

static nib_status put_field(nib_shaper *s, const json_t *record, const char *key, const char *where,
                            nib_error *err)
{
    const json_t *value;
    nib_status status = nib_shape_string(s, record, key, where, &value, err);

    if (!status)
        nib_text_put(&s->example.text, json_string_value(value), json_string_length(value));
    return status;
}

static nib_status fill_completion(nib_shaper *s, const json_t *record, const char *prompt_key,
                                  const char *key, const char *where, nib_error *err)
{
    size_t prompt;
    nib_status status = put_field(s, record, prompt_key, where, err);

    prompt = s->example.text.bytes;
    if (!status) status = put_field(s, record, key, where, err);
    return status ? status : end_prompt(s, prompt, where, err);
}

static bool ends_in(const nib_data_options *o, const char *ending)
{
    return strcmp(o->alpaca_ending ? o->alpaca_ending : "newline", ending) == 0;
}

static nib_status fill_alpaca(nib_shaper *s, const json_t *record, const char *where,
                              nib_error *err)
{
    const json_t *input = nib_shape_field(record, "input"), *ignored;
    size_t prompt, answer;
    nib_status status = nib_shape_string(s, record, "instruction", where, &ignored, err);

    if (!status && input) status = nib_shape_string(s, record, "input", where, &input, err);
    if (!status)
        status = nib_template_fill(input && json_string_length(input) ? with_input : without_input,
                                   record, where, &s->example.text, err);
    if (status) return status;
    if (ends_in(s->o, "newline")) nib_text_puts(&s->example.text, "\n");
    prompt = s->example.text.bytes;
    /* Most tokenizers join a space to the word behind it: it belongs to the answer, or its first
     * word would not be trained. */
    if (ends_in(s->o, "space")) nib_text_puts(&s->example.text, " ");
    answer = s->example.text.bytes;
    status = put_field(s, record, "output", where, err);
    if (!status) status = end_prompt(s, prompt, where, err);
    s->example.empty = s->example.text.bytes == answer;
    return status;
}

static nib_status fill_faq(nib_shaper *s, const json_t *record, const char *where, nib_error *err)
{
    size_t prompt;
    const json_t *answer;
    nib_status status;

    nib_text_puts(&s->example.text, "Question: ");
    status = put_field(s, record, "question", where, err);
    if (!status) status = nib_shape_string(s, record, "answer", where, &answer, err);
    if (status) return status;
    nib_text_puts(&s->example.text, "\nAnswer:");
    prompt = s->example.text.bytes;
    if (json_string_length(answer)) nib_text_puts(&s->example.text, " ");
    nib_text_put(&s->example.text, json_string_value(answer), json_string_length(answer));
    return end_prompt(s, prompt, where, err);
}

static nib_status fill_templates(nib_shaper *s, const json_t *record, const char *where,
                                 nib_error *err)
{
    size_t prompt;
    nib_status status = nib_template_fill(s->o->prompt_template, record, where, &s->example.text,
                                          err);

    prompt = s->example.text.bytes;
    if (!status)
        status = nib_template_fill(s->o->completion_template, record, where, &s->example.text, err);
    return status ? status : end_prompt(s, prompt, where, err);
}

static nib_status fill_whole(nib_shaper *s, const json_t *record, const char *where, nib_error *err)
{
    nib_example *x = &s->example;
    nib_status status = s->shape == NIB_SHAPE_TEMPLATE
                            ? nib_template_fill(s->o->template_text, record, where, &x->text, err)
                            : put_field(s, record, "text", where, err);

    x->empty = x->text.bytes == 0;
    return status ? status : nib_shape_train(s, 0, x->text.bytes, where, err);
}

nib_status nib_shape_fill_text(nib_shaper *s, const json_t *record, const char *where,
                               nib_error *err)
{
    switch (s->shape) {
    case NIB_SHAPE_COMPLETION:
        return fill_completion(s, record, "prompt", "completion", where, err);
    case NIB_SHAPE_ALPACA: return fill_alpaca(s, record, where, err);
    case NIB_SHAPE_FAQ: return fill_faq(s, record, where, err);
    case NIB_SHAPE_TEMPLATES: return fill_templates(s, record, where, err);
    default: return fill_whole(s, record, where, err);
    }
}
