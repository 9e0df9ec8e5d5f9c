/* chat_align.c - where the messages of a rendered chat end, though its beginning rendered alone
 * looks different.
 *
 * A template may write a turn otherwise once others follow (Qwen3 drops its reasoning), so that the
 * renderings of a chat's beginnings are not what the whole begins with.  What does not change is
 * that a message's text is in there.  So the chat is rendered once more with a mark in each message
 * behind its text: a code point of plane 15, which templates copy and do not look at.  Taking the
 * marks out must give the chat again, byte for byte; then they say where each text ends.  What
 * a template writes behind a text (an end token, the next header) is seen where the messages up to
 * it are rendered alone, and compared with what follows in the whole: their common prefix counts.
 * Calls of tools stand behind the text, so there the mark is in the last tool's name. */
#include "text/chat_turns.h"

enum { FIRST_MARK = 0xf0000, MOST_MARKS = 0xfffd, MARK_BYTES = 4 };

static void put_mark(char *to, size_t j)
{
    uint32_t c = FIRST_MARK + (uint32_t)j;

    to[0] = (char)(0xf0 | c >> 18);
    to[1] = (char)(0x80 | (c >> 12 & 63));
    to[2] = (char)(0x80 | (c >> 6 & 63));
    to[3] = (char)(0x80 | (c & 63));
}

/* The number of the mark at p; SIZE_MAX: there is none. */
static size_t mark_at(const char *p, size_t left)
{
    const unsigned char *b = (const unsigned char *)p;
    uint32_t c;

    if (left < MARK_BYTES || b[0] != 0xf3 || b[1] < 0xb0) return SIZE_MAX;
    c = (b[0] & 7u) << 18 | (b[1] & 63u) << 12 | (b[2] & 63u) << 6 | (b[3] & 63u);
    return c < FIRST_MARK + MOST_MARKS ? c - FIRST_MARK : SIZE_MAX;
}

/* --- putting marks --- */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The text with a mark behind it (before it), the blanks around it outside, for templates trim.
 * Nothing but blanks gets one only when `blank`: a template may ask whether there is a text. */
static json_t *marked_text(nib_ctx *ctx, const json_t *text, size_t j, bool end, bool blank)
{
    const char *s = json_string_value(text);
    size_t n = json_string_length(text), at = end ? n : 0;
    char *copy;
    json_t *made;

    while (end && at && is_space(s[at - 1])) at--;
    while (!end && at < n && is_space(s[at])) at++;
    if (at == (end ? 0 : n) && !blank) return json_incref((json_t *)(uintptr_t)text);
    copy = nib_alloc(ctx, n + MARK_BYTES);
    if (!copy) return NULL;
    memcpy(copy, s, at);
    put_mark(copy + at, j);
    memcpy(copy + at + MARK_BYTES, s + at, n - at);
    made = json_stringn(copy, n + MARK_BYTES);
    nib_free(ctx, copy);
    return made;
}

static int set_marked(nib_ctx *ctx, json_t *object, const char *key, size_t j, bool end, bool blank)
{
    const json_t *text = json_object_get(object, key);
    return json_is_string(text)
               ? json_object_set_new(object, key, marked_text(ctx, text, j, end, blank))
               : 0;
}

/* Of a message: its content, or the last part of it that is text; where tools are called, the last
 * one's name, for the calls stand behind the content.  `message` is a deep copy. */
static int mark_message(nib_ctx *ctx, json_t *message, size_t j, bool end, bool blank)
{
    json_t *content = json_object_get(message, "content"),
           *calls = json_object_get(message, "tool_calls");
    size_t n = json_array_size(calls);

    if (n && end) {
        json_t *call = json_array_get(calls, n - 1), *function = json_object_get(call, "function");
        return set_marked(ctx, function ? function : call, "name", j, end, blank);
    }
    n = json_array_size(content);
    for (size_t i = 0; i < n; i++) {
        json_t *part = json_array_get(content, end ? n - 1 - i : i);
        if (json_is_string(json_object_get(part, "text")))
            return set_marked(ctx, part, "text", j, end, blank);
    }
    return set_marked(ctx, message, "content", j, end, blank);
}

