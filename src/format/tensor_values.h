/* tensor_values.h - the values of a tensor of floats as the family's own files hold them, whatever
 * a GGUF made of them (nib_tensor). */
#ifndef NIB_FORMAT_TENSOR_VALUES_H
#define NIB_FORMAT_TENSOR_VALUES_H

#include "format/safetensors.h"

/* Do the values lie in the file as the family's own files hold them? */
bool nib_tensor_is_plain(const nib_tensor *t);
/* Values at .. at + count of t->elements as floats.  The tensor is one of floats. */
void nib_tensor_values(const nib_tensor *t, uint64_t at, size_t count, float *to);

#endif
