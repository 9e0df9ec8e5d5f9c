/* tokenizer_open.c - opening tokenizer.json and tokenizer_config.json (formats.md 11). */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/filemap.h"
#include "format/json.h"
#include "text/tokenizer_parse.h"
#include "text/parts.h"
#include "text/schema.h"
#include "text/utf8.h"

/* --- vocabulary and merges --- */

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

    t->size = t->id_capacity = greatest_id(vocab) + 1;
    if (t->size > NIB_MOST_IDS)
        return nib_fail(err, NIB_E_FORMAT, "%s: an id of %zu", where, t->size - 1);
    t->tokens = nib_new_array(t->ctx, t->size, sizeof *t->tokens);
    t->special = nib_new_array(t->ctx, t->size, 1);
    t->is_added = nib_new_array(t->ctx, t->size, 1);
    if (!t->tokens || !t->special || !t->is_added ||
        !nib_words_init(t->ctx, &t->vocabulary, json_object_size(vocab)))
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
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
            return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    }
    return NIB_OK;
}

/* One merge, ["a", "b"] or "a b": both and their concatenation must be in the vocabulary. */
static nib_status load_merge(nib_tokenizer *t, const json_t *j, size_t rank, const char *where,
                             nib_error *err)
{
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
    if (left_bytes + right_bytes > sizeof joined)
        return nib_fail(err, NIB_E_FORMAT, "%s: merge %zu is too long", where, rank);
    memcpy(joined, left, left_bytes);
    memcpy(joined + left_bytes, right, right_bytes);
    l = nib_words_get(&t->vocabulary, left, left_bytes);
    r = nib_words_get(&t->vocabulary, right, right_bytes);
    id = nib_words_get(&t->vocabulary, joined, left_bytes + right_bytes);
    if (l < 0 || r < 0 || id < 0)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: merge %zu, '%.*s' and '%s': not all in the vocabulary", where, rank,
                        (int)left_bytes, left, right);
    nib_merges_put(&t->merges,
                   (nib_merge){ (uint32_t)l, (uint32_t)r, (uint32_t)rank, (uint32_t)id });
    return NIB_OK;
}

static nib_status load_model(nib_tokenizer *t, const char *where, nib_error *err)
{
    const json_t *model = json_object_get(t->json, "model"), *merges;
    const char *type = json_string_value(json_object_get(model, "type")), *unk = NULL, *text = NULL;
    double dropout = 0;
    nib_status status;

    if (!json_is_object(model)) return nib_fail(err, NIB_E_FORMAT, "%s: model is missing", where);
    merges = json_object_get(model, "merges");
    if ((type && strcmp(type, "BPE") != 0) || (!type && !merges))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: model '%s', known is BPE", where,
                        type ? type : "without merges");
    if ((status = nib_schema_check(model, where, "model",
                                   "type:s? dropout:n?~ unk_token:s?~ "
                                   "continuing_subword_prefix:s?~ end_of_word_suffix:s?~ "
                                   "fuse_unk:b?~ byte_fallback:b?~ ignore_merges:b?~ vocab:o "
                                   "merges:a", err)) ||
        (status = load_vocabulary(t, json_object_get(model, "vocab"), where, err)) ||
        (status = nib_json_get_bool(model, where, "byte_fallback", &t->byte_fallback, err)) ||
        (status = nib_json_get_bool(model, where, "fuse_unk", &t->fuse_unk, err)) ||
        (status = nib_json_get_bool(model, where, "ignore_merges", &t->ignore_merges, err)) ||
        (status = nib_json_get_string(model, where, "unk_token", &unk, err)) ||
        (status = nib_json_get_float(model, where, "dropout", &dropout, err)) ||
        (status = nib_json_get_string(model, where, "continuing_subword_prefix", &text, err)))
        return status;
    if (text && *text)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: continuing_subword_prefix '%s'", where, text);
    text = NULL;
    if ((status = nib_json_get_string(model, where, "end_of_word_suffix", &text, err)))
        return status;
    if (text && *text)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: end_of_word_suffix '%s'", where, text);
    if (dropout != 0) return nib_fail(err, NIB_E_UNSUPPORTED, "%s: BPE dropout %g", where, dropout);
    t->unk = unk ? nib_words_get(&t->vocabulary, unk, strlen(unk)) : -1;
    t->names_unk = unk != NULL;
    for (int i = 0; i < 256; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", i);
        t->byte_ids[i] = nib_words_get(&t->vocabulary, name, 6);
    }
    if (!nib_merges_init(t->ctx, &t->merges, json_array_size(merges)))
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    for (size_t i = 0; i < json_array_size(merges) && !status; i++)
        status = load_merge(t, json_array_get(merges, i), i, where, err);
    return status;
}

/* --- added tokens --- */

static nib_status load_added_one(nib_tokenizer *t, const json_t *j, const char *where,
                                 nib_error *err)
{
    nib_added a = { .text = json_string_value(json_object_get(j, "content")) };
    int64_t id = json_integer_value(json_object_get(j, "id")), given;
    nib_status status = nib_schema_check(j, where, "added_tokens",
                                         "id:u content:s single_word:b lstrip:b rstrip:b "
                                         "normalized:b special:b", err);

    if (status) return status;
    a.bytes = strlen(a.text);
    a.single_word = json_is_true(json_object_get(j, "single_word"));
    a.lstrip = json_is_true(json_object_get(j, "lstrip"));
    a.rstrip = json_is_true(json_object_get(j, "rstrip"));
    a.normalized = json_is_true(json_object_get(j, "normalized"));
    a.special = json_is_true(json_object_get(j, "special"));
    status = nib_added_put(t, a, where, &given, err);
    if (!status && given >= 0 && given != id)
        nib_warn(t->ctx,
                 "%s: added token '%s' has id %" PRId64 " there, but becomes %" PRId64
                 ", as in the tokenizers library",
                 where, a.text, id, given);
    return status;
}

