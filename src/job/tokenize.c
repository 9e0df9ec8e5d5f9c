/* tokenize.c - a tokenizer with buffers that live from call to call. */
#include "nibble/tokenize.h"

#include "text/tokenizer.h"

struct nib_text_codec {
    nib_ctx *ctx;
    nib_tokenizer *tokenizer;
    nib_tokens tokens;
    uint32_t *ids;
    size_t ids_capacity;
    char *text; /* of the last decode */
};

nib_status nib_text_codec_open(nib_ctx *ctx, const char *model_dir, nib_text_codec **out,
                               nib_error *err)
{
    nib_text_codec *c = nib_new(ctx, sizeof *c);
    nib_status status;

    if (!c) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", model_dir);
    c->ctx = ctx;
    status = nib_tokenizer_open(ctx, model_dir, &c->tokenizer, err);
    if (!status) status = nib_warnings_check(ctx, err);
    nib_warnings_repeat(ctx);
    if (status) goto done;
    *out = c;
    c = NULL; /* handed over */
done:
    nib_text_codec_close(c);
    return status;
}

void nib_text_codec_close(nib_text_codec *c)
{
    if (!c) return;
    nib_tokenizer_close(c->tokenizer);
    nib_tokens_free(c->ctx, &c->tokens);
    nib_free(c->ctx, c->ids);
    nib_free(c->ctx, c->text);
    nib_free(c->ctx, c);
}

nib_status nib_text_codec_encode(nib_text_codec *c, const char *text, size_t bytes, bool special,
                                 const uint32_t **ids, size_t *count, nib_error *err)
{
    nib_status status;

    c->tokens.count = 0;
    status = nib_tokenizer_encode(c->tokenizer, text, bytes, special, &c->tokens, NULL, err);
    if (status) return status;
    if (!nib_grow(c->ctx, &c->ids, &c->ids_capacity, nib_max(c->tokens.count, 1), sizeof *c->ids))
        return nib_fail(err, NIB_E_NOMEM, "%zu tokens: out of memory", c->tokens.count);
    for (size_t i = 0; i < c->tokens.count; i++) c->ids[i] = c->tokens.items[i].id;
    *ids = c->ids;
    *count = c->tokens.count;
    return NIB_OK;
}

nib_status nib_text_codec_decode(nib_text_codec *c, const uint32_t *ids, size_t count,
                                 bool skip_special, const char **text, size_t *bytes,
                                 nib_error *err)
{
    char *made;
    nib_status status = nib_tokenizer_decode(c->tokenizer, ids, count, skip_special, &made, bytes,
                                             err);

    if (status) return status;
    nib_free(c->ctx, c->text);
    *text = c->text = made;
    return NIB_OK;
}
