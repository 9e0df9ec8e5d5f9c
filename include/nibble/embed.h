/* embed.h - texts as vectors: a sentence-transformers directory, or any model's hidden states
 * pooled. */
#ifndef NIBBLE_EMBED_H
#define NIBBLE_EMBED_H

#include "nibble/context.h"
#include "nibble/finetune.h"
#include "nibble/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nib_embed_options {
    nib_model_options model;    /* a directory with modules.json, or any other; task is not looked
                                   at */
    const char *adapter;        /* a PEFT adapter, or NULL; its modules.json says how rows are
                                   pooled, where it has one */
    nib_data_options data;      /* {text} or {sentence} a record, or the lines of a .txt;
                                   max_seq_length 0: the directory's */
    const char *pooling;        /* names with commas, joined in this order: cls, max, mean,
                                   mean_sqrt_len_tokens, weightedmean, lasttoken; NULL: the
                                   directory's, else mean */
    const char *prompt_name;    /* of config_sentence_transformers.json's prompts; NULL: its
                                   default, or none */
    const char *prompt;         /* the prompt itself, instead; or NULL */
    int truncate_dim;           /* the first so many numbers; 0: all */
    bool normalize;             /* to length 1, where the directory does not ask for it too */
    int batch_size;             /* texts at a time; 0: 32 */
    const char *out;            /* F.safetensors ("embeddings" [texts, numbers] float32), F.npy or
                                   F.jsonl; NULL: on_line */
    bool overwrite;             /* `out` may be there already */
    /* {"embedding": [0.1, ...]}, a line a text in their order, without its end. */
    void (*on_line)(void *user, const char *line, size_t bytes);
    void (*on_progress)(void *user, const char *what, double share);
    void *user;
} nib_embed_options;

typedef struct nib_embed_result {
    uint64_t texts, tokens, truncated;
    size_t width;               /* numbers of an embedding */
    double seconds;
} nib_embed_result;

/* NIB_E_INVALID: an option that the model has no use for, with what is known; NIB_E_UNSUPPORTED: a
 * module of the directory that is not known. */
nib_status nib_embed_texts(nib_ctx *ctx, const nib_embed_options *options,
                           nib_embed_result *result, nib_error *err);

#ifdef __cplusplus
}
#endif
#endif
