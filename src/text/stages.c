/* stages.c - normalizers, pre-tokenizers and decoders as tokenizer.json describes them. */
#include <limits.h>
#include <stdio.h>

#include "format/json.h"
#include "text/charsmap.h"
#include "text/parts.h"
#include "text/schema.h"
#include "text/utf8.h"

#define GPT2_PATTERN                                                                               \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

const char *nib_stage_type(const json_t *stage)
{
    const char *type = json_string_value(json_object_get(stage, "type"));

    return type ? type : "";
}

static nib_status read_behavior(const json_t *j, const char *where, nib_behavior *out,
                                nib_error *err)
{
    static const char *const names[] = { "Removed", "Isolated", "MergedWithPrevious",
                                         "MergedWithNext", "Contiguous" };
    const char *name = "Isolated";
    nib_status status = nib_json_get_string(j, where, "behavior", &name, err);

    if (status) return status;
    for (size_t i = 0; i < NIB_COUNT(names); i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (nib_behavior)i;
            return NIB_OK;
        }
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s: behavior '%s'", where, name);
}

/* {"String": "x"} or {"Regex": "x"} */
static nib_status read_pattern(nib_tokenizer *t, const json_t *j, const char *where, nib_stage *s,
                               nib_error *err)
{
    const json_t *p = json_object_get(j, "pattern");
    const char *string = json_string_value(json_object_get(p, "String")),
               *regex = json_string_value(json_object_get(p, "Regex"));

    if (!string && !regex)
        return nib_fail(err, NIB_E_FORMAT, "%s: pattern is neither a String nor a Regex", where);
    s->literal = string;
    return nib_pattern_compile(t, string ? string : regex, string != NULL, where, &s->pattern, err);
}

static nib_status read_content(const json_t *j, const char *where, const char *key, nib_stage *s,
                               nib_error *err)
{
    nib_status status = nib_json_get_string(j, where, key, &s->content, err);

    if (status) return status;
    if (!s->content) return nib_fail(err, NIB_E_FORMAT, "%s: %s is missing", where, key);
    s->content_bytes = strlen(s->content);
    return NIB_OK;
}

static nib_status read_metaspace(nib_tokenizer *t, const json_t *j, const char *where, nib_stage *s,
                                 nib_error *err)
{
    const char *scheme = "always";
    bool prefix = true;
    nib_status status;

    s->split = true;
    if ((status = read_content(j, where, "replacement", s, err)) ||
        (status = nib_json_get_bool(j, where, "add_prefix_space", &prefix, err)) ||
        (status = nib_json_get_string(j, where, "prepend_scheme", &scheme, err)) ||
        (status = nib_json_get_bool(j, where, "split", &s->split, err)))
        return status;
    if (strcmp(scheme, "never") == 0 || !prefix) s->prepend = NIB_PREPEND_NEVER;
    else if (strcmp(scheme, "first") == 0) s->prepend = NIB_PREPEND_FIRST;
    else if (strcmp(scheme, "always") == 0) s->prepend = NIB_PREPEND_ALWAYS;
    else return nib_fail(err, NIB_E_UNSUPPORTED, "%s: prepend_scheme '%s'", where, scheme);
    return nib_pattern_compile(t, s->content, true, where, &s->pattern, err);
}

static nib_status read_byte_level(nib_tokenizer *t, const json_t *j, const char *where,
                                  nib_stage *s, nib_error *err)
{
    nib_status status;

    s->use_regex = true;
    s->behavior = NIB_ISOLATED;
    if ((status = nib_json_get_bool(j, where, "add_prefix_space", &s->prefix_space, err)) ||
        (status = nib_json_get_bool(j, where, "use_regex", &s->use_regex, err)))
        return status;
    return nib_pattern_compile(t, GPT2_PATTERN, false, where, &s->pattern, err);
}

