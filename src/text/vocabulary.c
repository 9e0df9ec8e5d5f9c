/* vocabulary.c - tokenizer.json's model: BPE's vocabulary and merges, WordPiece's and WordLevel's
 * vocabulary (formats.md 11.3, 11.6); Unigram's is in unigram.c. */
#include "format/json.h"
#include "text/parts.h"
#include "text/schema.h"
#include "text/utf8.h"

static nib_status no_memory(const char *where, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
}

static size_t greatest_id(const json_t *vocab)
{
    const char *key;
    json_t *value;
    json_int_t most = -1;

    json_object_foreach((json_t *)(uintptr_t)vocab, key,
                        value) if (json_is_integer(value) && json_integer_value(value) > most)
        most = json_integer_value(value);
    return most < 0 ? 0 : (size_t)most;
}

static nib_status load_vocabulary(nib_tokenizer *t, const json_t *vocab, const char *where,
                                  nib_error *err)
{
    const char *key;
    json_t *value;
    nib_status status = nib_ids_init(t, greatest_id(vocab) + 1, where, err);

    if (status) return status;
    t->vocabulary_size = json_object_size(vocab);
    json_object_foreach((json_t *)(uintptr_t)vocab, key, value) {
        json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;

        if (id < 0)
            return nib_fail(err, NIB_E_FORMAT, "%s: model.vocab: token '%s' has no id from 0 on",
                            where, key);
        if (t->tokens[id])
            return nib_fail(err, NIB_E_FORMAT,
                            "%s: model.vocab: '%s' and '%s' both have id %" JSON_INTEGER_FORMAT,
                            where, t->tokens[id], key, id);
        t->tokens[id] = key;
        if (!nib_words_put(t->ctx, &t->vocabulary, key, strlen(key), (uint32_t)id))
            return no_memory(where, err);
    }
    return NIB_OK;
}

/* One merge, ["a", "b"] or "a b": both and their concatenation must be in the vocabulary. */
static nib_status load_merge(nib_tokenizer *t, const json_t *j, size_t rank, const char *where,
                             nib_error *err)
{
    size_t skipped = t->prefix_characters;
    const char *left, *right, *both = json_string_value(j);
    size_t left_bytes, right_bytes;
    char joined[2048];
    int64_t l, r, id;

    if (json_is_array(j) && json_array_size(j) == 2) {
        left = json_string_value(json_array_get(j, 0));
        right = json_string_value(json_array_get(j, 1));
        if (!left || !right)
            return nib_fail(err, NIB_E_FORMAT, "%s: merge %zu is not two strings", where, rank);
        left_bytes = strlen(left);
    } else if (both && strchr(both, ' ')) {
        left = both;
        left_bytes = (size_t)(strchr(both, ' ') - both);
        right = both + left_bytes + 1;
    } else {
        return nib_fail(err, NIB_E_FORMAT, "%s: merge %zu is neither a pair nor \"a b\"", where,
                        rank);
    }
    right_bytes = strlen(right);
    if (left_bytes + right_bytes > sizeof joined || right_bytes < skipped)
        return nib_fail(err, NIB_E_FORMAT, "%s: merge %zu is too %s", where, rank,
                        right_bytes < skipped ? "short for continuing_subword_prefix" : "long");
    memcpy(joined, left, left_bytes);
    memcpy(joined + left_bytes, right + skipped, right_bytes - skipped);
    l = nib_words_get(&t->vocabulary, left, left_bytes);
    r = nib_words_get(&t->vocabulary, right, right_bytes);
    id = nib_words_get(&t->vocabulary, joined, left_bytes + right_bytes - skipped);
    if (l < 0 || r < 0 || id < 0)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: merge %zu, '%.*s' and '%s': not all in the vocabulary", where, rank,
                        (int)left_bytes, left, right);
    nib_merges_put(&t->merges,
                   (nib_merge){ (uint32_t)l, (uint32_t)r, (uint32_t)rank, (uint32_t)id });
    return NIB_OK;
}

/* --- the models --- */

static nib_status read_affixes(nib_tokenizer *t, const json_t *model, const char *where,
                               nib_error *err)
{
    nib_status status = nib_json_get_string(model, where, "continuing_subword_prefix",
                                            &t->bpe_prefix, err);

    if (!status)
        status = nib_json_get_string(model, where, "end_of_word_suffix", &t->bpe_suffix, err);
    if (status) return status;
    if (t->bpe_prefix && !*t->bpe_prefix) t->bpe_prefix = NULL;
    if (t->bpe_suffix && !*t->bpe_suffix) t->bpe_suffix = NULL;
    for (const char *p = t->bpe_prefix; p && *p; p += nib_utf8_length(*p)) t->prefix_characters++;
    if (strlen(t->bpe_prefix ? t->bpe_prefix : "") + strlen(t->bpe_suffix ? t->bpe_suffix : "") >
        NIB_MOST_AFFIXES)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: continuing_subword_prefix and end_of_word_suffix of more than %d "
                        "bytes", where, NIB_MOST_AFFIXES);
    return NIB_OK;
}

