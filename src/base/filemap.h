/* filemap.h - a whole file, read-only, by map.  Pages come when they are read
 * and can be given back when a matrix has been used. */
#ifndef NIB_BASE_FILEMAP_H
#define NIB_BASE_FILEMAP_H

#include "base/base.h"

typedef struct nib_filemap {
    const uint8_t *base; /* NULL for an empty file */
    size_t bytes;
    /* What the file was when it was opened; compared by nib_filemap_unchanged(). */
    uint64_t device, inode;
    int64_t mtime_ns;
} nib_filemap;

/* Maps `path` (a regular file; links are followed).  NIB_E_IO with the reason. */
nib_status nib_filemap_open(const char *path, nib_filemap *out, nib_error *err);
/* Memory that looks like a map, zeroed, to be written once before others read it: its pages keep
 * what they hold when they are given back.  NIB_E_NOMEM. */
nib_status nib_filemap_memory(size_t bytes, nib_filemap *out, nib_error *err);
void nib_filemap_close(nib_filemap *map); /* a zeroed map is fine */

/* Gives the pages of [p, p + bytes) back to the system; they can be read again. */
void nib_filemap_release(const nib_filemap *map, const void *p, size_t bytes);

/* Says that few rows of [p, p + bytes) will be read, anywhere in it: a read then brings its own
 * pages and few around them, where Linux may otherwise map 2 MiB of a file at once. */
void nib_filemap_sparse(const nib_filemap *map, const void *p, size_t bytes);

/* NIB_E_IO if the file at `path` is not the one that was opened, or was written since. */
nib_status nib_filemap_unchanged(const nib_filemap *map, const char *path, nib_error *err);

/* Reads a whole small file into memory of the context, NUL-terminated, at most
 * `limit` bytes long: configuration files, never weights. */
nib_status nib_file_read(nib_ctx *ctx, const char *path, size_t limit, char **out,
                         size_t *out_bytes, nib_error *err);
/* A few lines of text that stand for a file which git-lfs keeps elsewhere, not the file. */
bool nib_file_is_lfs_pointer(const char *path);
bool nib_file_exists(const char *path); /* anything at all at that path */

#endif
