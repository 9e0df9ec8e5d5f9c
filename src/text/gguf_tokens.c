/* gguf_tokens.c - see gguf_tokens.h.
 *
 * A byte-level BPE keeps its merges; of one made of SentencePiece the score of a piece is minus the
 * rank of the first merge that makes it, which gives the same ids (formats-quant.md 7.5). */
#include "text/gguf_tokens.h"

#include <stdio.h>

#include "text/chat.h"
#include "text/gguf_pre.h"
#include "text/gguf_suppressed.h"
#include "text/gguf_tokenizer.h"
#include "text/parts.h"

#define MARK "\xe2\x96\x81" /* U+2581, SentencePiece's space */

enum { NO_MERGE = -1000000 }; /* the score of a piece that no merge makes */

typedef struct writing {
    nib_tokenizer *t;
    const char *dir;
    nib_gguf_writer *w;
    const json_t *model;
    size_t count;           /* of tokens, with those of padding */
    bool sentencepiece, wordpiece;
    nib_gguf_unigram unigram;
    bool lower, strip;      /* WordPiece: letters become small, accents are left out */
    bool prefix;            /* a space is put before text */
    const nib_gguf_pre *pre;
    const char *merged;     /* what a SentencePiece BPE that keeps its merges is called; or NULL */
} writing;

/* --- which kind it is --- */

/* Is the normalizer, or one of its Sequence, of this type? */
static bool has_stage(const json_t *stage, const char *type)
{
    const json_t *list = json_object_get(stage, "normalizers"), *one;
    size_t i;

    if (strcmp(nib_stage_type(stage), type) == 0) return true;
    json_array_foreach(list, i, one) if (strcmp(nib_stage_type(one), type) == 0) return true;
    return false;
}

static bool is_empty(const json_t *stage)
{
    return !stage || json_is_null(stage) ||
           (strcmp(nib_stage_type(stage), "Sequence") == 0 &&
            !json_array_size(json_object_get(stage, "normalizers")) &&
            !json_array_size(json_object_get(stage, "pretokenizers")));
}

static nib_status read_sentencepiece(writing *k, nib_error *err)
{
    static const char *const known[] = { "Prepend", "Replace" };
    const json_t *normalizer = json_object_get(k->t->json, "normalizer");
    const json_t *pre = json_object_get(k->t->json, "pre_tokenizer");
    const json_t *list = json_object_get(normalizer, "normalizers"), *one;
    bool metaspace = strcmp(nib_stage_type(pre), "Metaspace") == 0;
    const char *scheme = json_string_value(json_object_get(pre, "prepend_scheme"));
    size_t i;

    json_array_foreach(list, i, one) {
        bool fine = false;
        for (size_t j = 0; j < NIB_COUNT(known); j++)
            fine |= strcmp(nib_stage_type(one), known[j]) == 0;
        if (!fine)
            return nib_fail(err, NIB_E_UNSUPPORTED, "%s: normalizer %s of tokenizer.json has no "
                            "form in GGUF, known are Prepend and Replace", k->dir,
                            nib_stage_type(one));
    }
    if (!metaspace && !is_empty(pre) && strcmp(nib_stage_type(pre), "Split") != 0)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: pre_tokenizer %s of tokenizer.json has no "
                        "form in GGUF beside byte_fallback, known are Metaspace and none", k->dir,
                        nib_stage_type(pre));
    if (metaspace && scheme && strcmp(scheme, "first") == 0)
        nib_warn_code(k->t->ctx, "gguf-space", "%s: tokenizer.json puts a space before the whole "
                      "text alone; readers of GGUF put one behind each special token too", k->dir);
    k->prefix = metaspace ? !scheme || strcmp(scheme, "never") != 0
                          : has_stage(normalizer, "Prepend");
    return NIB_OK;
}

static nib_status read_bytes(writing *k, nib_error *err)
{
    const json_t *normalizer = json_object_get(k->t->json, "normalizer");
    const json_t *pre = json_object_get(k->t->json, "pre_tokenizer");
    bool nfc = has_stage(normalizer, "NFC");
    bool ignore = json_is_true(json_object_get(k->model, "ignore_merges"));
    char known[700];

    if (!nfc && !is_empty(normalizer))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: normalizer %s of tokenizer.json has no form "
                        "in GGUF", k->dir, nib_stage_type(normalizer));
    k->pre = nib_gguf_pre_like(pre, nfc, ignore);
    if (!k->pre && nfc && (k->pre = nib_gguf_pre_like(pre, false, ignore)))
        nib_warn_code(k->t->ctx, "gguf-normalizer", "%s: tokenizer.json normalizes text (NFC), "
                      "readers of GGUF do not", k->dir);
    if (k->pre) return NIB_OK;
    nib_gguf_pre_known(known, sizeof known);
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s: how tokenizer.json cuts text has no name in GGUF "
                    "(tokenizer.ggml.pre); known are the ways of %s", k->dir, known);
}

