/* gguf_unigram_out.c - see gguf_tokens.h: which Unigram tokenizers have a form in GGUF, and
 * the keys of it. */
#include "text/charsmap.h"
#include "text/gguf_tokens.h"
#include "text/parts.h"

#define MARK "\xe2\x96\x81" /* U+2581, SentencePiece's space */

/* Precompiled, and behind it what takes spaces away: Strip on the right, Replace of several. */
static nib_status read_stage(nib_gguf_unigram *u, const json_t *stage, bool *strips,
                             const char *dir, nib_error *err)
{
    const char *content = json_string_value(json_object_get(stage, "content"));
    const char *type = nib_stage_type(stage);
    const char *regex = json_string_value(json_object_get(json_object_get(stage, "pattern"),
                                                          "Regex"));

    if (strcmp(type, "Precompiled") == 0 && !u->charsmap) {
        u->charsmap = json_string_value(json_object_get(stage, "precompiled_charsmap"));
        return NIB_OK;
    }
    if (strcmp(type, "Strip") == 0 && !json_is_true(json_object_get(stage, "strip_left"))) {
        *strips |= json_is_true(json_object_get(stage, "strip_right"));
        return NIB_OK; /* readers of GGUF drop what spaces are at the end, where they squeeze */
    }
    if (strcmp(type, "Replace") == 0 && regex && strcmp(regex, " {2,}") == 0 && content &&
        (strcmp(content, " ") == 0 || strcmp(content, MARK) == 0)) {
        u->squeezes = true;
        return NIB_OK;
    }
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s: normalizer %s of tokenizer.json has no form in "
                    "GGUF beside Unigram, known are one Precompiled, Strip on the right and "
                    "Replace of several spaces by one", dir, type);
}

static nib_status read_normalizer(nib_gguf_unigram *u, const json_t *normalizer, bool *strips,
                                  const char *dir, nib_error *err)
{
    const json_t *stages = json_object_get(normalizer, "normalizers"), *one;
    size_t i;
    nib_status status = NIB_OK;

    if (!json_is_object(normalizer)) return NIB_OK;
    if (strcmp(nib_stage_type(normalizer), "Sequence") != 0)
        return read_stage(u, normalizer, strips, dir, err);
    json_array_foreach(stages, i, one) if (!status) status = read_stage(u, one, strips, dir, err);
    return status;
}

nib_status nib_gguf_unigram_read(nib_ctx *ctx, const json_t *tokenizer, const char *dir,
                                 nib_gguf_unigram *out, nib_error *err)
{
    const json_t *model = json_object_get(tokenizer, "model");
    const json_t *unknown = json_object_get(model, "unk_id");
    const json_t *pre = json_object_get(tokenizer, "pre_tokenizer");
    const json_t *split = json_object_get(pre, "pretokenizers");
    nib_gguf_unigram u = { .is = true };
    bool strips = false;
    const char *scheme;
    nib_status status = read_normalizer(&u, json_object_get(tokenizer, "normalizer"), &strips, dir,
                                        err);

    if (status) return status;
    if (json_is_true(json_object_get(model, "byte_fallback")))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: a Unigram tokenizer with byte_fallback has no "
                        "form in GGUF", dir);
    if (json_array_size(split) == 2 &&
        strcmp(nib_stage_type(json_array_get(split, 0)), "WhitespaceSplit") == 0) {
        u.squeezes = true;
        pre = json_array_get(split, 1);
    }
    if (strcmp(nib_stage_type(pre), "Metaspace") != 0)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: pre_tokenizer '%s' of tokenizer.json has no "
                        "form in GGUF beside Unigram, known are Metaspace, alone or behind "
                        "WhitespaceSplit", dir, nib_stage_type(pre));
    if (strips && !u.squeezes)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: normalizer Strip of tokenizer.json takes "
                        "spaces away at the end, and nothing makes one of several: GGUF has a form "
                        "for both together alone", dir);
    if (!json_is_integer(unknown))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: unk_id of tokenizer.json is missing or null, "
                        "and readers of GGUF take token 2 for it: a Unigram tokenizer without one "
                        "has no form in GGUF", dir);
    scheme = json_string_value(json_object_get(pre, "prepend_scheme"));
    u.prefix = scheme ? strcmp(scheme, "never") != 0
                      : !json_is_false(json_object_get(pre, "add_prefix_space"));
    if (scheme && strcmp(scheme, "first") == 0)
        nib_warn_code(ctx, "gguf-space", "%s: tokenizer.json puts a space before the whole "
                      "text alone; readers of GGUF put one behind each special token too", dir);
    u.unknown = json_integer_value(unknown);
    *out = u;
    return NIB_OK;
}

nib_status nib_gguf_unigram_put(const nib_gguf_unigram *u, nib_ctx *ctx, const char *dir,
                                nib_gguf_writer *w, nib_error *err)
{
    uint8_t *bytes = NULL;
    size_t count = 0;
    nib_status status;

    nib_gguf_put_number(w, "tokenizer.ggml.remove_extra_whitespaces", NIB_GGUF_BOOL, u->squeezes);
    if (!u->charsmap || !*u->charsmap) return NIB_OK;
    status = nib_charsmap_bytes(ctx, u->charsmap, dir, &bytes, &count, err);
    if (status) return status;
    nib_gguf_put_array(w, "tokenizer.ggml.precompiled_charsmap", NIB_GGUF_U8, count);
    for (size_t i = 0; i < count; i++) nib_gguf_entry_number(w, NIB_GGUF_U8, bytes[i]);
    nib_free(ctx, bytes);
    return NIB_OK;
}
