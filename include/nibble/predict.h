/* predict.h - what a classifier says of records, or where the answers to questions stand. */
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
     *     {"id": "7", "answer": "red", "start": 4, "end": 7, "start_byte": 4, "end_byte": 7,
     *      "score": 0.8, "null_score_diff": -3.1}                  an answer in a context
     * null: a word without a token; words beyond max_seq_length have none.  An answer is "" where
     * the context has none (data.version_2_with_negative), and then without places; its score is
     * its share of the 20 best, null_score_diff how much more the logits speak for none. */
    void (*on_line)(void *user, const char *line, size_t bytes);
    void (*on_progress)(void *user, const char *what, double share);
    void *user;
} nib_predict_options;

/* NIB_E_UNSUPPORTED: the model is no classifier and finds no answers. */
nib_status nib_predict(nib_ctx *ctx, const nib_predict_options *options, nib_error *err);

#ifdef __cplusplus
}
#endif
#endif
