/* tokenizer_open.c - opening tokenizer.json and tokenizer_config.json (formats.md 11). */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/filemap.h"
#include "base/place.h"
#include "format/json.h"
#include "text/model_file.h"
#include "text/tokenizer_parse.h"
#include "text/parts.h"
#include "text/schema.h"
#include "text/utf8.h"

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
    if ((status = nib_model_load(t, json_object_get(t->json, "model"), where, err)) ||
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

/* tokenizer.json, taken over, and what lies beside it in `dir` unless that is NULL. */
static nib_status open_json(nib_ctx *ctx, json_t *json, const char *where, const char *dir,
                            nib_tokenizer **out, nib_error *err)
{
    nib_tokenizer *t = nib_new(ctx, sizeof *t);
    nib_status status;

    if (!t) {
        json_decref(json);
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    }
    t->ctx = ctx;
    t->json = json;
    t->unk = -1;
    for (int i = 0; i < 256; i++) t->byte_ids[i] = -1;
    t->special_tokens = no_special_tokens;
    status = nib_pattern_open(t, err);
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
    json_t *parsed = NULL;
    nib_status status = nib_json_parse(json, bytes, where, 0, &parsed, err);

    return status ? status : open_json(ctx, parsed, where, NULL, out, err);
}

static bool has_file(const char *dir, const char *name)
{
    char path[PATH_MAX];

    return snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path &&
           nib_file_exists(path);
}

bool nib_tokenizer_exists(nib_ctx *ctx, const char *dir)
{
    return nib_model_is_gguf(dir) ? nib_gguf_has_tokenizer(ctx, dir)
                                  : has_file(dir, "tokenizer.json");
}

nib_status nib_tokenizer_missing(const char *dir, nib_error *err)
{
    static const char *const others[] = { "tokenizer.model", "spiece.model", "vocab.json",
                                          "vocab.txt", "tekken.json", "tiktoken.model" };
    const char *found = NULL;

    for (size_t i = 0; i < NIB_COUNT(others) && !found; i++)
        if (has_file(dir, others[i])) found = others[i];
    if (!found) return nib_place_check(dir, "tokenizer.json", NIB_PLACE_MODEL, err);
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
    bool gguf = nib_model_is_gguf(dir);
    char *path = nib_sprintf(ctx, "%s%s", dir, gguf ? "" : "/tokenizer.json"), *text = NULL;
    json_t *json = NULL;
    size_t bytes;
    nib_status status = NIB_OK;

    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    if (!gguf && !nib_file_exists(path)) status = nib_tokenizer_missing(dir, err);
    if (!status && gguf) status = nib_model_file_read(ctx, dir, "tokenizer.json", 0, &json, err);
    if (!status && gguf && !json)
        status = nib_fail(err, NIB_E_IO, "%s: the file has no tokenizer", dir);
    if (!status && !gguf) status = nib_file_read(ctx, path, 512u << 20, &text, &bytes, err);
    if (!status && !gguf) status = nib_json_parse(text, bytes, path, 0, &json, err);
    if (!status) status = open_json(ctx, json, path, dir, out, err);
    nib_free(ctx, text);
    nib_free(ctx, path);
    return status;
}
