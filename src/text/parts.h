/* parts.h - what a tokenizer is made of; only src/text looks inside. */
#ifndef NIB_TEXT_PARTS_H
#define NIB_TEXT_PARTS_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <jansson.h>
#include <pcre2.h>

#include "base/thread.h"
#include "text/special.h"
#include "text/tokenizer.h"
#include "text/trie.h"

enum { NIB_MOST_IDS = 1 << 24, NIB_MOST_AFFIXES = 64 };

/* --- tables --- */

/* Strings to numbers, by open addressing; strings are borrowed. */
typedef struct nib_word { const char *text; uint32_t bytes, id; } nib_word;
typedef struct nib_words { nib_word *slots; size_t mask, count; } nib_words;
bool nib_words_init(nib_ctx *ctx, nib_words *w, size_t expected);
/* The first wins; false: no memory. */
bool nib_words_put(nib_ctx *ctx, nib_words *w, const char *text, size_t bytes, uint32_t id);
int64_t nib_words_get(const nib_words *w, const char *text, size_t bytes);     /* -1: none */

/* Pairs of ids to (rank, merged id). */
typedef struct nib_merge { uint32_t left, right, rank, id; } nib_merge; /* id UINT32_MAX: empty */
typedef struct nib_merges { nib_merge *slots; size_t mask; } nib_merges;
bool nib_merges_init(nib_ctx *ctx, nib_merges *m, size_t expected);
void nib_merges_put(nib_merges *m, nib_merge merge);
const nib_merge *nib_merges_get(const nib_merges *m, uint32_t left, uint32_t right);

/* --- the text on its way: bytes, each with the range of the input it comes from --- */

typedef struct nib_range { size_t begin, end; } nib_range;

typedef struct nib_work {
    char *text;            /* [bytes] */
    nib_range *origin;     /* [bytes] byte range in the input of the character it belongs to */
    size_t bytes, text_capacity, origin_capacity;
    nib_range *pieces;     /* pre-tokens, as ranges of text, in order */
    size_t piece_count, piece_capacity;
} nib_work;
/* Room for `bytes` in all. */
bool nib_work_reserve(nib_ctx *ctx, nib_work *w, size_t bytes);
bool nib_work_add(nib_ctx *ctx, nib_work *w, const char *text, size_t bytes, nib_range origin);
bool nib_work_add_piece(nib_ctx *ctx, nib_work *w, size_t begin,
                        size_t end); /* empty ones are left out */
void nib_work_free(nib_ctx *ctx, nib_work *w);

/* --- stages --- */

typedef enum nib_stage_kind {
    NIB_STAGE_NFC,
    NIB_STAGE_NFD,
    NIB_STAGE_NFKC,
    NIB_STAGE_NFKD,
    NIB_STAGE_LOWERCASE,
    NIB_STAGE_STRIP,
    NIB_STAGE_STRIP_ACCENTS,
    NIB_STAGE_REPLACE,
    NIB_STAGE_PREPEND,
    NIB_STAGE_BERT_CLEAN,
    NIB_STAGE_BERT_CHINESE,
    NIB_STAGE_BERT_MARKS,
    NIB_STAGE_NMT,
    NIB_STAGE_PRECOMPILED,
    NIB_STAGE_BYTE_LEVEL,
    NIB_STAGE_SPLIT,
    NIB_STAGE_DIGITS,
    NIB_STAGE_PUNCTUATION,
    NIB_STAGE_WHITESPACE_SPLIT,
    NIB_STAGE_WHITESPACE,
    NIB_STAGE_BERT_WORDS,
    NIB_STAGE_FIXED_LENGTH,
    NIB_STAGE_SCRIPTS,
    NIB_STAGE_METASPACE,
    NIB_STAGE_BYTE_FALLBACK,
    NIB_STAGE_FUSE,
    NIB_STAGE_WORDPIECE,
    NIB_STAGE_SUFFIX,
    NIB_STAGE_CTC
} nib_stage_kind;

