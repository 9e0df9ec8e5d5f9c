/* evaluate.h - loss and perplexity of a model on a data file, and its logits. */
#ifndef NIBBLE_EVALUATE_H
#define NIBBLE_EVALUATE_H

#include "nibble/context.h"
#include "nibble/finetune.h"
#include "nibble/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nib_evaluate_options {
    nib_model_options model;
    nib_data_options data;
    const char *adapter; /* PEFT directory or NULL */
    const char *logits;  /* .safetensors to write, float32 [T, V] for each record: "0", "1", ... */
    int batch_size;      /* records at a time; 0: 8 */
    void (*on_progress)(void *user, const char *what, double share);
    void *user;
} nib_evaluate_options;

typedef struct nib_evaluate_result {
    double loss, perplexity;
    uint64_t tokens, supervised_tokens, records, truncated;
    double seconds;
} nib_evaluate_result;

nib_status nib_evaluate(nib_ctx *ctx, const nib_evaluate_options *options,
                        nib_evaluate_result *result, nib_error *err);

#ifdef __cplusplus
}
#endif
#endif
