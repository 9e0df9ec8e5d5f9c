/* prompt_form.c - see prompt_form.h.  The ends are found by making a record whose question is a
 * mark, with the functions that make all others. */
#include "train/prompt_form.h"


#include "format/json.h"
#include "train/template.h"

static const char mark[] = "\x1a"; /* no template has it */

static bool is_chat(nib_record_shape shape)
{
    return shape == NIB_SHAPE_CHAT || shape == NIB_SHAPE_SHAREGPT ||
           shape == NIB_SHAPE_CHAT_COMPLETION;
}

/* A record of that shape; NULL: one text does not make it, or no memory. */
static json_t *marked_record(const nib_data_options *o, nib_record_shape shape)
{
    json_t *record = NULL;

    if (shape == NIB_SHAPE_FAQ)
        return json_pack("{s:s, s:s}", "question", mark, "answer", "a");
    if (shape == NIB_SHAPE_CHOICES)
        return json_pack("{s:s, s:[s, s], s:i}", "question", mark, "choices", "a", "b", "answer",
                         0);
    if (shape == NIB_SHAPE_ALPACA)
        return json_pack("{s:s, s:s}", "instruction", mark, "output", "a");
    if (shape != NIB_SHAPE_TEMPLATES || !(record = json_object())) return NULL;
    nib_template_list(o->completion_template, "a", record);
    if (nib_template_list(o->prompt_template, mark, record) == 1) return record;
    json_decref(record);
    return NULL;
}

/* What stands around the mark in the prompt. */
static nib_status find_ends(nib_ctx *ctx, const nib_data_options *o, nib_record_shape shape,
                            json_t *form, nib_error *err)
{
    nib_data_options plain = *o;
    nib_shaper s = { .ctx = ctx, .o = &plain, .shape = shape };
    json_t *record = marked_record(o, shape);
    const nib_text *text = &s.example.text;
    nib_status status = NIB_OK;

    plain.train_on_prompt = false;
    if (record) status = nib_shaper_fill(&s, record, "a prompt", err);
    if (!status && record && s.example.span_count) {
        size_t end = s.example.spans[0].begin;
        const char *at = memchr(text->data, mark[0], end);
        if (at && !memchr(at + 1, mark[0], end - (size_t)(at + 1 - text->data))) {
            size_t before = (size_t)(at - text->data);
            if (json_object_set_new(form, "before", json_stringn(text->data, before)) ||
                json_object_set_new(form, "after", json_stringn(at + 1, end - before - 1)))
                status = nib_fail(err, NIB_E_NOMEM, "the prompt's form: out of memory");
        }
    }
    json_decref(record);
    nib_shaper_close(&s);
    return status;
}

/* false: out of memory. */
static bool put(json_t *form, const char *key, const char *value)
{
    return !value || !json_object_set_new(form, key, json_string(value));
}

nib_status nib_prompt_form_make(nib_ctx *ctx, const nib_data_options *o, nib_record_shape shape,
                                char **out, nib_error *err)
{
    json_t *form = json_pack("{s:s}", "form", nib_shape_name(shape));
    nib_status status = NIB_OK;
    bool whole = form != NULL;

    if (form && is_chat(shape)) {
        whole = !json_object_set_new(form, "chat", json_true()) &&
                put(form, "chat_template_kwargs", o->chat_template_kwargs);
    } else if (form && (shape == NIB_SHAPE_FAQ || shape == NIB_SHAPE_CHOICES ||
                        shape == NIB_SHAPE_ALPACA ||
                        shape == NIB_SHAPE_TEMPLATES)) {
        status = find_ends(ctx, o, shape, form, err);
        if (shape == NIB_SHAPE_ALPACA) whole = put(form, "alpaca_ending", o->alpaca_ending);
        if (shape == NIB_SHAPE_TEMPLATES)
            whole = put(form, "prompt_template", o->prompt_template) &&
                    put(form, "completion_template", o->completion_template);
    } else if (form) {
        whole = put(form, "before", "") && put(form, "after", "");
    }
    *out = !status && whole ? nib_json_dump(ctx, form, JSON_COMPACT) : NULL;
    if (!status && !*out) status = nib_fail(err, NIB_E_NOMEM, "the prompt's form: out of memory");
    json_decref(form);
    return status;
}

static const char *text_of(const json_t *form, const char *key)
{
    return json_string_value(json_object_get(form, key));
}

bool nib_prompt_form_read(const char *text, nib_prompt_form *out)
{
    nib_prompt_form f = { 0 };
    nib_error err;

    *out = f;
    if (nib_json_parse(text, strlen(text), "nibble.prompt", 0, &f.json, &err)) return false;
    f.name = text_of(f.json, "form");
    if (!f.name) {
        json_decref(f.json);
        return false;
    }
    f.chat = json_is_true(json_object_get(f.json, "chat"));
    f.before = text_of(f.json, "before");
    f.after = text_of(f.json, "after");
    if (!f.before || !f.after) f.before = f.after = NULL;
    f.chat_template_kwargs = text_of(f.json, "chat_template_kwargs");
    f.prompt_template = text_of(f.json, "prompt_template");
    f.completion_template = text_of(f.json, "completion_template");
    f.alpaca_ending = text_of(f.json, "alpaca_ending");
    *out = f;
    return true;
}

void nib_prompt_form_free(nib_prompt_form *f)
{
    json_decref(f->json);
    *f = (nib_prompt_form){ 0 };
}

nib_status nib_prompt_form_fill(nib_ctx *ctx, const nib_prompt_form *f, const char *prompt,
                                size_t bytes, char **out, size_t *out_bytes, nib_error *err)
{
    size_t before = strlen(f->before), after = strlen(f->after);
    bool has = bytes >= before + after && memcmp(prompt, f->before, before) == 0 &&
               memcmp(prompt + bytes - after, f->after, after) == 0;
    nib_text text = { .ctx = ctx };

    if (!has) nib_text_put(&text, f->before, before);
    nib_text_put(&text, prompt, bytes);
    if (!has) nib_text_put(&text, f->after, after);
    if (text.failed) {
        nib_text_free(&text);
        return nib_fail(err, NIB_E_NOMEM, "the prompt: out of memory");
    }
    *out = text.data;
    *out_bytes = text.bytes;
    return NIB_OK;
}
