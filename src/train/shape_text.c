/* shape_text.c - shapes that become text without a chat template. */
#include "train/choices.h"
#include "train/shape.h"
#include "train/template.h"

/* How the two prompts of the Alpaca data set begin (Stanford, tatsu-lab/stanford_alpaca). */
static const char with_input[] =
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.";
static const char without_input[] =
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.";

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

/* A text that may be missing; *out NULL: it is, or is null or empty. */
static nib_status take_optional(nib_shaper *s, const json_t *record, const char *key,
                                const char *where, const json_t **out, nib_error *err)
{
    nib_status status = NIB_OK;

    *out = nib_shape_field(record, key);
    if (*out) status = nib_shape_string(s, record, key, where, out, err);
    if (!status && *out && !json_string_length(*out)) *out = NULL;
    return status;
}

static void put_string(nib_shaper *s, const json_t *value)
{
    nib_text_put(&s->example.text, json_string_value(value), json_string_length(value));
}

/* Turns that went before, [[question, answer], ...] as LLaMA-Factory has them: part of the prompt.
 * Each is put between the given texts. */
static nib_status put_history(nib_shaper *s, const json_t *record, const char *where,
                              const char *before, const char *between, const char *ending,
                              nib_error *err)
{
    const json_t *history = nib_shape_field(record, "history"), *turn;
    size_t i;

    if (!history) return NIB_OK;
    if (!json_is_array(history))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: history is %s, it should be a list of pairs of texts", where,
                        nib_shape_kind(history));
    json_array_foreach (history, i, turn) {
        const json_t *question = json_array_get(turn, 0), *answer = json_array_get(turn, 1);

        if (json_array_size(turn) != 2 || !json_is_string(question) || !json_is_string(answer))
            return nib_fail(
                err, NIB_E_FORMAT,
                "%s: history[%zu] should be a list of two texts, a question and its answer", where,
                i);
        nib_text_puts(&s->example.text, before);
        put_string(s, question);
        nib_text_puts(&s->example.text, between);
        nib_text_puts(&s->example.text, ending);
        put_string(s, answer);
        nib_text_puts(&s->example.text, "\n\n");
    }
    return NIB_OK;
}

static nib_status fill_completion(nib_shaper *s, const json_t *record, const char *prompt_key,
                                  const char *key, const char *where, nib_error *err)
{
    const json_t *system;
    size_t prompt;
    nib_status status = take_optional(s, record, "system", where, &system, err);

    if (status) return status;
    if (system) {
        put_string(s, system);
        nib_text_puts(&s->example.text, "\n\n");
    }
    status = put_history(s, record, where, "", "\n", "", err);
    if (!status) status = put_field(s, record, prompt_key, where, err);
    prompt = s->example.text.bytes;
    if (!status) status = put_field(s, record, key, where, err);
    if (!status) status = end_prompt(s, prompt, where, err);
    s->example.empty = s->example.text.bytes == prompt;
    return status;
}

/* --- Alpaca --- */

/* What follows "### Response:" of a turn that went before; of the last turn the space counts as the
 * answer's (fill_alpaca). */
static const char *ending_of(const nib_data_options *o)
{
    const char *name = o->alpaca_ending ? o->alpaca_ending : "newline";

    return strcmp(name, "newline") == 0 ? "\n" : strcmp(name, "space") == 0 ? " " : "";
}

/* A system text takes the place of the data set's own first sentence, as in LLaMA-Factory. */
static nib_status put_alpaca_prompt(nib_shaper *s, const json_t *record, const char *where,
                                    nib_error *err)
{
    nib_text *text = &s->example.text;
    const json_t *system, *input, *instruction;
    nib_status status = nib_shape_string(s, record, "instruction", where, &instruction, err);

    if (!status) status = take_optional(s, record, "input", where, &input, err);
    if (!status) status = take_optional(s, record, "system", where, &system, err);
    if (status) return status;
    if (system)
        put_string(s, system);
    else
        nib_text_puts(text, input ? with_input : without_input);
    nib_text_puts(text, "\n\n");
    status = put_history(s, record, where, "### Instruction:\n",
                         "\n\n### Response:", ending_of(s->o), err);
    if (status) return status;
    nib_text_puts(text, "### Instruction:\n");
    put_string(s, instruction);
    if (input) {
        nib_text_puts(text, "\n\n### Input:\n");
        put_string(s, input);
    }
    nib_text_puts(text, "\n\n### Response:");
    return NIB_OK;
}

static nib_status fill_alpaca(nib_shaper *s, const json_t *record, const char *where,
                              nib_error *err)
{
    const char *ending = ending_of(s->o);
    size_t prompt, answer;
    nib_status status = put_alpaca_prompt(s, record, where, err);

    if (status) return status;
    if (*ending == '\n') nib_text_puts(&s->example.text, ending);
    prompt = s->example.text.bytes;
    /* Most tokenizers join a space to the word behind it: it belongs to the answer, so that what is
     * trained begins where the prompt ends. */
    if (*ending == ' ') nib_text_puts(&s->example.text, ending);
    answer = s->example.text.bytes;
    status = put_field(s, record, "output", where, err);
    if (!status) status = end_prompt(s, prompt, where, err);
    s->example.empty = s->example.text.bytes == answer;
    return status;
}

/* --- the others --- */

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

/* The right choice is trained. */
static nib_status fill_choices(nib_shaper *s, const json_t *record, const char *key,
                               const char *where, nib_error *err)
{
    nib_choices c;
    size_t prompt;
    nib_status status = nib_choices_read(s->ctx, record, key, where, &c, err);

    if (status) return status;
    nib_choices_put_prompt(&c, &s->example.text);
    prompt = s->example.text.bytes;
    nib_choices_put_choice(&c, c.right, &s->example.text);
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
    case NIB_SHAPE_INPUT_OUTPUT: return fill_completion(s, record, "input", "output", where, err);
    case NIB_SHAPE_ALPACA: return fill_alpaca(s, record, where, err);
    case NIB_SHAPE_FAQ: return fill_faq(s, record, where, err);
    case NIB_SHAPE_CHOICES: return fill_choices(s, record, "question", where, err);
    case NIB_SHAPE_PROMPT_CHOICES: return fill_choices(s, record, "prompt", where, err);
    case NIB_SHAPE_TEMPLATES: return fill_templates(s, record, where, err);
    default: return fill_whole(s, record, where, err);
    }
}
