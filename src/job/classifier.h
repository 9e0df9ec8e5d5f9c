/* classifier.h - a classifier that is asked: model, adapter, tokenizer and the labels that both
 * know. */
#ifndef NIB_JOB_CLASSIFIER_H
#define NIB_JOB_CLASSIFIER_H

#include "adapter/adapter.h"
#include "job/labelled.h"
#include "text/tokenizer.h"

typedef struct nib_classifier {
    nib_ctx *ctx;
    nib_model_options options; /* with what the adapter says */
    char *problem_type;
    char *model_dir;           /* the Transformer's of a sentence-transformers directory, or NULL */
    nib_labels labels;         /* of the adapter, else of config.json */
    nib_model *model;
    nib_adapter *adapter;
    nib_tokenizer *tokenizer;
} nib_classifier;

/* Opens any model, and reads its labels where its task has some.  `adapter` may be NULL. */
nib_status nib_classifier_open(nib_ctx *ctx, const nib_model_options *model, const char *adapter,
                               nib_model_progress progress, nib_classifier *out, nib_error *err);
void nib_classifier_close(nib_classifier *c); /* zeroed is fine */
/* How its records are read. */
nib_dataset_source nib_classifier_source(const nib_classifier *c, const nib_data_options *data);
/* Are these records labelled as the model's loss wants them?  NIB_E_INVALID. */
nib_status nib_classifier_fits(const nib_classifier *c, const nib_dataset *d, const char *name,
                               nib_error *err);

#endif
