/* merge_route.h - one way to a merged model: the weights that the adapter's change is added to.
 *
 * An adapter that was trained on low-bit weights can be added to the original ones, or to what it
 * was trained on, decoded.  Each is written into a directory of its own and measured; merge.c
 * keeps the better. */
#ifndef NIB_JOB_MERGE_ROUTE_H
#define NIB_JOB_MERGE_ROUTE_H

#include "base/outfile.h"
#include "job/merge_check.h"
#include "job/merge_format.h"
#include "job/merge_judge.h"
#include "job/merge_write.h"

/* What the routes of a merge have in common. */
typedef struct nib_merge_job {
    nib_ctx *ctx;
    const nib_merge_options *options;
    nib_merge_check check;
    nib_merge_adapter only;
    const nib_merge_adapter *list; /* of adapters */
    size_t count;
    nib_merge_adapter less[NIB_MAX_SLOTS]; /* the list to take out */
    bool convert;                  /* what is written dense, to */
    nib_dtype dtype;
    unsigned ways;                 /* that are written, for the room on the disk; the */
    const struct nib_merge_route *first; /* of them finds none written */
    nib_held trained;              /* what a dense MODEL's adapter was trained on; format NULL: the
                                      dense one, or not known */
} nib_merge_job;

typedef struct nib_merge_route {
    const nib_merge_job *job;
    const char *name;            /* "original", "decoded"; NULL: there is only one */
    const char *dir;             /* of the weights */
    const nib_setting *settings; /* they are encoded in while they are loaded; or NULL */
    const char *trained_on;      /* a model to measure against, where `dir` is none; or NULL */
    nib_merge_format format;
    char *model_dir;             /* of embeddings the Transformer's; or NULL */
    nib_model_options opened;
    nib_model *model;
    nib_merge_adapters adapters;
    nib_labels labels;           /* of a classifier */
    char *problem_type;
    nib_merge_plan plan;
    nib_merge_packed packed;
    nib_merge_wide wide;         /* what mixed_bits encodes again */
    uint64_t dense_bytes;        /* of OUT, were it dense */
    nib_outdir *out;             /* what was written */
    char *kept;                  /* finished layers of its calibration lie in KEPT.unfinished */
    bool calibrated;             /* they are all there */
    nib_merge_result result;
    nib_merge_judged judged;
} nib_merge_route;

nib_status nib_merge_route_open(nib_merge_route *r, nib_error *err);
/* Plans, writes and measures; the models are closed then.  NIB_E_IO: the disk has no room. */
nib_status nib_merge_route_run(nib_merge_route *r, nib_error *err);
/* The merge has come to an end: the layers that its calibration kept are removed. */
nib_status nib_merge_route_forget(nib_merge_route *r, nib_error *err);
void nib_merge_route_close(nib_merge_route *r); /* what is written and not committed goes */

#endif