typedef enum nib_behavior {
    NIB_REMOVED,
    NIB_ISOLATED,
    NIB_MERGED_WITH_PREVIOUS,
    NIB_MERGED_WITH_NEXT,
    NIB_CONTIGUOUS
} nib_behavior;
typedef enum nib_prepend { NIB_PREPEND_ALWAYS, NIB_PREPEND_FIRST, NIB_PREPEND_NEVER } nib_prepend;

typedef struct nib_charsmap nib_charsmap; /* charsmap.h */

typedef struct nib_stage {
    nib_stage_kind kind;
    pcre2_code *pattern;      /* split, replace: compiled; owned */
    const char *content;      /* replace, prepend, metaspace's mark, decoder's strip: borrowed from
                                 the JSON */
    size_t content_bytes;
    const char *literal;      /* replace: a plain string instead of a pattern */
    nib_behavior behavior;
    nib_prepend prepend;
    bool invert, individual, prefix_space, use_regex, split, left, right;
    int start, stop;          /* decoder's strip; start: pre-tokenizer's fixed length */
    bool cleanup;             /* decoders WordPiece and CTC */
    const char *delimiter;    /* CTC; borrowed from the JSON */
    nib_charsmap *charsmap;   /* precompiled; owned */
} nib_stage;

typedef struct nib_stages { nib_stage *items; size_t count, capacity; } nib_stages;

/* --- added tokens --- */

typedef struct nib_added {
    const char *text;             /* borrowed: of a file's JSON, or constant */
    size_t bytes;
    uint32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
    bool follows;                 /* normalized is absent: what special is not */
    char *normal;                 /* content after the normalizer; owned, NULL unless normalized */
    size_t normal_bytes;
} nib_added;

/* What one search looks for, sorted by bytes. */
typedef struct nib_content {
    const char *text;
    size_t bytes;
    uint32_t index;
    bool special;
} nib_content;
typedef struct nib_contents {
    nib_content *items;
    size_t count;
    uint32_t first[257];          /* items[first[b] .. first[b + 1]) begin with byte b */
    uint8_t starts[256];
    int only;                     /* the one byte that all begin with; -1: no items, -2: several */
} nib_contents;

/* range: with the blanks that lstrip and rstrip take; end: of the content alone, where the search
 * continues. */
typedef struct nib_found { const nib_added *token; nib_range range; size_t end; } nib_found;

/* --- the post-processor's order of texts and tokens --- */

enum { NIB_TEMPLATE_TOKEN = -1, NIB_TEMPLATE_ITEMS = 24 };
typedef struct nib_template_item {
    int text;                     /* 0, 1: that text; NIB_TEMPLATE_TOKEN: the token id */
    uint32_t id;
    uint8_t type;                 /* token_type_id */
} nib_template_item;
typedef struct nib_template {
    nib_template_item items[NIB_TEMPLATE_ITEMS];
    size_t count;
    bool types_later;             /* windows after a text's first have the type, too; else 0 of the
                                     first text, 1 of the second (pair.c) */
} nib_template;

typedef struct nib_symbol { uint32_t id; size_t begin, end; int64_t previous, next; } nib_symbol;
typedef struct nib_candidate_merge {
    uint32_t rank;
    uint32_t id;
    size_t position;
    uint32_t left, right;
} nib_candidate_merge;

typedef enum nib_model_kind {
    NIB_MODEL_BPE,
    NIB_MODEL_WORDPIECE,
    NIB_MODEL_WORDLEVEL,
    NIB_MODEL_UNIGRAM
} nib_model_kind;

/* A place in a text that Viterbi's search has reached: by the best last token, from where. */
typedef struct nib_lattice { double score; uint32_t id, from; } nib_lattice;

