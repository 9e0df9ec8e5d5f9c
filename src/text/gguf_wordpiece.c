/* gguf_wordpiece.c - BERT's vocabularies in GGUF (formats-quant.md 7.4): what begins a word has
 * U+2581 in front, what continues one lost its "##"; control tokens are as they were. */
#include "text/gguf_tokenizer.h"

#define MARK "\xe2\x96\x81" /* U+2581 */

enum { MARK_BYTES = sizeof MARK - 1 };

json_t *nib_gguf_wordpiece_text(const nib_gguf_vocabulary *v, size_t id)
{
    nib_gguf_text t = v->tokens[id];
    unsigned type = nib_gguf_token_type(v, id);
    char *longer;
    json_t *text;

    if (type == NIB_GGUF_CONTROL || type == NIB_GGUF_UNKNOWN || type == NIB_GGUF_UNUSED)
        return json_stringn(t.at, t.bytes);
    if (t.bytes >= MARK_BYTES && memcmp(t.at, MARK, MARK_BYTES) == 0)
        return json_stringn(t.at + MARK_BYTES, t.bytes - MARK_BYTES);
    if (type == NIB_GGUF_USER) return json_stringn(t.at, t.bytes);
    longer = nib_sprintf(v->ctx, "##%.*s", (int)t.bytes, t.at);
    text = longer ? json_string(longer) : NULL;
    nib_free(v->ctx, longer);
    return text;
}

json_t *nib_gguf_wordpiece_model(const nib_gguf_vocabulary *v, json_t *vocabulary)
{
    int64_t unknown = nib_gguf_token_id(v, "unknown", 100);
    json_t *unk = unknown >= 0 ? nib_gguf_wordpiece_text(v, (size_t)unknown) : json_string("[UNK]");

    return json_pack("{s:s, s:o, s:s, s:i, s:o}", "type", "WordPiece", "unk_token", unk,
                     "continuing_subword_prefix", "##", "max_input_chars_per_word", 100, "vocab",
                     vocabulary);
}

static json_t *special_piece(nib_gguf_text t, int type)
{
    return json_pack("{s:{s:s%, s:i}}", "SpecialToken", "id", t.at, t.bytes, "type_id", type);
}

static json_t *text_piece(const char *id, int type)
{
    return json_pack("{s:{s:s, s:i}}", "Sequence", "id", id, "type_id", type);
}

/* [CLS] text [SEP], of two texts [CLS] a [SEP] b [SEP]. */
static json_t *make_post(const nib_gguf_vocabulary *v)
{
    int64_t cls = nib_gguf_token_id(v, "cls", nib_gguf_token_id(v, "bos", 101));
    int64_t sep = nib_gguf_token_id(v, "seperator", 102); /* spelled so there */
    nib_gguf_text c, s;

    if (cls < 0 || sep < 0 || !nib_gguf_token_flag(v, "add_bos_token", true)) return json_null();
    c = v->tokens[cls];
    s = v->tokens[sep];
    return json_pack("{s:s, s:[o, o, o], s:[o, o, o, o, o], s:{s%:{s:s%, s:[I], s:[s%]}, "
                     "s%:{s:s%, s:[I], s:[s%]}}}",
                     "type", "TemplateProcessing", "single", special_piece(c, 0),
                     text_piece("A", 0), special_piece(s, 0), "pair", special_piece(c, 0),
                     text_piece("A", 0), special_piece(s, 0), text_piece("B", 1),
                     special_piece(s, 1), "special_tokens", c.at, c.bytes, "id", c.at, c.bytes,
                     "ids", (json_int_t)cls, "tokens", c.at, c.bytes, s.at, s.bytes, "id", s.at,
                     s.bytes, "ids", (json_int_t)sep, "tokens", s.at, s.bytes);
}

/* Without the keys llama.cpp lowers and strips. */
static json_t *make_normalizer(const nib_gguf_vocabulary *v)
{
    bool lower = nib_gguf_token_flag(v, "normalizer.lowercase", true);
    bool strip = nib_gguf_token_flag(v, "normalizer.strip_accents", lower);

    return json_pack("{s:s, s:b, s:b, s:b, s:b}", "type", "BertNormalizer", "clean_text", 1,
                     "handle_chinese_chars", 1, "strip_accents", strip, "lowercase", lower);
}

json_t *nib_gguf_wordpiece_json(const nib_gguf_vocabulary *v, json_t *model, json_t *added)
{
    return json_pack("{s:s, s:n, s:n, s:o, s:o, s:{s:s}, s:o, s:{s:s, s:s, s:b}, s:o}", "version",
                     "1.0", "truncation", "padding", "added_tokens", added, "normalizer",
                     make_normalizer(v), "pre_tokenizer", "type", "BertPreTokenizer",
                     "post_processor", make_post(v), "decoder", "type", "WordPiece", "prefix", "##",
                     "cleanup", 1, "model", model);
}
