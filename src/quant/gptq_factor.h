/* gptq_factor.h - the upper factor U of a damped, reordered H^-1 = U^T U. */
#ifndef NIB_QUANT_GPTQ_FACTOR_H
#define NIB_QUANT_GPTQ_FACTOR_H

#include "quant/gptq.h"

/* u [in, in]: the upper triangle, of H with rows and columns in `order` [in]; what is below is 0.
 * report: the damping, its raises.  Errors as nib_gptq_encode(). */
nib_status nib_gptq_factor(const nib_hessian *h, const uint32_t *order,
                           const nib_gptq_options *options, float *u, nib_gptq_report *report,
                           nib_error *err);

#endif