static nib_status read_wordpiece(writing *k, nib_error *err)
{
    const json_t *normalizer = json_object_get(k->t->json, "normalizer");
    const json_t *pre = json_object_get(k->t->json, "pre_tokenizer"), *strip;
    const char *prefix = json_string_value(json_object_get(k->model, "continuing_subword_prefix"));

    if (strcmp(nib_stage_type(normalizer), "BertNormalizer") != 0 ||
        strcmp(nib_stage_type(pre), "BertPreTokenizer") != 0 ||
        (prefix && strcmp(prefix, "##") != 0))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: WordPiece in tokenizer.json with normalizer "
                        "'%s' and pre_tokenizer '%s' has no form in GGUF, known are BertNormalizer "
                        "and BertPreTokenizer", k->dir, nib_stage_type(normalizer),
                        nib_stage_type(pre));
    k->wordpiece = true;
    k->lower = !json_is_false(json_object_get(normalizer, "lowercase"));
    strip = json_object_get(normalizer, "strip_accents");
    k->strip = json_is_boolean(strip) ? json_is_true(strip) : k->lower;
    return NIB_OK;
}

static nib_status read_kind(writing *k, nib_error *err)
{
    const char *type = nib_stage_type(k->model);

    if (strcmp(type, "WordPiece") == 0) return read_wordpiece(k, err);
    if (strcmp(type, "Unigram") == 0)
        return nib_gguf_unigram_read(k->t->ctx, k->t->json, k->dir, &k->unigram, err);
    if (strcmp(type, "BPE") != 0)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: a %s tokenizer is not written as GGUF, known "
                        "are BPE, of bytes or made of SentencePiece, WordPiece and Unigram", k->dir,
                        type);
    k->sentencepiece = json_is_true(json_object_get(k->model, "byte_fallback"));
    return k->sentencepiece ? read_sentencepiece(k, err) : read_bytes(k, err);
}

/* --- the vocabulary --- */

static bool is_byte_token(const char *text)
{
    return strlen(text) == 6 && strncmp(text, "<0x", 3) == 0 && text[5] == '>';
}

/* Control tokens that programs are to print: the converter writes them as a user's. */
static bool is_shown(const writing *k, const char *text)
{
    static const char *const shown[] = { "<|channel>", "<channel|>", "<|tool_call>",
                                         "<tool_call|>", "<|tool_response>", "<tool_response|>",
                                         "<|\"|>" };

    for (size_t i = 0; i < NIB_COUNT(shown) && k->merged; i++)
        if (strcmp(text, shown[i]) == 0) return true;
    return false;
}

static unsigned kind_of(const writing *k, uint32_t id)
{
    const nib_tokenizer *t = k->t;
    const char *text = id < t->size ? t->tokens[id] : NULL;

    if (!text) return NIB_GGUF_UNUSED;
    if (k->unigram.is && (int64_t)id == k->unigram.unknown) return NIB_GGUF_UNKNOWN;
    if (k->sentencepiece && t->unk_name && strcmp(text, t->unk_name) == 0) return NIB_GGUF_UNKNOWN;
    if (is_shown(k, text)) return NIB_GGUF_USER;
    if (t->is_added[id]) return t->special[id] ? NIB_GGUF_CONTROL : NIB_GGUF_USER;
    return k->sentencepiece && is_byte_token(text) ? NIB_GGUF_BYTE : NIB_GGUF_NORMAL;
}

/* What begins a word gets a mark, what continues one loses its own. */
static nib_status put_piece(const writing *k, const char *text, bool control, nib_error *err)
{
    bool continues = text[0] == '#' && text[1] == '#';
    char *marked;

    if (control || continues) {
        text += control ? 0 : 2;
        nib_gguf_entry_text(k->w, text, strlen(text));
        return NIB_OK;
    }
    marked = nib_sprintf(k->t->ctx, MARK "%s", text);
    if (!marked) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", k->dir);
    nib_gguf_entry_text(k->w, marked, strlen(marked));
    nib_free(k->t->ctx, marked);
    return NIB_OK;
}

