/* rundir.h - the output directory of a training run: made, locked, marked while it is unfinished.
 *
 * .nibble-run.json stands there from the first start to the end: { "identity": what changes
 * numbers, "started": seconds since 1970, "logging_dir" }.  A killed run is known by it. */
#ifndef NIB_JOB_RUNDIR_H
#define NIB_JOB_RUNDIR_H

#include <jansson.h>

#include "base/base.h"

typedef struct nib_rundir {
    nib_ctx *ctx;
    char *path;
    int lock;       /* descriptor that holds the lock, or -1 */
    json_t *mark;   /* of the unfinished run that was found, or NULL */
    bool began;     /* the mark is this run's */
    bool made;      /* was not there: taken away again when nothing comes into it */
} nib_rundir;

/* How a directory that is not empty is met. */
typedef enum nib_rundir_entry {
    NIB_RUNDIR_NEW,       /* an unfinished run is resumed, anything else refused */
    NIB_RUNDIR_OVERWRITE, /* taken as it is */
    NIB_RUNDIR_RESUME     /* also one that holds checkpoints of nibble */
} nib_rundir_entry;

/* Makes the directory if need be, locks it and clears what a killed writer left under temporary
 * names. NIB_E_INVALID: it holds something else; NIB_E_IO: another process writes there (process
 * and host are named). */
nib_status nib_rundir_open(nib_ctx *ctx, const char *path, nib_rundir_entry how, nib_rundir *out,
                           nib_error *err);
/* Gives the lock back; a directory made for a run that never began is left empty.  A zeroed one is
 * fine. */
void nib_rundir_close(nib_rundir *d);

/* Removes the directory with all that lies in it, and closes d, after a failure too. */
nib_status nib_rundir_remove(nib_rundir *d, nib_error *err);

/* What a directory says from outside: does a process hold its lock, is an unfinished run marked
 * there?  Nothing is made or changed; the lock is tried for a moment. */
typedef enum nib_rundir_state {
    NIB_RUNDIR_FREE,      /* neither: finished, or no run's */
    NIB_RUNDIR_UNFINISHED,
    NIB_RUNDIR_HELD
} nib_rundir_state;
nib_status nib_rundir_look(nib_ctx *ctx, const char *path, nib_rundir_state *out, nib_error *err);

/* Writes the mark.  logging_dir may be NULL. */
nib_status nib_rundir_begin(nib_rundir *d, json_t *identity, int64_t started,
                            const char *logging_dir, nib_error *err);
/* Takes the mark away: the run is finished. */
nib_status nib_rundir_finish(nib_rundir *d, nib_error *err);

/* Moves the files of `from`, a directory inside this one whose files are synced, into this one, and
 * removes it.  `key` is the file without which nothing takes the others for what they are
 * ("adapter_config.json").  Where one stands already, the old files or the new ones are there at
 * every moment; but for a place that cannot be replaced as a whole (a mount point, a parent that
 * may not be written to), and where there is none, they come one after the other, the key last. */
nib_status nib_rundir_publish(nib_rundir *d, const char *from, const char *key, nib_error *err);

#endif
