/* tokenizer.c - opening tokenizer.json and tokenizer_config.json (formats.md 11). */
#include <stdio.h>
#include <stdlib.h>

#include "base/filemap.h"
#include "format/json.h"
#include "text/tokenizer_parse.h"
#include "text/parts.h"
#include "text/utf8.h"

enum { MOST_IDS = 1 << 24 };

/* --- PCRE2's memory through the context --- */

static void *pcre_alloc(PCRE2_SIZE bytes, void *user) { return nib_alloc(user, bytes); }
static void pcre_free(void *p, void *user) { nib_free(user, p); }

static nib_status open_pcre(nib_tokenizer *t, nib_error *err)
{
    t->pcre = pcre2_general_context_create(pcre_alloc, pcre_free, t->ctx);
    t->match_context = t->pcre ? pcre2_match_context_create(t->pcre) : NULL;
    t->match = t->pcre ? pcre2_match_data_create(4, t->pcre) : NULL;
    if (!t->match_context || !t->match)
        return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
    pcre2_set_match_limit(t->match_context, 10000000);
    pcre2_set_depth_limit(t->match_context, 10000);
    pcre2_set_heap_limit(t->match_context, 64 << 10);
    return NIB_OK;
}

/* --- vocabulary and merges --- */

static nib_status set_token(nib_tokenizer *t, const char *where, const char *text, int64_t id,
                            nib_error *err)
{
    if (id < 0 || id >= MOST_IDS)
        return nib_fail(err, NIB_E_FORMAT, "%s: token '%s' has id %" PRId64, where, text, id);
    if ((size_t)id >= t->size)
        return nib_fail(err, NIB_E_FORMAT, "%s: id %" PRId64 " out of place", where, id);
    t->tokens[id] = text;
    return NIB_OK;
}

static size_t greatest_id(const json_t *vocab, const json_t *added)
{
    const char *key;
    json_t *value;
    json_int_t most = -1;

    json_object_foreach((json_t *)vocab, key,
                        value) if (json_is_integer(value) && json_integer_value(value) > most)
        most = json_integer_value(value);
    for (size_t i = 0; i < json_array_size(added); i++) {
        json_int_t id = json_integer_value(json_object_get(json_array_get(added, i), "id"));
        if (id > most) most = id;
    }
    return most < 0 ? 0 : (size_t)most;
}

