/* quantize_run.h - the quantization of a dense model, which the files quantize*.c do together. */
#ifndef NIB_JOB_QUANTIZE_RUN_H
#define NIB_JOB_QUANTIZE_RUN_H

#include "base/outfile.h"
#include "format/safetensors.h"
#include "job/calibrate.h"
#include "model/model.h"

enum { NIB_QUANTIZE_PIECE = 1 << 20, NIB_QUANTIZE_SHARD_MILLIONS = 5000 };

typedef struct nib_quantize_matrix {
    const nib_tensor *tensor;
    bool transposed; /* it is stored as [in, out], and packed as [out, in] */
    const char *module;
    nib_learned learned;
    nib_parts_out parts;
} nib_quantize_matrix;

typedef struct nib_quantize_run {
    nib_ctx *ctx;
    const nib_quantize_options *options;
    const char *origin;   /* for config.json, or NULL */
    const char *kept;     /* where finished layers stay, or NULL */
    nib_held held;        /* what is asked for; its form's dtype is set for each matrix */
    nib_model *model;     /* without weights: its graph */
    bool convert;         /* to `dtype`, the other tensors */
    nib_dtype dtype;
    nib_tensors *tensors;
    nib_tensor_plan *plans;
    size_t plans_count;
    nib_quantize_matrix *matrices;
    size_t matrix_count;
    size_t *matrix_of; /* of each tensor: 1 and its matrix, 0: it is none */
    bool targeted;        /* each matrix has bits of its own: */
    nib_bit_plan bits;    /* in the order of the matrices */
    nib_allot_which width;
    nib_outdir *out;
    nib_tensor_writer *writer;
    uint8_t *piece;       /* NIB_QUANTIZE_PIECE floats, for converting */
    nib_calibration calibration;
    bool calibrated;
    uint64_t done, total; /* bytes read, for progress */
    nib_quantize_result result;
} nib_quantize_run;

/* quantize_plan.c: the tensors of the output, as plans, and what they take. */
nib_status nib_quantize_plan_tensors(nib_quantize_run *r, nib_error *err);

/* --- quantize_write.c --- */

nib_form nib_quantize_matrix_form(const nib_quantize_run *r, const nib_quantize_matrix *m);
/* A matrix as [out, in] on its file's map; the caller's. */
nib_status nib_quantize_matrix_open(const nib_quantize_run *r, const nib_quantize_matrix *m,
                                    nib_weight **w, nib_error *err);
/* The same encoded, its pages given back. */
nib_status nib_quantize_matrix_encode(const nib_quantize_run *r, const nib_quantize_matrix *m,
                                      nib_weight **w, nib_error *err);
/* A tensor is done.  NIB_E_INTERRUPTED. */
nib_status nib_quantize_progress(nib_quantize_run *r, const nib_tensor *t, nib_error *err);
/* What every file of weights says in its metadata; *notes and what they borrow, *merged, are the
 * caller's. */
nib_status nib_quantize_notes(const nib_quantize_run *r, char **merged, const char *notes[5],
                              nib_error *err);
nib_status nib_quantize_write_all(nib_quantize_run *r, nib_error *err);

/* --- quantize_target.c --- */

/* Begins a plan of bits where one is asked for: the widths of the matrices and the room.
 * NIB_E_INVALID: the target contradicts other options, or cannot be reached. */
nib_status nib_quantize_target_begin(nib_quantize_run *r, nib_error *err);
/* Errors of rounding to nearest, and the choice. */
nib_status nib_quantize_target_measure(nib_quantize_run *r, nib_error *err);
/* Bits are allotted: the format's form is the usual one, and the tensors are planned. */
nib_status nib_quantize_target_end(nib_quantize_run *r, nib_error *err);
/* Without a store: what was measured, as the report of a calibration. */
nib_status nib_quantize_target_report(nib_quantize_run *r, nib_error *err);

#endif
