/* convert_model.c - tokenizer.json of a SentencePiece model, by the rules of its class. */
#include <stdlib.h>
#include <utf8proc.h>

#include "base/filemap.h"
#include "text/charsmap.h"
#include "text/convert.h"
#include "text/sentencepiece.h"
#include "text/utf8.h"

#define MARK "\xe2\x96\x81"

enum { MOST_BYTES = 256 << 20 };

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
}

/* --- the vocabulary --- */

typedef struct entry { const char *text; size_t bytes; double score; } entry;

typedef struct vocab {
    nib_ctx *ctx;
    entry *entries;
    size_t count, capacity;
    bool good;
} vocab;

static void put(vocab *v, const char *text, size_t bytes, double score)
{
    v->good = v->good &&
              nib_grow(v->ctx, &v->entries, &v->capacity, v->count + 1, sizeof *v->entries);
    if (v->good) v->entries[v->count++] = (entry){ text, bytes, score };
}

static void put_all(vocab *v, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) put(v, names[i], strlen(names[i]), 0);
}

/* What Python's isdigit() takes for a digit, but for historic scripts. */
static bool is_digit(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_ND || c == 0xb2 ||
           c == 0xb3 || c == 0xb9 || c == 0x2070 || (c >= 0x2074 && c <= 0x2079) ||
           (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468);
}

/* ALBERT's converter lowers what ends in a comma behind a digit. */
static bool is_number_with_comma(const nib_spm_piece *p)
{
    if (p->bytes < 2 || p->text[p->bytes - 1] != ',') return false;
    return is_digit(nib_utf8_read(p->text + nib_utf8_before(p->text, p->bytes - 1)));
}

static void put_pieces(vocab *v, const nib_spm *m, size_t from, bool albert)
{
    for (size_t i = from; i < m->count; i++) {
        const nib_spm_piece *p = &m->pieces[i];
        put(v, p->text, p->bytes,
            (double)p->score - (albert && is_number_with_comma(p) ? 100 : 0));
    }
}

/* --- BPE: every way to make a piece of two others, the best pieces first --- */

typedef struct join {
    uint32_t piece, left, right;       /* entries */
    uint32_t left_length, right_length; /* characters */
    double score;
} join;

static int by_rank(const void *a, const void *b)
{
    const join *x = a, *y = b;

    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->left_length != y->left_length) return x->left_length > y->left_length ? -1 : 1;
    if (x->right_length != y->right_length) return x->right_length > y->right_length ? -1 : 1;
    if (x->piece != y->piece) return x->piece < y->piece ? -1 : 1;
    if (x->left != y->left) return x->left < y->left ? -1 : 1;
    return x->right < y->right ? -1 : x->right > y->right;
}

typedef struct joins { nib_ctx *ctx; join *items; size_t count, capacity; } joins;

static bool find_joins(const vocab *v, const nib_words *words, joins *out)
{
    for (size_t i = 0; i < v->count; i++) {
        const entry *e = &v->entries[i];

        if (nib_words_get(words, e->text, e->bytes) != (int64_t)i) continue; /* a repeated one */
        for (size_t k = 1; k < e->bytes; k++) {
            int64_t left, right;

            if (((uint8_t)e->text[k] & 0xc0) == 0x80) continue;
            left = nib_words_get(words, e->text, k);
            right = left < 0 ? -1 : nib_words_get(words, e->text + k, e->bytes - k);
            if (right < 0) continue;
            if (!nib_grow(out->ctx, &out->items, &out->capacity, out->count + 1,
                          sizeof *out->items))
                return false;
            out->items[out->count++] =
                (join){ (uint32_t)i, (uint32_t)left, (uint32_t)right,
                        (uint32_t)nib_utf8_count(e->text, k),
                        (uint32_t)nib_utf8_count(e->text + k, e->bytes - k), e->score };
        }
    }
    return true;
}