static nib_status load_vocabulary(nib_tokenizer *t, const json_t *vocab, const char *where,
                                  nib_error *err)
{
    const json_t *added = json_object_get(t->json, "added_tokens");
    const char *key;
    json_t *value;

    if (!json_is_object(vocab))
        return nib_fail(err, NIB_E_FORMAT, "%s: model.vocab is not an object", where);
    t->size = greatest_id(vocab, added) + 1;
    if (t->size > MOST_IDS)
        return nib_fail(err, NIB_E_FORMAT, "%s: an id of %zu", where, t->size - 1);
    t->tokens = nib_new_array(t->ctx, t->size, sizeof *t->tokens);
    t->special = nib_new_array(t->ctx, t->size, 1);
    t->is_added = nib_new_array(t->ctx, t->size, 1);
    if (!t->tokens || !t->special || !t->is_added ||
        !nib_words_init(t->ctx, &t->vocabulary, json_object_size(vocab)))
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    json_object_foreach((json_t *)vocab, key, value) {
        nib_status status;
        if (!json_is_integer(value))
            return nib_fail(err, NIB_E_FORMAT, "%s: token '%s' has no integer id", where, key);
        status = set_token(t, where, key, json_integer_value(value), err);
        if (status) return status;
        nib_words_put(&t->vocabulary, key, strlen(key), (uint32_t)json_integer_value(value));
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
    if ((type && strcmp(type, "BPE") != 0) || !json_is_array(merges))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: model '%s', known is BPE", where,
                        type ? type : "without merges");
    if ((status = load_vocabulary(t, json_object_get(model, "vocab"), where, err)) ||
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

static int longer_first(const void *a, const void *b)
{
    const nib_added *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static nib_status load_added_one(nib_tokenizer *t, const json_t *j, const char *where, nib_added *a,
                                 nib_error *err)
{
    int64_t id = -1;
    nib_status status;

    if ((status = nib_json_get_int(j, where, "id", 0, MOST_IDS - 1, &id, err)) ||
        (status = nib_json_get_string(j, where, "content", &a->text, err)) ||
        (status = nib_json_get_bool(j, where, "single_word", &a->single_word, err)) ||
        (status = nib_json_get_bool(j, where, "lstrip", &a->lstrip, err)) ||
        (status = nib_json_get_bool(j, where, "rstrip", &a->rstrip, err)) ||
        (status = nib_json_get_bool(j, where, "normalized", &a->normalized, err)) ||
        (status = nib_json_get_bool(j, where, "special", &a->special, err)))
        return status;
    if (id < 0 || !a->text || !*a->text)
        return nib_fail(err, NIB_E_FORMAT, "%s: an added token without id or content", where);
    a->id = (uint32_t)id;
    a->bytes = strlen(a->text);
    t->special[id] = a->special;
    t->is_added[id] = 1;
    return set_token(t, where, a->text, id, err);
}

static nib_status load_added(nib_tokenizer *t, const char *where, nib_error *err)
{
    const json_t *added = json_object_get(t->json, "added_tokens");
    size_t n = json_array_size(added);
    nib_status status = NIB_OK;

    t->added = nib_new_array(t->ctx, n, sizeof *t->added);
    if (!t->added) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    for (; t->added_count < n && !status; t->added_count++)
        status = load_added_one(t, json_array_get(added, t->added_count), where,
                                &t->added[t->added_count], err);
    qsort(t->added, t->added_count, sizeof *t->added, longer_first);
    /* searched for as the normalizer leaves them */
    for (size_t i = 0; i < t->added_count && !status; i++) {
        nib_added *a = &t->added[i];
        if (!a->normalized) continue;
        t->work.bytes = t->work.piece_count = 0;
        if (!nib_work_add(t->ctx, &t->work, a->text, a->bytes, (nib_range){ 0, a->bytes }))
            return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
        status = nib_normalize(t, err);
        if (status) break;
        a->normal = nib_strndup(t->ctx, t->work.text, t->work.bytes);
        a->normal_bytes = t->work.bytes;
        if (!a->normal) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    }
    return status;
}

/* --- post-processor --- */

static nib_status add_around(nib_tokenizer *t, int64_t id, bool before, const char *where,
                             nib_error *err)
{
    size_t *count = before ? &t->before_count : &t->after_count;

    if (id < 0 || (size_t)id >= t->size)
        return nib_fail(err, NIB_E_FORMAT, "%s: post_processor: id %" PRId64 " is no token", where,
                        id);
    if (*count == NIB_COUNT(t->before))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: post_processor: more than %zu tokens", where,
                        NIB_COUNT(t->before));
    (before ? t->before : t->after)[(*count)++] = (uint32_t)id;
    return NIB_OK;
}

static nib_status load_template(nib_tokenizer *t, const json_t *j, const char *where,
                                nib_error *err)
{
    const json_t *single = json_object_get(j, "single"),
                 *special = json_object_get(j, "special_tokens");
    bool before = true;
    nib_status status = NIB_OK;

    for (size_t i = 0; i < json_array_size(single) && !status; i++) {
        const json_t *item = json_array_get(single, i),
                     *token = json_object_get(item, "SpecialToken");
        const char *name = json_string_value(json_object_get(token, "id"));
        const json_t *ids = name ? json_object_get(json_object_get(special, name), "ids") : NULL;

        if (json_object_get(item, "Sequence")) before = false;
        else if (!json_is_array(ids))
            return nib_fail(err, NIB_E_FORMAT, "%s: post_processor: item %zu of single", where, i);
        for (size_t k = 0; k < json_array_size(ids) && !status; k++)
            status = add_around(t, json_integer_value(json_array_get(ids, k)), before, where, err);
    }
    return status;
}

static nib_status load_post(nib_tokenizer *t, const json_t *j, const char *where, int depth,
                            nib_error *err)
{
    const char *type = json_string_value(json_object_get(j, "type"));
    nib_status status = NIB_OK;

    if (!j || json_is_null(j)) return NIB_OK;
    if (!type || depth > 4)
        return nib_fail(err, NIB_E_FORMAT, "%s: post_processor without a type", where);
    if (strcmp(type, "Sequence") == 0) {
        const json_t *list = json_object_get(j, "processors");
        for (size_t i = 0; i < json_array_size(list) && !status; i++)
            status = load_post(t, json_array_get(list, i), where, depth + 1, err);
        return status;
    }
    if (strcmp(type, "TemplateProcessing") == 0) return load_template(t, j, where, err);
    if (strcmp(type, "ByteLevel") == 0 || strcmp(type, "RobertaProcessing") == 0) {
        t->trim_offsets = t->trim_prefix_space = true;
        if ((status = nib_json_get_bool(j, where, "trim_offsets", &t->trim_offsets, err)) ||
            (status = nib_json_get_bool(j, where, "add_prefix_space", &t->trim_prefix_space,
                                        err)) ||
            type[0] == 'B')
            return status;
    } else if (strcmp(type, "BertProcessing") != 0) {
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: post_processor '%s' is not known here", where,
                        type);
    }
    status = add_around(t, json_integer_value(json_array_get(json_object_get(j, "cls"), 1)), true,
                        where, err);
    return status ? status
                  : add_around(t, json_integer_value(json_array_get(json_object_get(j, "sep"), 1)),
                               false, where, err);
}

/* --- tokenizer_config.json --- */

static int64_t named_token(const nib_tokenizer *t, const char *key)
{
    const json_t *j = json_object_get(t->config, key);
    const char *name = json_is_object(j) ? json_string_value(json_object_get(j, "content"))
                                         : json_string_value(j);
    return name ? nib_tokenizer_find(t, name) : -1;
}

static nib_status load_config(nib_tokenizer *t, const char *dir, nib_error *err)
{
    char *path = nib_sprintf(t->ctx, "%s/tokenizer_config.json", dir);
    nib_status status = NIB_OK;

    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    if (nib_file_exists(path))
        status = nib_json_read(t->ctx, path, NIB_JSON_BIG_NUMBERS, &t->config, err);
    nib_free(t->ctx, path);
    if (status) return status;
    t->bos = named_token(t, "bos_token");
    t->eos = named_token(t, "eos_token");
    t->pad = named_token(t, "pad_token");
    return NIB_OK;
}

/* --- opening --- */

static nib_status load_all(nib_tokenizer *t, const char *where, nib_error *err)
{
    const char *version = "1.0";
    nib_status status;

    if (!json_is_object(t->json)) return nib_fail(err, NIB_E_FORMAT, "%s: not an object", where);
    status = nib_json_get_string(t->json, where, "version", &version, err);
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
    return load_post(t, json_object_get(t->json, "post_processor"), where, 0, err);
}

nib_status nib_tokenizer_parse(nib_ctx *ctx, const char *json, size_t bytes, const char *where,
                               nib_tokenizer **out, nib_error *err)
{
    nib_tokenizer *t = nib_new(ctx, sizeof *t);
    nib_status status;

    if (!t) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    t->ctx = ctx;
    t->unk = t->bos = t->eos = t->pad = -1;
    status = open_pcre(t, err);
    if (!status) status = nib_json_parse(json, bytes, where, 0, &t->json, err);
    if (!status) status = load_all(t, where, err);
    if (status) goto done;
    *out = t;
    t = NULL; /* handed over */
done:
    nib_tokenizer_close(t);
    return status;
}

nib_status nib_tokenizer_open(nib_ctx *ctx, const char *dir, nib_tokenizer **out, nib_error *err)
{
    char *path = nib_sprintf(ctx, "%s/tokenizer.json", dir), *text = NULL;
    nib_tokenizer *t = NULL;
    size_t bytes;
    nib_status status;

    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    status = nib_file_read(ctx, path, 512u << 20, &text, &bytes, err);
    if (!status) status = nib_tokenizer_parse(ctx, text, bytes, path, &t, err);
    if (!status) status = load_config(t, dir, err);
    if (status) goto done;
    *out = t;
    t = NULL; /* handed over */
done:
    nib_tokenizer_close(t);
    nib_free(ctx, text);
    nib_free(ctx, path);
    return status;
}

void nib_tokenizer_close(nib_tokenizer *t)
{
    if (!t) return;
    nib_stages_free(t, &t->normalizers);
    nib_stages_free(t, &t->pretokenizers);
    nib_stages_free(t, &t->decoders);
    pcre2_match_data_free(t->match);
    pcre2_match_context_free(t->match_context);
    pcre2_general_context_free(t->pcre);
    for (size_t i = 0; i < t->added_count; i++) nib_free(t->ctx, t->added[i].normal);
    nib_free(t->ctx, t->added);
    nib_free(t->ctx, t->vocabulary.slots);
    nib_free(t->ctx, t->merges.slots);
    nib_free(t->ctx, t->tokens);
    nib_free(t->ctx, t->special);
    nib_free(t->ctx, t->is_added);
    nib_work_free(t->ctx, &t->work);
    nib_work_free(t->ctx, &t->other);
    nib_free(t->ctx, t->symbols);
    nib_free(t->ctx, t->heap);
    json_decref(t->json);
    json_decref(t->config);
    nib_free(t->ctx, t);
}

int64_t nib_tokenizer_bos(const nib_tokenizer *t) { return t->bos; }
int64_t nib_tokenizer_eos(const nib_tokenizer *t) { return t->eos; }
int64_t nib_tokenizer_pad(const nib_tokenizer *t) { return t->pad; }
size_t nib_tokenizer_size(const nib_tokenizer *t) { return t->size; }
const char *nib_tokenizer_token(const nib_tokenizer *t, uint32_t id)
{
    return id < t->size ? t->tokens[id] : NULL;
}
bool nib_tokenizer_is_special(const nib_tokenizer *t, uint32_t id)
{
    return id < t->size && t->special[id];
}

int64_t nib_tokenizer_find(const nib_tokenizer *t, const char *content)
{
    for (size_t i = 0; i < t->added_count; i++)
        if (strcmp(t->added[i].text, content) == 0) return t->added[i].id;
    return nib_words_get(&t->vocabulary, content, strlen(content));
}
