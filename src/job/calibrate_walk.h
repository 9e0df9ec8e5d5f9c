/* calibrate_walk.h - the walk over a model's layers that the files calibrate_*.c do together. */
#ifndef NIB_JOB_CALIBRATE_WALK_H
#define NIB_JOB_CALIBRATE_WALK_H

#include "job/calibrate.h"
#include "job/calibrate_observe.h"
#include "quant/gptq.h"

typedef struct nib_walk_target {
    nib_calibration_target *t;
    nib_linear *linear;
    int segment;
    nib_weight *made;   /* encoded, or on its layer's file; or NULL */
} nib_walk_target;

/* A tensor that is no target's, with new values. */
typedef struct nib_walk_change {
    const nib_tensor *tensor;
    float *values; /* [elements] owned */
} nib_walk_change;

typedef struct nib_walk {
    nib_ctx *ctx;
    nib_calibration *c;
    const nib_quantize_options *o;
    nib_gptq_options gptq;
    nib_model *model;
    nib_calibration_data data;
    nib_plan *plan;
    nib_run *run;
    nib_observer observer;
    nib_held stored;            /* the form of what lies in the store */
    nib_walk_target *targets;   /* [count] by segment, and in it by the graph */
    size_t count, done;
    uint64_t hessian_bytes;     /* the most that Hessians may take at a time */
    double start;
    size_t done_before;         /* of an earlier run */
    json_t *layer;              /* reports of the segment's matrices */
    nib_walk_change *changes;   /* of the segment */
    size_t change_count, change_capacity;
    bool awq;                   /* the algorithm: the model runs as it is to the end */
} nib_walk;

/* The targets of a segment: [*first, *end). */
void nib_walk_segment(const nib_walk *w, int segment, size_t *first, size_t *end);
/* The target that expert `expert` of a node, or its only linear, is; NULL: it is none. */
nib_walk_target *nib_walk_target_of(const nib_walk *w, const nib_node *n, size_t expert);

/* calibrate_open.c: the model, the texts, the plan of memory, the store. */
nib_status nib_walk_open(nib_walk *w, nib_error *err);
void nib_walk_close(nib_walk *w);
nib_status nib_walk_stopped(const nib_walk *w, nib_error *err); /* NIB_E_INTERRUPTED */

/* calibrate_encode.c: the linears that were observed. */
nib_status nib_walk_encode(nib_walk *w, int segment, nib_error *err);
/* calibrate_awq.c: the same with factors.  Adds to w->changes. */
nib_status nib_walk_awq(nib_walk *w, int segment, nib_error *err);
/* report->error and error_rounded; made: what the matrix has become, in its own inputs. */
nib_status nib_walk_errors(nib_walk *w, const nib_walk_target *t, const nib_hessian *h,
                           const nib_weight *made, nib_matrix_report *report, nib_error *err);
/* A matrix is done: counted, shown, and kept for the layer's file. */
nib_status nib_walk_report(nib_walk *w, const nib_walk_target *t, const nib_matrix_report *report,
                           nib_error *err);
/* Is the linear an expert's that too few rows chose? */
bool nib_walk_saw_few(const nib_walk *w, const nib_node *n, const nib_observed *s);
void nib_walk_name_few(const nib_walk *w, const nib_walk_target *t, const nib_observed *s);

/* Puts a finished segment into the store. */
nib_status nib_walk_store(nib_walk *w, int segment, nib_error *err);
/* The model computes with what lies in the store. */
nib_status nib_walk_use(nib_walk *w, int segment, nib_error *err);

#endif
