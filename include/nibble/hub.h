/* hub.h - models by their names on the Hugging Face hub: in its cache, and from the hub into it. */
#ifndef NIBBLE_HUB_H
#define NIBBLE_HUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nibble/context.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Where the cache is: $HF_HUB_CACHE, else $HUGGINGFACE_HUB_CACHE, else $HF_HOME/hub, else
 * $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub.  False: it has no place, or one
 * that does not fit. */
bool nib_hub_cache(char *path, size_t room);

/* `path` becomes the snapshot of "org/name" or "name", "@revision" behind it or not (a branch, a
 * tag or a commit; "main"), in that cache; with ":Q4_K_M" at its end, or where the snapshot has one
 * .gguf file (in any folder of it) and no weights (*.safetensors, *.bin) beside a config.json, that
 * file.  Nothing is downloaded.  False: `name` is a path that
 * exists, or not such a name, or not in the cache. */
bool nib_hub_find(const char *name, char *path, size_t room);

/* The same of a data set: `path` becomes its snapshot's folder, which is read as any folder of
 * records (nib_data_options.data).  False: as above, or with ":" behind it. */
bool nib_hub_find_dataset(const char *name, char *path, size_t room);

typedef struct nib_pull_progress {
    uint64_t done_bytes, total_bytes; /* of the chosen files; done: also what was there before */
    size_t files_done, files;
    double bytes_per_second;          /* since it began */
    double seconds_left;              /* below 0: not known yet */
} nib_pull_progress;

typedef struct nib_pull_options {
    const char *name;  /* as for nib_hub_find() */
    const char *const *include; /* patterns ("*.json", "folder/"): only these files; NULL: a model's
                          weights in one form, safetensors before .bin, and what is no weight */
    size_t include_count;
    const char *to;    /* a directory; NULL: the cache */
    bool dataset;      /* a data set: all its files, unless patterns say otherwise */
    int parallel;      /* files at once; 0: 8 */
    int retries;       /* after a failure that brought nothing; 0: 5, negative: none */
    void (*on_progress)(void *user, const nib_pull_progress *p); /* or NULL */
    void *user;
} nib_pull_options;

typedef struct nib_pull_result {
    char path[4096];   /* the snapshot, the directory or the GGUF file */
    char commit[48];
    size_t files, left_out; /* chosen, and others of the repository */
    uint64_t bytes, left_out_bytes;
    uint64_t fetched_bytes; /* of `bytes`, over the network now */
    bool offline;      /* HF_HUB_OFFLINE: what the cache has; only path is filled */
} nib_pull_result;

/* Downloads a repository of the hub ($HF_ENDPOINT, else https://huggingface.co) into its cache, as
 * huggingface_hub lays it out, or into a directory: several files at once, each checked by its
 * hash, each resumed where an earlier call broke off.  No other function touches the network.  A
 * token is taken from $HF_TOKEN, else from the file $HF_TOKEN_PATH or "token" in $HF_HOME (not with
 * $HF_HUB_DISABLE_IMPLICIT_TOKEN), and sent to the endpoint alone.
 *
 * NIB_E_INVALID: no such name, no file matches, several GGUF files and none is named, `to` is an
 * empty text, or a file of `to` that no download put there.  NIB_E_IO: the hub does not answer or
 * refuses, a hash is wrong, no room on the disk.  NIB_E_FORMAT: the hub's answer is none.
 * NIB_E_INTERRUPTED: the caller asked to stop.  Whatever came stays where the next call finds it.
 */
nib_status nib_pull(nib_ctx *ctx, const nib_pull_options *o, nib_pull_result *result,
                    nib_error *err);

#ifdef __cplusplus
}
#endif

#endif