struct nib_tokenizer {
    nib_ctx *ctx;
    nib_model_kind kind;
    json_t *json;                 /* tokenizer.json */
    json_t *files[NIB_SPECIAL_FILES]; /* those beside it (special.c); all strings are theirs */
    nib_words vocabulary;
    size_t vocabulary_size;       /* entries, from where new tokens are numbered */
    nib_merges merges;
    nib_trie pieces, later;       /* WordPiece: what begins a word, what continues it; Unigram:
                                     pieces alone */
    size_t most_characters;       /* WordPiece: a longer word is unknown */
    double *scores, unk_score;    /* Unigram: [vocabulary_size]; of an unknown character */
    const char *bpe_prefix, *bpe_suffix; /* BPE: of characters that do not begin a word, that end
                                            it; NULL: none */
    size_t prefix_characters;
    const char *unk_name;         /* the model's unk_token */
    const char **tokens;          /* [size] content by id, NULL: none */
    uint8_t *special;             /* [size] */
    uint8_t *is_added;            /* [size] */
    size_t size, id_capacity;
    nib_added *added;             /* in the order of adding */
    size_t added_count, added_capacity;
    nib_words added_words;        /* content to index in added */
    int64_t greatest_added;       /* id, or -1 */
    nib_contents contents[2];     /* of tokens with normalized false and true */
    bool cleans_up;               /* clean_up_tokenization_spaces */
    json_t *named;                /* nib_tokenizer_named(); NULL: no file names any */
    bool split_special;           /* special tokens are not found in texts */
    bool byte_fallback, fuse_unk, ignore_merges;
    int64_t unk, byte_ids[256];
    nib_special_tokens special_tokens;
    nib_stages normalizers, pretokenizers, decoders;
    nib_template single, pair;    /* what the post-processor makes of one text, of two */
    bool has_template;            /* a post-processor gave them */
    bool trim_offsets, trim_prefix_space;
    bool shared;                  /* all above is another tokenizer's (encode_all.c) */
    nib_tokenizer **sharers;      /* [sharer_count] one a thread, once they were needed */
    size_t sharer_count;
    /* scratch, reused */
    pcre2_general_context *pcre;
    pcre2_match_context *match_context;
    pcre2_match_data *match;
    nib_work work, other;
    bool lacks_unk;               /* an unknown character met an unk_token that is no token */
    nib_symbol *symbols;
    size_t symbol_capacity;
    nib_candidate_merge *heap;
    size_t heap_count, heap_capacity;
    nib_lattice *lattice;
    size_t lattice_capacity;
};

/* Adds a token, or changes one of the same content; *given: its id, -1: it is empty. */
nib_status nib_added_put(nib_tokenizer *t, nib_added a, const char *where, int64_t *given,
                         nib_error *err);
/* After the last was added, and the normalizers are there. */
nib_status nib_added_ready(nib_tokenizer *t, nib_error *err);
/* The first added token whose content stands at or after `from`.  normalized: in normalized text.
 * Contents do not overlap, but one may begin among blanks that the token before it has taken:
 * `taken` is that one's end.  A content that is no word of its own is passed over whole. */
bool nib_added_find(const nib_tokenizer *t, bool normalized, const char *text, size_t bytes,
                    size_t from, size_t taken, nib_found *out);

/* The post-processor; without one a text stands alone, and two behind each other. */
nib_status nib_post_load(nib_tokenizer *t, const json_t *j, const char *where, nib_error *err);
/* The post-processor: nothing but these tokens around each text, -1: none. */
nib_status nib_post_set(nib_tokenizer *t, int64_t before, int64_t after, const char *where,
                        nib_error *err);

uint32_t nib_byte_to_char(uint8_t byte);      /* GPT-2's map (formats.md 11.4) */
int nib_char_to_byte(uint32_t c);             /* -1: not in the map */

/* Writes c to t->other in the place of what stands at *at of t->work, with the range that the
 * library's counts give it: change 0 takes the place of one character there, -n swallows n more, 1
 * is new and has the range of the one before.  false: no memory. */
bool nib_put_changed(nib_tokenizer *t, size_t *at, uint32_t c, ptrdiff_t change);

