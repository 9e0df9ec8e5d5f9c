/* quantize.h - a dense model directory, or a GGUF file, into a directory with low-bit weights, one
 * matrix at a time. */
#ifndef NIBBLE_QUANTIZE_H
#define NIBBLE_QUANTIZE_H

#include "nibble/context.h"
#include "nibble/finetune.h"
#include "nibble/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Of one matrix that was calibrated, or that a target gave its bits.  Errors are shares:
 * |X (W - Q)^T|^2 / |X W^T|^2, without calibration |W - Q|^2 / |W|^2. */
typedef struct nib_matrix_report {
    const char *module;
    const char *algorithm;       /* "gptq", "awq", or "rtn" of an expert that too few rows chose */
    double error, error_rounded; /* what is left, and what rounding to nearest would leave */
    double damp;                 /* the damping that was used */
    uint64_t rows;               /* of inputs that were observed; 0: without calibration */
    unsigned bits;               /* of its codes */
    double seconds;
} nib_matrix_report;

typedef struct nib_quantize_options {
    const char *model, *out;
    /* A PEFT directory or NULL.  With one, MODEL (dense or quantized) with it added is quantized,
     * calibrated, where no data are named, on those that its recipe.yaml names. */
    const char *adapter;
    const nib_setting *settings; /* what to quantize to: {"load_in_8bit", "true"}, ..., key NULL */
    /* Of the other tensors: "float32", "float16", "bfloat16"; NULL: the file's. */
    const char *dtype;
    /* llm_int8_skip_modules: linears that stay dense, by the last part of their names, the whole or
     * a part up to a dot.  The head must be among them.  NULL: the head. */
    const char *const *skip_modules;
    size_t skip_count;
    bool overwrite;
    /* "rtn"; "gptq" or "awq", which write the formats gptq, awq and compressed-tensors; or NULL:
     * with calibration.data awq for format awq, else gptq; rtn without.  Their finished layers lie
     * in "<out>.unfinished" until OUT stands. */
    const char *algorithm;
    nib_data_options calibration;   /* max_seq_length 0: 512 */
    int num_calibration_samples;    /* the first records of the data; 0: 128 */
    double damp_percent, mse;       /* GPTQ's, quant/gptq.h; damp_percent 0: .05 */
    bool desc_act, static_groups;
    bool act_group_aware;           /* without desc_act; GPTQModel's default */
    bool true_sequential;           /* the linears of a layer that read one value at a time, each
                                       on what those before it make of the inputs */
    /* Format gptq, instead of bits: each matrix gets the bits (2, 3, 4, 8) with which the measured
     * errors add up to the least in this room, by rules for single modules in config.json.  One of:
     * bytes of all files of weights on the disk, headers too; or bits a weight of the matrices that
     * are quantized, their scales and zero points counted, as inspect does. */
    uint64_t target_size;     /* 0: none */
    double target_bpw;        /* 0: none */
    uint64_t max_memory;      /* of a calibration; 0: what is free */
    void (*on_matrix)(void *user, const nib_matrix_report *report);
    void (*on_progress)(void *user, const char *what, double share);
    void *user;
} nib_quantize_options;

typedef struct nib_quantize_result {
    uint64_t matrices, parameters, bytes_before, bytes_after; /* bytes of tensors */
    uint64_t file_bytes;      /* of the files of weights, with a target; else 0 */
    double bits_per_weight;   /* of the matrices, with a target; else 0 */
    double seconds;
} nib_quantize_result;

/* OUT opens in transformers with from_pretrained.  NIB_E_MISMATCH: MODEL is quantized already, and
 * there is no adapter. */
nib_status nib_quantize(nib_ctx *ctx, const nib_quantize_options *options,
                        nib_quantize_result *result, nib_error *err);

#ifdef __cplusplus
}
#endif
#endif
