/* rundir.h - the output directory of a training run: made, locked, marked as nibble's. */
#ifndef NIB_JOB_RUNDIR_H
#define NIB_JOB_RUNDIR_H

#include "base/base.h"

typedef struct nib_rundir {
    nib_ctx *ctx;
    char *path;
    int lock; /* descriptor that holds the lock, or -1 */
} nib_rundir;

/* Makes the directory if need be and locks it.  NIB_E_INVALID: it holds something and overwrite
 * is not set; NIB_E_IO: another process writes there (host and process are named). */
nib_status nib_rundir_open(nib_ctx *ctx, const char *path, bool overwrite, nib_rundir *out, nib_error *err);
void nib_rundir_close(nib_rundir *d); /* gives the lock back; a zeroed one is fine */

#endif
