/* predict.h - what a classifier says of records. */
#ifndef NIBBLE_PREDICT_H
#define NIBBLE_PREDICT_H

#include "nibble/context.h"
#include "nibble/finetune.h"
#include "nibble/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nib_predict_options {
    nib_model_options model;    /* its task: the adapter's, where that is AUTO and it says one */
    nib_data_options data;      /* the records' labels are not needed; data NULL: from next_line */
    const char *adapter;        /* PEFT directory or NULL */
    int batch_size;             /* records at a time; 0: 8; those of next_line come one by one */
    /* A record as a line of JSON, borrowed until the next call; NULL: there are no more. */
    const char *(*next_line)(void *user, size_t *bytes);
    /* A line of JSON a record, in their order, without its end:
     *     {"label": "good", "scores": {"bad": 0.1, "good": 0.9}}       one class
     *     {"labels": ["art"], "scores": {"art": 0.8, "news": 0.3}}     several labels
     *     {"value": 3.5}, {"values": [3.5, 1]}                         numbers
     *     {"tags": ["O", null, "B-PER"], "scores": [0.9, null, 0.7]}   a tag a word
     * null: a word without a token; words beyond max_seq_length have none. */
    void (*on_line)(void *user, const char *line, size_t bytes);
    void (*on_progress)(void *user, const char *what, double share);
    void *user;
} nib_predict_options;

/* NIB_E_UNSUPPORTED: the model is no classifier. */
nib_status nib_predict(nib_ctx *ctx, const nib_predict_options *options, nib_error *err);

#ifdef __cplusplus
}
#endif
#endif
