/* hub.h - names on the hub and their places in its cache, as huggingface_hub lays it out:
 *
 *     models--org--name/refs/main            a file: the commit that the branch stands at
 *     models--org--name/snapshots/<commit>   the files, links into blobs/
 *     models--org--name/blobs/<hash>         what they hold
 */
#ifndef NIB_BASE_HUB_H
#define NIB_BASE_HUB_H

#include <stdbool.h>
#include <stddef.h>

#include "nibble/hub.h"

enum { NIB_HUB_COMMIT = 40 }; /* characters of a commit */

typedef struct nib_hub_parts {
    char repository[200];   /* "org/name" or "name" */
    char revision[256];     /* "main" where none is given */
    char quant[64];         /* of a GGUF file; "" where none is given */
} nib_hub_parts;

/* "org/name" or "name", "@revision" behind it or not, ":Q4_K_M" at the end or not: letters, digits,
 * '-', '_' and '.' as the hub allows them, and no part that begins with a dot.  parts may be
 * NULL. */
bool nib_hub_is_name(const char *name);
bool nib_hub_parse(const char *name, nib_hub_parts *parts);

/* $`name`, where it is set and not empty, as huggingface_hub takes its variables; else NULL. */
const char *nib_hub_variable(const char *name);

/* `below` ("/hub", "/token") in Hugging Face's folder: $HF_HOME, else $XDG_CACHE_HOME/huggingface,
 * else ~/.cache/huggingface.  False: it has no place, or one that does not fit. */
bool nib_hub_home(const char *below, char *path, size_t room);

/* .../models--org--name of the cache ("datasets--org--name"); false: it has no place. */
bool nib_hub_repository(const char *repository, bool dataset, char *path, size_t room);

/* The snapshot of a revision there (a branch or tag that refs/ knows, or a commit); false: there is
 * none. */
bool nib_hub_snapshot(const char *repository_dir, const char *revision, char *path, size_t room);

/* In letters of any case. */
bool nib_hub_ends_with(const char *path, const char *ending);

/* Whether the GGUF file `path` is of this quantization: Q4_K_M in model-Q4_K_M.gguf,
 * model.q4_k_m.gguf or Q4_K_M/model-00001-of-00002.gguf, not in model-Q4_K_M_L.gguf; a projector
 * (mmproj) is of none.  "": any. */
bool nib_hub_is_quant(const char *path, const char *quant);

/* 0: a file by itself; else which one it is of a model in several, "-00001-of-00003". */
unsigned nib_hub_shard(const char *path);

#endif
