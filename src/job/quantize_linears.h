/* quantize_linears.h - which tensors of a dense model are weights of linears, to be quantized. */
#ifndef NIB_JOB_QUANTIZE_LINEARS_H
#define NIB_JOB_QUANTIZE_LINEARS_H

#include "format/safetensors.h"

/* A weight [out, in] inside a block; embeddings, norms and the output head are not. */
bool nib_is_quantized_linear(const nib_tensor *t);

#endif
