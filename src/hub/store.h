/* store.h - where the files of a repository lie: in the cache, or in a directory.
 *
 *     CACHE/models--org--name/blobs/<hash>                    the bytes; <hash>.incomplete before
 *     CACHE/models--org--name/snapshots/<commit>/<path>       a relative link to them
 *     CACHE/models--org--name/refs/<revision>                 the commit, once all is there
 *     CACHE/.locks/models--org--name/<hash>.lock              who downloads it holds flock(2)
 *
 *     DIR/<path>                                              the bytes
 *     DIR/.cache/huggingface/download/<path>.lock and <path>.metadata: commit, hash, time of the
 *     download (seconds), a line each; beside them <short>.<hash>.incomplete, where <short> is
 *     SHA-1 of "<name>.metadata" (the path's last part) in base64 for addresses
 *
 * Both as huggingface_hub 0.36 to 2.4 lay them out: what one program downloads the other finds. */
#ifndef NIB_HUB_STORE_H
#define NIB_HUB_STORE_H

#include "hub/listing.h"

typedef struct nib_hub_store {
    nib_ctx *ctx;
    char *repository; /* models--org--name in the cache; NULL: a directory */
    char *locks;
    char *snapshot;   /* where paths begin: the snapshot or the directory */
    char commit[NIB_HUB_COMMIT + 1];
} nib_hub_store;

/* The places of one file.  All the caller's. */
typedef struct nib_hub_places {
    char *part, *whole, *lock;
    char *link, *link_text; /* NULL in a directory */
    char *metadata;         /* NULL in the cache */
} nib_hub_places;

/* to NULL: the cache.  NIB_E_INVALID: it has no place. */
nib_status nib_hub_store_open(nib_ctx *ctx, const char *repository, bool dataset, const char *to,
                              const char *commit, nib_hub_store *out, nib_error *err);
void nib_hub_store_close(nib_hub_store *s);

/* The places of a file, their directories made. */
nib_status nib_hub_store_place(const nib_hub_store *s, const nib_hub_file *file,
                               nib_hub_places *out, nib_error *err);
void nib_hub_places_free(nib_ctx *ctx, nib_hub_places *p);

/* Is the whole file there?  In the cache a blob of its size; in a directory a file of its size that
 * its metadata vouches for.  *foreign: there is a file in the directory that no download put there,
 * or that was changed since. */
bool nib_hub_store_has(const nib_hub_file *file, const nib_hub_places *p, bool *foreign);

/* The whole file has come: it takes its name, the link or the metadata are written. */
nib_status nib_hub_store_finish(const nib_hub_store *s, const nib_hub_file *file,
                                const nib_hub_places *p, nib_error *err);
/* The same for a file that was there. */
nib_status nib_hub_store_link(const nib_hub_store *s, const nib_hub_file *file,
                              const nib_hub_places *p, nib_error *err);

/* All files are there: the revision stands at the commit (unless it is the commit).  In a directory
 * .cache/huggingface/.gitignore is written, where there is none. */
nib_status nib_hub_store_complete(const nib_hub_store *s, const char *revision, nib_error *err);

#endif
