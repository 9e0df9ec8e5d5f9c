/* wordlevel.c - WordLevel of one word: the whole of it is in the vocabulary, or it is unknown. */
#include "text/parts.h"

nib_status nib_wordlevel(nib_tokenizer *t, nib_range piece, nib_tokens *out, nib_error *err)
{
    int64_t id = nib_words_get(&t->vocabulary, t->work.text + piece.begin,
                               piece.end - piece.begin);

    if (id < 0) id = t->unk;
    if (id < 0)
        return nib_fail(err, NIB_E_FORMAT,
                        "tokenizer.json: a word is not in the vocabulary, and neither is the "
                        "model's unk_token '%s'", t->unk_name);
    return nib_emit(t, (uint32_t)id, piece.begin, piece.end, out, err);
}
