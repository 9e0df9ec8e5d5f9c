/* hub.h - models by their names on the Hugging Face hub, as they lie in its cache. */
#ifndef NIBBLE_HUB_H
#define NIBBLE_HUB_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where the cache is: $HF_HUB_CACHE, else $HUGGINGFACE_HUB_CACHE, else $HF_HOME/hub, else
 * $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub.  False: it has no place, or one
 * that does not fit. */
bool nib_hub_cache(char *path, size_t room);

/* `path` becomes the snapshot of "org/name" or "name", "@revision" behind it or not (a branch, a
 * tag or a commit; "main"), in that cache; nothing is downloaded.  False: `name` is a path that
 * exists, or not such a name, or not in the cache. */
bool nib_hub_find(const char *name, char *path, size_t room);

#ifdef __cplusplus
}
#endif

#endif
