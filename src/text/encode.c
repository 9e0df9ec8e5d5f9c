/* encode.c - from text to tokens: added tokens first, then the pipeline for what lies between. */
#include "text/parts.h"
#include "text/utf8.h"

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
}

static nib_status check_utf8(const char *text, size_t bytes, nib_error *err)
{
    for (size_t i = 0; i < bytes;) {
        size_t n = nib_utf8_valid(text + i, bytes - i);
        if (n == 0)
            return nib_fail(err, NIB_E_FORMAT, "byte %zu: invalid UTF-8 (0x%02x)", i,
                            (uint8_t)text[i]);
        i += n;
    }
    return NIB_OK;
}

/* --- one stretch without added tokens of the first pass --- */

static nib_status encode_word(nib_tokenizer *t, nib_range word, nib_tokens *out, nib_error *err)
{
    switch (t->kind) {
    case NIB_MODEL_BPE: return nib_bpe(t, word, out, err);
    case NIB_MODEL_WORDPIECE: return nib_wordpiece(t, word, out, err);
    case NIB_MODEL_WORDLEVEL: return nib_wordlevel(t, word, out, err);
    case NIB_MODEL_UNIGRAM: break;
    }
    return nib_unigram(t, word, out, err);
}

/* t->work holds normalized text; piece of it without any added token. */
static nib_status encode_piece(nib_tokenizer *t, nib_work *whole, nib_range piece, nib_tokens *out,
                               nib_error *err)
{
    nib_status status;

    if (piece.begin == piece.end) return NIB_OK;
    t->work.bytes = piece.end - piece.begin;
    t->work.piece_count = 0;
    if (!nib_work_reserve(t->ctx, &t->work, t->work.bytes)) return no_memory(err);
    memcpy(t->work.text, whole->text + piece.begin, t->work.bytes);
    memcpy(t->work.origin, whole->origin + piece.begin, t->work.bytes * sizeof *t->work.origin);
    if (!nib_work_add_piece(t->ctx, &t->work, 0, t->work.bytes)) return no_memory(err);
    status = nib_pretokenize(t, err);
    for (size_t i = 0; i < t->work.piece_count && !status; i++)
        status = encode_word(t, t->work.pieces[i], out, err);
    return status;
}

static nib_status encode_normalized(nib_tokenizer *t, nib_work *whole, nib_tokens *out,
                                    nib_error *err)
{
    size_t at = 0;
    nib_found f = { 0 };

    while (nib_added_find(t, true, whole->text, whole->bytes, f.end, at, &f)) {
        nib_token token = { .id = f.token->id, .begin = whole->origin[f.range.begin].begin,
                            .end = whole->origin[f.range.end - 1].end };
        nib_status status = at < f.range.begin
                                ? encode_piece(t, whole, (nib_range){ at, f.range.begin }, out, err)
                                : NIB_OK;
        if (!status) status = nib_tokens_add(t->ctx, out, token, err);
        if (status) return status;
        at = f.range.end;
    }
    return encode_piece(t, whole, (nib_range){ at, whole->bytes }, out, err);
}

static nib_status encode_stretch(nib_tokenizer *t, const char *text, size_t begin, size_t end,
                                 nib_tokens *out, nib_error *err)
{
    nib_work whole;
    nib_status status;

    if (begin == end) return NIB_OK;
    t->work.bytes = end - begin;
    t->work.piece_count = 0;
    if (!nib_work_reserve(t->ctx, &t->work, t->work.bytes)) return no_memory(err);
    memcpy(t->work.text, text + begin, t->work.bytes);
    for (size_t i = begin, n; i < end; i += n) {
        n = nib_utf8_length(text[i]);
        for (size_t k = 0; k < n; k++) t->work.origin[i - begin + k] = (nib_range){ i, i + n };
    }
    status = nib_normalize(t, err);
    if (status) return status;
    whole = t->work; /* stays while pieces go through t->work */
    t->work = (nib_work){ 0 };
    status = whole.bytes ? encode_normalized(t, &whole, out, err) : NIB_OK;
    nib_work_free(t->ctx, &t->work);
    t->work = whole;
    return status;
}

/* --- offsets and special tokens --- */

