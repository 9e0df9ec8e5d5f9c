/* convert_vocab.c - tokenizer.json of vocab.txt, and of vocab.json with merges.txt. */
#include "base/filemap.h"
#include "format/json.h"
#include "text/convert.h"
#include "text/utf8.h"

enum { MOST_BYTES = 256 << 20 };

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
}

/* --- files of lines --- */

typedef struct lines { const char *text; size_t bytes, at, number; } lines;

/* The next line without its end, which may be \n, \r\n or \r as Python reads it; false: none. */
static bool next_line(lines *l, const char **line, size_t *bytes)
{
    size_t end = l->at;

    if (l->at >= l->bytes) return false;
    while (end < l->bytes && l->text[end] != '\n' && l->text[end] != '\r') end++;
    *line = l->text + l->at;
    *bytes = end - l->at;
    if (end + 1 < l->bytes && l->text[end] == '\r' && l->text[end + 1] == '\n') end++;
    l->at = end + 1;
    l->number++;
    return true;
}

static nib_status check_line(const char *path, const lines *l, const char *line, size_t bytes,
                             nib_error *err)
{
    for (size_t i = 0, n; i < bytes; i += n) {
        n = nib_utf8_valid(line + i, bytes - i);
        if (n == 0 || line[i] == 0)
            return nib_fail(err, NIB_E_FORMAT, "%s:%zu: invalid UTF-8, or a NUL", path, l->number);
    }
    return NIB_OK;
}

/* A token a line, its id the number of the line; of equal ones the last counts. */
static nib_status read_vocab(nib_ctx *ctx, const char *path, bool strips, json_t *vocab,
                             nib_error *err)
{
    lines l = { 0 };
    const char *line;
    char *text = NULL;
    size_t bytes;
    nib_status status = nib_file_read(ctx, path, MOST_BYTES, &text, &l.bytes, err);

    l.text = text;
    while (!status && next_line(&l, &line, &bytes)) {
        status = check_line(path, &l, line, bytes, err);
        while (strips && bytes && nib_is_space((uint8_t)line[bytes - 1])) bytes--;
        while (strips && bytes && nib_is_space((uint8_t)*line)) line++, bytes--;
        if (!status && json_object_setn_new(vocab, line, bytes,
                                            json_integer((json_int_t)l.number - 1)))
            status = no_memory(err);
    }
    if (!status && json_object_size(vocab) == 0)
        status = nib_fail(err, NIB_E_FORMAT, "%s: no tokens", path);
    nib_free(ctx, text);
    return status;
}

/* Behind a first line that is passed over: two parts a line; the last line must end. */
static nib_status read_merges(nib_ctx *ctx, const char *path, json_t *merges, nib_error *err)
{
    lines l = { 0 };
    const char *line;
    char *text = NULL;
    size_t bytes;
    nib_status status = nib_file_read(ctx, path, MOST_BYTES, &text, &l.bytes, err);

    l.text = text;
    if (!status) next_line(&l, &line, &bytes);
    while (!status && next_line(&l, &line, &bytes)) {
        const char *space = memchr(line, ' ', bytes);
        size_t left = space ? (size_t)(space - line) : 0;

        status = check_line(path, &l, line, bytes, err);
        if (!status && (left == 0 || left + 1 == bytes ||
                        memchr(space + 1, ' ', bytes - left - 1)))
            status = nib_fail(err, NIB_E_FORMAT, "%s:%zu: '%.*s' is not two parts with a space",
                              path, l.number, (int)nib_min(bytes, 100), line);
        if (!status && json_array_append_new(merges, json_pack("[s%,s%]", line, left, space + 1,
                                                               bytes - left - 1)))
            status = no_memory(err);
    }
    nib_free(ctx, text);
    return status;
}

/* --- BERT's kind --- */

static json_t *id_of(const json_t *vocab, const char *token, const char *unk)
{
    json_t *id = json_object_get(vocab, token);

    if (!id) id = json_object_get(vocab, unk);
    return id ? json_incref(id) : json_integer(-1);
}

