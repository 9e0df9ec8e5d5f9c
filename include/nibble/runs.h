/* runs.h - training runs side by side, by what their output directories hold. */
#ifndef NIBBLE_RUNS_H
#define NIBBLE_RUNS_H

#include <stdbool.h>

#include "nibble/inspect.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nib_runs_options {
    const char *const *dirs;   /* output directories, or folders that hold some; [dir_count] */
    size_t dir_count;
    const char *sort;          /* a column or a key of recipes, the least first; "-eval_loss": the
                                * greatest first; NULL: as given */
    int plot_columns;          /* above 0: plots of the losses stand below the table, so wide; 40 at
                                * least, and of at most 26 runs */
    bool ascii;                /* plots without braille */
    size_t *running;           /* becomes the number of those that run now; or NULL */
} nib_runs_options;

/* A row a run: state (running, interrupted, finished, diverged), steps, the keys of recipe.yaml
 * that are not the same in all of them, the last loss, the last evaluation, time and memory.  What
 * a run has not (yet) is left out.  *out is the caller's: nib_report_free().
 *
 * NIB_E_INVALID: a directory that holds no run, a key to sort by that no run has, more runs than a
 * plot has, a plot in JSON; NIB_E_FORMAT: a damaged file of a run. */
nib_status nib_runs(nib_ctx *ctx, const nib_runs_options *options, nib_report_form form, char **out,
                    nib_error *err);

#ifdef __cplusplus
}
#endif
#endif
