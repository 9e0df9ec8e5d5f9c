/* chat.h - a model's chat template: found, rendered as transformers' apply_chat_template does, and
 * what of the text is trained.
 *
 * Found in this order (formats.md 11.9): the file that was named; DIR/chat_template.jinja, with
 * others under DIR/additional_chat_templates/NAME.jinja; chat_template in
 * DIR/tokenizer_config.json, a string or a list of {"name", "template"}; DIR/chat_template.json. Of
 * several the one called tool_use renders chats with tools, default the others.
 *
 * Text that a template made holds its special tokens: it is tokenized without adding any. */
#ifndef NIB_TEXT_CHAT_H
#define NIB_TEXT_CHAT_H

#include "base/hash.h"
#include "text/jinja_template.h"
#include "text/tokenizer.h"

typedef struct nib_chat nib_chat;

typedef struct nib_chat_source {
    const char *model_dir;     /* its template, unless another is named */
    const nib_tokenizer *tokenizer; /* names special tokens; NULL: the template sees none.  Not
                                     * needed once the template is open */
    const char *template_path; /* a file, or a directory to look in as above; or NULL */
    int64_t now;               /* what strftime_now prints, in local time: seconds since 1970 */
} nib_chat_source;

/* Finds and parses.  On success *out is the caller's: nib_chat_close().  NIB_E_IO: there is no
 * template (says where it was looked for); NIB_E_FORMAT: the file and what is wrong, with the
 * template's line. */
nib_status nib_chat_open(nib_ctx *ctx, const nib_chat_source *source, nib_chat **out,
                         nib_error *err);
/* Every template of a model as it stands in its files, by name, "" for the default, not parsed. */
typedef void nib_chat_template_fn(void *self, const char *name, const char *text, size_t bytes);
nib_status nib_chat_each(nib_ctx *ctx, const char *dir, nib_chat_template_fn *each, void *self,
                         nib_error *err);
void nib_chat_close(nib_chat *c); /* NULL is fine */
const char *nib_chat_name(const nib_chat *c); /* where it was found; borrowed */
const char *
nib_chat_text(const nib_chat *c); /* of the template for chats without tools, as in its file */
nib_ctx *nib_chat_ctx(const nib_chat *c);
/* Does the template that renders chats with (without) tools have a {% generation %} block?  After a
 * first rendering of that kind. */
bool nib_chat_marks_generation(const nib_chat *c, bool tools);
void nib_chat_hash(const nib_chat *c, nib_sha256 *h); /* adds its templates' text */

/* A chat: what a template sees.  All borrowed. */
typedef struct nib_chat_turns {
    const json_t *messages; /* an array of {"role", "content", ...} */
    const json_t *tools;    /* an array; or NULL */
    const json_t *extra;    /* an object: more variables (chat_template_kwargs); or NULL */
    const bool *masked;     /* of each message: not trained, whatever is asked for; or NULL */
} nib_chat_turns;

/* The JSON text of an object, --chat-template-kwargs; *out is the caller's. */
nib_status nib_chat_parse_kwargs(const char *text, json_t **out, nib_error *err);

/* Renders the first `count` messages.  NIB_E_INVALID: the template raised (its words), or met an
 * error or a limit. */
nib_status nib_chat_render(nib_chat *c, const nib_chat_turns *turns, size_t count,
                           bool add_generation_prompt, nib_jinja_output *out, nib_error *err);

typedef enum nib_chat_loss {
    NIB_CHAT_LOSS_ALL_TURNS,
    NIB_CHAT_LOSS_LAST_TURN,
    NIB_CHAT_LOSS_EVERYTHING
} nib_chat_loss;

/* Renders the whole chat; out->spans become the bytes that are trained: what the assistant says in
 * the turns from `given` on that are not masked, or in the last one, or everything from there on.
 * None: all those turns are masked.
 *
 * 1. A {% generation %} block says what the assistant says.
 * 2. Where a template has none, the messages before a turn are rendered by themselves, with the
 *    generation prompt, and those up to it: if both are what the whole begins with, the turn lies
 *    between, its end token included.
 * 3. Where they are not, the turn lies behind the common prefix: what the template writes behind
 *    the message before it, and then a generation prompt, is followed as far as the whole says the
 *    same; its end is found likewise (chat_align.c).
 *
 * What 2 and 3 find loses an empty reasoning part in front, "<think>", blanks, "</think>", that
 * the template wrote; *empty_thoughts, may be NULL, grows by their number.
 *
 * NIB_E_MISMATCH: a turn cannot be found in any of these ways.  NIB_E_FORMAT: there is no turn of
 * the assistant, or the template marks nothing of it. */
nib_status nib_chat_render_trained(nib_chat *c, const nib_chat_turns *turns, size_t given,
                                   nib_chat_loss loss, nib_jinja_output *out,
                                   uint64_t *empty_thoughts, nib_error *err);

#endif
