/* shape_chat.c - records that are chats: checked, brought into one form, rendered with their
 * marks. */
#include "train/shape.h"

#include <stdio.h>

#include "format/json.h"

typedef struct chat { /* of one record */
    json_t *messages;
    size_t given;    /* messages of the prompt */
    json_t *tools;   /* or NULL */
    json_t *extra;   /* the template's other variables; or NULL */
    bool *masked;    /* turns that the record says are not trained */
    bool all_masked;
} chat;

static nib_status no_memory(const char *where, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
}

/* A field that holds a list or an object, or its JSON text (tables have it so), *out new. */
static nib_status take_json(const json_t *value, const char *place, json_t **out, nib_error *err)
{
    if (!json_is_string(value)) {
        *out = json_incref((json_t *)(uintptr_t)value);
        return NIB_OK;
    }
    return nib_json_parse(json_string_value(value), json_string_length(value), place,
                          NIB_JSON_ANY_VALUE, out, err);
}

static nib_status take_messages(nib_shaper *s, chat *c, const json_t *record, const char *key,
                                const char *where, nib_error *err)
{
    const json_t *field = json_object_get(record, key), *one;
    char *place = nib_sprintf(s->ctx, "%s: %s", where, key);
    json_t *list = NULL;
    size_t i;
    nib_status status = place ? NIB_OK : no_memory(where, err);

    if (!status && field) status = take_json(field, place, &list, err);
    nib_free(s->ctx, place);
    if (!status && !json_is_array(list))
        status = nib_fail(err, NIB_E_FORMAT,
                          "%s: field '%s' is %s, it should be a list of messages, or the JSON text "
                          "of one",
                          where, key, nib_shape_kind(list));
    if (!status && json_array_size(list) == 0)
        status = nib_fail(err, NIB_E_FORMAT, "%s: field '%s' is an empty list", where, key);
    if (!status) json_array_foreach(list, i, one)
        {
            json_t *message = NULL;

            place = nib_sprintf(s->ctx, "%s: %s[%zu]", where, key, i);
            status = place ? nib_shape_message(one, place, &message, err) : no_memory(where, err);
            if (!status && json_array_append(c->messages, message)) status = no_memory(where, err);
            json_decref(message);
            nib_free(s->ctx, place);
            if (status) break;
        }
    json_decref(list);
    return status;
}

