/* gguf_tokenizer.c - tokenizer.json made of a GGUF's keys (formats-quant.md 7.4, 7.5).
 *
 * Every token has its place in the vocabulary; control tokens and those of the user are added ones
 * too, so that they are found in text before it is cut. */
#include "text/gguf_tokenizer.h"

#include "text/gguf_pre.h"

typedef struct maker {
    const nib_gguf_vocabulary *v;
    const nib_gguf_pre *pre; /* NULL: SentencePiece */
    bool prefix;             /* a space is put before text */
} maker;

static nib_status no_memory(const nib_gguf_vocabulary *v, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory for the tokenizer", v->where);
}

static nib_status read_pre(maker *k, nib_error *err)
{
    const nib_gguf_vocabulary *v = k->v;
    const nib_gguf_value *value = nib_gguf_find(v->keys, "tokenizer.ggml.pre");
    nib_gguf_text name = { "", 0 };
    char known[700];

    if (value) nib_gguf_one_text(value, &name);
    k->pre = nib_gguf_pre_named(name.at, name.bytes);
    if (k->pre) return NIB_OK;
    nib_gguf_pre_known(known, sizeof known);
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s: tokenizer.ggml.pre is %s%.*s%s, known are %s",
                    v->where, value ? "'" : "missing", (int)nib_min(name.bytes, 60), name.at,
                    value ? "'" : "", known);
}

/* --- the vocabulary and its merges --- */

static nib_status make_vocabulary(const nib_gguf_vocabulary *v, json_t **out, nib_error *err)
{
    json_t *vocabulary = *out = json_object();

    if (!vocabulary) return no_memory(v, err);
    for (size_t i = 0; i < v->count; i++) {
        nib_gguf_text t = v->tokens[i];
        json_t *text = v->wordpiece ? nib_gguf_wordpiece_text(v, i)
                                    : json_stringn(t.at, t.bytes); /* checks that it is UTF-8 */
        bool twice = text && json_object_get(vocabulary, json_string_value(text));
        int failed = !text || twice ||
                     json_object_set_new(vocabulary, json_string_value(text),
                                         json_integer((json_int_t)i));
        json_decref(text);
        if (failed)
            return nib_fail(err, NIB_E_FORMAT, "%s: token %zu, '%.*s', %s", v->where, i,
                            (int)nib_min(t.bytes, 60), t.at,
                            twice ? "is there twice" : "is not valid UTF-8");
    }
    return NIB_OK;
}

static nib_status make_merges(const nib_gguf_vocabulary *v, json_t **out, nib_error *err)
{
    const nib_gguf_value *merges = nib_gguf_find(v->keys, "tokenizer.ggml.merges");
    nib_gguf_text text;
    size_t at = 0;

    if (v->sentencepiece && !v->merged) {
        if (v->scores) return nib_gguf_score_merges(v, out, err);
        return nib_fail(err, NIB_E_FORMAT, "%s: tokenizer.ggml.scores is missing", v->where);
    }
    if (!merges || merges->entry != NIB_GGUF_TEXT)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: tokenizer.ggml.merges is missing, or no array of texts", v->where);
    *out = json_array();
    while (*out && nib_gguf_next_text(merges, &at, &text))
        if (json_array_append_new(*out, json_stringn(text.at, text.bytes)))
            return nib_fail(err, NIB_E_FORMAT, "%s: tokenizer.ggml.merges: '%.*s' is not valid "
                            "UTF-8", v->where, (int)nib_min(text.bytes, 60), text.at);
    return *out ? NIB_OK : no_memory(v, err);
}

static nib_status make_model(const maker *k, json_t **out, nib_error *err)
{
    const nib_gguf_vocabulary *v = k->v;
    int64_t unknown = nib_gguf_token_id(v, "unknown",
                                        v->sentencepiece && !v->merged ? 0 : -1);
    json_t *vocabulary = NULL, *merges = NULL, *unk;
    nib_status status = v->unigram ? nib_gguf_unigram_check(v, err)
                                   : make_vocabulary(v, &vocabulary, err);

    if (!status && v->unigram) {
        *out = nib_gguf_unigram_model(v);
        return *out ? NIB_OK : no_memory(v, err);
    }

    if (!status && v->wordpiece) {
        *out = nib_gguf_wordpiece_model(v, vocabulary);
        return *out ? NIB_OK : no_memory(v, err);
    }
    if (!status) status = make_merges(v, &merges, err);
    if (status) {
        json_decref(vocabulary);
        json_decref(merges);
        return status;
    }
    unk = v->sentencepiece && unknown >= 0
              ? json_stringn(v->tokens[unknown].at, v->tokens[unknown].bytes)
              : json_null();
    *out = json_pack("{s:s, s:o, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "unk_token", unk,
                     "fuse_unk", v->sentencepiece, "byte_fallback", v->sentencepiece,
                     "ignore_merges", k->pre && k->pre->ignore_merges, "vocab", vocabulary,
                     "merges", merges);
    return *out ? NIB_OK : no_memory(v, err);
}

/* --- the stages --- */

