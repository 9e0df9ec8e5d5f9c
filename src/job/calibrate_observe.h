/* calibrate_observe.h - the inputs of linears, observed while a model runs over calibration texts:
 * a Hessian for each value that linears read, of experts one for each expert's rows. */
#ifndef NIB_JOB_CALIBRATE_OBSERVE_H
#define NIB_JOB_CALIBRATE_OBSERVE_H

#include "graph/run.h"
#include "job/calibrate_data.h"
#include "quant/hessian.h"

typedef struct nib_observed {
    int value;             /* the input, in the graph */
    size_t expert;         /* whose rows of it, 0 of a linear that all rows go through */
    const nib_node *first; /* the first that reads it, at which it is observed */
    nib_hessian *hessian;
    bool few;              /* too few rows came: the hessian is put aside, and */
    uint64_t rows;         /* how many they were */
} nib_observed;

/* Who observes; a run's tap. */
typedef struct nib_observer {
    nib_ctx *ctx;
    nib_run *run;
    nib_observed *list;
    size_t count, capacity;
    /* The first input that was not finite; bad NULL: all were. */
    const nib_linear *bad;
    size_t bad_row;
} nib_observer;

/* Linears of a node that computes with some: one, or one for each expert. */
static inline size_t nib_node_linears(const nib_node *n)
{
    return n->experts ? n->route.experts : n->linear != NULL;
}
static inline nib_linear *nib_node_linear(const nib_node *n, size_t expert)
{
    return n->experts ? n->experts[expert] : n->linear;
}

/* What was observed for a linear of a node; NULL: nothing. */
nib_observed *nib_observer_find(const nib_observer *o, const nib_node *n, size_t expert);
/* Its input is observed from now on, too.  NIB_E_NOMEM. */
nib_status nib_observer_add(nib_observer *o, const nib_node *n, size_t expert, nib_error *err);
/* The last node at which something is observed. */
const nib_node *nib_observer_last(const nib_observer *o);
/* To be the tap of a run, tap_user the observer. */
void nib_observer_tap(void *observer, const nib_node *node, const nib_io *io, bool backward);
void nib_observer_forget(nib_observer *o); /* all that was observed */
void nib_observer_free(nib_observer *o);   /* a zeroed one is fine */

#endif
