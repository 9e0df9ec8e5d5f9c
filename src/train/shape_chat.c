/* shape_chat.c - records that are chats: checked, brought into one form, rendered with their
 * marks. */
#include "train/shape.h"

#include <stdio.h>

#include "format/json.h"

typedef struct chat { /* of one record */
    json_t *messages;
    size_t given;    /* messages of the prompt */
    json_t *tools;   /* or NULL */
} chat;

static nib_status no_memory(const char *where, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
}

/* ShareGPT's names. */
static const char *role_of(const char *from)
{
    static const char *const roles[][2] = {
        { "system", "system" }, { "human", "user" }, { "user", "user" }, { "gpt", "assistant" }, { "assistant", "assistant" },
        { "tool", "tool" }, { "function", "tool" }, { "observation", "tool" }
    };

    for (size_t i = 0; i < NIB_COUNT(roles); i++)
        if (strcmp(roles[i][0], from) == 0) return roles[i][1];
    return NULL;
}

static bool is_role(const char *role)
{
    static const char *const known[] = { "system", "developer", "user",   "assistant",
                                         "tool",   "function",  "ipython" };

    for (size_t i = 0; i < NIB_COUNT(known); i++)
        if (strcmp(known[i], role) == 0) return true;
    return false;
}

/* A string; null where tools are called; or a list of {"type", ...}. */
static nib_status check_content(const json_t *message, const char *place, nib_error *err)
{
    const json_t *content = nib_shape_field(message, "content"), *part;
    size_t i;

    if (json_is_string(content)) return NIB_OK;
    if (!content && nib_shape_field(message, "tool_calls")) return NIB_OK;
    if (!json_is_array(content))
        return nib_fail(
            err, NIB_E_FORMAT,
            "%s: content is %s, it should be a string, or a list of parts; null only beside tool_calls",
            place, nib_shape_kind(json_object_get(message, "content")));
    json_array_foreach(content, i, part) if (
        !json_is_string(json_object_get(
            part, "type"))) return nib_fail(err, NIB_E_FORMAT,
                                            "%s: content[%zu] is %s without a string 'type'", place,
                                            i, nib_shape_kind(part));
    return NIB_OK;
}

/* A message as templates want it, *out new.  {"from", "value"} is renamed; null members are left
 * out, for tables have them where other rows have something, and a template may ask whether they
 * are there. */
static nib_status take_message(const json_t *from, const char *place, json_t **out, nib_error *err)
{
    const json_t *role = json_object_get(from, "role"), *old = json_object_get(from, "from");
    const char *name = json_string_value(role ? role : old), *key;
    bool renamed = !role && old;
    json_t *message, *value;
    int bad = 0;

    if (!json_is_object(from))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s is %s, it should be an object with a role and content", place,
                        nib_shape_kind(from));
    if (!name)
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is %s, it should be a string", place,
                        renamed ? "from" : "role", nib_shape_kind(role ? role : old));
    if (renamed && !role_of(name))
        return nib_fail(
            err, NIB_E_FORMAT,
            "%s: from is '%.40s', known are system, human, user, gpt, assistant, tool, function, observation",
            place, name);
    if (!renamed && !is_role(name))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: role is '%.40s', known are system, developer, user, assistant, tool",
                        place, name);
    message = json_object();
    if (!message) return no_memory(place, err);
    bad |= json_object_set_new(message, "role", json_string(renamed ? role_of(name) : name));
    value = json_object_get(from, renamed ? "value" : "content");
    if (value) bad |= json_object_set(message, "content", value);
    json_object_foreach(
        (json_t *)(uintptr_t)from, key,
        value) if (!json_is_null(value) &&
                   !(renamed && (strcmp(key, "from") == 0 || strcmp(key, "value") == 0)) &&
                   !json_object_get(message, key)) bad |= json_object_set(message, key, value);
    *out = message;
    if (bad) return no_memory(place, err);
    return check_content(message, place, err);
}

static nib_status take_messages(nib_ctx *ctx, chat *c, const json_t *record, const char *key,
                                const char *where, nib_error *err)
{
    const json_t *list = json_object_get(record, key), *one;
    size_t i;
    nib_status status = NIB_OK;

    if (!json_is_array(list))
        return nib_fail(err, NIB_E_FORMAT, "%s: field '%s' is %s, it should be a list of messages",
                        where, key, nib_shape_kind(list));
    if (json_array_size(list) == 0)
        return nib_fail(err, NIB_E_FORMAT, "%s: field '%s' is an empty list", where, key);
    json_array_foreach(list, i, one) {
        char *place = nib_sprintf(ctx, "%s: %s[%zu]", where, key, i);
        json_t *message = NULL;

        status = place ? take_message(one, place, &message, err) : no_memory(where, err);
        if (!status && json_array_append(c->messages, message)) status = no_memory(where, err);
        json_decref(message);
        nib_free(ctx, place);
        if (status) break;
    }
    return status;
}

