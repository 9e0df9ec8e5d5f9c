/* texts.h - records of several texts each (anchor, positive, negatives; two sentences): where each
 * text lies among a dataset's tokens, and which texts are the same. */
#ifndef NIB_TRAIN_TEXTS_H
#define NIB_TRAIN_TEXTS_H

#include "train/data.h"

typedef struct nib_texts {
    nib_ctx *ctx;
    const nib_dataset *data;
    size_t records, columns;   /* text c of record i is number i * columns + c */
    const uint32_t **ids;      /* [records * columns], borrowed of the dataset */
    uint32_t *lengths;         /* [records * columns] */
    uint32_t *same;            /* [records * columns] the first text with the same tokens */
    uint32_t longest;
} nib_texts;

/* `data` was read for NIB_TASK_FEATURE_EXTRACTION, all records with the same number of texts, and
 * outlives the result. */
nib_status nib_texts_init(nib_ctx *ctx, const nib_dataset *data, nib_texts *out, nib_error *err);
void nib_texts_free(nib_texts *t); /* zeroed is fine */

#endif