static json_t *merges_of(const vocab *v)
{
    nib_words words = { 0 };
    joins all = { .ctx = v->ctx };
    json_t *merges = json_array();
    bool good = merges != NULL;

    for (size_t i = v->count; i-- && good;) /* the last of equal ones counts */
        good = nib_words_put(v->ctx, &words, v->entries[i].text, v->entries[i].bytes, (uint32_t)i);
    good = good && find_joins(v, &words, &all);
    if (good && all.count) qsort(all.items, all.count, sizeof *all.items, by_rank);
    for (size_t i = 0; i < all.count && good; i++) {
        const entry *l = &v->entries[all.items[i].left], *r = &v->entries[all.items[i].right];
        good = json_array_append_new(merges, json_pack("[s%,s%]", l->text, l->bytes, r->text,
                                                       r->bytes)) == 0;
    }
    nib_free(v->ctx, words.slots);
    nib_free(v->ctx, all.items);
    if (good) return merges;
    json_decref(merges);
    return NULL;
}

static json_t *bpe(const vocab *v, const nib_spm *m, bool byte_fallback)
{
    json_t *ids = json_object();

    for (size_t i = 0; i < v->count; i++)
        json_object_setn_new(ids, v->entries[i].text, v->entries[i].bytes,
                             json_integer((json_int_t)i));
    return json_pack("{s:s,s:s%,s:b,s:b,s:o,s:o}", "type", "BPE", "unk_token", m->unk_piece,
                     m->unk_piece_bytes, "fuse_unk", 1, "byte_fallback", byte_fallback, "vocab",
                     ids, "merges", merges_of(v));
}

static json_t *unigram(const vocab *v, int64_t unk, bool byte_fallback)
{
    json_t *list = json_array();

    for (size_t i = 0; i < v->count; i++)
        json_array_append_new(list, json_pack("[s%,f]", v->entries[i].text, v->entries[i].bytes,
                                              v->entries[i].score));
    return json_pack("{s:s,s:I,s:b,s:o}", "type", "Unigram", "unk_id", (json_int_t)unk,
                     "byte_fallback", byte_fallback, "vocab", list);
}

/* Of Gemma the tokens around a turn, which are user pieces, are special too. */
static bool is_turn(nib_convert_form form, const nib_spm_piece *p)
{
    static const char *const names[] = { "<start_of_turn>", "<end_of_turn>" };

    for (size_t i = 0; form == NIB_CONVERT_GEMMA && i < NIB_COUNT(names); i++)
        if (p->bytes == strlen(names[i]) && memcmp(p->text, names[i], p->bytes) == 0) return true;
    return false;
}

/* Control and user pieces are added tokens; the former are special. */
static json_t *added_of(nib_convert_form form, const nib_spm *m)
{
    json_t *added = json_array();

    for (size_t i = 0; i < m->count; i++) {
        const nib_spm_piece *p = &m->pieces[i];

        if (p->type == NIB_PIECE_CONTROL || p->type == NIB_PIECE_USER)
            json_array_append_new(
                added, json_pack("{s:I,s:s%,s:b,s:b,s:b,s:b,s:b}", "id", (json_int_t)i, "content",
                                 p->text, (size_t)p->bytes, "single_word", 0, "lstrip", 0, "rstrip",
                                 0, "normalized", 0, "special",
                                 p->type == NIB_PIECE_CONTROL || is_turn(form, p)));
    }
    return added;
}

/* --- the stages --- */

static json_t *replaces(const char *kind, const char *pattern, const char *content)
{
    return json_pack("{s:s,s:{s:s},s:s}", "type", "Replace", "pattern", kind, pattern, "content",
                     content);
}

static json_t *named(const char *type) { return json_pack("{s:s}", "type", type); }

static json_t *precompiled(nib_ctx *ctx, const nib_spm *m)
{
    char *text = nib_charsmap_to_base64(ctx, m->charsmap, m->charsmap_bytes);
    json_t *stage = json_pack("{s:s,s:s}", "type", "Precompiled", "precompiled_charsmap",
                              text ? text : "");
    bool good = text != NULL;

    nib_free(ctx, text);
    if (good) return stage;
    json_decref(stage);
    return NULL;
}

static json_t *strip(bool left)
{
    return json_pack("{s:s,s:b,s:b}", "type", "Strip", "strip_left", left, "strip_right", 1);
}

