/* chat_mask.c - which bytes of a rendered chat are trained, found by rendering alone. */
#include "text/chat.h"

static bool is_assistant(const json_t *messages, size_t i)
{
    const char *role = json_string_value(json_object_get(json_array_get(messages, i), "role"));
    return role && strcmp(role, "assistant") == 0;
}

/* Where the rendering of the first `count` messages ends in the whole's, which must begin with
 * it. */
static nib_status prefix(nib_chat *c, const nib_chat_turns *t, size_t count, bool prompt,
                         const nib_jinja_output *whole, size_t *length, nib_error *err)
{
    nib_jinja_output part = { 0 };
    size_t same = 0;
    nib_status status = nib_chat_render(c, t, count, prompt, &part, err);

    if (status)
        return nib_fail_in(err, status, "the first %zu messages by themselves%s", count,
                           prompt ? ", with the generation prompt" : "");
    while (same < part.bytes && same < whole->bytes && part.text[same] == whole->text[same]) same++;
    *length = part.bytes;
    if (same < part.bytes)
        status = nib_fail(
            err, NIB_E_MISMATCH,
            "the first %zu messages rendered by themselves%s are not what the whole chat begins with "
            "(byte %zu of %zu differs): where the turn begins would be a guess.  A template with {%% generation %%} "
            "blocks says it (chat_template; this is %s)",
            count, prompt ? ", with the generation prompt," : "", same + 1, part.bytes,
            nib_chat_name(c));
    nib_jinja_output_free(nib_chat_ctx(c), &part);
    return status;
}

typedef struct spans { nib_text_span *items; size_t count, room; } spans;

static nib_status add(nib_ctx *ctx, spans *s, size_t begin, size_t end, nib_error *err)
{
    if (begin >= end) return NIB_OK;
    if (!nib_grow(ctx, &s->items, &s->room, s->count + 1, sizeof *s->items))
        return nib_fail(err, NIB_E_NOMEM, "a chat: out of memory");
    s->items[s->count++] = (nib_text_span){ begin, end };
    return NIB_OK;
}

/* What {% generation %} blocks wrote from byte `from` on. */
static nib_status take_marks(nib_ctx *ctx, const nib_jinja_output *whole, size_t from, spans *s,
                             nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < whole->span_count && !status; i++)
        if (whole->spans[i].begin >= from)
            status = add(ctx, s, whole->spans[i].begin, whole->spans[i].end, err);
    return status;
}

/* From where the messages before a turn end to where those up to it do. */
static nib_status take_turn(nib_chat *c, const nib_chat_turns *t, size_t turn,
                            const nib_jinja_output *whole, spans *s, nib_error *err)
{
    size_t begin = 0, end = whole->bytes;
    nib_status status = prefix(c, t, turn, true, whole, &begin, err);

    if (!status && turn + 1 < json_array_size(t->messages))
        status = prefix(c, t, turn + 1, false, whole, &end, err);
    if (!status && end <= begin)
        status = nib_fail(err, NIB_E_FORMAT,
                          "message %zu: the template writes nothing for this turn of the assistant",
                          turn + 1);
    return status ? status : add(nib_chat_ctx(c), s, begin, end, err);
}

static nib_status find_spans(nib_chat *c, const nib_chat_turns *t, size_t given, nib_chat_loss loss,
                             const nib_jinja_output *whole, spans *s, nib_error *err)
{
    size_t n = json_array_size(t->messages), last = n, from = 0;
    nib_status status = NIB_OK;

    if (loss == NIB_CHAT_LOSS_EVERYTHING) {
        if (given) status = prefix(c, t, given, true, whole, &from, err);
        return status ? status : add(nib_chat_ctx(c), s, from, whole->bytes, err);
    }
    for (size_t i = given; i < n; i++)
        if (is_assistant(t->messages, i)) last = i;
    if (last == n)
        return nib_fail(err, NIB_E_FORMAT,
                        "no message%s has the role assistant, so nothing would be trained",
                        given ? " of the completion" : "");
    if (nib_chat_marks_generation(c, t->tools != NULL)) {
        size_t before = loss == NIB_CHAT_LOSS_LAST_TURN ? last : given;
        if (before) status = prefix(c, t, before, false, whole, &from, err);
        if (!status) status = take_marks(nib_chat_ctx(c), whole, from, s, err);
        if (!status && s->count == 0)
            status = nib_fail(err, NIB_E_FORMAT,
                              "%s has {%% generation %%} blocks, but none of them wrote anything",
                              nib_chat_name(c));
        return status;
    }
    for (size_t i = loss == NIB_CHAT_LOSS_LAST_TURN ? last : given; i < n && !status; i++)
        if (is_assistant(t->messages, i)) status = take_turn(c, t, i, whole, s, err);
    return status;
}

nib_status nib_chat_render_trained(nib_chat *c, const nib_chat_turns *turns, size_t given,
                                   nib_chat_loss loss, nib_jinja_output *out, nib_error *err)
{
    nib_jinja_output whole = { 0 };
    spans s = { 0 };
    nib_status status = nib_chat_render(c, turns, json_array_size(turns->messages), false, &whole,
                                        err);

    if (!status) status = find_spans(c, turns, given, loss, &whole, &s, err);
    if (status) {
        nib_free(nib_chat_ctx(c), s.items);
        nib_jinja_output_free(nib_chat_ctx(c), &whole);
        return status;
    }
    nib_free(nib_chat_ctx(c), whole.spans);
    *out = whole;
    out->spans = s.items;
    out->span_count = s.count;
    return NIB_OK;
}
