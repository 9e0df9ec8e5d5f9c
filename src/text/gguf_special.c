/* gguf_special.c - tokenizer_config.json and generation_config.json made of a GGUF's keys: special
 * tokens, chat templates, and the tokens that end a text. */
#include <stdio.h>

#include "text/gguf_tokenizer.h"

static nib_status no_memory(const nib_gguf_vocabulary *v, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory for the tokenizer", v->where);
}

static bool set_token(const nib_gguf_vocabulary *v, json_t *to, const char *key, const char *name,
                      int64_t fallback)
{
    int64_t id = nib_gguf_token_id(v, name, fallback);

    return id < 0 || json_object_set_new(to, key, json_stringn(v->tokens[id].at,
                                                               v->tokens[id].bytes)) == 0;
}

/* tokenizer.chat_template, and tokenizer.chat_template.NAME beside it. */
static bool set_templates(const nib_gguf_vocabulary *v, json_t *to)
{
    static const char key[] = "tokenizer.chat_template";
    nib_gguf_text text;
    json_t *list;

    if (nib_gguf_one_text(nib_gguf_find(v->keys, key), &text) &&
        json_object_set_new(to, "chat_template", json_stringn(text.at, text.bytes)))
        return false;
    list = json_array();
    for (size_t i = 0; i < v->keys->value_count; i++) {
        const nib_gguf_value *value = &v->keys->values[i];
        if (strncmp(value->key, key, sizeof key - 1) != 0 || value->key[sizeof key - 1] != '.' ||
            !nib_gguf_one_text(value, &text))
            continue;
        json_array_append_new(list, json_pack("{s:s, s:s%}", "name", value->key + sizeof key,
                                              "template", text.at, text.bytes));
    }
    if (!json_array_size(list)) {
        json_decref(list);
        return true;
    }
    if (json_object_get(to, "chat_template"))
        json_array_append_new(list, json_pack("{s:s, s:O}", "name", "default", "template",
                                              json_object_get(to, "chat_template")));
    return json_object_set_new(to, "chat_template", list) == 0;
}

nib_status nib_gguf_tokenizer_config(const nib_gguf_vocabulary *v, json_t **out, nib_error *err)
{
    bool spm = v->sentencepiece && !v->merged;
    json_t *config = json_pack("{s:s, s:b}", "tokenizer_class", "PreTrainedTokenizerFast",
                               "clean_up_tokenization_spaces", v->wordpiece);

    if (config && v->wordpiece &&
        set_token(v, config, "cls_token", "cls", nib_gguf_token_id(v, "bos", 101)) &&
        set_token(v, config, "sep_token", "seperator", 102) &&
        set_token(v, config, "unk_token", "unknown", 100) &&
        set_token(v, config, "pad_token", "padding", 0) &&
        set_token(v, config, "mask_token", "mask", 103)) {
        *out = config;
        return NIB_OK;
    }
    if (!config || !set_token(v, config, "bos_token", "bos", spm ? 1 : -1) ||
        !set_token(v, config, "eos_token", "eos", spm ? 2 : v->unigram ? 1 : -1) ||
        !set_token(v, config, "unk_token", "unknown", spm ? 0 : v->unigram ? 2 : -1) ||
        !set_token(v, config, "pad_token", "padding", v->unigram ? 0 : -1) ||
        !set_token(v, config, "mask_token", "mask", -1) || !set_templates(v, config)) {
        json_decref(config);
        return no_memory(v, err);
    }
    *out = config;
    return NIB_OK;
}

/* Texts of tokens that end a generation, whatever the keys say (formats-quant.md 7.4). */
static bool ends_by_text(nib_gguf_text t)
{
    static const char *const texts[] = {
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>",
        "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]",
        "<end_of_utterance>", "<turn|>", "<|tool_response>",
    };

    for (size_t i = 0; i < NIB_COUNT(texts); i++)
        if (nib_gguf_text_is(t, texts[i])) return true;
    return false;
}

/* Tokens that are never generated; those that the vocabulary lacks are left out, as llama.cpp does.
 */
static nib_status set_suppressed(const nib_gguf_vocabulary *v, json_t *to, nib_error *err)
{
    const nib_gguf_value *value = nib_gguf_find(v->keys, NIB_GGUF_SUPPRESSED);
    json_t *list;
    uint64_t id;

    if (!value) return NIB_OK;
    if (value->kind != NIB_GGUF_ARRAY || value->entry != NIB_GGUF_I32)
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is no array of int32", v->where,
                        NIB_GGUF_SUPPRESSED);
    list = json_array();
    for (uint64_t i = 0; list && i < value->count; i++)
        if (nib_gguf_count(value, i, &id) && id < v->count)
            json_array_append_new(list, json_integer((json_int_t)id));
    if (!list || json_object_set_new(to, "suppress_tokens", list)) return no_memory(v, err);
    return NIB_OK;
}

nib_status nib_gguf_generation_config(const nib_gguf_vocabulary *v, json_t **out, nib_error *err)
{
    static const char *const names[] = { "eos", "eot", "eom" };
    json_t *ends = json_array();
    int64_t pad = nib_gguf_token_id(v, "padding", -1);
    bool spm = v->sentencepiece && !v->merged;
    int64_t bos = nib_gguf_token_id(v, "bos", spm ? 1 : -1);

    for (size_t i = 0; i < NIB_COUNT(names); i++) {
        int64_t id = nib_gguf_token_id(v, names[i], i ? -1 : spm ? 2 : v->unigram ? 1 : -1);
        if (id >= 0) json_array_append_new(ends, json_integer(id));
    }
    for (size_t i = 0; i < v->count; i++) {
        bool there = false;
        if (v->tokens[i].bytes > 20 || !ends_by_text(v->tokens[i])) continue;
        for (size_t k = 0; k < json_array_size(ends); k++)
            there |= json_integer_value(json_array_get(ends, k)) == (json_int_t)i;
        if (!there) json_array_append_new(ends, json_integer((json_int_t)i));
    }
    *out = json_object();
    if (json_array_size(ends)) json_object_set(*out, "eos_token_id", ends);
    json_decref(ends);
    if (bos >= 0) json_object_set_new(*out, "bos_token_id", json_integer(bos));
    if (pad >= 0) json_object_set_new(*out, "pad_token_id", json_integer(pad));
    return *out ? set_suppressed(v, *out, err) : no_memory(v, err);
}