static nib_status read_numbers(const json_t *j, const char *where, nib_stage *s, nib_error *err)
{
    int64_t start = 0, stop = 0;
    nib_status status = read_content(j, where, "content", s, err);

    if (!status) status = nib_json_get_int(j, where, "start", 0, 1000, &start, err);
    if (!status) status = nib_json_get_int(j, where, "stop", 0, 1000, &stop, err);
    s->start = (int)start;
    s->stop = (int)stop;
    return status;
}

static nib_status read_charsmap(nib_tokenizer *t, const json_t *j, const char *where, nib_stage *s,
                                nib_error *err)
{
    const char *text = json_string_value(json_object_get(j, "precompiled_charsmap"));

    return nib_charsmap_from_base64(t->ctx, text ? text : "", where, &s->charsmap, err);
}

static nib_status read_length(const json_t *j, const char *where, nib_stage *s, nib_error *err)
{
    int64_t length = 0;
    nib_status status = nib_json_get_int(j, where, "length", 1, INT_MAX, &length, err);

    s->start = (int)length;
    return status;
}

/* schema.h; further keys that older files have are known too. */
#define BYTE_LEVEL "type:s add_prefix_space:b trim_offsets:b use_regex:b?"
#define METASPACE "type:s replacement:c prepend_scheme:s? add_prefix_space:b?~ split:b?~ str_rep:s?"
#define PATTERN "type:s pattern:o "
#define BERT "type:s clean_text:b handle_chinese_chars:b strip_accents:b?~ lowercase:b"

typedef struct known {
    const char *type;
    unsigned in;
    nib_stage_kind kind;
    const char *schema;
} known;
enum { N = 1 << NIB_NORMALIZERS, P = 1 << NIB_PRETOKENIZERS, D = 1 << NIB_DECODERS };
static const known table[] = {
    { "NFC", N, NIB_STAGE_NFC, "type:s" },
    { "NFD", N, NIB_STAGE_NFD, "type:s" },
    { "NFKC", N, NIB_STAGE_NFKC, "type:s" },
    { "NFKD", N, NIB_STAGE_NFKD, "type:s" },
    { "Lowercase", N, NIB_STAGE_LOWERCASE, "type:s" },
    { "Strip", N, NIB_STAGE_STRIP, "type:s strip_left:b strip_right:b" },
    { "StripAccents", N, NIB_STAGE_STRIP_ACCENTS, "type:s" },
    { "Replace", N | D, NIB_STAGE_REPLACE, PATTERN "content:s" },
    { "Prepend", N, NIB_STAGE_PREPEND, "type:s prepend:s" },
    { "BertNormalizer", N, NIB_STAGE_BERT_CLEAN, BERT },
    { "Nmt", N, NIB_STAGE_NMT, "type:s" },
    { "Precompiled", N, NIB_STAGE_PRECOMPILED, "type:s precompiled_charsmap:s~" },
    { "ByteLevel", N, NIB_STAGE_BYTE_LEVEL, "type:s" },
    { "ByteLevel", P | D, NIB_STAGE_BYTE_LEVEL, BYTE_LEVEL },
    { "Split", P, NIB_STAGE_SPLIT, PATTERN "behavior:s invert:b" },
    { "Digits", P, NIB_STAGE_DIGITS, "type:s individual_digits:b" },
    { "Punctuation", P, NIB_STAGE_PUNCTUATION, "type:s behavior:s?" },
    { "WhitespaceSplit", P, NIB_STAGE_WHITESPACE_SPLIT, "type:s" },
    { "Whitespace", P, NIB_STAGE_WHITESPACE, "type:s" },
    { "BertPreTokenizer", P, NIB_STAGE_BERT_WORDS, "type:s" },
    { "CharDelimiterSplit", P, NIB_STAGE_SPLIT, "type:s delimiter:c" },
    { "FixedLength", P, NIB_STAGE_FIXED_LENGTH, "type:s length:u" },
    { "UnicodeScripts", P, NIB_STAGE_SCRIPTS, "type:s" },
    { "Metaspace", P | D, NIB_STAGE_METASPACE, METASPACE },
    { "ByteFallback", D, NIB_STAGE_BYTE_FALLBACK, "type:s" },
    { "Fuse", D, NIB_STAGE_FUSE, "type:s" },
    { "Strip", D, NIB_STAGE_STRIP, "type:s content:c start:u stop:u" },
    { "WordPiece", D, NIB_STAGE_WORDPIECE, "type:s prefix:s cleanup:b" },
    { "BPEDecoder", D, NIB_STAGE_SUFFIX, "type:s suffix:s" },
    { "CTC", D, NIB_STAGE_CTC, "type:s pad_token:s word_delimiter_token:s cleanup:b" },
};

