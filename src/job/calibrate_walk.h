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
} nib_walk;

/* The targets of a segment: [*first, *end). */
void nib_walk_segment(const nib_walk *w, int segment, size_t *first, size_t *end);
/* The target that expert `expert` of a node, or its only linear, is; NULL: it is none. */
nib_walk_target *nib_walk_target_of(const nib_walk *w, const nib_node *n, size_t expert);

/* calibrate_open.c: the model, the texts, the plan of memory, the store. */
nib_status nib_walk_open(nib_walk *w, nib_error *err);
void nib_walk_close(nib_walk *w);

/* calibrate_encode.c: the linears that were observed. */
nib_status nib_walk_encode(nib_walk *w, int segment, nib_error *err);
/* Puts a finished segment into the store, and takes it from there. */
nib_status nib_walk_store(nib_walk *w, int segment, nib_error *err);
/* The model computes with what lies in the store. */
nib_status nib_walk_use(nib_walk *w, int segment, nib_error *err);

#endif
