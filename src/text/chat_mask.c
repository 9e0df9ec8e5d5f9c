/* chat_mask.c - which bytes of a rendered chat are trained, found by rendering alone. */
#include <stdio.h>

#include "text/chat_turns.h"

enum {
    EXACT_TURNS = 16, /* so many are found by rendering prefixes, which is quadratic */
    MOST_CACHED = 16
};

/* What stands behind the text of any message of a role that is one string. */
typedef struct cached {
    const char *role;
    bool prompt;
    nib_chat_text_piece tail;
    size_t followed; /* bytes of it that the whole had */
} cached;

typedef struct finder {
    nib_chat *c;
    const nib_chat_turns *t;
    const nib_jinja_output *whole;
    nib_ctx *ctx;
    size_t messages;
    nib_text_span *spans; /* what was found */
    size_t span_count, span_room;
    uint64_t empty_thoughts;
    size_t *ends, *starts; /* of the messages' texts: nib_chat_locate(); NULL until asked for */
    bool has_ends, has_starts;
    cached cache[MOST_CACHED];
    size_t cache_count;
} finder;

static const json_t *message(const finder *f, size_t i)
{
    return json_array_get(f->t->messages, i);
}

static const char *role_of(const finder *f, size_t i)
{
    const char *role = json_string_value(json_object_get(message(f, i), "role"));
    return role ? role : "";
}

static bool is_assistant(const finder *f, size_t i)
{
    return strcmp(role_of(f, i), "assistant") == 0;
}
static bool is_masked(const finder *f, size_t i)
{
    return f->t->masked && f->t->masked[i];
}

static nib_status add(finder *f, size_t begin, size_t end, nib_error *err)
{
    if (begin >= end) return NIB_OK;
    if (!nib_grow(f->ctx, &f->spans, &f->span_room, f->span_count + 1, sizeof *f->spans))
        return nib_fail(err, NIB_E_NOMEM, "a chat: out of memory");
    f->spans[f->span_count++] = (nib_text_span){ begin, end };
    return NIB_OK;
}

static size_t common(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    size_t n = 0;
    while (n < a_bytes && n < b_bytes && a[n] == b[n]) n++;
    return n;
}

/* --- by the generation mark --- */

/* How many spans the first `count` messages have when they are rendered alone. */
static nib_status count_marks(const finder *f, size_t count, size_t *marks, nib_error *err)
{
    nib_jinja_output part = { 0 };
    nib_status status;

    *marks = 0;
    if (!count) return NIB_OK;
    status = nib_chat_render(f->c, f->t, count, false, &part, err);
    if (status) return nib_fail_in(err, status, "the first %zu messages by themselves", count);
    *marks = part.span_count;
    nib_jinja_output_free(f->ctx, &part);
    return NIB_OK;
}

/* The spans of one turn: the n-th span is the n-th turn's where there are as many; else those that
 * the turn adds to the messages before it. */
static nib_status turn_marks(const finder *f, size_t turn, size_t *from, size_t *to, nib_error *err)
{
    size_t turns = 0, number = 0, last = 0;
    nib_status status;

    for (size_t i = 0; i < f->messages; i++)
        if (is_assistant(f, i)) {
            number += i < turn;
            turns++;
            last = i;
        }
    *from = number;
    *to = number + 1;
    if (turns == f->whole->span_count) return NIB_OK;
    status = count_marks(f, turn, from, err);
    *to = f->whole->span_count;
    if (!status && turn != last) status = count_marks(f, turn + 1, to, err);
    return status;
}

static nib_status take_marks(finder *f, size_t from, size_t to, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = from; i < nib_min(to, f->whole->span_count) && !status; i++)
        status = add(f, f->whole->spans[i].begin, f->whole->spans[i].end, err);
    return status;
}

