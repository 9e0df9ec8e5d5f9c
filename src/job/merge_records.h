/* merge_records.h - the records that a merge is measured on. */
#ifndef NIB_JOB_MERGE_RECORDS_H
#define NIB_JOB_MERGE_RECORDS_H

#include "job/classifier.h"
#include "nibble/recipe.h"
#include "train/data.h"

typedef struct nib_merge_records {
    nib_ctx *ctx;
    const char *name;        /* of the file; NULL: there are none */
    nib_recipe *recipe;      /* the adapter's, which `data` borrows from; or NULL */
    bool chosen;             /* by the caller: all are used */
    nib_data_options data;
    double val_size;         /* the records are held out of `data`, by */
    uint64_t seed;
    nib_tokenizer *tokenizer;
    nib_dataset *set;
    size_t count;            /* that are used: the first */
    uint32_t *order;         /* [records] */
    size_t *first;           /* [batches + 1] the first record of each */
    size_t batches, most_records, most_tokens, most_targets, longest;
} nib_merge_records;

/* Which they are: of the file `verify`, read as the adapter's recipe.yaml says, or those that this
 * recipe evaluates on, where their file is there, at most NIB_MERGE_RECORDS of these; else none. */
enum { NIB_MERGE_RECORDS = 256 };
nib_status nib_merge_records_find(nib_ctx *ctx, const char *verify, const char *adapter,
                                  nib_merge_records *out, nib_error *err);
/* Reads them for the model of `c`, whose tokenizer is not read. */
nib_status nib_merge_records_open(nib_merge_records *r, const nib_classifier *c, nib_error *err);
void nib_merge_records_close(nib_merge_records *r); /* a zeroed one is fine */

#endif
