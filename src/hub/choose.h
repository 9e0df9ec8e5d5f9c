/* choose.h - which files of a repository are wanted. */
#ifndef NIB_HUB_CHOOSE_H
#define NIB_HUB_CHOOSE_H

#include "hub/listing.h"

typedef struct nib_hub_wish {
    const char *name;            /* of the repository, for errors */
    const char *const *include;  /* patterns of fnmatch(3) in which '*' also passes '/'; "dir/" is
                                    all below it */
    size_t include_count;
    const char *quant;           /* of a GGUF file, "": none is named */
    bool all;                    /* a data set: every file */
} nib_hub_wish;

/* chosen[i] for the file i of the listing.
 *
 * Patterns alone decide where there are some, else the quantization alone.  Without either a model
 * has its weights in one form: safetensors, else PyTorch's .bin, else the only GGUF file; files of
 * other forms and of other frameworks are left out.  A directory's .bin is left out when it has
 * .safetensors too.
 *
 * NIB_E_INVALID: nothing matches, or several GGUF files do and none is named; the message lists
 * those there are. */
nib_status nib_hub_choose(const nib_hub_listing *l, const nib_hub_wish *w, bool *chosen,
                          nib_error *err);

#endif
