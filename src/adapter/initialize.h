/* initialize.h - the first values of a fresh adapter (formats.md 3.7).
 *
 * true      A ~ U(-1/sqrt(in), 1/sqrt(in)), B = 0; embeddings A = 0, B ~ N(0, 1)
 * gaussian  A ~ N(0, 1/r), standard deviation 1/r; B = 0
 * false     both random: A as above, B ~ U(-1/sqrt(r), 1/sqrt(r)); for tests
 *
 * A value is a function of (seed, module's name, place). */
#ifndef NIB_ADAPTER_INITIALIZE_H
#define NIB_ADAPTER_INITIALIZE_H

#include "adapter/lora.h"

void nib_adapter_initialize(nib_adapter *a, uint64_t seed);

#endif
