/* gguf_pre.c - see gguf_pre.h; names and patterns: formats.md 11.4, formats-quant.md 7.4. */
#include "text/gguf_pre.h"

#include <stdio.h>

#define REST "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define LLAMA3 CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" REST
#define QWEN2 CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" REST
#define QWEN35 CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}" \
               "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CASED(tail, digits)                                                                        \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*"                                  \
    "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+" tail                                                          \
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+"                                 \
    "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*" tail                                                          \
    "|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT4O CASED(CONTRACTIONS "?", "\\p{N}{1,3}")
#define TEKKEN CASED("", "\\p{N}")
#define DEEPSEEK3                                                                                  \
    { "\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",                                                        \
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"                                      \
      "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*"                    \
      "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+" }
#define BLOOM " ?[^(\\s|[.,!?…。，、।۔،])]+"

#define BYTES(n) { .name = n, .kind = NIB_GGUF_PRE_BYTES }
#define DIGITS(n) { .name = n, .kind = NIB_GGUF_PRE_DIGITS }
#define SPLIT(n, p) { .name = n, .kind = NIB_GGUF_PRE_SPLIT, .patterns = { p } }
#define LLAMA(n)                                                                                   \
    { .name = n, .kind = NIB_GGUF_PRE_SPLIT, .patterns = { LLAMA3 }, .ignore_merges = true,        \
      .add_bos = true }

static const nib_gguf_pre known[] = {
    BYTES("gpt-2"), BYTES("phi-2"), BYTES("mpt"), BYTES("olmo"), BYTES("jais"), BYTES("exaone4"),
    BYTES("modern-bert"), BYTES("gigachat"), BYTES("a.x-4.0"), BYTES("mellum"),
    DIGITS("starcoder"), DIGITS("smollm"), DIGITS("refact"), DIGITS("command-r"),
    DIGITS("codeshell"), DIGITS("exaone"),
    LLAMA("llama-bpe"), LLAMA("llama3"), LLAMA("llama-v3"), LLAMA("falcon3"), LLAMA("falcon-h1"),
    LLAMA("pixtral"), LLAMA("midm-2.0"), LLAMA("lfm2"),
    SPLIT("dbrx", LLAMA3), SPLIT("smaug-bpe", LLAMA3), SPLIT("chatglm-bpe", LLAMA3),
    { .name = "glm4", .kind = NIB_GGUF_PRE_SPLIT, .patterns = { LLAMA3 }, .ignore_merges = true },
    /* transformers' Qwen tokenizers normalize; llama.cpp does not, nor do others of the pattern */
    { .name = "qwen2", .kind = NIB_GGUF_PRE_SPLIT, .patterns = { QWEN2 }, .nfc = true },
    { .name = "qwen35", .kind = NIB_GGUF_PRE_SPLIT, .patterns = { QWEN35 }, .nfc = true },
    SPLIT("deepseek-r1-qwen", QWEN2), SPLIT("stablelm2", QWEN2), SPLIT("hunyuan", QWEN2),
    SPLIT("megrez", QWEN2),
    { .name = "falcon", .kind = NIB_GGUF_PRE_FALCON },
    SPLIT("bloom", BLOOM), SPLIT("poro-chat", BLOOM), SPLIT("gpt3-finnish", BLOOM),
    { .name = "tekken", .kind = NIB_GGUF_PRE_SPLIT, .patterns = { TEKKEN }, .ignore_merges = true,
      .add_bos = true },
    SPLIT("gpt-4o", GPT4O), SPLIT("llama4", GPT4O),
    { .name = "deepseek-v3", .kind = NIB_GGUF_PRE_SPLIT, .patterns = DEEPSEEK3 },
};

const nib_gguf_pre *nib_gguf_pre_named(const char *name, size_t bytes)
{
    for (size_t i = 0; i < NIB_COUNT(known); i++)
        if (strlen(known[i].name) == bytes && memcmp(known[i].name, name, bytes) == 0)
            return &known[i];
    return NULL;
}

void nib_gguf_pre_known(char *out, size_t room)
{
    size_t used = 0;

    *out = 0;
    for (size_t i = 0; i < NIB_COUNT(known) && used < room; i++)
        used += (size_t)snprintf(out + used, room - used, "%s%s", i ? ", " : "", known[i].name);
}

/* ByteLevel; `own`: with the pattern that it brings. */
static json_t *byte_level(bool own)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                     "trim_offsets", 1, "use_regex", own);
}

