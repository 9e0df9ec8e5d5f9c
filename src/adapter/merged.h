/* merged.h - which adapters a model holds already.
 *
 * A model that `merge` wrote has the fingerprints of the adapters merged into it in __metadata__ of
 * its first file, "nibble.merged": 16 digits each, separated by commas. */
#ifndef NIB_ADAPTER_MERGED_H
#define NIB_ADAPTER_MERGED_H

#include "adapter/lora.h"

#define NIB_MERGED_KEY "nibble.merged"

/* In an adapter's file: the fingerprint of the base_change/ beside it, which the base holds that it
 * was trained on. */
#define NIB_BASE_CHANGE_KEY "nibble.base_change"

enum { NIB_FINGERPRINT_ROOM = 17 };

/* Of the adapter's parameters, or of what its start took out of the base (start_save.h). */
void nib_merged_fingerprint(const nib_adapter *a, bool change, char digits[NIB_FINGERPRINT_ROOM]);
/* NIB_E_MISMATCH: the adapter's model does not hold its base_change, with the command that makes
 * one that does. */
nib_status nib_merged_check_change(const nib_adapter *a, const char *dir, nib_error *err);
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
