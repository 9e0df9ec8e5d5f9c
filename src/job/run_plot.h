/* run_plot.h - the losses of training runs as a plot of text.
 *
 *      3.1 |b                                 In braille a character holds 2 x 4 dots, in ASCII it
 *          | bb   a                           is one.  Of several runs each has a letter, which
 *      1.7 |  aabbab                          stands along its curve and before its name below.
 *          |     aaabbbb                      The scale is logarithmic where the greatest value is
 *     .943 |         aaa                      twenty times the least, or more.
 *          +-----------------
 *           1              40  step
 */
#ifndef NIB_JOB_RUN_PLOT_H
#define NIB_JOB_RUN_PLOT_H

#include "format/jsontext.h"
#include "train/trainer_state.h"

enum { NIB_PLOT_MOST = 26 /* runs; each has a letter */ };

typedef struct nib_plot_run {
    const char *name;               /* borrowed */
    const nib_trainer_state *state; /* its history, borrowed */
} nib_plot_run;

/* Appends a plot of training losses, and one of eval_loss where any run has some.  columns: the
 * width of the whole, at least 40.  Values that are not finite are left out; runs without any are
 * named as such.  t->failed: no memory. */
nib_status nib_plot_losses(nib_ctx *ctx, const nib_plot_run *runs, size_t count, size_t columns,
                           bool ascii, nib_text *t, nib_error *err);

#endif
