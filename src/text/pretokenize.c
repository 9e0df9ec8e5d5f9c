/* pretokenize.c - cutting the text into pieces, and mapping it to the vocabulary's characters. */
#include "text/parts.h"
#include "text/unicode_sets.h"
#include "text/utf8.h"

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
}

/* --- cutting: a list of matches turns each piece into pieces (formats.md 11.8) --- */

typedef struct cutter {
    nib_tokenizer *t;
    nib_work *out;        /* its pieces only */
    nib_behavior behavior;
    size_t begin;         /* of the piece that is open */
    bool open_match;      /* contiguous: the open piece is made of matches */
    bool good;
} cutter;

static void cut(cutter *c, size_t end)
{
    c->good &= nib_work_add_piece(c->t->ctx, c->out, c->begin, end);
    c->begin = end;
}

/* The next stretch of the piece: a match or what lies between two. */
static void stretch(cutter *c, size_t begin, size_t end, bool match)
{
    switch (c->behavior) {
    case NIB_REMOVED:
        if (match) c->begin = end;
        else cut(c, end);
        break;
    case NIB_ISOLATED: cut(c, end); break;
    case NIB_CONTIGUOUS:
        if (match != c->open_match) cut(c, begin);
        c->open_match = match;
        break;
    case NIB_MERGED_WITH_PREVIOUS:
        if (match) cut(c, end);
        break;
    case NIB_MERGED_WITH_NEXT:
        if (match) cut(c, begin);
        break;
    }
}

static cutter cutter_at(nib_tokenizer *t, nib_behavior behavior, size_t begin)
{
    return (cutter){ .t = t, .out = &t->other, .behavior = behavior, .begin = begin, .good = true };
}

static bool finish(cutter *c, size_t end)
{
    if (c->behavior != NIB_REMOVED && c->behavior != NIB_ISOLATED) cut(c, end);
    return c->good;
}

static nib_status split(nib_tokenizer *t, const nib_stage *s, nib_range piece, nib_error *err)
{
    const char *text = t->work.text + piece.begin;
    size_t bytes = piece.end - piece.begin, at = 0;
    cutter c = cutter_at(t, s->behavior, piece.begin);
    nib_matches matches = { 0 };

    for (bool yes = true; yes;) {
        nib_range found = { bytes, bytes };
        nib_status status = nib_pattern_next(t, s->pattern, text, bytes, &matches, &found, &yes,
                                             err);

        if (status) return status;
        if (at < found.begin)
            stretch(&c, piece.begin + at, piece.begin + found.begin, s->invert);
        if (yes) stretch(&c, piece.begin + found.begin, piece.begin + found.end, !s->invert);
        at = found.end;
    }
    return finish(&c, piece.end) ? NIB_OK : no_memory(err);
}

static bool is_number(uint32_t c) { return nib_unicode_in(NIB_SET_NUMBERS, c); }

static bool is_punctuation(uint32_t c) { return nib_unicode_in(NIB_SET_PUNCTUATION, c); }

static nib_status split_by_kind(nib_tokenizer *t, const nib_stage *s, nib_range piece,
                                nib_error *err)
{
    bool digits = s->kind == NIB_STAGE_DIGITS;
    nib_behavior behavior = digits ? s->individual ? NIB_ISOLATED : NIB_CONTIGUOUS : s->behavior;
    cutter c = cutter_at(t, behavior, piece.begin);
    size_t plain = piece.begin;

    for (size_t i = piece.begin; i < piece.end;) {
        size_t n = nib_utf8_length(t->work.text[i]);
        uint32_t code = nib_utf8_read(t->work.text + i);
        if (digits ? is_number(code) : is_punctuation(code)) {
            if (plain < i) stretch(&c, plain, i, false);
            stretch(&c, i, i + n, true);
            plain = i + n;
        }
        i += n;
    }
    if (plain < piece.end) stretch(&c, plain, piece.end, false);
    return finish(&c, piece.end) ? NIB_OK : no_memory(err);
}