static json_t *split(const char *pattern)
{
    return json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", pattern,
                     "behavior", "Isolated", "invert", 0);
}

static json_t *digits(bool individual)
{
    return json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", individual);
}

json_t *nib_gguf_pre_json(const nib_gguf_pre *pre)
{
    json_t *list = json_array();
    int failed = 0;

    switch (pre->kind) {
    case NIB_GGUF_PRE_BYTES:
        json_decref(list);
        return byte_level(true);
    case NIB_GGUF_PRE_DIGITS:
        failed = json_array_append_new(list, digits(true)) ||
                 json_array_append_new(list, byte_level(true));
        break;
    case NIB_GGUF_PRE_SPLIT:
        for (size_t i = 0; i < NIB_COUNT(pre->patterns) && pre->patterns[i]; i++)
            failed |= json_array_append_new(list, split(pre->patterns[i]));
        failed |= json_array_append_new(list, byte_level(false));
        break;
    case NIB_GGUF_PRE_FALCON:
        failed = json_array_append_new(list, json_pack("{s:s, s:s}", "type", "Punctuation",
                                                       "behavior", "Contiguous")) ||
                 json_array_append_new(list, byte_level(true)) ||
                 json_array_append_new(list, digits(false)) ||
                 json_array_append_new(list, split("[0-9][0-9][0-9]"));
        break;
    }
    if (failed) {
        json_decref(list);
        return NULL;
    }
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", list);
}

/* --- the way back --- */

/* The stages of a pre_tokenizer, one or a Sequence of them. */
static size_t stage_count(const json_t *pre)
{
    const json_t *list = json_object_get(pre, "pretokenizers");

    return list ? json_array_size(list) : 1;
}

static const json_t *stage_at(const json_t *pre, size_t i)
{
    const json_t *list = json_object_get(pre, "pretokenizers");

    return list ? json_array_get(list, i) : pre;
}

/* Of an absent key what the tokenizers library takes. */
static bool flag(const json_t *stage, const char *key, bool fallback)
{
    const json_t *v = json_object_get(stage, key);

    return json_is_boolean(v) ? json_is_true(v) : fallback;
}

static bool same_text(const json_t *a, const json_t *b)
{
    return json_is_string(a) && json_is_string(b) && json_equal(a, b);
}

static bool same_stage(const json_t *a, const json_t *b)
{
    const char *type = json_string_value(json_object_get(a, "type"));

    if (!type || !same_text(json_object_get(a, "type"), json_object_get(b, "type"))) return false;
    if (strcmp(type, "ByteLevel") == 0)
        return flag(a, "use_regex", true) == flag(b, "use_regex", true) &&
               flag(a, "add_prefix_space", true) == flag(b, "add_prefix_space", true);
    if (strcmp(type, "Digits") == 0)
        return flag(a, "individual_digits", false) == flag(b, "individual_digits", false);
    if (!same_text(json_object_get(a, "behavior"), json_object_get(b, "behavior"))) return false;
    if (strcmp(type, "Punctuation") == 0) return true;
    return strcmp(type, "Split") == 0 && flag(a, "invert", false) == flag(b, "invert", false) &&
           same_text(json_object_get(json_object_get(a, "pattern"), "Regex"),
                     json_object_get(json_object_get(b, "pattern"), "Regex"));
}

static bool same_stages(const json_t *a, const json_t *b)
{
    size_t count = stage_count(a);

    if (count != stage_count(b)) return false;
    for (size_t i = 0; i < count; i++)
        if (!same_stage(stage_at(a, i), stage_at(b, i))) return false;
    return true;
}

const nib_gguf_pre *nib_gguf_pre_like(const json_t *pre, bool nfc, bool ignore_merges)
{
    for (size_t i = 0; i < NIB_COUNT(known); i++) {
        json_t *own;
        bool same;
        if (known[i].nfc != nfc || known[i].ignore_merges != ignore_merges) continue;
        own = nib_gguf_pre_json(&known[i]);
        same = own && same_stages(pre, own);
        json_decref(own);
        if (same) return &known[i];
    }
    return NULL;
}
