/* export.h - a model, with or without an adapter, or an adapter alone, as a GGUF file for llama.cpp
 * and its kin; and back into a directory. */
#ifndef NIBBLE_EXPORT_H
#define NIBBLE_EXPORT_H

#include <stdbool.h>

#include "nibble/context.h"
#include "nibble/finetune.h"
#include "nibble/merge.h"
#include "nibble/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nib_export_options {
    const char *model;       /* or an adapter's directory: then `base`, or the model that it
                                names */
    const char *adapter;     /* merged on the way; NULL: none */
    const char *out;         /* the file; of a GGUF file as MODEL also a directory: a name without
                                .gguf at its end */
    const char *base;        /* NULL: none is given */
    const char *quantize;    /* "F16", "Q8_0", ...; NULL: F16, of an adapter F32 */
    /* Instead of quantize, of a model's file: each matrix gets the type, IQ4_NL or Q4_K to Q8_0,
     * with which the errors add up to the least in this room.  One of: bytes of the file; or bits
     * a weight of all its matrices, scales counted, as inspect has it. */
    uint64_t target_size;    /* 0: none */
    double target_bpw;       /* 0: none */
    const char *dtype;       /* of a directory: "float32", "float16", "bfloat16"; NULL: as in the
                                file, blocks as float32 */
    const char *imatrix;     /* llama.cpp's importance matrix, or NULL */
    nib_data_options calibration; /* or texts to make one of (data); max_seq_length 0: 512 */
    const char *imatrix_out;      /* where to keep the importances made; NULL: nowhere */
    int num_calibration_samples;  /* the first records of the data; 0: 128 */
    /* Above 0: a file that keeps less of the adapter's change, by two standard errors, or as much
     * more than all of it, is refused. */
    double min_retained;
    bool overwrite;
    bool modelfile;          /* Ollama's, beside OUT: DIR/Modelfile */
    bool no_verify;          /* what was written is not read back and compared */
    /* With a target: the type of a matrix, and which fraction of its square that loses (of its
     * inputs weighed by their importances, where there are some). */
    void (*on_matrix)(void *user, const char *tensor, const char *type, double error);
    void (*on_progress)(void *user, const char *what, double share);
    void *user;
} nib_export_options;

typedef struct nib_export_result {
    uint64_t tensors, bytes; /* of the file's data */
    uint64_t file_bytes;     /* with a target: of the file; else 0 */
    double bits_per_weight;  /* with a target: of its matrices; else 0 */
    int prompts;             /* that were compared; 0: none */
    double greatest_difference; /* of their logits, relative to the largest logit */
    nib_survival survival;      /* of the adapter's change, in the weights; rows 0: not measured */
} nib_export_result;

/* NIB_E_UNSUPPORTED: a family, a tokenizer, a module or a setting that GGUF has no place for;
 * NIB_E_MISMATCH: what was written does not compute what MODEL does; then nothing is left. */
nib_status nib_export(nib_ctx *ctx, const nib_export_options *options, nib_export_result *result,
                      nib_error *err);

#ifdef __cplusplus
}
#endif
#endif
