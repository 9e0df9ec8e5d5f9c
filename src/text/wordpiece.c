/* wordpiece.c - WordPiece of one word: from the left the longest piece of the vocabulary, those
 * after the first with a prefix; a word of which a part is in no piece is unknown as a whole
 * (formats-encoder.md 10.3; Wu et al. 2016). */
#include "text/parts.h"
#include "text/utf8.h"

nib_status nib_wordpiece_ready(nib_tokenizer *t, const char *prefix, nib_error *err)
{
    size_t n = strlen(prefix), count = 0;
    nib_trie_key *keys = nib_new_array(t->ctx, nib_max(t->size, 1), sizeof *keys);
    nib_status status = NIB_OK;

    if (!keys) return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
    for (size_t i = 0; i < t->size; i++)
        if (t->tokens[i])
            keys[count++] = (nib_trie_key){ t->tokens[i], (uint32_t)strlen(t->tokens[i]),
                                            (int32_t)i };
    status = nib_trie_build(t->ctx, keys, count, &t->pieces, err);
    count = 0;
    for (size_t i = 0; i < t->size && !status; i++)
        if (t->tokens[i] && strncmp(t->tokens[i], prefix, n) == 0)
            keys[count++] = (nib_trie_key){ t->tokens[i] + n, (uint32_t)strlen(t->tokens[i] + n),
                                            (int32_t)i };
    if (!status) status = nib_trie_build(t->ctx, keys, count, &t->later, err);
    nib_free(t->ctx, keys);
    return status;
}

static bool is_too_long(const nib_tokenizer *t, nib_range piece)
{
    size_t bytes = piece.end - piece.begin;

    return bytes > t->most_characters &&
           nib_utf8_count(t->work.text + piece.begin, bytes) > t->most_characters;
}

/* The longest piece that begins at *at, which moves behind it; -1: none. */
static int32_t longest(const nib_tokenizer *t, const nib_trie *trie, size_t *at, size_t end)
{
    int32_t id = -1;
    uint32_t s = 0;

    for (size_t i = *at; i < end && (s = nib_trie_next(trie, s, (uint8_t)t->work.text[i])); i++)
        if (trie->units[s].value >= 0) {
            id = trie->units[s].value;
            *at = i + 1;
        }
    return id;
}

nib_status nib_wordpiece(nib_tokenizer *t, nib_range piece, nib_tokens *out, nib_error *err)
{
    size_t first = out->count;
    bool known = !is_too_long(t, piece);
    nib_status status = NIB_OK;

    for (size_t at = piece.begin; at < piece.end && known && !status;) {
        size_t begin = at;
        int32_t id = longest(t, begin == piece.begin ? &t->pieces : &t->later, &at, piece.end);

        known = id >= 0;
        if (known) status = nib_emit(t, (uint32_t)id, begin, at, out, err);
    }
    if (known || status) return status;
    out->count = first;
    if (t->unk < 0)
        return nib_fail(err, NIB_E_FORMAT,
                        "tokenizer.json: a word is not in the vocabulary, and neither is the "
                        "model's unk_token '%s'", t->unk_name);
    return nib_emit(t, (uint32_t)t->unk, piece.begin, piece.end, out, err);
}
