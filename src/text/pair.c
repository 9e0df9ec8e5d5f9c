/* pair.c - one text or two as an encoder takes them: truncation, windows of what does not fit, and
 * the post-processor's tokens and type ids around them.
 *
 * As the tokenizers library does it (formats-encoder.md 6.3, 6.4), the odd parts too: of an even
 * longest_first the second text keeps the token more; with windows of both texts those of the first
 * come before, each with every one of the second; a window after the first of its text has the type
 * 0 or 1 of the text, whatever a template says. */
#include "text/parts.h"

typedef struct span { size_t begin, end; } span;

/* The tokens of a text and how many a window has. */
typedef struct side {
    const char *text;
    nib_tokens tokens;
    size_t most;
    bool cut;
} side;

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
}

static size_t added_count(const nib_template *to)
{
    size_t n = 0;

    for (size_t i = 0; i < to->count; i++) n += to->items[i].text == NIB_TEMPLATE_TOKEN;
    return n;
}

/* --- how much of each text stays --- */

static void longest_first(side s[2], size_t room)
{
    size_t first = s[0].tokens.count, second = s[1].tokens.count;
    size_t shorter = nib_min(first, second), longer;

    longer = shorter > room ? shorter : nib_max(shorter, room - shorter);
    if (shorter + longer > room) {
        shorter = room / 2;
        longer = shorter + room % 2;
    }
    s[0].most = first > second ? longer : shorter;
    s[1].most = first > second ? shorter : longer;
}

static nib_status only_one(side s[2], int which, size_t excess, nib_error *err)
{
    if (s[which].tokens.count <= excess)
        return nib_fail(err, NIB_E_INVALID,
                        "max_length: %zu tokens are too many, but the %s text, the only one that "
                        "may be cut, has %zu; raise max_length or truncate longest_first",
                        excess, which ? "second" : "first", s[which].tokens.count);
    s[which].most = s[which].tokens.count - excess;
    return NIB_OK;
}

static nib_status choose_lengths(const nib_inputs *in, side s[2], size_t added, nib_error *err)
{
    size_t total = s[0].tokens.count + s[1].tokens.count, room;
    nib_status status = NIB_OK;

    for (int i = 0; i < 2; i++) s[i].most = s[i].tokens.count;
    if (!in->max_length) return NIB_OK;
    if (in->max_length < added)
        return nib_fail(err, NIB_E_INVALID, "max_length is %zu, but %zu special tokens are added",
                        in->max_length, added);
    room = in->max_length - added;
    if (total <= room) return NIB_OK;
    if (room == 0) s[0].most = s[1].most = 0;
    else if (in->truncation == NIB_ONLY_SECOND && !in->pair)
        status = nib_fail(err, NIB_E_INVALID, "truncation only_second of one text");
    else if (in->truncation != NIB_LONGEST_FIRST)
        status = only_one(s, in->truncation == NIB_ONLY_SECOND, total - room, err);
    else if (in->pair) longest_first(s, room);
    else s[0].most = room;
    for (int i = 0; i < 2 && !status; i++) {
        s[i].cut = s[i].most < s[i].tokens.count;
        if (s[i].cut && s[i].most && in->windows && in->stride >= s[i].most)
            status = nib_fail(err, NIB_E_INVALID,
                              "stride is %zu, but only %zu tokens of the %s text have room in a "
                              "window; lower stride or raise max_length",
                              in->stride, s[i].most, i ? "second" : "first");
    }
    return status;
}

/* --- windows --- */

static size_t window_count(const nib_inputs *in, const side *s)
{
    size_t step = s->most - in->stride;

    if (!s->cut || !in->windows) return 1;
    if (!s->most) return 2; /* nothing, and then all of it */
    return 1 + (s->tokens.count - s->most + step - 1) / step;
}

static span window_at(const nib_inputs *in, const side *s, size_t number)
{
    size_t n = s->tokens.count, skipped;

    if (s->cut && !s->most) return (span){ 0, number ? n : 0 };
    skipped = number * (s->most - (in->windows ? in->stride : 0));
    if (in->from_left)
        return (span){ n - skipped < s->most ? 0 : n - skipped - s->most, n - skipped };
    return (span){ skipped, nib_min(skipped + s->most, n) };
}