static json_t *deberta_normalizer(const nib_special_reading *r, const nib_spm *m)
{
    json_t *list = json_array();

    if (nib_convert_flag(r, "do_lower_case", false))
        json_array_append_new(list, named("Lowercase"));
    json_array_append_new(list, strip(true));
    if (m->charsmap_bytes) json_array_append_new(list, precompiled(r->t->ctx, m));
    json_array_append_new(list, replaces("Regex", " {2,}", " "));
    return json_pack("{s:s,s:o}", "type", "Sequence", "normalizers", list);
}

static json_t *normalizer_of(const nib_special_reading *r, nib_convert_form form, const nib_spm *m)
{
    json_t *list;

    if (form == NIB_CONVERT_GEMMA) return replaces("String", " ", MARK);
    if (form == NIB_CONVERT_DEBERTA) return deberta_normalizer(r, m);
    list = json_array();

    if (form == NIB_CONVERT_LLAMA) {
        if (!nib_convert_flag(r, "legacy", true)) {
            json_decref(list);
            return json_null();
        }
        if (nib_convert_flag(r, "add_prefix_space", true))
            json_array_append_new(list, json_pack("{s:s,s:s}", "type", "Prepend", "prepend", MARK));
        json_array_append_new(list, replaces("String", " ", MARK));
        return json_pack("{s:s,s:o}", "type", "Sequence", "normalizers", list);
    }
    if (form == NIB_CONVERT_ALBERT) {
        json_array_append_new(list, replaces("String", "``", "\""));
        json_array_append_new(list, replaces("String", "''", "\""));
        if (!nib_convert_flag(r, "keep_accents", false)) {
            json_array_append_new(list, named("NFKD"));
            json_array_append_new(list, named("StripAccents"));
        }
        if (nib_convert_flag(r, "do_lower_case", true))
            json_array_append_new(list, named("Lowercase"));
    }
    if (m->charsmap_bytes) json_array_append_new(list, precompiled(r->t->ctx, m));
    if (form != NIB_CONVERT_ALBERT)
        json_array_append_new(list, strip(false));
    json_array_append_new(list, replaces("Regex", " {2,}",
                                         form == NIB_CONVERT_ALBERT ? " " : MARK));
    return json_pack("{s:s,s:o}", "type", "Sequence", "normalizers", list);
}

static json_t *metaspace(const nib_special_reading *r, nib_convert_form form, bool splits)
{
    bool knows_legacy = form == NIB_CONVERT_T5 || form == NIB_CONVERT_LLAMA,
         legacy = !knows_legacy || nib_convert_flag(r, "legacy", true),
         prefix = !knows_legacy || nib_convert_flag(r, "add_prefix_space", true);

    return json_pack("{s:s,s:s,s:s,s:b}", "type", "Metaspace", "replacement", MARK,
                     "prepend_scheme", !prefix ? "never" : legacy ? "always" : "first", "split",
                     splits);
}

static json_t *pre_tokenizer_of(const nib_special_reading *r, nib_convert_form form)
{
    json_t *list;

    if (form == NIB_CONVERT_GEMMA)
        return json_pack("{s:s,s:{s:s},s:s,s:b}", "type", "Split", "pattern", "String", " ",
                         "behavior", "MergedWithPrevious", "invert", 0);
    if (form == NIB_CONVERT_LLAMA)
        return nib_convert_flag(r, "legacy", true) ? json_null() : metaspace(r, form, false);
    if (form != NIB_CONVERT_DEBERTA) return metaspace(r, form, true);
    list = json_array();
    if (nib_convert_flag(r, "split_by_punct", false))
        json_array_append_new(list, json_pack("{s:s,s:s}", "type", "Punctuation", "behavior",
                                              "Isolated"));
    json_array_append_new(list, metaspace(r, form, true));
    return json_pack("{s:s,s:o}", "type", "Sequence", "pretokenizers", list);
}

