/* outfile.h - files that are there whole or not at all.
 *
 * A file is written under a temporary name in its own directory (O_EXCL), synced,
 * renamed, and its directory synced.  A directory is built under a temporary name
 * beside its place and renamed whole.  After a crash the old one or the new one
 * is there; a stale temporary name is never taken for the thing. */
#ifndef NIB_BASE_OUTFILE_H
#define NIB_BASE_OUTFILE_H

#include "base/base.h"

typedef struct nib_outfile nib_outfile;

/* Starts writing `path`; nothing appears there before nib_outfile_commit(). */
nib_status nib_outfile_create(nib_ctx *ctx, const char *path, nib_outfile **out, nib_error *err);
/* Buffered.  After a failure every later call fails with the same message. */
nib_status nib_outfile_write(nib_outfile *f, const void *data, size_t bytes, nib_error *err);
nib_status nib_outfile_printf(nib_outfile *f, nib_error *err, const char *format, ...) NIB_PRINTF(3, 4);
/* Overwrites bytes already written (headers that are known last). */
nib_status nib_outfile_write_at(nib_outfile *f, uint64_t offset, const void *data, size_t bytes,
                                nib_error *err);
/* Flush, sync, rename, sync the directory; frees f also on failure (the old file stays). */
nib_status nib_outfile_commit(nib_outfile *f, nib_error *err);
void nib_outfile_discard(nib_outfile *f); /* removes the temporary file; NULL is fine */

/* Writes `bytes` to `path` in one go, atomically. */
nib_status nib_outfile_replace(nib_ctx *ctx, const char *path, const void *data, size_t bytes,
                               nib_error *err);

typedef struct nib_outdir nib_outdir;

/* Starts building directory `path` under a temporary name.  `replace`: an existing
 * directory at `path` may be replaced (only the files this writer made are carried
 * over are replaced, others are kept). */
nib_status nib_outdir_create(nib_ctx *ctx, const char *path, bool replace, nib_outdir **out,
                             nib_error *err);
const char *nib_outdir_path(const nib_outdir *d); /* where to write the files meanwhile */
nib_status nib_outdir_commit(nib_outdir *d, nib_error *err); /* frees d also on failure */
void nib_outdir_discard(nib_outdir *d);

#endif
