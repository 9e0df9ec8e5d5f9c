/* calibrate_data.h - calibration texts as batches, and what a model computed of them at one
 * boundary between layers. */
#ifndef NIB_JOB_CALIBRATE_DATA_H
#define NIB_JOB_CALIBRATE_DATA_H

#include "base/pagefile.h"
#include "model/model.h"
#include "nibble/quantize.h"
#include "train/batch.h"

typedef struct nib_calibration_data {
    nib_ctx *ctx;
    nib_tokenizer *tokenizer;
    nib_dataset *records;
    size_t used;             /* the first so many of them */
    size_t tokens;           /* of all that are used */
    int64_t now;             /* when the run was begun, for templates: seconds since 1970 */
    nib_batch_maker maker;
    uint32_t *order, *first; /* [records], [batches + 1] the first record of a batch */
    uint32_t *rows;          /* [tokens of a batch] all of them */
    size_t batches, widest;  /* widest: tokens of the greatest batch */
    /* What crosses a boundary, a batch after the other: */
    uint8_t *values;
    size_t *places;          /* [batches + 1] */
    nib_pagefile file;       /* where they lie in one */
} nib_calibration_data;

/* Reads and checks the texts that the options name.  started: when the run was begun, 0: now.
 * NIB_E_INVALID: they are too few for the
 * model's matrices, or hold special tokens of another model's, naming the record. */
nib_status nib_calibration_data_open(nib_ctx *ctx, const nib_quantize_options *options,
                                     const nib_model *model, int64_t started,
                                     nib_calibration_data *d, nib_error *err);
void nib_calibration_data_close(nib_calibration_data *d); /* a zeroed one is fine */

/* The batch i.  All its rows reach the end, so that the last layer's linears see them all. */
nib_batch nib_calibration_batch(nib_calibration_data *d, size_t i);
/* Which record has row `row` of batch i, counted from 1. */
size_t nib_calibration_record(const nib_calibration_data *d, const nib_batch *b, size_t i,
                              size_t row);

/* The bytes of the values at the boundary that has the most. */
uint64_t nib_calibration_values_bytes(nib_calibration_data *d, const nib_graph *g);
/* Room for them: in memory or, dir being given, in a file there. */
nib_status nib_calibration_values_take(nib_calibration_data *d, const nib_graph *g,
                                       const char *dir, nib_error *err);

#endif