static json_t *decoder_of(const nib_special_reading *r, nib_convert_form form)
{
    json_t *list;

    if (form != NIB_CONVERT_LLAMA && form != NIB_CONVERT_GEMMA) return metaspace(r, form, true);
    list = json_array();
    json_array_append_new(list, replaces("String", MARK, " "));
    json_array_append_new(list, named("ByteFallback"));
    json_array_append_new(list, named("Fuse"));
    if (form == NIB_CONVERT_LLAMA && nib_convert_flag(r, "add_prefix_space", true))
        json_array_append_new(list, json_pack("{s:s,s:s,s:i,s:i}", "type", "Strip", "content", " ",
                                              "start", 1, "stop", 0));
    return json_pack("{s:s,s:o}", "type", "Sequence", "decoders", list);
}

/* A template in one word a character: c and s are the tokens before and behind, a and b the texts,
 * B a text of type 1, S the token behind it of type 1. */
static json_t *template(const char *form, const char *c, const char *s)
{
    json_t *list = json_array();

    for (; *form; form++) {
        bool text = strchr("abB", *form) != NULL;
        json_array_append_new(list,
                              json_pack("{s:{s:s,s:i}}", text ? "Sequence" : "SpecialToken", "id",
                                        *form == 'a'   ? "A"
                                        : text         ? "B"
                                        : *form == 'c' ? c
                                                       : s,
                                        "type_id", *form == 'B' || *form == 'S'));
    }
    return list;
}

static int64_t id_in(const vocab *v, const char *token)
{
    for (size_t i = v->count; i--;)
        if (v->entries[i].bytes == strlen(token) &&
            memcmp(v->entries[i].text, token, v->entries[i].bytes) == 0)
            return (int64_t)i;
    return -1;
}

static json_t *post_of(nib_convert_form form, const vocab *v)
{
    bool bert = form == NIB_CONVERT_ALBERT || form == NIB_CONVERT_DEBERTA;
    const char *c = bert ? "[CLS]" : "<s>", *s = bert ? "[SEP]" : "</s>",
               *single = form == NIB_CONVERT_T5     ? "as"
                         : form == NIB_CONVERT_XGLM ? "sa"
                                                    : "cas",
               *pair = form == NIB_CONVERT_T5       ? "asbs"
                       : form == NIB_CONVERT_XGLM   ? "sassb"
                       : bert                       ? "casBS"
                                                    : "cassbs";

    if (form == NIB_CONVERT_LLAMA || form == NIB_CONVERT_GEMMA) return json_null();
    return json_pack("{s:s,s:o,s:o,s:{s:{s:s,s:[I],s:[s]},s:{s:s,s:[I],s:[s]}}}", "type",
                     "TemplateProcessing", "single", template(single, c, s), "pair",
                     template(pair, c, s), "special_tokens", c, "id", c, "ids",
                     (json_int_t)id_in(v, c), "tokens", c, s, "id", s, "ids",
                     (json_int_t)id_in(v, s), "tokens", s);
}

/* --- all of it --- */

/* The first three pieces, by their names here. */
static void put_gemma(const nib_special_reading *r, vocab *v)
{
    const char *names[] = { nib_convert_token(r, "pad_token", r->class->pad),
                            nib_convert_token(r, "eos_token", r->class->eos),
                            nib_convert_token(r, "bos_token", r->class->bos) };

    put_all(v, names, NIB_COUNT(names));
}

/* Older files lack the tab: it takes the place of its byte. */
static void put_tab(vocab *v)
{
    size_t at = v->count;

    for (size_t i = 0; i < v->count; i++) {
        if (v->entries[i].bytes == 1 && *v->entries[i].text == '\t') return;
        if (v->entries[i].bytes == 6 && memcmp(v->entries[i].text, "<0x09>", 6) == 0) at = i;
    }
    if (at < v->count) v->entries[at] = (entry){ "\t", 1, 0 };
}