static nib_status put_tokens(const writing *k, nib_error *err)
{
    char room[40];
    nib_status status = NIB_OK;

    nib_gguf_put_array(k->w, "tokenizer.ggml.tokens", NIB_GGUF_TEXT, k->count);
    for (uint32_t id = 0; id < k->count && !status; id++) {
        const char *text = id < k->t->size ? k->t->tokens[id] : NULL;
        if (k->wordpiece && text) {
            unsigned kind = kind_of(k, id); /* added tokens are found as they are */
            status = put_piece(k, text, kind == NIB_GGUF_CONTROL || kind == NIB_GGUF_USER, err);
            continue;
        }
        if (!text) {
            snprintf(room, sizeof room, "[PAD%" PRIu32 "]", id);
            text = room;
        }
        nib_gguf_entry_text(k->w, text, strlen(text));
    }
    nib_gguf_put_array(k->w, "tokenizer.ggml.token_type", NIB_GGUF_I32, k->count);
    for (uint32_t id = 0; id < k->count; id++)
        nib_gguf_entry_number(k->w, NIB_GGUF_I32, kind_of(k, id));
    return status;
}

/* The halves of a merge: "a b", or ["a", "b"]. */
static bool halves_of(const json_t *merge, nib_gguf_text *a, nib_gguf_text *b)
{
    const json_t *first = json_array_get(merge, 0), *second = json_array_get(merge, 1);
    const char *text, *space;

    if (json_is_array(merge)) {
        if (!json_is_string(first) || !json_is_string(second)) return false;
        *a = (nib_gguf_text){ json_string_value(first), json_string_length(first) };
        *b = (nib_gguf_text){ json_string_value(second), json_string_length(second) };
        return true;
    }
    text = json_string_value(merge);
    space = text ? strchr(text, ' ') : NULL;
    if (!space) return false;
    *a = (nib_gguf_text){ text, (size_t)(space - text) };
    *b = (nib_gguf_text){ space + 1, strlen(space + 1) };
    return true;
}

static nib_status bad_merge(const writing *k, size_t i, nib_error *err)
{
    return nib_fail(err, NIB_E_FORMAT, "%s: merge %zu of tokenizer.json is no pair of texts",
                    k->dir, i);
}

/* Both halves behind each other, with `between`; NULL: no memory. */
static char *joined(nib_ctx *ctx, nib_gguf_text a, const char *between, nib_gguf_text b)
{
    return nib_sprintf(ctx, "%.*s%s%.*s", (int)a.bytes, a.at, between, (int)b.bytes, b.at);
}

static nib_status put_merges(const writing *k, nib_error *err)
{
    const json_t *merges = json_object_get(k->model, "merges"), *one;
    nib_ctx *ctx = k->t->ctx;
    nib_gguf_text a, b;
    size_t i;

    nib_gguf_put_array(k->w, "tokenizer.ggml.merges", NIB_GGUF_TEXT, json_array_size(merges));
    json_array_foreach(merges, i, one) {
        char *text;
        if (!halves_of(one, &a, &b)) return bad_merge(k, i, err);
        text = joined(ctx, a, " ", b);
        if (!text) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", k->dir);
        nib_gguf_entry_text(k->w, text, strlen(text));
        nib_free(ctx, text);
    }
    return NIB_OK;
}

/* Minus the rank of the first merge that makes each token. */
static nib_status rank_merges(const writing *k, float *scores, nib_error *err)
{
    const json_t *merges = json_object_get(k->model, "merges"), *one;
    nib_ctx *ctx = k->t->ctx;
    nib_gguf_text a, b;
    size_t i;

    json_array_foreach(merges, i, one) {
        char *text;
        int64_t id;
        if (!halves_of(one, &a, &b)) return bad_merge(k, i, err);
        text = joined(ctx, a, "", b);
        if (!text) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", k->dir);
        id = nib_tokenizer_find(k->t, text);
        nib_free(ctx, text);
        if (id >= 0 && (size_t)id < k->count && scores[id] == (float)NO_MERGE)
            scores[id] = -(float)i;
    }
    return NIB_OK;
}

static nib_status put_scores(const writing *k, nib_error *err)
{
    float *scores = nib_new_array(k->t->ctx, k->count, sizeof *scores);
    nib_status status;

    if (!scores) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", k->dir);
    for (uint32_t id = 0; id < k->count; id++)
        scores[id] = kind_of(k, id) == NIB_GGUF_NORMAL ? (float)NO_MERGE : 0;
    status = rank_merges(k, scores, err);
    nib_gguf_put_array(k->w, "tokenizer.ggml.scores", NIB_GGUF_F32, k->count);
    for (uint32_t id = 0; id < k->count; id++)
        nib_gguf_entry_number(k->w, NIB_GGUF_F32, (double)scores[id]);
    nib_free(k->t->ctx, scores);
    return status;
}

