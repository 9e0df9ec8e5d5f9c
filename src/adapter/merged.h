/* merged.h - which adapters a model holds already.
 *
 * A model that `merge` wrote has the fingerprints of the adapters merged into it in __metadata__ of
 * its first file, "nibble.merged": 16 digits each, separated by commas. */
#ifndef NIB_ADAPTER_MERGED_H
#define NIB_ADAPTER_MERGED_H

#include "adapter/lora.h"

#define NIB_MERGED_KEY "nibble.merged"

/* Of what a model's file says, without and with one more adapter: the caller's; NULL: no memory.
 * An empty text: nothing is merged. */
char *nib_merged_list(nib_ctx *ctx, const nib_tensors *tensors, const nib_adapter *more);
/* Warns (merged-already) where the adapter's model holds it. */
void nib_merged_warn(const nib_adapter *a);

#endif
