/* special.h - the special tokens of a model and where each was found.
 *
 * transformers' AutoTokenizer looks in tokenizer_config.json, special_tokens_map.json,
 * added_tokens.json and in the defaults of the tokenizer's class, which config.json may name;
 * generation_config.json and config.json name the tokens that end a text.  One struct holds what
 * was found, for every verb (formats.md 11.9). */
#ifndef NIB_TEXT_SPECIAL_H
#define NIB_TEXT_SPECIAL_H

#include "base/base.h"

enum { NIB_MOST_ENDS = 32 };
/* tokenizer_config, special_tokens_map, added_tokens, config, generation_config. */
enum { NIB_SPECIAL_FILES = 5 };

typedef struct nib_special_token {
    int64_t id;          /* -1: there is none */
    const char *content; /* NULL where only an id is known; lives as long as the tokenizer */
    const char *where;   /* "tokenizer_config.json", "LlamaTokenizerFast's default", ... */
} nib_special_token;

typedef struct nib_special_tokens {
    nib_special_token bos, pad, unk;
    nib_special_token eos;         /* what ends a record: the tokenizer's, else the first of ends */
    int64_t ends[NIB_MOST_ENDS];   /* each of them ends a text that is generated */
    size_t end_count;
    const char *ends_where;        /* NULL: there are none */
    const char *class_name;        /* of the tokenizer; NULL: no file names or implies one */
} nib_special_tokens;

/* Does this token end a text? */
bool nib_special_ends(const nib_special_tokens *s, int64_t id);

#endif