/* Beside merges, which count: what the converter writes. */
static void put_no_scores(const writing *k)
{
    nib_gguf_put_array(k->w, "tokenizer.ggml.scores", NIB_GGUF_F32, k->count);
    for (uint32_t id = 0; id < k->count; id++)
        nib_gguf_entry_number(k->w, NIB_GGUF_F32, -1000);
}

/* A unigram's pieces have scores of their own; tokens added behind them are found before text is
 * cut. */
static nib_status put_unigram(const writing *k, nib_error *err)
{
    const json_t *pieces = json_object_get(k->model, "vocab");

    nib_gguf_put_array(k->w, "tokenizer.ggml.scores", NIB_GGUF_F32, k->count);
    for (uint32_t id = 0; id < k->count; id++) {
        const json_t *piece = json_array_get(pieces, id);
        double score = kind_of(k, id) == NIB_GGUF_UNUSED ? -10000 : 0;
        nib_gguf_entry_number(k->w, NIB_GGUF_F32,
                              piece ? json_number_value(json_array_get(piece, 1)) : score);
    }
    return nib_gguf_unigram_put(&k->unigram, k->t->ctx, k->dir, k->w, err);
}

/* --- special tokens --- */

static void put_id(const writing *k, const char *key, int64_t id)
{
    if (id >= 0 && (uint64_t)id < k->count)
        nib_gguf_put_number(k->w, key, NIB_GGUF_U32, (double)id);
}

/* The token that the post-processor puts before (first), or behind, the text of one sequence; -1:
 * none. */
static int64_t added_by_post(const nib_tokenizer *t, const json_t *post, bool first)
{
    const json_t *list = json_object_get(post, "processors"), *one, *single, *piece;
    int64_t id = -1;
    size_t i;

    json_array_foreach(list, i, one) if (id < 0) id = added_by_post(t, one, first);
    if (strcmp(nib_stage_type(post), "RobertaProcessing") == 0) {
        piece = json_array_get(json_object_get(post, first ? "cls" : "sep"), 0);
        return json_is_string(piece) ? nib_tokenizer_find(t, json_string_value(piece)) : -1;
    }
    if (id >= 0 || strcmp(nib_stage_type(post), "TemplateProcessing") != 0) return id;
    single = json_object_get(post, "single");
    piece = json_array_get(single, first ? 0 : json_array_size(single) - 1);
    piece = json_object_get(json_object_get(piece, "SpecialToken"), "id");
    return json_is_string(piece) ? nib_tokenizer_find(t, json_string_value(piece)) : -1;
}

/* Where the tokenizer's files name no token, what the post-processor adds is it. */
static nib_status put_end(const writing *k, bool first, int64_t named, nib_error *err)
{
    const json_t *post = json_object_get(k->t->json, "post_processor");
    int64_t added = added_by_post(k->t, post, first);
    const char *name = first ? "bos" : "eos";
    char key[80];

    if (added >= 0 && named >= 0 && added != named)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: the post_processor of tokenizer.json adds "
                        "'%s', which is not the %s token; GGUF can say that one alone", k->dir,
                        nib_tokenizer_token(k->t, (uint32_t)added), name);
    snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", name);
    put_id(k, key, named >= 0 ? named : added);
    snprintf(key, sizeof key, "tokenizer.ggml.add_%s_token", name);
    nib_gguf_put_number(k->w, key, NIB_GGUF_BOOL, added >= 0);
    return NIB_OK;
}

/* [CLS], which llama.cpp puts before a text, is its first token; [SEP] goes behind. */
static nib_status put_bert(const writing *k, nib_error *err)
{
    static const struct { const char *name, *key; } ids[] = {
        { "[PAD]", "tokenizer.ggml.padding_token_id" },
        { "[UNK]", "tokenizer.ggml.unknown_token_id" },
        { "[MASK]", "tokenizer.ggml.mask_token_id" },
    };
    const json_t *post = json_object_get(k->t->json, "post_processor");
    int64_t cls = added_by_post(k->t, post, true), sep = added_by_post(k->t, post, false);

    if (cls < 0 || sep < 0)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: the post_processor of tokenizer.json does not "
                        "put a token before and one behind the text, as readers of GGUF do",
                        k->dir);
    put_id(k, "tokenizer.ggml.bos_token_id", cls);
    put_id(k, "tokenizer.ggml.cls_token_id", cls);
    put_id(k, "tokenizer.ggml.eos_token_id", sep);
    put_id(k, "tokenizer.ggml.seperator_token_id", sep);
    for (size_t i = 0; i < NIB_COUNT(ids); i++)
        put_id(k, ids[i].key, nib_tokenizer_find(k->t, ids[i].name));
    nib_gguf_put_number(k->w, "tokenizer.ggml.normalizer.lowercase", NIB_GGUF_BOOL, k->lower);
    nib_gguf_put_number(k->w, "tokenizer.ggml.normalizer.strip_accents", NIB_GGUF_BOOL, k->strip);
    return NIB_OK;
}

