/* residual.h - rows of W + s B A. */
#ifndef NIB_ADAPTER_RESIDUAL_H
#define NIB_ADAPTER_RESIDUAL_H

#include "base/base.h"

/* to[in] += s times the sum over q of b[q] A[q, :], in that order, in float; delta [in]: room. */
void nib_residual_add_row(size_t rank, size_t in, const float *b, const float *a, float s,
                          float *delta, float *to);

#endif
