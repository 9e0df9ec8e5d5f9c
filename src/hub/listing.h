/* listing.h - what the hub says of a repository: its commit, and its files with their hashes.
 *
 *     /api/models/org/name/revision/main              {"sha": "<commit>", ...}
 *     /api/models/org/name/tree/<commit>?recursive=true
 *         [{"type": "file", "path": "config.json", "size": 519, "oid": "<git's sha1>"},
 *          {"type": "file", "path": "model.safetensors", "size": 1234, "oid": "...",
 *           "lfs": {"oid": "<sha256>", "size": 1234, ...}},
 *          {"type": "directory", ...}, ...]
 *
 * Nothing in it is believed: a path that leads out of the repository, a hash that is none or a
 * negative size is refused, for names of files are made of them. */
#ifndef NIB_HUB_LISTING_H
#define NIB_HUB_LISTING_H

#include "base/base.h"
#include "base/hub.h"

enum { NIB_HUB_HASH = 64 }; /* characters of the longer hash */

typedef struct nib_hub_file {
    char *path;                  /* parts separated by '/', none of them "", "." or ".." */
    uint64_t size;               /* bytes */
    char hash[NIB_HUB_HASH + 1]; /* in the cache its name: SHA-256, or git's SHA-1 of a blob */
    bool sha256;                 /* which of them */
} nib_hub_file;

typedef struct nib_hub_listing {
    nib_hub_file *files;
    size_t count, capacity;
} nib_hub_listing;

/* `where` names the answer in errors.  NIB_E_FORMAT: not such an answer. */
nib_status nib_hub_read_commit(const char *text, size_t bytes, const char *where,
                               char commit[NIB_HUB_COMMIT + 1], nib_error *err);

/* Adds the files of one page of the tree. */
nib_status nib_hub_listing_add(nib_ctx *ctx, nib_hub_listing *l, const char *text, size_t bytes,
                               const char *where, nib_error *err);
void nib_hub_listing_free(nib_ctx *ctx, nib_hub_listing *l);

#endif