/* The messages with marks in those from `first` on, new. */
static json_t *marked(nib_ctx *ctx, const json_t *messages, size_t first, size_t count, bool end,
                      bool blank)
{
    json_t *list = json_array();
    int bad = !list;

    for (size_t j = 0; j < count && !bad; j++) {
        json_t *m = json_deep_copy(json_array_get(messages, j));
        bad = !m || (j >= first && mark_message(ctx, m, j, end, blank)) ||
              json_array_append(list, m);
        json_decref(m);
    }
    if (!bad) return list;
    json_decref(list);
    return NULL;
}

static nib_status render_marked(nib_chat *c, const nib_chat_turns *t, size_t first, size_t count,
                                bool prompt, bool end, bool blank, nib_jinja_output *out,
                                nib_error *err)
{
    nib_chat_turns with = *t;
    nib_status status;

    with.messages = marked(nib_chat_ctx(c), t->messages, first, count, end, blank);
    if (!with.messages) return nib_fail(err, NIB_E_NOMEM, "a chat: out of memory");
    status = nib_chat_render(c, &with, count, prompt, out, err);
    json_decref((json_t *)(uintptr_t)with.messages);
    return status;
}

/* --- reading them --- */

static bool calls_tools(const nib_chat_turns *t, size_t message)
{
    const json_t *m = json_array_get(t->messages, message);

    return json_array_size(json_object_get(m, "tool_calls")) > 0;
}

nib_status nib_chat_locate(nib_chat *c, const nib_chat_turns *t, const nib_jinja_output *whole,
                           bool end, size_t *at, bool *found, nib_error *err)
{
    size_t n = json_array_size(t->messages), i = 0;
    nib_jinja_output out = { 0 };
    nib_error ignored;
    nib_status status;

    *found = false;
    for (size_t j = 0; j < n; j++) at[j] = NIB_NOWHERE;
    if (n > MOST_MARKS) return NIB_OK;
    status = render_marked(c, t, 0, n, false, end, false, &out, &ignored);
    if (status == NIB_E_NOMEM) return nib_fail(err, status, "%s", ignored.message);
    if (status) return NIB_OK; /* the template looks at the words: no marks then */
    *found = true;
    for (size_t k = 0; k < out.bytes && *found;) {
        size_t j = mark_at(out.text + k, out.bytes - k);
        if (j < n) {
            bool again = at[j] != NIB_NOWHERE;
            /* A result may name its tool once more (gemma4, gpt-oss): the call stands before it. */
            if (again && !calls_tools(t, j)) *found = false;
            if (!again) at[j] = i;
            k += MARK_BYTES;
        } else
            *found = i < whole->bytes && out.text[k++] == whole->text[i++];
    }
    *found = *found && i == whole->bytes;
    nib_jinja_output_free(nib_chat_ctx(c), &out);
    return NIB_OK;
}

nib_status nib_chat_tail(nib_chat *c, const nib_chat_turns *t, size_t message, bool prompt,
                         nib_chat_text_piece *tail, nib_error *err)
{
    nib_jinja_output out = { 0 };
    nib_error ignored;
    nib_status status = render_marked(c, t, message, message + 1, prompt, true, true, &out,
                                      &ignored);

    if (status == NIB_E_NOMEM) return nib_fail(err, status, "%s", ignored.message);
    tail->known = false;
    for (size_t k = 0; !status && k < out.bytes && !tail->known; k++) {
        if (mark_at(out.text + k, out.bytes - k) != message) continue;
        tail->known = true;
        tail->bytes = out.bytes - k - MARK_BYTES;
        memmove(out.text, out.text + k + MARK_BYTES, tail->bytes);
        tail->text = out.text;
        out.text = NULL; /* handed over */
    }
    nib_jinja_output_free(nib_chat_ctx(c), &out);
    return NIB_OK;
}
