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
    bool measured;      /* its errors are in the plan of bits */
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
    bool measuring;             /* errors of widths, before anything is encoded */
} nib_walk;

/* The targets of a segment: [*first, *end). */
void nib_walk_segment(const nib_walk *w, int segment, size_t *first, size_t *end);
/* The target that expert `expert` of a node, or its only linear, is; NULL: it is none. */
nib_walk_target *nib_walk_target_of(const nib_walk *w, const nib_node *n, size_t expert);

/* calibrate_pass.c: runs a segment over all texts.  until: the last node whose inputs are looked
 * for, up to which it runs; NULL: it runs to its end, and what it gives takes the place of what it
 * was given. */
nib_status nib_walk_pass(nib_walk *w, int segment, const nib_node *until, nib_error *err);
/* Observes the linears of a segment that are still to be done, in as many passes as memory asks
 * for, and has `take` encode or measure what was observed in each. */
typedef nib_status nib_walk_segment_fn(nib_walk *w, int segment, nib_error *err);
nib_status nib_walk_observe(nib_walk *w, int segment, nib_walk_segment_fn *take, nib_error *err);
/* Each linear that was observed; few: an expert's that too few rows chose, whose Hessian is put
 * aside: it is one of which nothing is known. */
typedef nib_status nib_walk_matrix_fn(nib_walk *w, nib_walk_target *t, nib_observed *s, bool few,
                                      nib_error *err);
nib_status nib_walk_each(nib_walk *w, int segment, nib_walk_matrix_fn *take, nib_error *err);
/* Is the linear an expert's that too few rows chose? */
bool nib_walk_saw_few(const nib_walk *w, const nib_node *n, const nib_observed *s);
void nib_walk_name_few(const nib_walk *w, const nib_walk_target *t, const nib_observed *s);

static inline bool nib_walk_is_done(const nib_walk *w, const nib_walk_target *t)
{
    return w->measuring ? t->measured : t->made != NULL;
}

/* calibrate_open.c: the model, the texts, the plan of memory, the store. */
nib_status nib_walk_open(nib_walk *w, nib_error *err);
void nib_walk_close(nib_walk *w);
nib_status nib_walk_stopped(const nib_walk *w, nib_error *err); /* NIB_E_INTERRUPTED */

/* calibrate_encode.c: the linears that were observed. */
nib_status nib_walk_encode(nib_walk *w, int segment, nib_error *err);
/* calibrate_measure.c: the errors of each matrix in each width, on the model as it is; then bits
 * are allotted, and the targets have their forms.  What is measured of a segment lies in the store:
 * an interrupted run resumes behind it. */
nib_status nib_walk_measure(nib_walk *w, nib_error *err);
/* calibrate_awq.c: the same with factors.  Adds to w->changes. */
nib_status nib_walk_awq(nib_walk *w, int segment, nib_error *err);
/* report->error and error_rounded; made: what the matrix has become, in its own inputs. */
nib_status nib_walk_errors(nib_walk *w, const nib_walk_target *t, const nib_hessian *h,
                           const nib_weight *made, nib_matrix_report *report, nib_error *err);
/* A matrix is done: counted, shown, and kept for the layer's file. */
nib_status nib_walk_report(nib_walk *w, const nib_walk_target *t, const nib_matrix_report *report,
                           nib_error *err);

/* Puts a finished segment into the store. */
nib_status nib_walk_store(nib_walk *w, int segment, nib_error *err);
/* The model computes with what lies in the store. */
nib_status nib_walk_use(nib_walk *w, int segment, nib_error *err);

#endif