/* Bytes of the blank that begins at `at`, or 0; one is also the character that byte-level BPE
 * writes for a space. */
static size_t blank_at(const char *text, size_t at)
{
    bool blank = nib_utf8_is_space(text + at) || nib_utf8_read(text + at) == 0x120;

    return blank ? nib_utf8_length(text[at]) : 0;
}

/* ByteLevel's trim_offsets: blanks at a token's ends do not belong to its range.  They are counted
 * in what the token is called (an added one: in what it was found as) and taken from the range as
 * so many characters, whatever these were before a normalizer came.  With add_prefix_space a single
 * one at the front of the text stands for the one prepended, and stays.  A token of blanks loses
 * both ends. */
static void trim(const nib_tokenizer *t, const char *text, nib_token *token, bool first)
{
    bool added = t->is_added[token->id];
    const char *name = added ? text + token->begin : t->tokens[token->id];
    size_t bytes = added ? token->end - token->begin : strlen(name), at = 0, n, leading = 0,
           trailing = 0;
    size_t begin = token->begin, end = token->end;

    for (; at < bytes && (n = blank_at(name, at)); at += n) leading++;
    for (at = bytes; at && blank_at(name, nib_utf8_before(name, at));
         at = nib_utf8_before(name, at))
        trailing++;
    if (leading == 1 && t->trim_prefix_space && (first || begin == 0)) leading = 0;
    for (; leading && begin < token->end; leading--) begin += nib_utf8_length(text[begin]);
    for (; trailing && end > begin; trailing--) end = nib_utf8_before(text, end);
    token->begin = begin;
    token->end = end;
}

nib_status nib_encode_text(nib_tokenizer *t, const char *text, size_t bytes, nib_tokens *out,
                           nib_error *err)
{
    size_t at = 0;
    nib_found f = { 0 };
    nib_status status = check_utf8(text, bytes, err);

    if (status) return status;
    while (nib_added_find(t, false, text, bytes, f.end, at, &f)) {
        nib_token token = { .id = f.token->id, .begin = f.range.begin, .end = f.range.end };

        status = at < f.range.begin ? encode_stretch(t, text, at, f.range.begin, out, err) : NIB_OK;
        if (!status) status = nib_tokens_add(t->ctx, out, token, err);
        if (status) return status;
        at = f.range.end;
    }
    return encode_stretch(t, text, at, bytes, out, err);
}

void nib_trim_offsets(const nib_tokenizer *t, const char *text, nib_token *tokens, size_t count)
{
    for (size_t i = 0; i < count && t->trim_offsets; i++) trim(t, text, &tokens[i], i == 0);
}

/* A text that begins with BOS gets no second one: the text's tokens begin at `body`. */
static bool drop_repeated_bos(const nib_tokenizer *t, size_t first, size_t body, nib_tokens *out)
{
    int64_t bos = t->special_tokens.bos.id;

    if (body == first || body == out->count || bos < 0 || out->items[body - 1].id != bos ||
        out->items[body].id != bos)
        return false;
    memmove(out->items + body - 1, out->items + body, (out->count - body) * sizeof *out->items);
    out->count--;
    return true;
}

nib_status nib_tokenizer_encode(nib_tokenizer *t, const char *text, size_t bytes, bool special,
                                nib_tokens *out, bool *had_bos, nib_error *err)
{
    size_t first = out->count;
    bool repeated = false;
    nib_status status = NIB_OK;

    for (size_t i = 0; i < t->single.count && !status; i++) {
        const nib_template_item *item = &t->single.items[i];
        size_t body = out->count;

        if (item->text == 0) {
            status = nib_encode_text(t, text, bytes, out, err);
            for (size_t k = body; k < out->count; k++) out->items[k].type = item->type;
            if (!status && out->count > body)
                nib_trim_offsets(t, text, out->items + body, out->count - body);
            if (!status) repeated = drop_repeated_bos(t, first, body, out);
        } else if (special) {
            status = nib_tokens_add(
                t->ctx, out,
                (nib_token){ .id = item->id, .added_by_template = true, .type = item->type }, err);
        }
    }
    if (had_bos) *had_bos = repeated;
    return status;
}