static nib_status put_text(nib_tokenizer *t, const side *s, span at, int text, uint8_t type,
                           nib_tokens *out, nib_error *err)
{
    size_t first = out->count;
    nib_status status = NIB_OK;

    for (size_t i = at.begin; i < at.end && !status; i++) {
        nib_token token = s->tokens.items[i];
        token.text = (uint8_t)text;
        token.type = type;
        status = nib_tokens_add(t->ctx, out, token, err);
    }
    if (!status && out->count > first)
        nib_trim_offsets(t, s->text, out->items + first, out->count - first);
    return status;
}

/* One window: window number[i] of text i. */
static nib_status put_window(nib_tokenizer *t, const nib_inputs *in, const nib_template *to,
                             const side s[2], const size_t number[2], nib_windows *out,
                             nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < to->count && !status; i++) {
        const nib_template_item *item = &to->items[i];
        int k = item->text;

        if (k != NIB_TEMPLATE_TOKEN) {
            bool own = number[k] == 0 || (to->types_later && in->special);
            status = put_text(t, &s[k], window_at(in, &s[k], number[k]), k,
                              own ? item->type : (uint8_t)k, &out->tokens, err);
        } else if (in->special) {
            nib_token token = { .id = item->id, .added_by_template = true, .type = item->type };
            status = nib_tokens_add(t->ctx, &out->tokens, token, err);
        }
    }
    if (status) return status;
    if (!nib_grow(t->ctx, &out->ends, &out->capacity, out->count + 1, sizeof *out->ends))
        return no_memory(err);
    out->ends[out->count++] = out->tokens.count;
    return NIB_OK;
}

/* The first with the first; then each further one of the text that stands first with all of the
 * other; then the first of it with the other's further ones. */
static nib_status put_windows(nib_tokenizer *t, const nib_inputs *in, const nib_template *to,
                              const side s[2], nib_windows *out, nib_error *err)
{
    size_t number[2] = { 0 }, counts[2];
    int outer = 0;
    nib_status status;

    for (size_t i = to->count; i--;)
        if (to->items[i].text >= 0) outer = to->items[i].text;
    for (int k = 0; k < 2; k++) counts[k] = window_count(in, &s[k]);
    status = put_window(t, in, to, s, number, out, err);
    for (size_t i = 1; i < counts[outer] && !status; i++)
        for (size_t k = 0; k < counts[!outer] && !status; k++) {
            number[outer] = i;
            number[!outer] = k;
            status = put_window(t, in, to, s, number, out, err);
        }
    number[outer] = 0;
    for (size_t k = 1; k < counts[!outer] && !status; k++) {
        number[!outer] = k;
        status = put_window(t, in, to, s, number, out, err);
    }
    return status;
}

nib_status nib_tokenizer_encode_inputs(nib_tokenizer *t, const nib_inputs *in, nib_windows *out,
                                       nib_error *err)
{
    const nib_template *to = in->pair ? &t->pair : &t->single;
    side s[2] = { { .text = in->text }, { .text = in->pair } };
    nib_status status = nib_encode_text(t, in->text, in->bytes, &s[0].tokens, err);

    out->tokens.count = out->count = 0;
    if (!status && in->pair)
        status = nib_encode_text(t, in->pair, in->pair_bytes, &s[1].tokens, err);
    if (!status) status = choose_lengths(in, s, in->special ? added_count(to) : 0, err);
    if (!status) status = put_windows(t, in, to, s, out, err);
    for (int i = 0; i < 2; i++) nib_tokens_free(t->ctx, &s[i].tokens);
    return status;
}

void nib_windows_free(nib_ctx *ctx, nib_windows *w)
{
    nib_tokens_free(ctx, &w->tokens);
    nib_free(ctx, w->ends);
    *w = (nib_windows){ 0 };
}