static nib_status read_stage(nib_tokenizer *t, const json_t *j, const char *where, const char *type,
                             int what, nib_stage *s, nib_error *err)
{
    nib_status status = NIB_OK;

    switch (s->kind) {
    case NIB_STAGE_STRIP:
        if (what == NIB_DECODERS) return read_numbers(j, where, s, err);
        if ((status = nib_json_get_bool(j, where, "strip_left", &s->left, err))) return status;
        return nib_json_get_bool(j, where, "strip_right", &s->right, err);
    case NIB_STAGE_REPLACE:
        status = read_pattern(t, j, where, s, err);
        return status ? status : read_content(j, where, "content", s, err);
    case NIB_STAGE_PREPEND: return read_content(j, where, "prepend", s, err);
    case NIB_STAGE_BYTE_LEVEL:
        return what == NIB_PRETOKENIZERS ? read_byte_level(t, j, where, s, err) : NIB_OK;
    case NIB_STAGE_SPLIT:
        if (strcmp(type, "CharDelimiterSplit") == 0) {
            s->behavior = NIB_REMOVED;
            status = read_content(j, where, "delimiter", s, err);
            return status ? status
                          : nib_pattern_compile(t, s->content, true, where, &s->pattern, err);
        }
        status = read_pattern(t, j, where, s, err);
        if (!status) status = read_behavior(j, where, &s->behavior, err);
        return status ? status : nib_json_get_bool(j, where, "invert", &s->invert, err);
    case NIB_STAGE_DIGITS:
        return nib_json_get_bool(j, where, "individual_digits", &s->individual, err);
    case NIB_STAGE_PUNCTUATION: return read_behavior(j, where, &s->behavior, err);
    case NIB_STAGE_WHITESPACE_SPLIT:
        s->behavior = NIB_REMOVED;
        return nib_pattern_compile(t, "\\s+", false, where, &s->pattern, err);
    case NIB_STAGE_METASPACE: return read_metaspace(t, j, where, s, err);
    case NIB_STAGE_PRECOMPILED: return read_charsmap(t, j, where, s, err);
    case NIB_STAGE_FIXED_LENGTH: return read_length(j, where, s, err);
    case NIB_STAGE_WORDPIECE:
        status = nib_json_get_bool(j, where, "cleanup", &s->cleanup, err);
        return status ? status : read_content(j, where, "prefix", s, err);
    case NIB_STAGE_SUFFIX: return read_content(j, where, "suffix", s, err);
    case NIB_STAGE_CTC:
        if ((status = nib_json_get_bool(j, where, "cleanup", &s->cleanup, err)) ||
            (status = nib_json_get_string(j, where, "word_delimiter_token", &s->delimiter, err)))
            return status;
        return read_content(j, where, "pad_token", s, err);
    default: return NIB_OK;
    }
}

static void free_stage(nib_tokenizer *t, nib_stage *s)
{
    pcre2_code_free(s->pattern);
    nib_charsmap_destroy(t->ctx, s->charsmap);
}

static nib_status put_stage(nib_tokenizer *t, const char *where, nib_stage s, nib_stages *out,
                            nib_error *err)
{
    if (!nib_grow(t->ctx, &out->items, &out->capacity, out->count + 1, sizeof s))
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    out->items[out->count++] = s;
    return NIB_OK;
}

