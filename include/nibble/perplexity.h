/* perplexity.h - how well a model predicts a text, measured as the papers or as llama.cpp measure
 * it, and how far it is from a second model. */
#ifndef NIBBLE_PERPLEXITY_H
#define NIBBLE_PERPLEXITY_H

#include "nibble/context.h"
#include "nibble/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Where windows of context_length tokens lie in the text's tokens, and which are predicted. */
typedef enum nib_perplexity_preset {
    NIB_PERPLEXITY_GPTQ, /* the papers': windows side by side, every token of a window but its
                            first; what is left behind the last window is not used */
    NIB_PERPLEXITY_LLAMA_CPP /* llama-perplexity's: the same windows, tokens of the second half;
                            the first of each is BOS where the tokenizer adds one to texts */
} nib_perplexity_preset;

/* A token that the model predicts much worse than the reference. */
typedef struct nib_worst_token {
    uint64_t position;           /* in the text's tokens, from 0 */
    const char *text;            /* of the token */
    double divergence;           /* KL(reference || model) of what comes at this position */
    double loss, reference_loss; /* of the token, in nats */
} nib_worst_token;

typedef struct nib_perplexity_options {
    nib_model_options model;
    const char *adapter;       /* a PEFT directory or NULL */
    const char *reference;     /* the second model, loaded as it is, or NULL */
    const char *data;          /* a .txt file, whole; other kinds: `text` of each record, joined by
                                  two line breaks */
    nib_perplexity_preset preset;
    int context_length;        /* 0: 2048; of llama.cpp's 512 */
    int stride;                /* of GPTQ's windows: one begins each `stride` tokens, the last may
                                  be short, and each token is predicted once, with the longest
                                  context that there is; 0: side by side */
    int worst;                 /* tokens to report; 0: 10 */
    void (*on_progress)(void *user, const char *what, double share);
    void (*on_worst)(void *user, const nib_worst_token *tokens, size_t count); /* the worst first */
    void *user;
} nib_perplexity_options;

typedef struct nib_perplexity_result {
    uint64_t tokens, windows, predicted; /* of the text; windows; tokens that were predicted */
    double loss, perplexity;             /* the mean in nats, and its exponential */
    double perplexity_error;             /* one standard error, as if tokens were independent */
    bool compared;                       /* with a reference: */
    double reference_loss, reference_perplexity;
    double divergence, divergence_error, divergence_worst; /* KL(reference || model): mean, its
                                                               standard error, greatest */
    double agreement;                    /* fraction of positions with the same likeliest token */
    double seconds;
} nib_perplexity_result;

nib_status nib_perplexity(nib_ctx *ctx, const nib_perplexity_options *options,
                          nib_perplexity_result *result, nib_error *err);

#ifdef __cplusplus
}
#endif
#endif