static nib_status load_bpe(nib_tokenizer *t, const json_t *model, const char *where, nib_error *err)
{
    const json_t *merges = json_object_get(model, "merges");
    double dropout = 0;
    nib_status status;

    t->kind = NIB_MODEL_BPE;
    if ((status = nib_schema_check(model, where, "model",
                                   "type:s? dropout:n?~ unk_token:s?~ "
                                   "continuing_subword_prefix:s?~ end_of_word_suffix:s?~ "
                                   "fuse_unk:b?~ byte_fallback:b?~ ignore_merges:b?~ vocab:o "
                                   "merges:a", err)) ||
        (status = load_vocabulary(t, json_object_get(model, "vocab"), where, err)) ||
        (status = nib_json_get_bool(model, where, "byte_fallback", &t->byte_fallback, err)) ||
        (status = nib_json_get_bool(model, where, "fuse_unk", &t->fuse_unk, err)) ||
        (status = nib_json_get_bool(model, where, "ignore_merges", &t->ignore_merges, err)) ||
        (status = nib_json_get_string(model, where, "unk_token", &t->unk_name, err)) ||
        (status = nib_json_get_float(model, where, "dropout", &dropout, err)) ||
        (status = read_affixes(t, model, where, err)))
        return status;
    if (!(dropout >= 0 && dropout <= 1))
        return nib_fail(err, NIB_E_FORMAT, "%s: model: dropout is %g, expected 0 to 1", where,
                        dropout);
    if (dropout > 0)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: model: dropout is %g: the tokenizers library then leaves out merges "
                        "at random in every text, also when it is not training; set it to null",
                        where, dropout);
    if (t->unk_name) t->unk = nib_words_get(&t->vocabulary, t->unk_name, strlen(t->unk_name));
    nib_byte_ids_find(t);
    if (!nib_merges_init(t->ctx, &t->merges, json_array_size(merges))) return no_memory(where, err);
    for (size_t i = 0; i < json_array_size(merges) && !status; i++)
        status = load_merge(t, json_array_get(merges, i), i, where, err);
    return status;
}

static nib_status load_wordpiece(nib_tokenizer *t, const json_t *model, const char *where,
                                 nib_error *err)
{
    const char *prefix = "";
    int64_t most = 0;
    nib_status status;

    t->kind = NIB_MODEL_WORDPIECE;
    if ((status = nib_schema_check(model, where, "model",
                                   "type:s? unk_token:s continuing_subword_prefix:s "
                                   "max_input_chars_per_word:u vocab:o", err)) ||
        (status = load_vocabulary(t, json_object_get(model, "vocab"), where, err)) ||
        (status = nib_json_get_string(model, where, "unk_token", &t->unk_name, err)) ||
        (status = nib_json_get_string(model, where, "continuing_subword_prefix", &prefix, err)) ||
        (status = nib_json_get_int(model, where, "max_input_chars_per_word", 0, INT32_MAX, &most,
                                   err)))
        return status;
    t->most_characters = (size_t)most;
    t->unk = nib_words_get(&t->vocabulary, t->unk_name, strlen(t->unk_name));
    return nib_wordpiece_ready(t, prefix, err);
}

static nib_status load_wordlevel(nib_tokenizer *t, const json_t *model, const char *where,
                                 nib_error *err)
{
    nib_status status;

    t->kind = NIB_MODEL_WORDLEVEL;
    if ((status = nib_schema_check(model, where, "model", "type:s? vocab:o unk_token:s", err)) ||
        (status = load_vocabulary(t, json_object_get(model, "vocab"), where, err)) ||
        (status = nib_json_get_string(model, where, "unk_token", &t->unk_name, err)))
        return status;
    t->unk = nib_words_get(&t->vocabulary, t->unk_name, strlen(t->unk_name));
    return NIB_OK;
}

nib_status nib_model_load(nib_tokenizer *t, const json_t *model, const char *where, nib_error *err)
{
    const char *type = json_string_value(json_object_get(model, "type"));

    if (!json_is_object(model)) return nib_fail(err, NIB_E_FORMAT, "%s: model is missing", where);
    if (!type) /* old files: by what is there */
        type = json_object_get(model, "merges")                     ? "BPE"
               : json_object_get(model, "max_input_chars_per_word") ? "WordPiece"
               : json_object_get(model, "unk_token")                ? "WordLevel"
               : json_is_array(json_object_get(model, "vocab"))     ? "Unigram"
                                                                    : "without a type";
    if (strcmp(type, "BPE") == 0) return load_bpe(t, model, where, err);
    if (strcmp(type, "WordPiece") == 0) return load_wordpiece(t, model, where, err);
    if (strcmp(type, "WordLevel") == 0) return load_wordlevel(t, model, where, err);
    if (strcmp(type, "Unigram") == 0) return nib_unigram_load(t, model, where, err);
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "%s: model '%s'; known: BPE, WordPiece, WordLevel, Unigram", where, type);
}