static json_t *bert(const nib_special_reading *r, json_t *vocab, bool mpnet)
{
    const char *unk = nib_convert_token(r, "unk_token", r->class->unk),
               *cls = nib_convert_token(r, "cls_token", r->class->cls),
               *sep = nib_convert_token(r, "sep_token", r->class->sep);
    json_t *post = json_pack(
        "{s:s, s:[{s:{s:s,s:i}},{s:{s:s,s:i}},{s:{s:s,s:i}}], s:[], "
        "s:{s:{s:s,s:[o],s:[s]},s:{s:s,s:[o],s:[s]}}}",
        "type", "TemplateProcessing", "single", "SpecialToken", "id", cls, "type_id", 0, "Sequence",
        "id", "A", "type_id", 0, "SpecialToken", "id", sep, "type_id", 0, "pair", "special_tokens",
        cls, "id", cls, "ids", id_of(vocab, cls, unk), "tokens", cls, sep, "id", sep, "ids",
        id_of(vocab, sep, unk), "tokens", sep);
    json_t *pair = json_object_get(post, "pair"), *single = json_object_get(post, "single");

    json_array_extend(pair, single);
    if (mpnet) json_array_append(pair, json_array_get(single, 2));
    json_array_append_new(pair, json_pack("{s:{s:s,s:i}}", "Sequence", "id", "B", "type_id", 1));
    json_array_append_new(pair,
                          json_pack("{s:{s:s,s:i}}", "SpecialToken", "id", sep, "type_id", 1));
    return json_pack(
        "{s:s, s:[], s:{s:s,s:b,s:b,s:n,s:b}, s:{s:s}, s:o, s:{s:s,s:s,s:b}, "
        "s:{s:s,s:s,s:s,s:i,s:O}}",
        "version", "1.0", "added_tokens", "normalizer", "type", "BertNormalizer", "clean_text", 1,
        "handle_chinese_chars", nib_convert_flag(r, "tokenize_chinese_chars", true),
        "strip_accents", "lowercase", nib_convert_flag(r, "do_lower_case", true), "pre_tokenizer",
        "type", "BertPreTokenizer", "post_processor", post, "decoder", "type", "WordPiece",
        "prefix", "##", "cleanup", 1, "model", "type", "WordPiece", "unk_token", unk,
        "continuing_subword_prefix", "##", "max_input_chars_per_word", 100, "vocab", vocab);
}

/* --- GPT-2 and RoBERTa --- */

static json_t *byte_level(const nib_special_reading *r, json_t *vocab, json_t *merges, bool roberta)
{
    const char *unk = nib_convert_token(r, "unk_token", r->class->unk),
               *cls = nib_convert_token(r, "cls_token", r->class->cls),
               *sep = nib_convert_token(r, "sep_token", r->class->sep),
               *bos = nib_convert_token(r, "bos_token", r->class->bos);
    bool prefix = nib_convert_flag(r, "add_prefix_space", r->class->flags & NIB_CLASS_PREFIX);
    json_t *post;

    if (roberta)
        post = json_pack("{s:s,s:[s,o],s:[s,o],s:b,s:b}", "type", "RobertaProcessing", "sep", sep,
                         id_of(vocab, sep, unk), "cls", cls, id_of(vocab, cls, unk),
                         "trim_offsets", 1, "add_prefix_space", prefix);
    else if (nib_convert_flag(r, "add_bos_token", false))
        post = json_pack(
            "{s:s, s:[{s:{s:s,s:i}},{s:{s:s,s:i}}], s:[{s:{s:s,s:i}},{s:{s:s,s:i}},{s:{s:s,s:i}}], "
            "s:{s:{s:s,s:[o],s:[s]}}}",
            "type", "TemplateProcessing", "single", "SpecialToken", "id", bos, "type_id", 0,
            "Sequence", "id", "A", "type_id", 0, "pair", "SpecialToken", "id", bos, "type_id", 0,
            "Sequence", "id", "A", "type_id", 0, "Sequence", "id", "B", "type_id", 1,
            "special_tokens", bos, "id", bos, "ids", id_of(vocab, bos, unk), "tokens", bos);
    else
        post = json_pack("{s:s,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 1,
                         "trim_offsets", 0);
    return json_pack("{s:s, s:[], s:n, s:{s:s,s:b,s:b}, s:o, s:{s:s,s:b,s:b}, s:{s:s,s:O,s:O}}",
                     "version", "1.0", "added_tokens", "normalizer", "pre_tokenizer", "type",
                     "ByteLevel", "add_prefix_space", prefix, "trim_offsets", 1, "post_processor",
                     post, "decoder", "type", "ByteLevel", "add_prefix_space", 1, "trim_offsets", 1,
                     "model", "type", "BPE", "vocab", vocab, "merges", merges);
}