/* BertPreTokenizer: between blanks, each punctuation character by itself. */
static bool split_bert(nib_tokenizer *t, nib_range piece)
{
    size_t begin = piece.begin;
    bool good = true;

    for (size_t i = piece.begin, n; i < piece.end && good; i += n) {
        uint32_t c = nib_utf8_read(t->work.text + i);
        bool blank = nib_is_space(c);

        n = nib_utf8_length(t->work.text[i]);
        if (!blank && !is_punctuation(c)) continue;
        good = nib_work_add_piece(t->ctx, &t->other, begin, i) &&
               (blank || nib_work_add_piece(t->ctx, &t->other, i, i + n));
        begin = i + n;
    }
    return good && nib_work_add_piece(t->ctx, &t->other, begin, piece.end);
}

/* Whitespace: runs of word characters, and of what is neither word nor blank. */
static bool split_words(nib_tokenizer *t, nib_range piece)
{
    size_t begin = piece.begin;
    int was = 0; /* blank, word, other */
    bool good = true;

    for (size_t i = piece.begin; i < piece.end && good; i += nib_utf8_length(t->work.text[i])) {
        uint32_t c = nib_utf8_read(t->work.text + i);
        int is = nib_is_space(c) ? 0 : nib_unicode_in(NIB_SET_WORD, c) ? 1 : 2;

        if (is == was) continue;
        if (was) good = nib_work_add_piece(t->ctx, &t->other, begin, i);
        begin = i;
        was = is;
    }
    return good && (!was || nib_work_add_piece(t->ctx, &t->other, begin, piece.end));
}

static bool split_lengths(nib_tokenizer *t, size_t most, nib_range piece)
{
    size_t begin = piece.begin, count = 0;
    bool good = true;

    for (size_t i = piece.begin; i < piece.end && good; i += nib_utf8_length(t->work.text[i]))
        if (count++ == most) {
            good = nib_work_add_piece(t->ctx, &t->other, begin, i);
            begin = i;
            count = 1;
        }
    return good && nib_work_add_piece(t->ctx, &t->other, begin, piece.end);
}

/* UnicodeScripts: runs of one script; what is of none joins those before it, and is left out where
 * nothing is before it. */
static bool split_scripts(nib_tokenizer *t, nib_range piece)
{
    size_t begin = piece.end;
    uint32_t last = 0;
    bool good = true;

    for (size_t i = piece.begin; i < piece.end && good; i += nib_utf8_length(t->work.text[i])) {
        uint32_t script = nib_unicode_script_of(nib_utf8_read(t->work.text + i));

        if (!script || script == last) continue;
        if (last) good = nib_work_add_piece(t->ctx, &t->other, begin, i);
        begin = i;
        last = script;
    }
    return good && nib_work_add_piece(t->ctx, &t->other, begin, piece.end);
}

static nib_status cut_one(nib_tokenizer *t, const nib_stage *s, nib_range piece, nib_error *err)
{
    bool good;

    switch (s->kind) {
    case NIB_STAGE_DIGITS: case NIB_STAGE_PUNCTUATION: return split_by_kind(t, s, piece, err);
    case NIB_STAGE_BERT_WORDS: good = split_bert(t, piece); break;
    case NIB_STAGE_WHITESPACE: good = split_words(t, piece); break;
    case NIB_STAGE_SCRIPTS: good = split_scripts(t, piece); break;
    case NIB_STAGE_FIXED_LENGTH: good = split_lengths(t, (size_t)s->start, piece); break;
    default: return split(t, s, piece, err);
    }
    return good ? NIB_OK : no_memory(err);
}

/* --- mapping: the text is written anew, pieces stay --- */

static bool copy_character(nib_tokenizer *t, size_t at)
{
    return nib_work_add(t->ctx, &t->other, t->work.text + at, nib_utf8_length(t->work.text[at]),
                        t->work.origin[at]);
}

static bool map_bytes(nib_tokenizer *t, nib_range piece)
{
    for (size_t i = piece.begin; i < piece.end; i++) {
        char mapped[4];
        size_t n = nib_utf8_write(nib_byte_to_char((uint8_t)t->work.text[i]), mapped);
        if (!nib_work_add(t->ctx, &t->other, mapped, n, t->work.origin[i])) return false;
    }
    return true;
}

