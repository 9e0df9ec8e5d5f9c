/* calibrate.h - matrices encoded with GPTQ, layer after layer, from what a model computes on
 * calibration texts. */
#ifndef NIB_JOB_CALIBRATE_H
#define NIB_JOB_CALIBRATE_H

#include "nibble/quantize.h"
#include "quant/gptq.h"

/* A linear to encode. */
typedef struct nib_calibration_target {
    const char *module;  /* its name */
    nib_form form;
    nib_weight *made;    /* set; the caller's.  NULL: no row reached the linear */
} nib_calibration_target;

/* Opens options->model as it is and walks its segments: what the linears of one read is observed,
 * they are encoded, and what they then compute feeds the next, as in GPTQ's reference and in
 * GPTQModel.  In memory lie the values at one boundary for all texts, the Hessians of one segment
 * (true_sequential: of the linears of one input) and what has been encoded.
 * A failure leaves what was made to the caller.  NIB_E_UNSUPPORTED: experts, or a model that does
 * not predict the next token; NIB_E_NUMERIC naming the linear; and those of the model and the
 * data. */
nib_status nib_calibrate(nib_ctx *ctx, const nib_quantize_options *options,
                         nib_calibration_target *targets, size_t count, nib_error *err);

#endif