/* `names` holds what has to be made up. */
static nib_status list_pieces(const nib_special_reading *r, nib_convert_form form, const nib_spm *m,
                              vocab *v, json_t *names, const char *path, nib_error *err)
{
    static const char *const fairseq[] = { "<s>", "<pad>", "</s>", "<unk>" };
    static const char *const made_up[] = { "<madeupword0>", "<madeupword1>", "<madeupword2>",
                                           "<madeupword3>", "<madeupword4>", "<madeupword5>",
                                           "<madeupword6>" };
    const json_t *extra = json_object_get(r->files[CONFIG], "additional_special_tokens");
    size_t extra_ids = 0;
    bool shifted = form == NIB_CONVERT_XLM_ROBERTA || form == NIB_CONVERT_XGLM;

    if (m->count < 3)
        return nib_fail(err, NIB_E_FORMAT, "%s: %zu pieces, expected at least 3", path, m->count);
    if (shifted) put_all(v, fairseq, NIB_COUNT(fairseq));
    if (form == NIB_CONVERT_LLAMA)
        for (size_t i = 0; i < 3; i++) put(v, m->pieces[i].text, m->pieces[i].bytes, 0);
    if (form == NIB_CONVERT_GEMMA) put_gemma(r, v);
    put_pieces(v, m, shifted || form == NIB_CONVERT_LLAMA || form == NIB_CONVERT_GEMMA ? 3 : 0,
               form == NIB_CONVERT_ALBERT);
    if (form == NIB_CONVERT_GEMMA) put_tab(v);
    if (form == NIB_CONVERT_XLM_ROBERTA) put(v, "<mask>", 6, 0);
    if (form == NIB_CONVERT_XGLM) put_all(v, made_up, NIB_COUNT(made_up));
    for (size_t i = 0; i < json_array_size(extra) && form == NIB_CONVERT_T5; i++) {
        const json_t *one = json_array_get(extra, i);
        const char *name = json_string_value(json_is_object(one) ? json_object_get(one, "content")
                                                                 : one);
        extra_ids += name && strstr(name, "<extra_id_");
    }
    while (extra_ids--) {
        json_t *name = json_sprintf("<extra_id_%zu>", extra_ids);
        if (json_array_append_new(names, name)) return no_memory(err);
        put(v, json_string_value(name), json_string_length(name), 0);
    }
    return v->good ? NIB_OK : no_memory(err);
}

nib_status nib_convert_model_bytes(const nib_special_reading *r, nib_convert_form form,
                                   const void *bytes, size_t count, const char *path, json_t **out,
                                   nib_error *err)
{
    nib_ctx *ctx = r->t->ctx;
    vocab v = { .ctx = ctx, .good = true };
    nib_spm m = { 0 };
    json_t *names = json_array(), *model;
    bool shifted = form == NIB_CONVERT_XLM_ROBERTA || form == NIB_CONVERT_XGLM,
         falls_back = form == NIB_CONVERT_LLAMA || form == NIB_CONVERT_GEMMA;
    nib_status status = nib_spm_read(ctx, bytes, count, path, &m, err);

    if (!status && m.model_type != NIB_SPM_UNIGRAM && m.model_type != NIB_SPM_BPE)
        status = nib_fail(err, NIB_E_UNSUPPORTED,
                          "%s: model_type %" PRId64 "; known: 1 (unigram), 2 (BPE)", path,
                          m.model_type);
    if (!status) status = list_pieces(r, form, &m, &v, names, path, err);
    if (status) goto done;
    model = m.model_type == NIB_SPM_BPE
                ? bpe(&v, &m, falls_back)
                : unigram(&v, shifted || form == NIB_CONVERT_GEMMA ? 3
                              : falls_back ? 0 : m.unk_id, falls_back);
    *out = json_pack("{s:s,s:o,s:o,s:o,s:o,s:o,s:o}", "version", "1.0", "added_tokens",
                     added_of(form, &m), "normalizer", normalizer_of(r, form, &m), "pre_tokenizer",
                     pre_tokenizer_of(r, form), "post_processor", post_of(form, &v), "decoder",
                     decoder_of(r, form), "model", model);
    if (!*out) status = no_memory(err);
done:
    json_decref(names);
    nib_spm_free(ctx, &m);
    nib_free(ctx, v.entries);
    return status;
}

nib_status nib_convert_model(const nib_special_reading *r, nib_convert_form form, const char *path,
                             json_t **out, nib_error *err)
{
    char *bytes = NULL;
    size_t count;
    nib_status status = nib_file_read(r->t->ctx, path, MOST_BYTES, &bytes, &count, err);

    if (!status) status = nib_convert_model_bytes(r, form, bytes, count, path, out, err);
    nib_free(r->t->ctx, bytes);
    return status;
}