/* Spaces become the mark; one is prepended where the scheme says so and none stands there. */
static bool mark_spaces(nib_tokenizer *t, const nib_stage *s, nib_range piece)
{
    bool starts = piece.end - piece.begin >= s->content_bytes &&
                  memcmp(t->work.text + piece.begin, s->content, s->content_bytes) == 0;
    bool first = s->prepend == NIB_PREPEND_ALWAYS ||
                 (s->prepend == NIB_PREPEND_FIRST && t->work.origin[piece.begin].begin == 0);

    starts |= t->work.text[piece.begin] == ' ';
    if (first && !starts &&
        !nib_work_add(t->ctx, &t->other, s->content, s->content_bytes, t->work.origin[piece.begin]))
        return false;
    for (size_t i = piece.begin; i < piece.end; i += nib_utf8_length(t->work.text[i])) {
        bool good = t->work.text[i] == ' ' ? nib_work_add(t->ctx, &t->other, s->content,
                                                          s->content_bytes, t->work.origin[i])
                                           : copy_character(t, i);
        if (!good) return false;
    }
    return true;
}

static bool prefix_space(nib_tokenizer *t, nib_range piece)
{
    if (t->work.text[piece.begin] != ' ' &&
        !nib_work_add(t->ctx, &t->other, " ", 1, t->work.origin[piece.begin]))
        return false;
    for (size_t i = piece.begin; i < piece.end; i += nib_utf8_length(t->work.text[i]))
        if (!copy_character(t, i)) return false;
    return true;
}

typedef enum mapping { MAP_BYTES, MAP_SPACES, MAP_PREFIX } mapping;

static nib_status map_pieces(nib_tokenizer *t, const nib_stage *s, mapping how, nib_error *err)
{
    nib_work old;

    for (size_t i = 0; i < t->work.piece_count; i++) {
        nib_range piece = t->work.pieces[i];
        size_t begin = t->other.bytes;
        bool good = how == MAP_BYTES    ? map_bytes(t, piece)
                    : how == MAP_SPACES ? mark_spaces(t, s, piece)
                                        : prefix_space(t, piece);
        if (!good || !nib_work_add_piece(t->ctx, &t->other, begin, t->other.bytes))
            return no_memory(err);
    }
    old = t->work;
    t->work = t->other;
    t->other = old;
    t->other.bytes = t->other.piece_count = 0;
    return NIB_OK;
}

static nib_status cut_pieces(nib_tokenizer *t, const nib_stage *s, nib_error *err)
{
    nib_range *pieces;
    size_t count, capacity;
    nib_status status = NIB_OK;

    t->other.piece_count = 0;
    for (size_t i = 0; i < t->work.piece_count && !status; i++)
        status = cut_one(t, s, t->work.pieces[i], err);
    pieces = t->work.pieces; /* the text stays, the lists change places */
    count = t->other.piece_count;
    capacity = t->work.piece_capacity;
    t->work.pieces = t->other.pieces;
    t->work.piece_count = count;
    t->work.piece_capacity = t->other.piece_capacity;
    t->other.pieces = pieces;
    t->other.piece_count = 0;
    t->other.piece_capacity = capacity;
    return status;
}

/* Where Metaspace splits, each mark begins a piece. */
static nib_status split_at_marks(nib_tokenizer *t, const nib_stage *s, nib_error *err)
{
    nib_stage at_marks = { .kind = NIB_STAGE_SPLIT, .pattern = s->pattern,
                           .behavior = NIB_MERGED_WITH_NEXT };
    return cut_pieces(t, &at_marks, err);
}

nib_status nib_pretokenize(nib_tokenizer *t, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < t->pretokenizers.count && !status; i++) {
        const nib_stage *s = &t->pretokenizers.items[i];
        switch (s->kind) {
        case NIB_STAGE_BYTE_LEVEL:
            if (s->prefix_space) status = map_pieces(t, s, MAP_PREFIX, err);
            if (!status && s->use_regex) status = cut_pieces(t, s, err);
            if (!status) status = map_pieces(t, s, MAP_BYTES, err);
            break;
        case NIB_STAGE_METASPACE:
            status = map_pieces(t, s, MAP_SPACES, err);
            if (!status && s->split) status = split_at_marks(t, s, err);
            break;
        default: status = cut_pieces(t, s, err); break;
        }
    }
    return status;
}