/* --- ESM: every line of the vocabulary is cut out of the text, the rest are unknown words
 * (formats-encoder.md 10.7) --- */

static bool is_special(const nib_special_reading *r, const char *token)
{
    static const char *const keys[] = { "unk_token", "cls_token", "pad_token", "mask_token",
                                        "eos_token" };
    const char *const defaults[] = { r->class->unk, r->class->cls, r->class->pad, r->class->mask,
                                     r->class->eos };
    for (size_t i = 0; i < NIB_COUNT(keys); i++)
        if (strcmp(nib_convert_token(r, keys[i], defaults[i]), token) == 0) return true;
    return false;
}

static json_t *esm(const nib_special_reading *r, json_t *vocab)
{
    const char *unk = nib_convert_token(r, "unk_token", r->class->unk),
               *cls = nib_convert_token(r, "cls_token", r->class->cls),
               *eos = nib_convert_token(r, "eos_token", r->class->eos), *key;
    json_t *added = json_array(), *id, *post;

    json_object_foreach(vocab, key, id)
        json_array_append_new(added, json_pack("{s:O,s:s,s:b,s:b,s:b,s:b,s:b}", "id", id, "content",
                                               key, "single_word", 0, "lstrip", 0, "rstrip", 0,
                                               "normalized", 0, "special", is_special(r, key)));
    post = json_pack(
        "{s:s, s:[{s:{s:s,s:i}},{s:{s:s,s:i}},{s:{s:s,s:i}}], "
        "s:[{s:{s:s,s:i}},{s:{s:s,s:i}},{s:{s:s,s:i}},{s:{s:s,s:i}},{s:{s:s,s:i}}], "
        "s:{s:{s:s,s:[o],s:[s]},s:{s:s,s:[o],s:[s]}}}",
        "type", "TemplateProcessing", "single", "SpecialToken", "id", cls, "type_id", 0, "Sequence",
        "id", "A", "type_id", 0, "SpecialToken", "id", eos, "type_id", 0, "pair", "SpecialToken",
        "id", cls, "type_id", 0, "Sequence", "id", "A", "type_id", 0, "SpecialToken", "id", eos,
        "type_id", 0, "Sequence", "id", "B", "type_id", 0, "SpecialToken", "id", eos, "type_id", 0,
        "special_tokens", cls, "id", cls, "ids", id_of(vocab, cls, unk), "tokens", cls, eos, "id",
        eos, "ids", id_of(vocab, eos, unk), "tokens", eos);
    return json_pack("{s:s, s:o, s:n, s:{s:s}, s:o, s:n, s:{s:s,s:s,s:s,s:i,s:O}}", "version",
                     "1.0", "added_tokens", added, "normalizer", "pre_tokenizer", "type",
                     "WhitespaceSplit", "post_processor", post, "decoder", "model", "type",
                     "WordPiece", "unk_token", unk, "continuing_subword_prefix", "",
                     "max_input_chars_per_word", 0, "vocab", vocab);
}

/* --- all of them --- */

nib_status nib_convert_vocab(const nib_special_reading *r, nib_convert_form form, const char *dir,
                             json_t **out, nib_error *err)
{
    bool json = form == NIB_CONVERT_GPT2 || form == NIB_CONVERT_ROBERTA;
    nib_ctx *ctx = r->t->ctx;
    json_t *vocab = json ? NULL : json_object(), *merges = json ? json_array() : NULL;
    char *path = nib_sprintf(ctx, "%s/%s", dir, json ? "vocab.json" : "vocab.txt"),
         *second = nib_sprintf(ctx, "%s/merges.txt", dir);
    nib_status status = path && second && (vocab || merges) ? NIB_OK : no_memory(err);

    if (!status && json) status = nib_json_read(ctx, path, 0, &vocab, err);
    else if (!status) status = read_vocab(ctx, path, form == NIB_CONVERT_ESM, vocab, err);
    if (!status && json) status = read_merges(ctx, second, merges, err);
    if (status) goto done;
    *out = json                        ? byte_level(r, vocab, merges, form == NIB_CONVERT_ROBERTA)
           : form == NIB_CONVERT_ESM ? esm(r, vocab)
                                       : bert(r, vocab, form == NIB_CONVERT_MPNET);
    if (!*out) status = no_memory(err);
done:
    json_decref(vocab);
    json_decref(merges);
    nib_free(ctx, path);
    nib_free(ctx, second);
    return status;
}