static nib_status load_added(nib_tokenizer *t, const char *where, nib_error *err)
{
    const json_t *added = json_object_get(t->json, "added_tokens");
    nib_status status = NIB_OK;

    t->greatest_added = -1;
    for (size_t i = 0; i < json_array_size(added) && !status; i++)
        status = load_added_one(t, json_array_get(added, i), where, err);
    return status;
}

/* --- opening --- */

static const nib_special_tokens no_special_tokens = { .bos = { .id = -1 }, .pad = { .id = -1 },
                                                      .unk = { .id = -1 }, .eos = { .id = -1 } };

static nib_status load_all(nib_tokenizer *t, const char *where, nib_error *err)
{
    const char *version = "1.0";
    nib_status status;

    if (!json_is_object(t->json)) return nib_fail(err, NIB_E_FORMAT, "%s: not an object", where);
    if (!json_object_get(t->json, "model"))
        return nib_fail(err, NIB_E_FORMAT, "%s: model is missing", where);
    status = nib_schema_check(t->json, where, "the top level",
                              "version:s? truncation:o?~ padding:o?~ added_tokens:a? "
                              "normalizer:o?~ pre_tokenizer:o?~ post_processor:o?~ decoder:o?~ "
                              "model:o", err);
    if (!status) status = nib_json_get_string(t->json, where, "version", &version, err);
    if (status) return status;
    if (strcmp(version, "1.0") != 0)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: version '%s', expected 1.0", where, version);
    if ((status = load_model(t, where, err)) ||
        (status = nib_stages_load(t, json_object_get(t->json, "normalizer"), where, NIB_NORMALIZERS,
                                  &t->normalizers, err)) ||
        (status = nib_stages_load(t, json_object_get(t->json, "pre_tokenizer"), where,
                                  NIB_PRETOKENIZERS, &t->pretokenizers, err)) ||
        (status = nib_stages_load(t, json_object_get(t->json, "decoder"), where, NIB_DECODERS,
                                  &t->decoders, err)) ||
        (status = load_added(t, where, err)))
        return status;
    return nib_post_load(t, json_object_get(t->json, "post_processor"), where, err);
}

/* tokenizer.json's text, and what lies beside it in `dir` unless that is NULL. */
static nib_status open_text(nib_ctx *ctx, const char *json, size_t bytes, const char *where,
                            const char *dir, nib_tokenizer **out, nib_error *err)
{
    nib_tokenizer *t = nib_new(ctx, sizeof *t);
    nib_status status;

    if (!t) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    t->ctx = ctx;
    t->unk = -1;
    t->special_tokens = no_special_tokens;
    status = nib_pattern_open(t, err);
    if (!status) status = nib_json_parse(json, bytes, where, 0, &t->json, err);
    if (!status) status = load_all(t, where, err);
    if (!status && dir) status = nib_special_open(t, dir, err);
    if (!status) status = nib_added_ready(t, err);
    if (status) goto done;
    *out = t;
    t = NULL; /* handed over */
done:
    nib_tokenizer_close(t);
    return status;
}

nib_status nib_tokenizer_parse(nib_ctx *ctx, const char *json, size_t bytes, const char *where,
                               nib_tokenizer **out, nib_error *err)
{
    return open_text(ctx, json, bytes, where, NULL, out, err);
}

static bool has_file(const char *dir, const char *name)
{
    char path[PATH_MAX];

    return snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path &&
           nib_file_exists(path);
}

bool nib_tokenizer_exists(const char *dir) { return has_file(dir, "tokenizer.json"); }

nib_status nib_tokenizer_missing(const char *dir, nib_error *err)
{
    static const char *const others[] = { "tokenizer.model", "spiece.model", "vocab.json",
                                          "vocab.txt", "tekken.json", "tiktoken.model" };
    const char *found = NULL;

    for (size_t i = 0; i < NIB_COUNT(others) && !found; i++)
        if (has_file(dir, others[i])) found = others[i];
    if (!found)
        return nib_fail(err, NIB_E_IO, "%s: there is no tokenizer.json, and no other tokenizer",
                        dir);
    return nib_fail(
        err, NIB_E_UNSUPPORTED,
        "%s: there is no tokenizer.json, only %s%s, which is not read; to convert it: python -c "
        "\"from transformers import AutoTokenizer as A; "
        "A.from_pretrained('%s').save_pretrained('%s')\"",
        dir, found,
        strcmp(found, "vocab.json") == 0 && has_file(dir, "merges.txt") ? " and merges.txt"
                                                                               : "",
        dir, dir);
}

nib_status nib_tokenizer_open(nib_ctx *ctx, const char *dir, nib_tokenizer **out, nib_error *err)
{
    char *path, *text = NULL;
    size_t bytes;
    nib_status status;

    path = nib_sprintf(ctx, "%s/tokenizer.json", dir);
    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    status = nib_file_exists(path) ? NIB_OK : nib_tokenizer_missing(dir, err);
    if (!status) status = nib_file_read(ctx, path, 512u << 20, &text, &bytes, err);
    if (!status) status = open_text(ctx, text, bytes, path, dir, out, err);
    nib_free(ctx, text);
    nib_free(ctx, path);
    return status;
}
