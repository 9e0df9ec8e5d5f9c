/* work.c - the text on its way through the stages, each byte with the range of the input it comes
 * from, and the tokens it ends as. */
#include "text/normalize_parts.h"
#include "text/utf8.h"

bool nib_work_reserve(nib_ctx *ctx, nib_work *w, size_t bytes)
{
    return nib_grow(ctx, &w->text, &w->text_capacity, bytes + 1, 1) &&
           nib_grow(ctx, &w->origin, &w->origin_capacity, bytes + 1, sizeof *w->origin);
}

bool nib_work_add(nib_ctx *ctx, nib_work *w, const char *text, size_t bytes, nib_range origin)
{
    char *to;

    if (w->bytes + bytes >= w->text_capacity || w->bytes + bytes >= w->origin_capacity)
        if (!nib_work_reserve(ctx, w, w->bytes + bytes)) return false;
    to = w->text + w->bytes;
    for (size_t i = 0; i < bytes; i++) { /* a character, most often */
        to[i] = text[i];
        w->origin[w->bytes + i] = origin;
    }
    w->bytes += bytes;
    return true;
}

bool nib_work_add_piece(nib_ctx *ctx, nib_work *w, size_t begin, size_t end)
{
    if (begin == end) return true;
    if (!nib_grow(ctx, &w->pieces, &w->piece_capacity, w->piece_count + 1, sizeof *w->pieces))
        return false;
    w->pieces[w->piece_count++] = (nib_range){ begin, end };
    return true;
}

void nib_work_free(nib_ctx *ctx, nib_work *w)
{
    nib_free(ctx, w->text);
    nib_free(ctx, w->origin);
    nib_free(ctx, w->pieces);
    *w = (nib_work){ 0 };
}

bool nib_replace_character(nib_tokenizer *t, size_t at, const char *text, size_t bytes)
{
    return nib_work_add(t->ctx, &t->other, text, bytes, t->work.origin[at]);
}

bool nib_keep_character(nib_tokenizer *t, size_t at)
{
    return nib_replace_character(t, at, t->work.text + at, nib_utf8_length(t->work.text[at]));
}

bool nib_put_changed(nib_tokenizer *t, size_t *at, uint32_t c, ptrdiff_t change)
{
    const nib_work *in = &t->work;
    nib_range origin = change <= 0 && *at < in->bytes ? in->origin[*at]
                       : *at                          ? in->origin[*at - 1]
                                                      : (nib_range){ in->origin[0].begin,
                                                                     in->origin[0].begin };
    char text[4];

    if (!nib_work_add(t->ctx, &t->other, text, nib_utf8_write(c, text), origin)) return false;
    for (ptrdiff_t n = change; n <= 0 && *at < in->bytes; n++)
        *at += nib_utf8_length(in->text[*at]);
    return true;
}

nib_status nib_emit(nib_tokenizer *t, uint32_t id, size_t begin, size_t end, nib_tokens *out,
                    nib_error *err)
{
    nib_token token = { .id = id, .begin = t->work.origin[begin].begin,
                        .end = t->work.origin[end - 1].end };
    return nib_tokens_add(t->ctx, out, token, err);
}

nib_status nib_tokens_add(nib_ctx *ctx, nib_tokens *out, nib_token token, nib_error *err)
{
    if (!nib_grow(ctx, &out->items, &out->capacity, out->count + 1, sizeof *out->items))
        return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
    out->items[out->count++] = token;
    return NIB_OK;
}

void nib_tokens_free(nib_ctx *ctx, nib_tokens *tokens)
{
    nib_free(ctx, tokens->items);
    *tokens = (nib_tokens){ 0 };
}