/* A list, or the JSON text of one. */
static nib_status take_tools(chat *c, const json_t *record, const char *where, nib_error *err)
{
    const json_t *tools = nib_shape_field(record, "tools");
    char place[512];
    nib_status status = NIB_OK;

    if (!tools || (json_is_string(tools) && json_string_length(tools) == 0)) return NIB_OK;
    snprintf(place, sizeof place, "%s: tools", where);
    if (json_is_string(tools))
        status = nib_json_parse(json_string_value(tools), json_string_length(tools), place, 0,
                                &c->tools, err);
    else c->tools = json_incref((json_t *)(uintptr_t)tools);
    if (!status && !json_is_array(c->tools))
        status = nib_fail(err, NIB_E_FORMAT,
                          "%s is %s, it should be a list of tools, or the JSON text of one", place,
                          nib_shape_kind(c->tools));
    for (size_t i = 0; !status && i < json_array_size(c->tools); i++)
        if (!json_is_object(json_array_get(c->tools, i)))
            status = nib_fail(err, NIB_E_FORMAT, "%s[%zu] is %s, it should be an object", place, i,
                              nib_shape_kind(json_array_get(c->tools, i)));
    return status;
}

static nib_status take_all(nib_ctx *ctx, chat *c, nib_record_shape shape, const json_t *record,
                           const char *where, nib_error *err)
{
    nib_status status;

    c->messages = json_array();
    if (!c->messages) return no_memory(where, err);
    if (shape == NIB_SHAPE_CHAT_COMPLETION) {
        status = take_messages(ctx, c, record, "prompt", where, err);
        c->given = json_array_size(c->messages);
        if (!status) status = take_messages(ctx, c, record, "completion", where, err);
    } else {
        status = take_messages(
            ctx, c, record, shape == NIB_SHAPE_SHAREGPT ? "conversations" : "messages", where, err);
    }
    return status ? status : take_tools(c, record, where, err);
}

static nib_chat_loss loss_of(const nib_shaper *s)
{
    const char *turns = s->o->train_on_turns;

    if (!turns)
        return s->shape == NIB_SHAPE_CHAT_COMPLETION && s->o->train_on_prompt
                   ? NIB_CHAT_LOSS_EVERYTHING
                   : NIB_CHAT_LOSS_ALL_TURNS;
    if (strcmp(turns, "last") == 0) return NIB_CHAT_LOSS_LAST_TURN;
    return strcmp(turns, "everything") == 0 ? NIB_CHAT_LOSS_EVERYTHING : NIB_CHAT_LOSS_ALL_TURNS;
}

static nib_status render(nib_shaper *s, const chat *c, const json_t *extra, const char *where,
                         nib_error *err)
{
    nib_example *x = &s->example;
    nib_chat_turns turns = { c->messages, c->tools, extra };
    size_t given = s->o->train_on_prompt ? 0 : c->given;
    nib_chat_loss loss = loss_of(s);
    nib_jinja_output out = { 0 };
    nib_status status = nib_chat_render_trained(s->chat, &turns, given, loss, &out, err);

    if (status) return nib_fail_in(err, status, "%s", where);
    x->rendered = true;
    x->has_prompt = loss != NIB_CHAT_LOSS_EVERYTHING || given;
    nib_text_put(&x->text, out.text, out.bytes);
    for (size_t i = 0; i < out.span_count && !status; i++)
        status = nib_shape_train(s, out.spans[i].begin, out.spans[i].end, where, err);
    nib_jinja_output_free(s->ctx, &out);
    return status;
}

nib_status nib_shape_fill_chat(nib_shaper *s, const json_t *record, const char *where,
                               nib_error *err)
{
    const json_t *extra = nib_shape_field(record, "chat_template_kwargs");
    chat c = { 0 };
    nib_status status = take_all(s->ctx, &c, s->shape, record, where, err);

    if (!status && extra && !json_is_object(extra))
        status = nib_fail(err, NIB_E_FORMAT,
                          "%s: chat_template_kwargs is %s, it should be an object", where,
                          nib_shape_kind(extra));
    if (!status) status = render(s, &c, extra, where, err);
    json_decref(c.messages);
    json_decref(c.tools);
    return status;
}
