/* merged.h - which adapters a model holds already.
 *
 * A model that `merge` wrote has the fingerprints of the adapters merged into it in __metadata__ of
 * its first file, "nibble.merged": 16 digits each, separated by commas. */
#ifndef NIB_ADAPTER_MERGED_H
#define NIB_ADAPTER_MERGED_H

#include "adapter/lora.h"

#define NIB_MERGED_KEY "nibble.merged"

/* Of what a model's file says, with `count` more adapters: the caller's; NULL: no memory.
 * An empty text: nothing is merged. */
char *nib_merged_list(nib_ctx *ctx, const nib_tensors *tensors, nib_adapter *const *more,
                      size_t count);
/* The same without them, where the file says that they are in it. */
char *nib_merged_list_without(nib_ctx *ctx, const nib_tensors *tensors, nib_adapter *const *fewer,
                              size_t count);
/* NIB_E_MISMATCH: the adapter's model says which adapters it holds, and this one is none of them.
 * One that says nothing is warned of (not-merged). */
nib_status nib_merged_check(const nib_adapter *a, nib_error *err);
/* Warns (merged-already) where the adapter's model holds it. */
void nib_merged_warn(const nib_adapter *a);

#endif
