/* dense_modules.h - which matrices of a quantized model are not quantized. */
#ifndef NIB_JOB_DENSE_MODULES_H
#define NIB_JOB_DENSE_MODULES_H

#include <jansson.h>

#include "format/safetensors.h"

/* {"lm_head": 1, "model.layers.*.mlp.router": 24}: modules with matrices of floats that are no
 * pieces of a packed weight, in the file's order.  Those whose names differ in numbers alone are
 * counted under one name.  The caller's; NULL: no memory. */
json_t *nib_dense_modules(const nib_tensors *tensors);

#endif
