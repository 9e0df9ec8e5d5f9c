/* preview.h - what a training run would see of a data file: tokens, which of them are trained, and
 * statistics.  Needs config.json and the tokenizer of a model, no weights. */
#ifndef NIBBLE_PREVIEW_H
#define NIBBLE_PREVIEW_H

#include "nibble/context.h"
#include "nibble/finetune.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nib_preview_token {
    uint32_t id;
    /* What it adds to the text, not NUL-terminated: whole characters only, so it may be empty where
     * a later token completes a character. */
    const char *text;
    size_t bytes;
    bool special, trained;
} nib_preview_token;

typedef struct nib_preview_record {
    size_t number;    /* of the records that are left, from 1 */
    size_t length, supervised;
    const nib_preview_token *tokens; /* [length], borrowed until the call returns */
} nib_preview_record;

enum { NIB_PREVIEW_BUCKETS = 12 };

typedef struct nib_preview_report {
    const char *shape, *chat_template; /* of the records; where the template was found, or NULL */
    const char *end_token;             /* or NULL */
    const char *end_token_where;       /* the file, or the tokenizer class, that names it */
    uint64_t read, records;            /* in the file; left to train on */
    uint64_t truncated, empty, masked_out, bad, duplicates, duplicate_bos;
    uint64_t ends;                     /* records in which the end token is trained */
    uint64_t tokens, supervised;       /* of an epoch */
    uint32_t shortest, median, longest;
    int max_seq_length;         /* where it is open: of the longest record */
    uint64_t too_long;          /* left out (long_records drop) */
    const nib_source_report *sources;  /* several, or one with a weight; else NULL */
    size_t source_count;
    struct { uint32_t first, last; uint64_t records; } buckets[NIB_PREVIEW_BUCKETS]; /* by length */
    size_t bucket_count;
} nib_preview_report;

typedef struct nib_preview_options {
    const char *model;      /* a directory */
    nib_data_options data;
    bool full, train_head_only; /* what nib_finetune_options has: their max_seq_length and
                                 * long_records have other defaults */
    size_t records;         /* that on_record gets, from the first on */
    /* false: no more; may be NULL */
    bool (*on_record)(void *user, const nib_preview_record *record);
    /* after the records; may be NULL */
    void (*on_report)(void *user, const nib_preview_report *report);
    void *user;
} nib_preview_options;

/* Of a model that writes text.  Reads the data as nib_finetune() does, with its errors. */
nib_status nib_preview(nib_ctx *ctx, const nib_preview_options *options, nib_error *err);

#ifdef __cplusplus
}
#endif
#endif
