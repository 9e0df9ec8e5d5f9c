/* run_logs.h - report_to: what a run logs, as JSON lines and as TensorBoard's event files. */
#ifndef NIB_JOB_RUN_LOGS_H
#define NIB_JOB_RUN_LOGS_H

#include "format/tfevents.h"
#include "train/trainer_state.h"

enum { NIB_REPORT_JSONL = 1, NIB_REPORT_TENSORBOARD = 2 };

typedef struct nib_run_logs {
    nib_ctx *ctx;
    char *path;            /* of log.jsonl */
    int lines;             /* its descriptor, or -1 */
    nib_tfevents *events;  /* or NULL */
    nib_text text;         /* a line; its room is kept */
} nib_run_logs;

/* "none", "jsonl", "tensorboard", "all", or a comma list, as NIB_REPORT_ bits; "wandb" and the like
 * are NIB_E_INVALID with the known names.  NULL is none. */
nib_status nib_report_to(const char *report_to, unsigned *out, nib_error *err);

typedef struct nib_log_cut {
    bool resumed;      /* false: what an earlier run left is dropped */
    uint64_t step;     /* lines after it are dropped */
    bool before_eval;  /* and those of its evaluation */
} nib_log_cut;

/* Opens output_dir/log.jsonl, cut back, and a new event file in logging_dir, which after a resume
 * begins with a SessionLog START, so that TensorBoard forgets later steps of an earlier session. */
nib_status nib_run_logs_open(nib_ctx *ctx, unsigned to, const char *output_dir,
                             const char *logging_dir, nib_log_cut cut, nib_run_logs *out,
                             nib_error *err);
nib_status nib_run_logs_put(nib_run_logs *l, const nib_log_entry *e, nib_error *err);
nib_status nib_run_logs_sync(nib_run_logs *l,
                             nib_error *err); /* before a checkpoint says that they are there */
void nib_run_logs_close(nib_run_logs *l); /* zeroed is fine */

#endif
