/* tokenizer_open.c - opening tokenizer.json and tokenizer_config.json (formats.md 11), or
 * the files that stand for it. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/filemap.h"
#include "base/place.h"
#include "format/json.h"
#include "text/convert.h"
#include "text/model_file.h"
#include "text/schema.h"
#include "text/tokenizer_parse.h"
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

/* --- directories --- */

static bool has_file(const char *dir, const char *name)
{
    char path[PATH_MAX];

    return snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path &&
           nib_file_exists(path);
}

nib_status nib_tokenizer_missing(const char *dir, nib_error *err)
{
    static const char *const others[] = { "tokenizer.model", "spiece.model",
                                          "sentencepiece.bpe.model", "vocab.json", "vocab.txt",
                                          "tekken.json", "tiktoken.model" };
    const char *found = NULL;

    for (size_t i = 0; i < NIB_COUNT(others) && !found; i++)
        if (has_file(dir, others[i])) found = others[i];
    if (!found) return nib_place_check(dir, "tokenizer.json", NIB_PLACE_MODEL, err);
    return nib_fail(
        err, NIB_E_UNSUPPORTED,
        "%s: there is no tokenizer.json, only %s, which is not read for the class that "
        "tokenizer_config.json or config.json names; read are those of BERT's kind, MPNet, ESM, "
        "GPT-2, CodeGen, RoBERTa, Longformer, T5, XLM-RoBERTa, ALBERT, XGLM, Llama; to convert it: "
        "python -c \"from transformers import AutoTokenizer as A; "
        "A.from_pretrained('%s').save_pretrained('%s')\"",
        dir, found, dir, dir);
}

/* Without tokenizer.json: what transformers makes one of. */
static nib_status make_json(nib_special_reading *r, const char *dir, char **path, bool *missing,
                            nib_error *err)
{
    nib_tokenizer *t = r->t;
    const char *file = "tokenizer.json";
    nib_convert_form form = r->class ? nib_convert_form_of(r->class, &file) : NIB_CONVERT_NONE;

    nib_free(t->ctx, *path);
    *path = nib_sprintf(t->ctx, "%s/%s", dir, file);
    if (!*path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    if (form == NIB_CONVERT_NONE || !nib_file_exists(*path)) {
        if (missing) *missing = true;
        return missing ? NIB_OK : nib_tokenizer_missing(dir, err);
    }
    return form >= NIB_CONVERT_T5 ? nib_convert_model(r, form, *path, &t->json, err)
                                  : nib_convert_vocab(r, form, dir, &t->json, err);
}

/* What a directory or a GGUF file has as its tokenizer, and the path that errors name. */
static nib_status find_json(nib_special_reading *r, const char *dir, char **path, bool *missing,
                            nib_error *err)
{
    nib_tokenizer *t = r->t;
    bool gguf = nib_model_is_gguf(dir);
    char *text = NULL;
    size_t bytes;
    nib_status status;

    *path = nib_sprintf(t->ctx, "%s%s", dir, gguf ? "" : "/tokenizer.json");
    if (!*path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    if (gguf) {
        status = nib_model_file_read(t->ctx, dir, "tokenizer.json", 0, &t->json, err);
        return status || t->json ? status
                                 : nib_fail(err, NIB_E_IO, "%s: the file has no tokenizer", dir);
    }
    if (!nib_file_exists(*path)) return make_json(r, dir, path, missing, err);
    status = nib_file_read(t->ctx, *path, 512u << 20, &text, &bytes, err);
    if (!status) status = nib_json_parse(text, bytes, *path, 0, &t->json, err);
    nib_free(t->ctx, text);
    return status;
}

static nib_status new_tokenizer(nib_ctx *ctx, nib_tokenizer **out, nib_error *err)
{
    nib_tokenizer *t = nib_new(ctx, sizeof *t);
    nib_status status;

    if (!t) return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
    t->ctx = ctx;
    t->unk = -1;
    for (int i = 0; i < 256; i++) t->byte_ids[i] = -1;
    t->special_tokens = no_special_tokens;
    status = nib_pattern_open(t, err);
    if (status) nib_tokenizer_close(t);
    else *out = t;
    return status;
}

nib_status nib_tokenizer_parse(nib_ctx *ctx, const char *json, size_t bytes, const char *where,
                               nib_tokenizer **out, nib_error *err)
{
    nib_tokenizer *t = NULL;
    nib_status status = new_tokenizer(ctx, &t, err);

    if (!status) status = nib_json_parse(json, bytes, where, 0, &t->json, err);
    if (!status) status = load_all(t, where, err);
    if (!status) status = nib_added_ready(t, err);
    if (status) nib_tokenizer_close(t);
    else *out = t;
    return status;
}

/* missing NULL: where there is no tokenizer, that is an error; else it is reported there. */
static nib_status open_directory(nib_ctx *ctx, const char *dir, bool *missing, nib_tokenizer **out,
                                 nib_error *err)
{
    nib_special_reading r = { 0 };
    nib_tokenizer *t = NULL;
    char *path = NULL;
    nib_status status = new_tokenizer(ctx, &t, err);

    if (status) return status;
    r.t = t;
    if (missing && nib_model_is_gguf(dir) && !nib_gguf_has_tokenizer(ctx, dir)) goto done;
    if ((status = nib_special_read(&r, dir, err)) ||
        (status = find_json(&r, dir, &path, missing, err)) || !t->json ||
        (status = load_all(t, path, err)) || (status = nib_special_apply(&r, err)) ||
        (status = nib_added_ready(t, err)))
        goto done;
    *out = t;
    t = NULL; /* handed over */
done:
    nib_special_free(&r);
    nib_tokenizer_close(t);
    nib_free(ctx, path);
    return status;
}

nib_status nib_tokenizer_open(nib_ctx *ctx, const char *dir, nib_tokenizer **out, nib_error *err)
{
    return open_directory(ctx, dir, NULL, out, err);
}

nib_status nib_tokenizer_open_any(nib_ctx *ctx, const char *dir, nib_tokenizer **out,
                                  nib_error *err)
{
    bool missing = false;

    return open_directory(ctx, dir, &missing, out, err);
}