/* A list, or the JSON text of one. */
static nib_status take_tools(chat *c, const json_t *record, const char *where, nib_error *err)
{
    const json_t *tools = nib_shape_field(record, "tools");
    char place[512];
    nib_status status;

    if (!tools || (json_is_string(tools) && json_string_length(tools) == 0)) return NIB_OK;
    snprintf(place, sizeof place, "%s: tools", where);
    status = take_json(tools, place, &c->tools, err);
    if (!status && json_is_null(c->tools)) { /* the text "null" */
        json_decref(c->tools);
        c->tools = NULL;
        return NIB_OK;
    }
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

/* A "system" text beside the messages becomes the first of them; a message that says it already
 * wins, as in LLaMA-Factory. */
static nib_status take_system(chat *c, const json_t *record, const char *where, nib_error *err)
{
    const json_t *system = nib_shape_field(record, "system");
    const char *role = json_string_value(json_object_get(json_array_get(c->messages, 0), "role"));
    json_t *message;

    if (!system) return NIB_OK;
    if (!json_is_string(system))
        return nib_fail(err, NIB_E_FORMAT, "%s: field 'system' is %s, it should be a string", where,
                        nib_shape_kind(system));
    if (!json_string_length(system) || (role && strcmp(role, "system") == 0)) return NIB_OK;
    message = json_pack("{s:s, s:O}", "role", "system", "content", system);
    if (!message || json_array_insert_new(c->messages, 0, message)) return no_memory(where, err);
    if (c->given) c->given++;
    return NIB_OK;
}

/* The options' chat_template_kwargs, and the record's own, which win. */
static nib_status take_extra(nib_shaper *s, chat *c, const json_t *record, const char *where,
                             nib_error *err)
{
    const json_t *own = nib_shape_field(record, "chat_template_kwargs");
    char place[512];
    json_t *read = NULL;
    nib_status status = NIB_OK;

    snprintf(place, sizeof place, "%s: chat_template_kwargs", where);
    if (own) status = take_json(own, place, &read, err);
    if (!status && read && !json_is_null(read) && !json_is_object(read))
        status = nib_fail(err, NIB_E_FORMAT, "%s is %s, it should be an object, or its JSON text",
                          place, nib_shape_kind(read));
    if (!status && (s->kwargs || json_is_object(read))) {
        c->extra = s->kwargs ? json_copy(s->kwargs) : json_object();
        if (!c->extra || (json_is_object(read) && json_object_update(c->extra, read)))
            status = no_memory(where, err);
    }
    json_decref(read);
    return status;
}

/* Which turns the record takes out of the loss. */
static nib_status take_masks(nib_shaper *s, chat *c, const char *where, nib_error *err)
{
    size_t n = json_array_size(c->messages), turns = 0, masked = 0;
    nib_status status = NIB_OK;

    c->masked = nib_new_array(s->ctx, n, sizeof *c->masked);
    if (!c->masked) return no_memory(where, err);
    for (size_t i = 0; i < n && !status; i++) {
        const json_t *m = json_array_get(c->messages, i);
        const char *role = json_string_value(json_object_get(m, "role"));
        bool assistant = strcmp(role, "assistant") == 0, turn = assistant && i >= c->given, asked;
        char place[512];

        snprintf(place, sizeof place, "%s: message %zu", where, i + 1);
        status = nib_shape_masked(m, place, &c->masked[i], &asked, err);
        s->asked += !assistant && asked;
        turns += turn;
        masked += turn && c->masked[i];
    }
    s->masked_turns += masked;
    c->all_masked = turns && masked == turns;
    return status;
}

static nib_status take_all(nib_shaper *s, chat *c, const json_t *record, const char *where,
                           nib_error *err)
{
    nib_record_shape shape = s->shape;
    nib_status status;

    c->messages = json_array();
    if (!c->messages) return no_memory(where, err);
    if (shape == NIB_SHAPE_CHAT_COMPLETION) {
        status = take_messages(s, c, record, "prompt", where, err);
        c->given = json_array_size(c->messages);
        if (!status) status = take_messages(s, c, record, "completion", where, err);
    } else {
        status = take_messages(
            s, c, record, shape == NIB_SHAPE_SHAREGPT ? "conversations" : "messages", where, err);
    }
    if (!status) status = take_system(c, record, where, err);
    if (!status) status = take_tools(c, record, where, err);
    if (!status) status = take_extra(s, c, record, where, err);
    return status ? status : take_masks(s, c, where, err);
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

/* Messages of roles of their own that this template passes over: the texts with and without one are
 * the same. */
static nib_status count_unrendered(nib_shaper *s, const nib_chat_turns *turns,
                                   const nib_jinja_output *whole, nib_error *err)
{
    static const char *const usual[] = { "system", "user", "assistant", "tool", "developer" };
    nib_status status = NIB_OK;

    for (size_t i = 0; i < json_array_size(turns->messages) && !status; i++) {
        const char *role = json_string_value(
            json_object_get(json_array_get(turns->messages, i), "role"));
        nib_chat_turns rest = *turns;
        nib_jinja_output out = { 0 };
        nib_error ignored;
        bool known = false;
        json_t *list;

        for (size_t k = 0; k < NIB_COUNT(usual); k++) known |= strcmp(role, usual[k]) == 0;
        if (known) continue;
        list = json_copy((json_t *)(uintptr_t)turns->messages);
        if (!list || json_array_remove(list, i)) status = no_memory(role, err);
        rest.messages = list;
        if (!status &&
            !nib_chat_render(s->chat, &rest, json_array_size(list), false, &out, &ignored) &&
            out.bytes == whole->bytes && memcmp(out.text, whole->text, out.bytes) == 0) {
            if (!s->unrendered++)
                snprintf(s->unrendered_role, sizeof s->unrendered_role, "%.60s", role);
        }
        nib_jinja_output_free(s->ctx, &out);
        json_decref(list);
    }
    return status;
}

/* Calls of tools whose name is nowhere in the text: a template without tools passes them over. */
static void count_lost_calls(nib_shaper *s, const chat *c, const nib_jinja_output *whole)
{
    for (size_t i = 0; i < json_array_size(c->messages); i++) {
        const json_t *calls = json_object_get(json_array_get(c->messages, i), "tool_calls");
        for (size_t k = 0; k < json_array_size(calls); k++) {
            const json_t *call = json_array_get(calls, k), *f = json_object_get(call, "function");
            const json_t *name = json_object_get(f ? f : call, "name");
            if (json_is_string(name) && !memmem(whole->text, whole->bytes, json_string_value(name),
                                                json_string_length(name)))
                s->lost_calls++;
        }
    }
}

/* Reasoning in the record that is nowhere in the text: many templates drop it from turns, some from
 * all of them. */
static void count_lost_thoughts(nib_shaper *s, const chat *c, const nib_jinja_output *whole)
{
    for (size_t i = 0; i < json_array_size(c->messages); i++) {
        const json_t *m = json_array_get(c->messages, i),
                     *own = json_object_get(m, "reasoning_content");
        const char *text = json_string_value(json_object_get(m, "content")), *end;
        size_t bytes;

        if (json_is_string(own))
            text = json_string_value(own), end = text + json_string_length(own);
        else if (!text || strncmp(text, "<think>", 7) != 0 || !(end = strstr(text, "</think>")))
            continue;
        else
            text += 7;
        while (end > text && strchr(" \n", end[-1])) end--;
        while (text < end && strchr(" \n", *text)) text++;
        bytes = (size_t)(end - text);
        s->lost_thoughts += bytes && !memmem(whole->text, whole->bytes, text, bytes);
    }
}

static nib_status render(nib_shaper *s, const chat *c, const char *where, nib_error *err)
{
    nib_example *x = &s->example;
    nib_chat_turns turns = { c->messages, c->tools, c->extra, c->masked };
    size_t given = s->o->train_on_prompt ? 0 : c->given;
    nib_chat_loss loss = loss_of(s);
    nib_jinja_output out = { 0 };
    nib_status status = nib_chat_render_trained(s->chat, &turns, given, loss, &out,
                                                &s->empty_thoughts, err);

    if (status) return nib_fail_in(err, status, "%s", where);
    x->rendered = true;
    x->has_prompt = (loss != NIB_CHAT_LOSS_EVERYTHING || given) && !c->all_masked;
    nib_text_put(&x->text, out.text, out.bytes);
    for (size_t i = 0; i < out.span_count && !status; i++)
        status = nib_shape_train(s, out.spans[i].begin, out.spans[i].end, where, err);
    if (!status) status = count_unrendered(s, &turns, &out, err);
    if (!status) count_lost_calls(s, c, &out);
    if (!status) count_lost_thoughts(s, c, &out);
    nib_jinja_output_free(s->ctx, &out);
    return status;
}

nib_status nib_shape_fill_chat(nib_shaper *s, const json_t *record, const char *where,
                               nib_error *err)
{
    chat c = { 0 };
    nib_status status = take_all(s, &c, record, where, err);

    if (!status) status = render(s, &c, where, err);
    json_decref(c.messages);
    json_decref(c.tools);
    json_decref(c.extra);
    nib_free(s->ctx, c.masked);
    return status;
}

void nib_shaper_report(const nib_shaper *s)
{
    const char *data = nib_data_name(s->o);

    if (s->masked_turns)
        nib_note(s->ctx,
                 "%s: %" PRIu64 " turns of the assistant are not trained: their records say so "
                 "(weight, train, loss or mask)",
                 data, s->masked_turns);
    if (s->empty_thoughts)
        nib_note(s->ctx,
                 "%s: %" PRIu64 " turns begin with an empty reasoning part that the chat template "
                 "writes (<think></think>): it is not trained",
                 data, s->empty_thoughts);
    if (s->asked && !(s->o->train_on_turns && strcmp(s->o->train_on_turns, "everything") == 0))
        nib_warn_code(s->ctx, "not-trained-turns",
                      "%s: %" PRIu64 " messages of other roles than the assistant ask to be "
                      "trained (weight, train or loss), and are not; train_on_turns everything "
                      "trains all",
                      data, s->asked);
    if (s->lost_thoughts)
        nib_note(s->ctx,
                 "%s: the chat template leaves out the reasoning of %" PRIu64 " turns, so that it "
                 "is not trained",
                 data, s->lost_thoughts);
    if (s->lost_calls)
        nib_warn_code(s->ctx, "lost-calls",
                      "%s: %" PRIu64 " calls of tools are passed over by the chat template, which "
                      "knows none; take one that does with chat_template",
                      data, s->lost_calls);
    if (s->unrendered)
        nib_warn_code(s->ctx, "lost-messages",
                      "%s: %" PRIu64 " messages are passed over by the chat template, the first "
                      "of the role '%s'",
                      data, s->unrendered, s->unrendered_role);
}
