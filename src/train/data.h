/* data.h - a data file as token lists with a mark for each supervised token.
 *
 * Records: `text`; `prompt` + `completion`, joined as text and tokenized together, a token
 * being supervised if its first byte lies in the completion; or templates over named fields.
 * The end-of-sequence token is appended where it is missing, and supervised; a truncated
 * record gets none.  A .txt file is one stream cut into windows.  (conventions.md, "Tokens".) */
#ifndef NIB_TRAIN_DATA_H
#define NIB_TRAIN_DATA_H

#include "base/base.h"
#include "nibble/finetune.h"
#include "text/tokenizer.h"

typedef struct nib_dataset nib_dataset;

typedef struct nib_record {
    const uint32_t *ids;   /* [length], borrowed */
    const uint8_t *trained;/* [length]: token i is a target (it is predicted from i - 1) */
    uint32_t length;
    uint32_t targets;      /* trained tokens at positions >= 1: what the loss is divided by */
} nib_record;

typedef struct nib_data_counts {
    uint64_t records, truncated, empty, masked_out, had_bos; /* empty and masked_out are left out */
    uint64_t tokens, targets;
    uint32_t longest;
} nib_data_counts;

/* Reads and tokenizes everything.  vocab_size: a greater id is refused by its token.
 * Also reads records that carry `input_ids` (and optional `labels`, -100 where not trained).
 * keep_all: evaluation keeps fully masked records (their logits are wanted).
 * Fails with file, line and field; NIB_E_FORMAT when nothing is left. */
nib_status nib_dataset_open(nib_ctx *ctx, const nib_data_options *options, nib_tokenizer *tokenizer,
                            uint32_t vocab_size, bool keep_all, nib_dataset **out, nib_error *err);
void nib_dataset_close(nib_dataset *d);
size_t nib_dataset_count(const nib_dataset *d);
nib_record nib_dataset_record(const nib_dataset *d, size_t i);
nib_data_counts nib_dataset_counts(const nib_dataset *d);

/* The Trainer's order of epoch e: torch.randperm with seed + e, or 0, 1, 2, ... (formats.md 14.4). */
void nib_dataset_order(const nib_dataset *d, bool shuffle, uint64_t seed, uint64_t epoch, uint32_t *order);

#endif
