/* gguf_vocabulary.c - the tokenizer's keys of a GGUF, checked (formats-quant.md 7.4). */
#include <stdio.h>

#include "text/gguf_tokenizer.h"
#include "text/parts.h"

static nib_status read_model(nib_gguf_vocabulary *v, nib_error *err)
{
    nib_gguf_text model;

    if (!nib_gguf_one_text(nib_gguf_find(v->keys, "tokenizer.ggml.model"), &model))
        return nib_fail(err, NIB_E_FORMAT, "%s: tokenizer.ggml.model is missing, or no text",
                        v->where);
    v->merged = nib_gguf_text_is(model, "gemma4");
    v->sentencepiece = v->merged || nib_gguf_text_is(model, "llama");
    v->wordpiece = nib_gguf_text_is(model, "bert");
    v->unigram = nib_gguf_text_is(model, "t5");
    if (v->sentencepiece || v->wordpiece || v->unigram || nib_gguf_text_is(model, "gpt2"))
        return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "%s: tokenizer.ggml.model is %.*s, known are gpt2 (byte-level BPE), llama "
                    "(SentencePiece BPE), gemma4 (the same with merges), bert (WordPiece) and t5 "
                    "(Unigram)",
                    v->where, (int)nib_min(model.bytes, 60), model.at);
}

/* An array with a number for each token, or absent. */
static nib_status read_numbers(const nib_gguf_vocabulary *v, const char *key,
                               const nib_gguf_value **out, nib_error *err)
{
    const nib_gguf_value *n = nib_gguf_find(v->keys, key);
    double number;

    *out = n;
    if (!n || (n->kind == NIB_GGUF_ARRAY && n->count == v->count && nib_gguf_number(n, 0, &number)))
        return NIB_OK;
    return nib_fail(err, NIB_E_FORMAT, "%s: %s has %" PRIu64 " entries, expected a number for each "
                    "of the %zu tokens", v->where, key, n->count, v->count);
}

static nib_status read_tokens(nib_gguf_vocabulary *v, nib_error *err)
{
    const nib_gguf_value *tokens = nib_gguf_find(v->keys, "tokenizer.ggml.tokens");
    size_t at = 0, i = 0;

    if (!tokens || tokens->kind != NIB_GGUF_ARRAY || tokens->entry != NIB_GGUF_TEXT ||
        !tokens->count || tokens->count > NIB_MOST_IDS)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: tokenizer.ggml.tokens is missing, or no array of texts", v->where);
    v->count = (size_t)tokens->count;
    v->tokens = nib_new_array(v->ctx, v->count, sizeof *v->tokens);
    if (!v->tokens) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", v->where);
    while (i < v->count && nib_gguf_next_text(tokens, &at, &v->tokens[i])) {
        if (memchr(v->tokens[i].at, 0, v->tokens[i].bytes))
            return nib_fail(err, NIB_E_FORMAT, "%s: token %zu holds a NUL", v->where, i);
        i++;
    }
    return NIB_OK;
}

nib_status nib_gguf_vocabulary_open(nib_ctx *ctx, const nib_gguf *keys, const char *where,
                                    nib_gguf_vocabulary *out, nib_error *err)
{
    nib_gguf_vocabulary v = { .ctx = ctx, .where = where, .keys = keys };
    nib_status status = read_model(&v, err);

    if (!status) status = read_tokens(&v, err);
    if (!status) status = read_numbers(&v, "tokenizer.ggml.token_type", &v.types, err);
    if (!status) status = read_numbers(&v, "tokenizer.ggml.scores", &v.scores, err);
    if (status) nib_gguf_vocabulary_free(&v);
    else *out = v;
    return status;
}

void nib_gguf_vocabulary_free(nib_gguf_vocabulary *v)
{
    nib_free(v->ctx, v->tokens);
    v->tokens = NULL;
}

unsigned nib_gguf_token_type(const nib_gguf_vocabulary *v, size_t id)
{
    uint64_t type = NIB_GGUF_NORMAL;

    return nib_gguf_count(v->types, id, &type) ? (unsigned)type : NIB_GGUF_NORMAL;
}

int64_t nib_gguf_token_id(const nib_gguf_vocabulary *v, const char *name, int64_t fallback)
{
    char key[80];
    const nib_gguf_value *value;
    uint64_t id;

    snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", name);
    value = nib_gguf_find(v->keys, key);
    if (value) fallback = nib_gguf_count(value, 0, &id) && id < v->count ? (int64_t)id : -1;
    return fallback >= 0 && (uint64_t)fallback < v->count ? fallback : -1;
}

bool nib_gguf_token_flag(const nib_gguf_vocabulary *v, const char *name, bool fallback)
{
    char key[80];
    double number;

    snprintf(key, sizeof key, "tokenizer.ggml.%s", name);
    return nib_gguf_number(nib_gguf_find(v->keys, key), 0, &number) ? number != 0 : fallback;
}
