/* prompts.c - see prompts.h. */
#include "job/prompts.h"

#include <stdio.h>
#include <time.h>

#include "train/prompt_form.h"

void nib_prompts_close(nib_prompts *p)
{
    for (size_t i = 0; i < NIB_COUNT(p->chats); i++) nib_chat_close(p->chats[i]);
    *p = (nib_prompts){ 0 };
}

nib_status nib_prompts_own_template(nib_ctx *ctx, const char *dir, char **out, nib_error *err)
{
    char *path = nib_sprintf(ctx, "%s/chat_template.jinja", dir);

    *out = NULL;
    if (!path) return nib_fail(err, NIB_E_NOMEM, "the chat template: out of memory");
    if (nib_file_exists(path)) *out = path;
    else nib_free(ctx, path);
    return NIB_OK;
}

/* [system,] user */
static json_t *messages_of(const char *system, const char *prompt, size_t bytes)
{
    json_t *list = json_array();
    int bad = !list;

    if (!bad && system)
        bad = json_array_append_new(list,
                                    json_pack("{s:s, s:s}", "role", "system", "content", system));
    if (!bad)
        bad = json_array_append_new(
            list, json_pack("{s:s, s:o}", "role", "user", "content", json_stringn(prompt, bytes)));
    if (!bad) return list;
    json_decref(list);
    return NULL;
}

/* The template by which the prompts of this adapter are put; opened once. */
static nib_status open_chat(nib_prompts *p, const nib_adapter *a, const char *named,
                            nib_chat **chat, nib_error *err)
{
    nib_chat_source source = { .model_dir = p->dir, .tokenizer = p->tokenizer,
                               .template_path = named, .now = (int64_t)time(NULL) };
    char *own = NULL;
    nib_status status = NIB_OK;

    if (*chat) return NIB_OK;
    if (!named && a) status = nib_prompts_own_template(p->ctx, a->dir, &own, err);
    if (own) source.template_path = own;
    if (!status) status = nib_chat_open(p->ctx, &source, chat, err);
    nib_free(p->ctx, own);
    return status;
}

/* The prompt as the chat template has it, up to where the assistant speaks; its special tokens are
 * in it. */
static nib_status encode_chat(nib_prompts *p, size_t at, const nib_adapter *a,
                              const nib_generate_options *o, const char *prompt, size_t bytes,
                              nib_tokens *out, nib_error *err)
{
    nib_chat_turns turns = { .messages = messages_of(o->system, prompt, bytes) };
    nib_jinja_output text = { 0 };
    json_t *kwargs = NULL;
    nib_status status = turns.messages ? NIB_OK
                                       : nib_fail(err, NIB_E_INVALID,
                                                  "the prompt or the system message is not UTF-8");

    if (!status && o->chat_template_kwargs)
        status = nib_chat_parse_kwargs(o->chat_template_kwargs, &kwargs, err);
    turns.extra = kwargs;
    if (!status) status = open_chat(p, a, o->chat_template, &p->chats[at], err);
    if (!status)
        status = nib_chat_render(p->chats[at], &turns, json_array_size(turns.messages), true, &text,
                                 err);
    if (!status)
        status = nib_tokenizer_encode(p->tokenizer, text.text, text.bytes, false, out, NULL, err);
    nib_jinja_output_free(p->ctx, &text);
    json_decref((json_t *)(uintptr_t)turns.messages);
    json_decref(kwargs);
    return status;
}

static void found_template(void *self, const char *name, const char *text, size_t bytes)
{
    (void)name, (void)text, (void)bytes;
    *(bool *)self = true;
}

/* Once for each adapter: every prompt is made alike. */
static void NIB_PRINTF(3, 4) tell(nib_prompts *p, size_t at, const char *format, ...)
{
    char text[400];
    va_list args;

    if (p->told[at]) return;
    p->told[at] = true;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    nib_note(p->ctx, "prompt: %s", text);
}

/* Without --chat and --raw.  *chat: by the template; *form: read, and zeroed where it is not that
 * of the adapter. */
static void choose_form(nib_prompts *p, size_t at, const nib_adapter *a, bool *chat,
                        nib_prompt_form *form)
{
    const char *text = a ? a->prompt_form : p->model_form, *who = a ? "adapter" : "model";
    nib_error none;

    *form = (nib_prompt_form){ 0 };
    *chat = false;
    if (text && nib_prompt_form_read(text, form)) {
        *chat = form->chat;
        if (form->chat) tell(p, at, "by the chat template, as the %s was trained", who);
        else if (!form->before)
            tell(p, at, "as it stands: the %s was trained on %s, which one text does not fill",
                 who, form->name);
        else if (*form->before || *form->after)
            tell(p, at, "as the %s was trained: %s", who, form->name);
        else tell(p, at, "as it stands, as the %s was trained: %s", who, form->name);
        return;
    }
    if (a) {
        tell(p, at, "as it stands: the adapter does not say how it was trained (--chat: by the "
                    "chat template)");
        return;
    }
    /* a directory, or a .gguf, without one is no error here */
    if (!p->looked) (void)nib_chat_each(p->ctx, p->dir, found_template, &p->has_template, &none);
    p->looked = true;
    *chat = p->has_template;
    if (*chat) tell(p, at, "by the model's chat template (--raw: as it stands)");
}

nib_status nib_prompts_encode(nib_prompts *p, const nib_adapter *a, const nib_generate_options *o,
                              const char *prompt, size_t bytes, nib_tokens *out, bool *had_bos,
                              nib_error *err)
{
    size_t at = a ? a->slot : NIB_MAX_SLOTS;
    nib_generate_options how = *o;
    nib_prompt_form form = { 0 };
    bool chat = o->chat;
    char *filled = NULL;
    nib_status status = NIB_OK;

    if (!chat && o->as_trained) choose_form(p, at, a, &chat, &form);
    if (form.chat_template_kwargs && !how.chat_template_kwargs)
        how.chat_template_kwargs = form.chat_template_kwargs;
    if (!chat && form.before)
        status = nib_prompt_form_fill(p->ctx, &form, prompt, bytes, &filled, &bytes, err);
    if (filled) prompt = filled;
    if (!status)
        status = chat ? encode_chat(p, at, a, &how, prompt, bytes, out, err)
                      : nib_tokenizer_encode(p->tokenizer, prompt, bytes, true, out, had_bos, err);
    nib_free(p->ctx, filled);
    nib_prompt_form_free(&form);
    return status;
}
