/* special_parts.h - what the files share that find special tokens: special.c (which files count,
 * the class, adding), special_listed.c (tokens with their flags), special_named.c (bos_token and
 * its like), special_parts.c (the value of a key). */
#ifndef NIB_TEXT_SPECIAL_PARTS_H
#define NIB_TEXT_SPECIAL_PARTS_H

#include "text/parts.h"
#include "text/special.h"
#include "text/tokenizer_class.h"

enum { CONFIG, MAP, ADDED, MODEL, GENERATION }; /* indices of files */
extern const char *const nib_special_files[NIB_SPECIAL_FILES]; /* their names */

/* A special token: `added` is transformers' AddedToken, which says more than its text. */
typedef struct nib_special_entry {
    nib_added token;
    bool added;
    const char *where;
} nib_special_entry;
/* A token of added_tokens_decoder and its number there. */
typedef struct nib_special_list_entry {
    nib_added token;
    int64_t index;
    size_t order;
} nib_special_list_entry;

typedef struct nib_special_reading {
    nib_tokenizer *t;
    const json_t *files[NIB_SPECIAL_FILES]; /* NULL: absent */
    const nib_tokenizer_class *class;
    bool found;           /* some file was there */
    bool use_map;         /* special_tokens_map.json and added_tokens.json count */
    const char *alias;    /* the content under which transformers finds alias_token, see there */
    nib_added alias_token;
    nib_special_list_entry *decoder;
    size_t decoder_count, decoder_capacity;
    nib_special_entry *specials;      /* in transformers' order, each content once */
    size_t special_count, special_capacity;
} nib_special_reading;

/* Reads the files beside tokenizer.json and finds the class, before the tokenizer is read;
 * nib_special_apply() is for behind it. */
nib_status nib_special_read(nib_special_reading *r, const char *dir, nib_error *err);
/* What transformers makes of them: tokens, ends, what the class changes. */
nib_status nib_special_apply(nib_special_reading *r, nib_error *err);
void nib_special_free(nib_special_reading *r);
/* The value of a key, NULL when it is absent, and the file it is from. */
const json_t *nib_special_value(const nib_special_reading *r, const char *key, const char **where);
/* {"content": ..., "lstrip": ..., ...}; `special` where it says nothing. */
nib_status nib_special_object(const json_t *j, const char *where, const char *key, bool special,
                              nib_added *a, nib_error *err);
/* Of T5's class: <extra_id_0> ... join additional_special_tokens, unless some are there. */
nib_status nib_special_extra_ids(nib_special_reading *r, nib_error *err);
/* Fill r->decoder: from added_tokens_decoder; from added_tokens.json and tokenizer.json. */
nib_status nib_special_decoder(nib_special_reading *r, nib_error *err);
nib_status nib_special_added_file(nib_special_reading *r, nib_error *err);
/* The token of this content with flags that some file gives; NULL: none. */
const nib_added *nib_special_listed(const nib_special_reading *r, const char *content);
/* Fills r->specials, r->t->named, and the four of r->t->special_tokens but for their ids. */
nib_status nib_special_named(nib_special_reading *r, nib_error *err);

#endif