/* BertNormalizer is up to five stages. */
nib_status nib_stages_add_bert(nib_tokenizer *t, nib_bert_rules rules, const char *where,
                               nib_stages *out, nib_error *err)
{
    const struct { bool on; nib_stage_kind kind; } steps[] = {
        { rules.clean, NIB_STAGE_BERT_CLEAN },
        { rules.chinese, NIB_STAGE_BERT_CHINESE },
        { rules.strips, NIB_STAGE_NFD },
        { rules.strips, NIB_STAGE_BERT_MARKS },
        { rules.lowercase, NIB_STAGE_LOWERCASE },
    };
    nib_status status = NIB_OK;

    for (size_t i = 0; i < NIB_COUNT(steps) && !status; i++)
        if (steps[i].on)
            status = put_stage(t, where, (nib_stage){ .kind = steps[i].kind }, out, err);
    return status;
}

nib_bert_rules nib_bert_rules_of(const json_t *j)
{
    const json_t *strips = json_object_get(j, "strip_accents");
    nib_bert_rules r = { .clean = json_is_true(json_object_get(j, "clean_text")),
                         .chinese = json_is_true(json_object_get(j, "handle_chinese_chars")),
                         .lowercase = json_is_true(json_object_get(j, "lowercase")) };

    r.strips = !strips || json_is_null(strips) ? r.lowercase : json_is_true(strips);
    return r;
}

static nib_status add_stage(nib_tokenizer *t, const json_t *j, const char *where, int what,
                            const known *k, nib_stages *out, nib_error *err)
{
    nib_stage s = { .kind = k->kind };
    nib_status status = nib_schema_check(j, where, k->type, k->schema, err);

    if (!status && k->kind == NIB_STAGE_BERT_CLEAN)
        return nib_stages_add_bert(t, nib_bert_rules_of(j), where, out, err);
    if (!status) status = read_stage(t, j, where, k->type, what, &s, err);
    if (!status) status = put_stage(t, where, s, out, err);
    if (status) free_stage(t, &s);
    return status;
}

static nib_status refuse(const char *where, const char *type, int what, nib_error *err)
{
    static const char *const names[] = { "normalizer", "pre_tokenizer", "decoder" };
    char list[400] = "Sequence";
    size_t used = strlen(list);

    for (size_t i = 0; i < NIB_COUNT(table) && used < sizeof list; i++)
        if (table[i].in >> what & 1)
            used += (size_t)snprintf(list + used, sizeof list - used, ", %s", table[i].type);
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s: %s '%s' is unknown; known: %s", where,
                    names[what], type, list);
}

static nib_status load_one(nib_tokenizer *t, const json_t *j, const char *where, int what,
                           int depth, nib_stages *out, nib_error *err)
{
    static const char *const lists[] = { "normalizers", "pretokenizers", "decoders" };
    const char *type = json_string_value(json_object_get(j, "type"));
    char schema[40];
    nib_status status;

    if (!type || depth > 4)
        return nib_fail(err, NIB_E_FORMAT, "%s: a component of %s has no type", where, lists[what]);
    if (strcmp(type, "Sequence") == 0) {
        snprintf(schema, sizeof schema, "type:s %s:a", lists[what]);
        status = nib_schema_check(j, where, "Sequence", schema, err);
        j = json_object_get(j, lists[what]);
        for (size_t i = 0; i < json_array_size(j) && !status; i++)
            status = load_one(t, json_array_get(j, i), where, what, depth + 1, out, err);
        return status;
    }
    for (size_t i = 0; i < NIB_COUNT(table); i++)
        if (table[i].in >> what & 1 && strcmp(table[i].type, type) == 0)
            return add_stage(t, j, where, what, &table[i], out, err);
    return refuse(where, type, what, err);
}

nib_status nib_stages_load(nib_tokenizer *t, const json_t *json, const char *where, int what,
                           nib_stages *out, nib_error *err)
{
    return !json || json_is_null(json) ? NIB_OK : load_one(t, json, where, what, 0, out, err);
}

void nib_stages_free(nib_tokenizer *t, nib_stages *s)
{
    for (size_t i = 0; i < s->count; i++) free_stage(t, &s->items[i]);
    nib_free(t->ctx, s->items);
    *s = (nib_stages){ 0 };
}
