/* gguf_unigram.c - unigram vocabularies in GGUF (tokenizer.ggml.model t5): pieces with scores, and
 * SentencePiece's compiled normalization as it lies in its model. */
#include <math.h>

#include "text/charsmap.h"
#include "text/gguf_tokenizer.h"

#define MARK "\xe2\x96\x81" /* U+2581, SentencePiece's space */

/* Pieces, without the rows behind them that pad the embedding: their scores would count as the
 * least of a piece, from which that of what is unknown follows. */
static size_t count_pieces(const nib_gguf_vocabulary *v)
{
    size_t count = v->count;

    while (count && nib_gguf_token_type(v, count - 1) == NIB_GGUF_UNUSED) count--;
    return count;
}

json_t *nib_gguf_unigram_model(const nib_gguf_vocabulary *v)
{
    int64_t unknown = nib_gguf_token_id(v, "unknown", 2);
    json_t *list = json_array();
    size_t count = count_pieces(v);

    for (size_t i = 0; list && i < count; i++) {
        double score = 0;
        json_t *text = json_stringn(v->tokens[i].at, v->tokens[i].bytes);
        nib_gguf_number(v->scores, i, &score);
        if (!text || json_array_append_new(list, json_pack("[o, f]", text, score))) {
            json_decref(list);
            return NULL;
        }
    }
    return json_pack("{s:s, s:o, s:o, s:b}", "type", "Unigram", "unk_id",
                     unknown >= 0 ? json_integer(unknown) : json_null(), "vocab", list,
                     "byte_fallback", 0);
}

/* The compiled normalization; NULL: there is none, or no memory (*failed). */
static json_t *precompiled(const nib_gguf_vocabulary *v, bool *failed)
{
    const nib_gguf_value *map = nib_gguf_find(v->keys, "tokenizer.ggml.precompiled_charsmap");
    char *text;
    json_t *stage;

    if (!map || !map->count) return NULL;
    text = nib_charsmap_to_base64(v->ctx, map->at, map->bytes);
    stage = text ? json_pack("{s:s, s:s}", "type", "Precompiled", "precompiled_charsmap", text)
                 : NULL;
    nib_free(v->ctx, text);
    *failed |= !stage;
    return stage;
}

json_t *nib_gguf_unigram_normalizer(const nib_gguf_vocabulary *v)
{
    bool failed = false;
    json_t *list = json_array(), *map = precompiled(v, &failed);

    if (map) failed |= json_array_append_new(list, map) != 0;
    if (nib_gguf_token_flag(v, "remove_extra_whitespaces", false)) {
        failed |= json_array_append_new(list, json_pack("{s:s, s:b, s:b}", "type", "Strip",
                                                        "strip_left", 0, "strip_right", 1)) != 0;
        failed |= json_array_append_new(list, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace",
                                                        "pattern", "Regex", " {2,}", "content",
                                                        MARK)) != 0;
    }
    if (failed) {
        json_decref(list);
        return NULL;
    }
    if (json_array_size(list))
        return json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", list);
    json_decref(list);
    return json_null();
}

json_t *nib_gguf_unigram_space(const nib_gguf_vocabulary *v)
{
    bool prefix = nib_gguf_token_flag(v, "add_space_prefix", true);

    return json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement", MARK,
                     "prepend_scheme", prefix ? "always" : "never", "split", 1);
}

nib_status nib_gguf_unigram_check(const nib_gguf_vocabulary *v, nib_error *err)
{
    const nib_gguf_value *map = nib_gguf_find(v->keys, "tokenizer.ggml.precompiled_charsmap");

    if (!v->scores)
        return nib_fail(err, NIB_E_FORMAT, "%s: tokenizer.ggml.scores is missing", v->where);
    if (map && (map->kind != NIB_GGUF_ARRAY ||
                (map->count && map->entry != NIB_GGUF_U8 && map->entry != NIB_GGUF_I8)))
        return nib_fail(err, NIB_E_FORMAT, "%s: tokenizer.ggml.precompiled_charsmap is no array of "
                        "bytes", v->where);
    for (size_t i = 0; i < v->count; i++) {
        double score = 0;
        json_t *text = json_stringn(v->tokens[i].at, v->tokens[i].bytes);
        if (!text)
            return nib_fail(err, NIB_E_FORMAT, "%s: token %zu, '%.*s', is not valid UTF-8",
                            v->where, i, (int)nib_min(v->tokens[i].bytes, 60), v->tokens[i].at);
        json_decref(text);
        if (!nib_gguf_number(v->scores, i, &score) || !isfinite(score))
            return nib_fail(err, NIB_E_FORMAT, "%s: tokenizer.ggml.scores: %g of token %zu, "
                            "'%.*s', is no finite number", v->where, score, i,
                            (int)nib_min(v->tokens[i].bytes, 60), v->tokens[i].at);
    }
    return NIB_OK;
}