static nib_status find_marked(finder *f, size_t given, bool last_only, size_t last, nib_error *err)
{
    nib_status status = NIB_OK;
    bool any_masked = false;
    size_t from, to;

    for (size_t i = given; i < f->messages; i++)
        any_masked |= is_assistant(f, i) && is_masked(f, i);
    if (!given && !last_only && !any_masked) {
        status = take_marks(f, 0, f->whole->span_count, err);
    } else
        for (size_t i = last_only ? last : given; i < f->messages && !status; i++) {
            if (!is_assistant(f, i) || is_masked(f, i)) continue;
            status = turn_marks(f, i, &from, &to, err);
            if (!status) status = take_marks(f, from, to, err);
        }
    if (!status && !f->span_count && !any_masked)
        status = nib_fail(err, NIB_E_FORMAT,
                          "%s has {%% generation %%} blocks, but none of them wrote anything",
                          nib_chat_name(f->c));
    return status;
}

/* --- by prefix --- */

/* Where the rendering of the first `count` messages ends in the whole's, which must begin with
 * it. */
static nib_status prefix(const finder *f, size_t count, bool prompt, size_t *length, nib_error *err)
{
    nib_jinja_output part = { 0 };
    size_t same;
    nib_status status = nib_chat_render(f->c, f->t, count, prompt, &part, err);

    if (status)
        return nib_fail_in(err, status, "the first %zu messages by themselves%s", count,
                           prompt ? ", with the generation prompt" : "");
    same = common(part.text, part.bytes, f->whole->text, f->whole->bytes);
    *length = part.bytes;
    if (same < part.bytes)
        status = nib_fail(
            err, NIB_E_MISMATCH,
            "the first %zu messages rendered by themselves%s are not what the whole chat begins "
            "with (byte %zu of %zu differs), and the template changes with the texts: where the "
            "turn begins would be a guess.  A template with {%% generation %%} blocks says it "
            "(chat_template; this is %s)",
            count, prompt ? ", with the generation prompt," : "", same + 1, part.bytes,
            nib_chat_name(f->c));
    nib_jinja_output_free(f->ctx, &part);
    return status;
}

static nib_status by_prefix(const finder *f, size_t turn, nib_text_span *out, nib_error *err)
{
    bool prompt = is_assistant(f, turn);
    nib_status status = prompt || turn ? prefix(f, turn, prompt, &out->begin, err) : NIB_OK;

    out->end = f->whole->bytes;
    if (!status && turn + 1 < f->messages) status = prefix(f, turn + 1, false, &out->end, err);
    return status;
}

/* --- by the common prefix --- */

static nib_status locate(finder *f, bool end, const size_t **at, bool *found, nib_error *err)
{
    size_t **list = end ? &f->ends : &f->starts;
    bool *has = end ? &f->has_ends : &f->has_starts;
    nib_status status = NIB_OK;

    if (!*list) {
        *list = nib_new_array(f->ctx, f->messages, sizeof **list);
        if (!*list) return nib_fail(err, NIB_E_NOMEM, "a chat: out of memory");
        status = nib_chat_locate(f->c, f->t, f->whole, end, *list, has, err);
    }
    *at = *list;
    *found = *has;
    return status;
}

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_' || c < 0;
}

/* How many bytes of the tail the rest has too, in whole pieces: where they part inside a word, or
 * behind a bracket that opens there ("</s>" and "<|user|>"), that piece is not common. */
static size_t common_pieces(const nib_chat_text_piece *tail, const char *rest, size_t left)
{
    size_t n = common(tail->text, tail->bytes, rest, left);

    if (n == tail->bytes || n == left) return n;
    for (size_t k = n; k > 0 && !strchr(">]}\n", rest[k - 1]); k--)
        if (strchr("<[{", rest[k - 1])) return k - 1;
    while (n && is_word(rest[n - 1]) && (is_word(rest[n]) || is_word(tail->text[n]))) n--;
    return n;
}