static nib_status put_special(const writing *k, nib_error *err)
{
    const nib_special_tokens *s = nib_tokenizer_special(k->t);
    static const char *const others[] = { "tokenizer.ggml.eot_token_id",
                                          "tokenizer.ggml.eom_token_id" };
    size_t more = 0;
    nib_status status = put_end(k, true, s->bos.id, err);

    if (!status) status = put_end(k, false, s->eos.id, err);
    put_id(k, "tokenizer.ggml.unknown_token_id",
           k->unigram.is ? k->unigram.unknown : s->unk.id);
    put_id(k, "tokenizer.ggml.padding_token_id", s->pad.id);
    for (size_t i = 0; i < s->end_count; i++) {
        if (s->ends[i] == s->eos.id) continue;
        if (more < NIB_COUNT(others)) put_id(k, others[more], s->ends[i]);
        else
            nib_warn_code(k->t->ctx, "gguf-end-token", "%s: token %lld ends a text too, for which "
                          "GGUF has no key: eos, eot and eom are taken", k->dir,
                          (long long)s->ends[i]);
        more++;
    }
    if (k->sentencepiece || k->unigram.is)
        nib_gguf_put_number(k->w, "tokenizer.ggml.add_space_prefix", NIB_GGUF_BOOL,
                            k->unigram.is ? k->unigram.prefix : k->prefix);
    return status;
}

/* --- chat templates --- */

static void put_template(void *self, const char *name, const char *text, size_t bytes)
{
    const writing *k = self;
    char key[200];

    snprintf(key, sizeof key, "tokenizer.chat_template%s%.120s", *name ? "." : "", name);
    nib_gguf_put_text(k->w, key, text, bytes);
}

/* Tokens that are found under conditions which GGUF cannot say. */
static void warn_of_added(const writing *k)
{
    for (size_t i = 0; i < k->t->added_count; i++) {
        const nib_added *a = &k->t->added[i];
        if (a->single_word || a->lstrip || a->rstrip)
            nib_warn_code(k->t->ctx, "gguf-added-token", "%s: token '%s' is found only as a whole "
                          "word, or with the spaces beside it (single_word, lstrip, rstrip): "
                          "readers of GGUF find it anywhere, by itself", k->dir, a->text);
    }
}

nib_status nib_gguf_put_tokenizer(nib_tokenizer *t, const char *dir, size_t vocabulary,
                                  const char *merged, nib_gguf_writer *w, nib_error *err)
{
    writing k = { .t = t, .dir = dir, .w = w, .merged = merged, .count = vocabulary,
                  .model = json_object_get(t->json, "model") };
    const char *kind;
    nib_status status = read_kind(&k, err);

    if (status) return status;
    if (t->size > vocabulary)
        return nib_fail(err, NIB_E_MISMATCH, "%s: the tokenizer has %zu tokens, the embedding %zu "
                        "rows", dir, t->size, vocabulary);
    if (!k.sentencepiece) k.merged = NULL;
    kind = k.wordpiece ? "bert" : k.unigram.is ? "t5" : k.sentencepiece ? "llama" : "gpt2";
    if (k.merged) kind = k.merged;
    nib_gguf_put_text(w, "tokenizer.ggml.model", kind, strlen(kind));
    if (k.merged) put_no_scores(&k);
    else if (k.pre) nib_gguf_put_text(w, "tokenizer.ggml.pre", k.pre->name, strlen(k.pre->name));
    else nib_gguf_put_text(w, "tokenizer.ggml.pre", "default", 7);
    status = put_tokens(&k, err);
    warn_of_added(&k);
    if (!status && k.wordpiece) return put_bert(&k, err);
    if (!status)
        status = k.unigram.is ? put_unigram(&k, err)
                 : k.sentencepiece && !k.merged ? put_scores(&k, err) : put_merges(&k, err);
    if (!status) status = put_special(&k, err);
    if (!status) status = nib_gguf_put_suppressed(t->ctx, dir, w, err);
    if (!status) status = nib_chat_each(t->ctx, dir, put_template, &k, err);
    return status;
}
