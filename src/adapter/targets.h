/* targets.h - target_modules as it lands in adapter_config.json. */
#ifndef NIB_ADAPTER_TARGETS_H
#define NIB_ADAPTER_TARGETS_H

#include "adapter/lora.h"

/* PEFT's target_modules of the family where none are given, NULL behind the last. */
const char *const *nib_default_targets(const nib_config *config, size_t *count);
/* Puts names in the place of null and all-linear: for null the family's, for all-linear those of
 * the modules it meant.  Inside a wrapper every list becomes an expression that means the text's
 * modules alone, for PEFT would give others of these names adapters too. */
nib_status nib_name_targets(nib_adapter *a, nib_error *err);

#endif