/* Each works on all pieces of t->work and leaves its result there. */
nib_status nib_normalize(nib_tokenizer *t, nib_error *err);
/* One of the normal forms, for nib_normalize(): utf8proc's COMPOSE or DECOMPOSE, perhaps with
 * COMPAT. */
nib_status nib_unicode_form(nib_tokenizer *t, int options, nib_error *err);
nib_status nib_pretokenize(nib_tokenizer *t, nib_error *err);
/* Appends the tokens of a text without what the post-processor does: neither tokens of its own nor
 * trimmed ranges. */
nib_status nib_encode_text(nib_tokenizer *t, const char *text, size_t bytes, nib_tokens *out,
                           nib_error *err);
/* The post-processor's trim_offsets, if it has it, of one text's or window's tokens. */
void nib_trim_offsets(const nib_tokenizer *t, const char *text, nib_token *tokens, size_t count);
/* Appends the tokens of t->work.text[piece]. */
nib_status nib_bpe(nib_tokenizer *t, nib_range piece, nib_tokens *out, nib_error *err);
nib_status nib_wordpiece(nib_tokenizer *t, nib_range piece, nib_tokens *out, nib_error *err);
nib_status nib_wordlevel(nib_tokenizer *t, nib_range piece, nib_tokens *out, nib_error *err);
nib_status nib_unigram(nib_tokenizer *t, nib_range piece, nib_tokens *out, nib_error *err);
/* A token of t->work.text[begin .. end), which is not empty. */
nib_status nib_emit(nib_tokenizer *t, uint32_t id, size_t begin, size_t end, nib_tokens *out,
                    nib_error *err);
/* tokenizer.json's model. */
nib_status nib_model_load(nib_tokenizer *t, const json_t *model, const char *where, nib_error *err);
nib_status nib_unigram_load(nib_tokenizer *t, const json_t *model, const char *where,
                            nib_error *err);
/* Tables for ids below `size`, without tokens. */
nib_status nib_ids_init(nib_tokenizer *t, size_t size, const char *where, nib_error *err);
/* Looks up <0x00> .. <0xFF>. */
void nib_byte_ids_find(nib_tokenizer *t);
/* Puts the pieces of the vocabulary into the tries of WordPiece. */
nib_status nib_wordpiece_ready(nib_tokenizer *t, const char *prefix, nib_error *err);
/* What matching needs: contexts and room for a match, with limits. */
nib_status nib_pattern_open(nib_tokenizer *t, nib_error *err);
/* Compiles a pattern for this house's limits; names `where` in errors. */
nib_status nib_pattern_compile(nib_tokenizer *t, const char *pattern, bool literal,
                               const char *where, pcre2_code **out, nib_error *err);
/* Where a search through a text stands; all 0: at its front. */
typedef struct nib_matches { size_t from, last; bool any; } nib_matches;
/* The next match, which may be empty but not where the last one ended; *yes false: none. */
nib_status nib_pattern_next(nib_tokenizer *t, const pcre2_code *code, const char *text,
                            size_t bytes, nib_matches *at, nib_range *found, bool *yes,
                            nib_error *err);
/* "BertNormalizer"; "" where `stage` (any part of tokenizer.json) has no type. */
const char *nib_stage_type(const json_t *stage);
nib_status nib_stages_load(nib_tokenizer *t, const json_t *json, const char *where, int what,
                           nib_stages *out, nib_error *err);
enum { NIB_NORMALIZERS, NIB_PRETOKENIZERS, NIB_DECODERS };
/* BertNormalizer's switches; strips: strip_accents, or where that is null as lowercase. */
typedef struct nib_bert_rules { bool clean, chinese, strips, lowercase; } nib_bert_rules;
nib_bert_rules nib_bert_rules_of(const json_t *j);
nib_status nib_stages_add_bert(nib_tokenizer *t, nib_bert_rules rules, const char *where,
                               nib_stages *out, nib_error *err);
void nib_stages_free(nib_tokenizer *t, nib_stages *s);
nib_status nib_tokens_add(nib_ctx *ctx, nib_tokens *out, nib_token token, nib_error *err);

#endif