/* How far the whole reaches, behind the text of a message, as the messages up to it do alone. */
static nib_status follow(finder *f, size_t i, bool prompt, size_t end, bool *known, size_t *length,
                         nib_error *err)
{
    bool plain = json_is_string(json_object_get(message(f, i), "content")) &&
                 !json_object_get(message(f, i), "tool_calls");
    const char *rest = f->whole->text + end;
    size_t left = f->whole->bytes - end;
    nib_chat_text_piece tail = { 0 };
    nib_status status;

    *known = true;
    for (size_t k = 0; k < f->cache_count && plain; k++) {
        const cached *one = &f->cache[k];
        if (one->prompt != prompt || strcmp(one->role, role_of(f, i)) != 0) continue;
        *length = common_pieces(&one->tail, rest, left);
        if (*length == one->followed) return NIB_OK; /* else it is looked at by itself */
    }
    status = nib_chat_tail(f->c, f->t, i, prompt, &tail, err);
    *known = tail.known;
    if (!status && tail.known) *length = common_pieces(&tail, rest, left);
    if (!status && tail.known && plain && f->cache_count < MOST_CACHED) {
        f->cache[f->cache_count++] = (cached){ role_of(f, i), prompt, tail, *length };
        return NIB_OK;
    }
    nib_free(f->ctx, tail.text);
    return status;
}

static bool is_blank(char c)
{
    return c == '\n' || c == ' ';
}

static size_t skip_blanks(const char *text, size_t p, size_t end)
{
    while (p < end && is_blank(text[p])) p++;
    return p;
}

/* Past an empty reasoning part that the template wrote, or the rest of one whose beginning is in
 * the generation prompt. */
static size_t skip_empty_thought(const char *text, size_t begin, size_t end)
{
    static const char open[] = "<think>", close[] = "</think>";
    enum { OPEN = sizeof open - 1, CLOSE = sizeof close - 1 };
    size_t p = skip_blanks(text, begin, end), before = begin;

    if (end - p >= OPEN && memcmp(text + p, open, OPEN) == 0)
        p += OPEN;
    else {
        p = begin;
        while (before && is_blank(text[before - 1])) before--;
        if (before < OPEN || memcmp(text + before - OPEN, open, OPEN) != 0) return begin;
    }
    p = skip_blanks(text, p, end);
    if (end - p < CLOSE || memcmp(text + p, close, CLOSE) != 0) return begin;
    return skip_blanks(text, p + CLOSE, end);
}

static nib_status find_begin(finder *f, size_t turn, const size_t *ends, size_t *begin, bool *found,
                             nib_error *err)
{
    const size_t *starts = NULL;
    size_t length = 0;
    nib_status status = NIB_OK;

    *found = false;
    if (turn && ends[turn - 1] != NIB_NOWHERE) {
        status = follow(f, turn - 1, is_assistant(f, turn), ends[turn - 1], found, &length, err);
        *begin = ends[turn - 1] + length;
        if (status || *found) return status;
    }
    /* No message before it, or none that the template renders alone: from its text on. */
    status = locate(f, false, &starts, found, err);
    if (!status && *found) *found = starts[turn] != NIB_NOWHERE;
    if (!status && *found) *begin = starts[turn];
    return status;
}

/* *found false: this turn's edges are not known. */
static nib_status by_common_prefix(finder *f, size_t turn, nib_text_span *out, bool *found,
                                   nib_error *err)
{
    bool empty = json_string_length(json_object_get(message(f, turn), "content")) == 0 &&
                 !json_object_get(message(f, turn), "tool_calls");
    const size_t *ends = NULL;
    size_t end, length = 0;
    nib_status status = locate(f, true, &ends, found, err);

    if (!status && *found) status = find_begin(f, turn, ends, &out->begin, found, err);
    if (status || !*found) return status;
    out->end = f->whole->bytes;
    if (turn + 1 == f->messages) return NIB_OK;
    end = ends[turn];
    if (end == NIB_NOWHERE && empty) /* it has no text to be marked, and would stand here */
        end = skip_empty_thought(f->whole->text, out->begin, out->end);
    *found = end != NIB_NOWHERE;
    if (*found) status = follow(f, turn, false, end, found, &length, err);
    out->end = end + length;
    return status;
}

/* --- turns --- */

static nib_status find_edges(finder *f, size_t turn, bool many, nib_text_span *s, nib_error *err)
{
    nib_status status = NIB_OK;
    bool found = false;

    if (many) status = by_common_prefix(f, turn, s, &found, err);
    if (status || found) return status;
    status = by_prefix(f, turn, s, err);
    if (!status || status == NIB_E_NOMEM || many) return status;
    nib_error why = *err; /* what stands if the last way fails too */
    nib_status last = by_common_prefix(f, turn, s, &found, err);
    if (last || found) return last;
    *err = why;
    return status;
}

