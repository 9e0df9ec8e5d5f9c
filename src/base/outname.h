/* outname.h - names of files, temporary ones among them, the directories above one, and making a
 * rename last. */
#ifndef NIB_BASE_OUTNAME_H
#define NIB_BASE_OUTNAME_H

#include "base/base.h"

/* The directory part of `path` ("." when it has none).  NULL: no memory. */
char *nib_parent_of(nib_ctx *ctx, const char *path);

/* `path` without slashes at its end, `ending` behind it.  NULL: no memory. */
char *nib_beside(nib_ctx *ctx, const char *path, const char *ending);

/* The name itself, without directories; a path that ends with a slash as it is. */
const char *nib_last_part(const char *path);

nib_status nib_make_folder(const char *path, nib_error *err); /* one that is there is fine */

/* Makes the directories above `path` that are not there; the text is changed meanwhile. */
nib_status nib_make_parents(char *path, nib_error *err);

/* A new name ".nibble-<16 hex digits>.tmp" in the directory of `path`: short, so that it
 * fits where `path` fits, and random, so that two writers do not meet.  The caller makes it
 * with O_EXCL or mkdir and asks again on EEXIST.  NULL, with err filled: no memory. */
char *nib_temp_beside(nib_ctx *ctx, const char *path, nib_error *err);

/* fsync of the directory `path` is in, so that a rename to it outlives a power cut. */
nib_status nib_sync_parent(nib_ctx *ctx, const char *path, nib_error *err);

#endif
