/* tokenizer.c - an opened tokenizer: what it knows of its tokens, and its end. */
#include "text/parts.h"

static void free_read(nib_tokenizer *t)
{
    nib_stages_free(t, &t->normalizers);
    nib_stages_free(t, &t->pretokenizers);
    nib_stages_free(t, &t->decoders);
    for (size_t i = 0; i < t->added_count; i++) nib_free(t->ctx, t->added[i].normal);
    nib_free(t->ctx, t->added);
    nib_free(t->ctx, t->added_words.slots);
    for (size_t i = 0; i < NIB_COUNT(t->contents); i++) nib_free(t->ctx, t->contents[i].items);
    nib_free(t->ctx, t->vocabulary.slots);
    nib_free(t->ctx, t->merges.slots);
    nib_trie_free(t->ctx, &t->pieces);
    nib_trie_free(t->ctx, &t->later);
    nib_free(t->ctx, t->scores);
    nib_free(t->ctx, t->tokens);
    nib_free(t->ctx, t->special);
    nib_free(t->ctx, t->is_added);
    json_decref(t->json);
    json_decref(t->named);
    for (size_t i = 0; i < NIB_SPECIAL_FILES; i++) json_decref(t->files[i]);
}

void nib_tokenizer_close(nib_tokenizer *t)
{
    if (!t) return;
    for (size_t i = 0; i < t->sharer_count; i++) nib_tokenizer_close(t->sharers[i]);
    nib_free(t->ctx, t->sharers);
    if (!t->shared) free_read(t);
    pcre2_match_data_free(t->match);
    pcre2_match_context_free(t->match_context);
    pcre2_general_context_free(t->pcre);
    nib_work_free(t->ctx, &t->work);
    nib_work_free(t->ctx, &t->other);
    nib_free(t->ctx, t->symbols);
    nib_free(t->ctx, t->heap);
    nib_free(t->ctx, t->lattice);
    nib_free(t->ctx, t);
}

const nib_special_tokens *nib_tokenizer_special(const nib_tokenizer *t)
{
    return &t->special_tokens;
}
int64_t nib_tokenizer_bos(const nib_tokenizer *t) { return t->special_tokens.bos.id; }
int64_t nib_tokenizer_eos(const nib_tokenizer *t) { return t->special_tokens.eos.id; }
size_t nib_tokenizer_size(const nib_tokenizer *t) { return t->size; }
const char *nib_tokenizer_token(const nib_tokenizer *t, uint32_t id)
{
    return id < t->size ? t->tokens[id] : NULL;
}
const json_t *nib_tokenizer_named(const nib_tokenizer *t) { return t->named; }
bool nib_tokenizer_cleans_up(const nib_tokenizer *t) { return t->cleans_up; }
bool nib_tokenizer_is_special(const nib_tokenizer *t, uint32_t id)
{
    return id < t->size && t->special[id];
}

int64_t nib_tokenizer_find(const nib_tokenizer *t, const char *content)
{
    int64_t at = nib_words_get(&t->added_words, content, strlen(content));

    return at >= 0 ? (int64_t)t->added[at].id
                   : nib_words_get(&t->vocabulary, content, strlen(content));
}