static nib_status take_turn(finder *f, size_t turn, bool many, nib_error *err)
{
    nib_text_span s = { 0 };
    size_t begin;
    nib_status status = find_edges(f, turn, many, &s, err);

    if (status) return status;
    if (s.end <= s.begin)
        return nib_fail(err, NIB_E_FORMAT,
                        "message %zu: the template writes nothing for this turn of the assistant",
                        turn + 1);
    begin = skip_empty_thought(f->whole->text, s.begin, s.end);
    f->empty_thoughts += begin > s.begin;
    return add(f, begin, s.end, err);
}

static nib_status find_turns(finder *f, size_t first, nib_error *err)
{
    size_t turns = 0;
    nib_status status = NIB_OK;

    for (size_t i = first; i < f->messages; i++) turns += is_assistant(f, i) && !is_masked(f, i);
    for (size_t i = first; i < f->messages && !status; i++)
        if (is_assistant(f, i) && !is_masked(f, i))
            status = take_turn(f, i, turns > EXACT_TURNS, err);
    return status;
}

/* All that comes after the given messages, but masked ones. */
static nib_status take_rest(finder *f, size_t given, nib_error *err)
{
    nib_text_span s = { 0 };
    nib_status status = given ? find_edges(f, given, false, &s, err) : NIB_OK;
    size_t from = s.begin;

    for (size_t i = given; i < f->messages && !status; i++) {
        if (!is_masked(f, i)) continue;
        status = find_edges(f, i, false, &s, err);
        if (!status) status = add(f, from, s.begin, err);
        from = s.end;
    }
    return status ? status : add(f, from, f->whole->bytes, err);
}

static nib_status no_assistant(const finder *f, size_t given, nib_error *err)
{
    char roles[200] = "";
    size_t used = 0;

    for (size_t i = given; i < f->messages && used + 60 < sizeof roles; i++)
        used += (size_t)snprintf(roles + used, sizeof roles - used, "%s'%.40s'",
                                 i > given ? ", " : "", role_of(f, i));
    return nib_fail(err, NIB_E_FORMAT,
                    "no message%s has the role assistant, so nothing would be trained; the roles "
                    "are %s",
                    given ? " of the completion" : "", roles);
}

static nib_status find_spans(finder *f, size_t given, nib_chat_loss loss, nib_error *err)
{
    size_t last = f->messages;
    bool last_only = loss == NIB_CHAT_LOSS_LAST_TURN;

    if (loss == NIB_CHAT_LOSS_EVERYTHING) return take_rest(f, given, err);
    for (size_t i = given; i < f->messages; i++)
        if (is_assistant(f, i)) last = i;
    if (last == f->messages) return no_assistant(f, given, err);
    if (nib_chat_marks_generation(f->c, f->t->tools != NULL))
        return find_marked(f, given, last_only, last, err);
    return find_turns(f, last_only ? last : given, err);
}

nib_status nib_chat_render_trained(nib_chat *c, const nib_chat_turns *turns, size_t given,
                                   nib_chat_loss loss, nib_jinja_output *out,
                                   uint64_t *empty_thoughts, nib_error *err)
{
    nib_jinja_output whole = { 0 };
    finder f = { .c = c,
                 .t = turns,
                 .whole = &whole,
                 .ctx = nib_chat_ctx(c),
                 .messages = json_array_size(turns->messages) };
    nib_status status = nib_chat_render(c, turns, f.messages, false, &whole, err);

    if (!status) status = find_spans(&f, given, loss, err);
    for (size_t i = 0; i < f.cache_count; i++) nib_free(f.ctx, f.cache[i].tail.text);
    nib_free(f.ctx, f.ends);
    nib_free(f.ctx, f.starts);
    if (status) {
        nib_free(f.ctx, f.spans);
        nib_jinja_output_free(f.ctx, &whole);
        return status;
    }
    nib_free(f.ctx, whole.spans);
    *out = whole;
    out->spans = f.spans;
    out->span_count = f.span_count;
    if (empty_thoughts) *empty_thoughts += f.empty_thoughts;
    return NIB_OK;
}
