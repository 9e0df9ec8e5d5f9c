/* merge.h - adapters put into the weights, W0 + s B A, one matrix at a time: into a dense model
 * directory, or into any low-bit format that has a writer. */
#ifndef NIBBLE_MERGE_H
#define NIBBLE_MERGE_H

#include <stdbool.h>
#include <stdint.h>

#include "nibble/context.h"
#include "nibble/model.h"
#include "nibble/quantize.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What of an adapter's change is in what was stored.  With D the change of a matrix, W what the
 * adapter was trained on, W' what is stored and X rows of the matrix's input:
 *     survived   <X (W' - W)^T, X D^T> / |X D^T|^2      1: all of it, 0: nothing
 *     noise      |X (W' - W - D)^T| / |X D^T|
 * NaN where D is 0 or no row came. */
typedef struct nib_survival {
    double survived, standard_error, noise;
    uint64_t rows;           /* without samples X is the identity: a row for each input */
} nib_survival;

/* On records, a predicted token (of classifiers a row) each, in nats. */
typedef struct nib_merge_losses {
    double base, adapter, merged; /* what the adapter was trained on, the same with it, and OUT */
    double kept;             /* (base - merged) / (base - adapter); NaN: there is no gain */
    double divergence, divergence_error; /* KL(adapter || merged), its standard error; NaN: what is
                                            predicted are no words */
    double agreement;        /* tokens whose likeliest next one is the same; NaN likewise */
    uint64_t records, tokens;
} nib_merge_losses;

typedef struct nib_merge_report {
    nib_survival survival;   /* over all matrices */
    const char *records;     /* the file that was measured on; NULL: losses are not known, and
                                survival is that of the weights */
    nib_merge_losses losses;
    bool enough;             /* min_retained and the loss allow it; true without min_retained */
    const char *text, *json; /* lines for a terminal; all of it, an object */
} nib_merge_report;

typedef struct nib_merge_result {
    /* The base's form when the adapter was trained ("dense", "nf4 64", "nf4 64 double": block size,
     * double-quantized scales; "" when the adapter does not say) and MODEL's. */
    char trained_form[48], model_form[48];
    bool other_form;         /* they differ: the merged model is not quite what was trained */
    /* Then the greatest difference between the two bases that a matrix has, relative to its norm,
     * and that matrix.  A dense MODEL is encoded to know it; of a 4-bit one the dense original is
     * gone and it is the most it can be (change_is_bound).  Negative: not known. */
    double greatest_change;
    bool change_is_bound;
    char matrix[256];
    char form[48];           /* of the linears in OUT */
    uint64_t matrices;       /* encoded in it; 0: OUT is dense */
    uint64_t wide;           /* of these in 8 bits in its place: mixed_bits */
    uint64_t bytes;          /* of the tensors in OUT */
    /* Of unmerge with base_original: the part of its linears' values that OUT has again, and
     * |W'' - W| / |W| over them. */
    double equal_again, change_left;
    char route[16];          /* of two that were possible: "original", "decoded"; else "" */
} nib_merge_result;

/* One of several: the sum of weight * s B A is merged, PEFT's add_weighted_adapter with
 * combination_type "cat". */
typedef struct nib_merge_adapter { const char *dir; double weight; } nib_merge_adapter;

/* What a merge will take, on this machine. */
typedef struct nib_merge_forecast {
    char form[48];           /* of the linears in OUT */
    uint64_t parameters, matrices; /* matrices: that are encoded */
    uint64_t dense_bytes, bytes, disk_bytes; /* of a dense merge, of OUT, and wanted meanwhile */
    uint64_t tokens;         /* of calibration, at most */
    double merge_seconds, calibrate_seconds; /* timed on pieces; without reading and writing */
} nib_merge_forecast;

typedef struct nib_merge_options {
    const char *model, *out;
    /* With weight 1; NULL: those of the list.  Without any OUT is MODEL itself, and nothing is
     * measured. */
    const char *adapter;
    const nib_merge_adapter *adapters; /* the first alone may bring biases and whole modules */
    size_t adapter_count;
    /* "dense" (NULL too), "nf4", "fp4", "int8", "gptq", "awq", "compressed-tensors" */
    const char *format;
    /* What the format takes: settings (bits, group_size, bnb_4bit_blocksize, ..., NULL: those of
     * MODEL where it is held in the same format, else the defaults), skip_modules, and of
     * calibrated formats the algorithm and its data.  model, out, dtype and callbacks are not
     * read. */
    nib_quantize_options quantize;
    /* "auto": matrices whose `survived` is more than .1 from 1, or whose noise is above .5, are
     * encoded again in 8 bits; of format gptq, rounded to nearest.  NULL: no. */
    const char *mixed_bits;
    const char *dtype;       /* "bfloat16", "float32", or NULL: the model's */
    /* Takes the adapters out of MODEL, a dense merge that holds them; base_original may name what
     * they were merged into, to compare with. */
    bool unmerge;
    /* An adapter that was trained on low-bit weights can be added to their original or to what they
     * decode to.  Both are at hand where MODEL is dense and the adapter says how it was quantized
     * while training, or where this names the original of a low-bit MODEL. */
    const char *base_original;
    const char *route;       /* "original", "decoded"; "auto" (NULL too): both are written and
                                measured, and the one with the lower loss (without records: less
                                noise) is kept */
    /* Records to measure on: a file, read as the adapter's recipe.yaml says.  NULL: those that this
     * recipe evaluates on (the first 256), where the file is there; else survival is measured in
     * the weights. */
    const char *verify;
    /* Above 0: a merge that keeps less of the gain in loss (without records: whose `survived` is,
     * but for two standard errors, further from 1 than that), or whose loss is more than .02 above
     * the adapter's, is refused. */
    double min_retained;
    bool overwrite;
    bool unmeasured;         /* written only: one way, into MODEL as it is, and no report */
    /* on_forecast is called and that is all: config.json alone need be there. */
    bool dry_run;
    void (*on_forecast)(void *user, const nib_merge_forecast *forecast);
    /* Before the decision; the texts are borrowed.  May be NULL. */
    void (*on_report)(void *user, const nib_merge_report *report);
    nib_merge_result *result; /* filled on success; may be NULL */
    void (*on_progress)(void *user, const char *what, double share);
    void *user;
} nib_merge_options;

/* Writes OUT, with the report in README.md and merge_report.json.  NIB_E_MISMATCH: refused by
 * min_retained, nothing written; the message names what helps. */
nib_status nib_merge(nib_ctx *ctx, const nib_merge_options *options, nib_error *err);

#ifdef __cplusplus
}
#endif
#endif
