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

/* Starts writing `path`; nothing appears there before nib_outfile_commit().  A symbolic
 * link, or anything but a regular file, at `path` is refused, here and at the commit. */
nib_status nib_outfile_create(nib_ctx *ctx, const char *path, nib_outfile **out, nib_error *err);
/* Buffered.  After a failure every later call fails with the same message. */
nib_status nib_outfile_write(nib_outfile *f, const void *data, size_t bytes, nib_error *err);
nib_status nib_outfile_printf(nib_outfile *f, nib_error *err, const char *format, ...)
    NIB_PRINTF(3, 4);
/* Writes at any offset, also past the end (a gap reads as zeros); nib_outfile_write() goes
 * on at the end of the longest extent.  For headers known last, and data out of order. */
nib_status nib_outfile_write_at(nib_outfile *f, uint64_t offset, const void *data, size_t bytes,
                                nib_error *err);
/* Flush, sync, rename, sync the directory; frees f also on failure.  The old file stays
 * after any failure but one: when only the last step fails, the new file is in place and
 * the message says that a power cut may still undo it. */
nib_status nib_outfile_commit(nib_outfile *f, nib_error *err);
void nib_outfile_discard(nib_outfile *f); /* removes the temporary file; NULL is fine */

/* Writes `bytes` to `path` in one go, atomically. */
nib_status nib_outfile_replace(nib_ctx *ctx, const char *path, const void *data, size_t bytes,
                               nib_error *err);

/* Copies the file `from` to `to`, atomically and with little memory. */
nib_status nib_outfile_copy(nib_ctx *ctx, const char *from, const char *to, nib_error *err);

/* NIB_E_IO: the file system of `path`, which need not exist, has no room for `bytes`. */
nib_status nib_disk_check(nib_ctx *ctx, const char *path, uint64_t bytes, nib_error *err);

typedef struct nib_outdir nib_outdir;

/* Starts building directory `path` (its parent exists) under a temporary name beside it.
 * Something non-empty at `path` is refused unless `replace`.
 *
 * Replacing swaps the two directories in one step (renameat2 with RENAME_EXCHANGE), after
 * the old one's other files have been linked into the new one, so that at every moment one
 * whole directory stands at `path`; renaming file by file would let a crash leave new
 * weights beside an old config.  Everything in the old directory that the new one does not
 * have is kept, but for names given to nib_outdir_drop().  Where the file system cannot
 * swap, the old directory is renamed aside first, and back if the second rename fails.
 *
 * NIB_E_UNSUPPORTED, here and at the commit: the place does not let it be replaced as a whole (a
 * mount point, a parent that may not be written to); nothing has happened. */
nib_status nib_outdir_create(nib_ctx *ctx, const char *path, bool replace, nib_outdir **out,
                             nib_error *err);
/* Names of the old directory that are not to be kept (a pattern of fnmatch(3), for entries
 * of the top level): files nibble may have written before under names it does not use now,
 * as model-*-of-*.safetensors beside a new model.safetensors. */
nib_status nib_outdir_drop(nib_outdir *d, const char *pattern, nib_error *err);
/* Names of directories of the old one (top level) that are made again with links to their files
 * before the swap, so that they are never missing.  Others are moved whole, just after it. */
nib_status nib_outdir_keep_deep(nib_outdir *d, const char *pattern, nib_error *err);
const char *nib_outdir_path(const nib_outdir *d); /* where to write the files meanwhile */
nib_status nib_outdir_commit(nib_outdir *d, nib_error *err); /* frees d also on failure */
void nib_outdir_discard(nib_outdir *d);

/* Removes a directory and what lies in it, never through a link: renamed to a temporary name
 * first, so that half of it is never taken for the whole. */
nib_status nib_tree_remove(nib_ctx *ctx, const char *path, nib_error *err);
/* Removes what a killed writer left in `dir` under temporary names.  Only while no other writer
 * can be at work there. */
nib_status nib_tree_remove_stale(nib_ctx *ctx, const char *dir, nib_error *err);

#endif
