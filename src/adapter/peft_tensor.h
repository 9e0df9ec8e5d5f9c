/* peft_tensor.h - the values of a tensor in an adapter's file. */
#ifndef NIB_ADAPTER_PEFT_TENSOR_H
#define NIB_ADAPTER_PEFT_TENSOR_H

#include "format/safetensors.h"

/* to [rows, cols] from a tensor of that shape, or [cols] where rows is 1, of a float type.
 * NIB_E_FORMAT: of another, or a value that is not finite; NIB_E_MISMATCH: of another shape. */
nib_status nib_peft_tensor_values(const nib_tensor *t, size_t rows, size_t cols, float *to,
                                  nib_error *err);
/* The same of a tensor [cols, rows]: `to` becomes its transpose. */
nib_status nib_peft_tensor_across(const nib_tensor *t, size_t rows, size_t cols, float *to,
                                  nib_error *err);

#endif
