/* unused.h - which tensors of the files no module of the graph asked for.
 *
 * A tensor that nobody reads is a sign that the model is not what config.json says (norms of q and
 * k that its class does not have, factors of an adapter that was never merged), so it is named. */
#ifndef NIB_MODEL_UNUSED_H
#define NIB_MODEL_UNUSED_H

#include "format/safetensors.h"
#include "model/reader.h"

/* The tensors that were asked for, in any order, some twice. */
typedef struct nib_claims {
    const nib_tensor **tensors;
    size_t count, capacity;
    bool failed; /* memory was short: the list is not whole */
} nib_claims;

void nib_claim(nib_ctx *ctx, nib_claims *c, const nib_tensor *t);
void nib_claims_free(nib_ctx *ctx, nib_claims *c);

/* Names the tensors that are not in the list in one warning, but for those that old checkpoints
 * have beside every model (formats.md 10.2).  Those of a wrapper's other media are counted in a
 * note, and so are those of heads for another task, which begin as `heads` say (NULL at the end;
 * NULL for none), and those of parts that are not computed here, of which the architecture
 * of `config` knows.  `dir` names the model. */
nib_status nib_warn_unused(nib_ctx *ctx, const char *dir, const nib_tensors *tensors,
                           const nib_config *config, const char *const *heads, nib_claims *c,
                           nib_error *err);

#endif