static json_t *make_added(const nib_gguf_vocabulary *v)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < v->count; i++) {
        unsigned type = nib_gguf_token_type(v, i);
        bool unknown = (v->sentencepiece || v->wordpiece || v->unigram) && type == NIB_GGUF_UNKNOWN;
        json_t *one, *text;
        if (type != NIB_GGUF_CONTROL && type != NIB_GGUF_USER && !unknown) continue;
        text = v->wordpiece ? nib_gguf_wordpiece_text(v, i)
                            : json_stringn(v->tokens[i].at, v->tokens[i].bytes);
        one = json_pack("{s:I, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)i, "content", text,
                        "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special",
                        type != NIB_GGUF_USER);
        if (json_array_append_new(list, one)) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

#define MARK "\xe2\x96\x81" /* U+2581, SentencePiece's space */

static json_t *make_normalizer(const maker *k)
{
    json_t *replace;

    if (k->v->unigram) return nib_gguf_unigram_normalizer(k->v);
    if (k->pre) return k->pre->nfc ? json_pack("{s:s}", "type", "NFC") : json_null();
    replace = json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ",
                        "content", MARK);
    if (!k->prefix) return replace;
    return json_pack("{s:s, s:[{s:s, s:s}, o]}", "type", "Sequence", "normalizers", "type",
                     "Prepend", "prepend", MARK, replace);
}

static json_t *make_decoder(const maker *k)
{
    json_t *list;

    if (k->v->unigram) return nib_gguf_unigram_space(k->v);
    if (k->pre)
        return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                         "trim_offsets", 1, "use_regex", 1);
    list = json_pack("[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}]", "type", "Replace", "pattern", "String",
                     MARK, "content", " ", "type", "ByteFallback", "type", "Fuse");
    if (k->prefix && list)
        json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content",
                                              " ", "start", 1, "stop", 0));
    return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", list);
}

static json_t *special_piece(const nib_gguf_text t)
{
    return json_pack("{s:{s:s%, s:i}}", "SpecialToken", "id", t.at, t.bytes, "type_id", 0);
}

/* [BOS] text [EOS], or nothing. */
static json_t *make_post(const maker *k)
{
    const nib_gguf_vocabulary *v = k->v;
    bool bos = nib_gguf_token_flag(v, "add_bos_token", k->pre ? k->pre->add_bos : !v->unigram);
    bool eos = nib_gguf_token_flag(v, "add_eos_token", v->unigram);
    bool none = k->pre || v->merged; /* no ids by default */
    int64_t ids[2] = { bos ? nib_gguf_token_id(v, "bos", none || v->unigram ? -1 : 1) : -1,
                       eos ? nib_gguf_token_id(v, "eos", none ? -1 : v->unigram ? 1 : 2) : -1 };
    json_t *single, *pair, *tokens;

    if (ids[0] < 0 && ids[1] < 0) return json_null();
    single = json_array();
    pair = json_array();
    tokens = json_object();
    for (int text = 0; text < 2; text++) {
        json_t *both[2] = { text ? NULL : single, pair };
        for (int to = 0; to < 2; to++) {
            if (!both[to]) continue;
            if (ids[0] >= 0) json_array_append_new(both[to], special_piece(v->tokens[ids[0]]));
            json_array_append_new(both[to], json_pack("{s:{s:s, s:i}}", "Sequence", "id",
                                                      text ? "B" : "A", "type_id", text));
            if (ids[1] >= 0) json_array_append_new(both[to], special_piece(v->tokens[ids[1]]));
        }
    }
    for (int i = 0; i < 2; i++) {
        nib_gguf_text t;
        json_t *one;
        if (ids[i] < 0) continue;
        t = v->tokens[ids[i]];
        one = json_pack("{s:s%, s:[I], s:[s%]}", "id", t.at, t.bytes, "ids", (json_int_t)ids[i],
                        "tokens", t.at, t.bytes);
        if (one) json_object_set(tokens, json_string_value(json_object_get(one, "id")), one);
        json_decref(one);
    }
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair",
                     pair, "special_tokens", tokens);
}

nib_status nib_gguf_tokenizer_json(const nib_gguf_vocabulary *v, json_t **out, nib_error *err)
{
    maker k = { .v = v, .prefix = nib_gguf_token_flag(v, "add_space_prefix", true) };
    json_t *model = NULL;
    bool cuts = !v->sentencepiece && !v->wordpiece && !v->unigram;
    nib_status status = cuts ? read_pre(&k, err) : NIB_OK;

    if (!status) status = make_model(&k, &model, err);
    if (status) return status;
    if (v->wordpiece) {
        *out = nib_gguf_wordpiece_json(v, model, make_added(v));
        return *out ? NIB_OK : no_memory(v, err);
    }
    *out = json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0",
                     "truncation", "padding", "added_tokens", make_added(v), "normalizer",
                     make_normalizer(&k), "pre_tokenizer",
                     k.pre       ? nib_gguf_pre_json(k.pre)
                     : v->unigram ? nib_gguf_unigram_space(v)
                                  : json_null(), "post_processor",
                     make_post(&k), "decoder", make_decoder(&k), "model", model);
    return *out ? NIB_OK : no_memory(v, err);
}
