/* data_text.c - a record's text as tokens: which of them are trained, the end token, windows of a
 * stream.
 *
 * A tokenizer may make one token of the prompt's last bytes and the completion's first ones (a
 * space + "positive" gives " positive").  Then what is trained begins where the tokens of the
 * prompt alone and of the whole text part, as TRL has it (sft_trainer.py, data_utils.py:
 * common_prefix_length): the token that lies in both is trained, for the model must learn to
 * choose it, and so is a token of the prompt that was cut otherwise before it. */
#include <stdio.h>

#include "train/data_reader.h"

/* What is trained of an example's tokens. */
typedef struct choice {
    const nib_example *x;
    size_t first; /* tokens from here on; SIZE_MAX: by spans */
    size_t next;  /* the first span that may hold the token at hand */
} choice;

/* Is token i trained?  Tokens come in the text's order. */
static bool is_trained(choice *c, const nib_token *t, size_t i)
{
    const nib_example *x = c->x;

    if (t->added_by_template) return false;
    if (c->first != SIZE_MAX) return i >= c->first;
    while (c->next < x->span_count && x->spans[c->next].end <= t->begin) c->next++;
    if (c->next == x->span_count) return false;
    return x->spans[c->next].begin <= t->begin || (x->rendered && x->spans[c->next].begin < t->end);
}

size_t nib_data_prompt_bytes(const nib_example *x)
{
    bool alone = !x->empty && !x->rendered && x->has_prompt && x->span_count;

    return alone ? x->spans[0].begin : 0;
}

/* The prompt was tokenized by itself as well: byte ranges do not tell, for a tokenizer may trim
 * them, compose characters or cut blanks by what follows them. */
static nib_status choose(nib_data_reader *r, const nib_waiting *w, choice *c, nib_error *err)
{
    const nib_tokens *whole = &w->text->tokens, *prompt = &w->prompt->tokens;
    size_t same = 0, own = 0;

    *c = (choice){ &w->example, SIZE_MAX, 0 };
    if (!nib_data_prompt_bytes(&w->example)) return NIB_OK;
    if (w->prompt->status) {
        *err = w->prompt->err;
        return nib_fail_in(err, w->prompt->status, "%s", w->where);
    }
    while (same < prompt->count && same < whole->count &&
           prompt->items[same].id == whole->items[same].id)
        same++;
    c->first = same;
    for (size_t i = same; i < prompt->count; i++) own += !prompt->items[i].added_by_template;
    r->d->counts.split += own > 0;
    return NIB_OK;
}

/* A shape with a prompt must leave something untrained and something trained: all or nothing is a
 * mistake in the record or in the template.  Before truncation. */
static nib_status check_share(nib_data_reader *r, const nib_waiting *w, choice c, nib_error *err)
{
    const nib_tokens *tokens = &w->text->tokens;
    size_t trained = 0, own = 0;

    for (size_t i = 0; i < tokens->count; i++) {
        own += !tokens->items[i].added_by_template;
        trained += is_trained(&c, &tokens->items[i], i);
    }
    if (!w->example.has_prompt || (trained && trained < own)) return NIB_OK;
    /* all: the prompt is a part of the first token; none: the completion adds no token, the end
     * token is left */
    if (c.first != SIZE_MAX) return NIB_OK;
    if (trained)
        return nib_fail(
            err, NIB_E_FORMAT,
            "%s: all %zu tokens would be trained, though the shape (%s) gives a prompt that is "
            "not: is it empty?",
            w->where, own, nib_shape_name(r->shaper.shape));
    return nib_fail(err, NIB_E_FORMAT, "%s: none of its %zu tokens would be trained", w->where,
                    own);
}

/* Does the text end with the end token? */
static bool is_ended(const nib_data_reader *r, const nib_waiting *w)
{
    size_t n = w->text->tokens.count;
    int64_t eos = nib_tokenizer_eos(r->in->tokenizer);

    return n && eos >= 0 && w->text->tokens.items[n - 1].id == (uint32_t)eos;
}

/* With the end token that it is given. */
static size_t whole_length(const nib_data_reader *r, const nib_waiting *w)
{
    size_t n = w->text->tokens.count;
    bool given = n && !w->example.rendered && nib_tokenizer_eos(r->in->tokenizer) >= 0 &&
                 !is_ended(r, w);

    return n + given;
}

/* The end token where it is missing.  A record that fills the limit without it is cut as well. */
static nib_status end_text(nib_data_reader *r, const nib_waiting *w, bool cut, nib_error *err)
{
    size_t n = w->text->tokens.count;
    int64_t eos = nib_tokenizer_eos(r->in->tokenizer);

    if (cut)
        r->d->counts.truncated++;
    else if (w->example.rendered || eos < 0 || n == 0)
        return NIB_OK;
    else if (!is_ended(r, w))
        return nib_data_add_token(r, w->where, eos, true, err);
    else
        r->d->trained[r->d->used - 1] = 1; /* an end token that was there is trained as well */
    return NIB_OK;
}

nib_status nib_data_add_text(nib_data_reader *r, const nib_waiting *w, nib_error *err)
{
    const nib_tokens *tokens = &w->text->tokens;
    size_t limit = nib_data_limit(r);
    bool cut;
    choice c;
    nib_status status;

    if (w->example.empty) return nib_data_end_record(r, w->where, false, err);
    if (!r->in->tokenizer)
        return r->fatal = true, nib_tokenizer_missing(r->in->model_dir, err);
    if (w->text->status) {
        *err = w->text->err;
        return nib_fail_in(err, w->text->status, "%s", w->where);
    }
    r->d->counts.had_bos += w->text->had_bos;
    status = choose(r, w, &c, err);
    if (!status) status = check_share(r, w, c, err);
    cut = !status && whole_length(r, w) > limit;
    if (cut && nib_data_is_too_long(r, whole_length(r, w))) return NIB_OK;
    for (size_t i = 0; i < nib_min(tokens->count, limit) && !status; i++) {
        const nib_token *t = &tokens->items[i];
        status = nib_data_add_token(r, w->where, t->id, is_trained(&c, t, i), err);
    }
    if (!status) status = end_text(r, w, cut, err);
    return status ? status : nib_data_end_record(r, w->where, cut, err);
}

/* One stream of tokens, cut into windows; everything is trained, no end token is added. */
nib_status nib_data_add_stream(nib_data_reader *r, const json_t *record, const char *where,
                               nib_error *err)
{
    const json_t *text = json_object_get(record, "text");
    size_t window = nib_data_window(r);
    nib_tokens tokens = { 0 };
    nib_status status;

    r->fatal = true;
    r->d->shape = r->shaper.shape = NIB_SHAPE_STREAM;
    if (!r->in->tokenizer)
        return nib_tokenizer_missing(r->in->model_dir, err);
    status = nib_tokenizer_encode(r->in->tokenizer, json_string_value(text),
                                  json_string_length(text), true, &tokens, NULL, err);
    if (status) nib_fail_in(err, status, "%s", where);
    for (size_t i = 0; i < tokens.count && !status; i++) {
        status = nib_data_add_token(r, where, tokens.items[i].id, true, err);
        if (!status && ((i + 1) % window == 0 || i + 1 == tokens.count)) {
            r->d->counts.records++;
            status = nib_data_end_record(r, where, false, err);
        }
    }
    nib_tokens_free(r->ctx, &tokens);
    return status;
}
