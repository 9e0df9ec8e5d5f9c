/* magnitudes.h - the magnitudes of an adapter's branches (DoRA, graph/magnitude.h). */
#ifndef NIB_ADAPTER_MAGNITUDES_H
#define NIB_ADAPTER_MAGNITUDES_H

#include "adapter/lora.h"

/* Norms and gains of the adapter's branches, once its values or the weights below them are new;
 * without magnitudes nothing.  begin: the magnitudes become the norms, as a fresh adapter has them,
 * taken in float, where PEFT takes those of 16-bit weights in their type. */
void nib_adapter_measure(nib_adapter *a, bool begin);

#endif
