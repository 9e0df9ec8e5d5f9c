/* quantize_algorithm.h - which algorithm chooses the codes of a quantization, and its report. */
#ifndef NIB_JOB_QUANTIZE_ALGORITHM_H
#define NIB_JOB_QUANTIZE_ALGORITHM_H

#include "job/calibrate.h"

/* *algorithm: "gptq", whose form held->form then is, or NULL: rounding to nearest.
 * NIB_E_INVALID: an unknown one, or options that it does not have, or no texts;
 * NIB_E_UNSUPPORTED: one that does not write the format. */
nib_status nib_quantize_algorithm(nib_ctx *ctx, const nib_quantize_options *options,
                                  nib_held *held, const char **algorithm, nib_error *err);

/* Of its codes; 0: the format has no such setting. */
unsigned nib_quantize_form_bits(const nib_held *held, const nib_form *form);
/* The entry of a matrix in the report; NULL: no memory. */
json_t *nib_quantize_matrix_json(const nib_matrix_report *r);
/* dir/quantization_report.json: of each matrix what is in nib_matrix_report. */
nib_status nib_quantize_write_report(nib_ctx *ctx, nib_calibration *c, const char *dir,
                                     nib_error *err);

#endif
