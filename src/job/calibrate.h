/* calibrate.h - matrices encoded from what a model computes on calibration texts, layer after
 * layer.
 *
 * The model runs as it is.  What the linears of a layer read is observed, they are encoded, and
 * with GPTQ what they then compute feeds the next layer, as in GPTQ's reference and in GPTQModel.
 * In memory lie one layer's Hessians, the values at one boundary (in a file where memory is short)
 * and one layer's matrices: a layer that is finished lies in its file (layer_store.h), and a run
 * that was interrupted resumes behind it, to the same bytes. */
#ifndef NIB_JOB_CALIBRATE_H
#define NIB_JOB_CALIBRATE_H

#include "job/bit_plan.h"
#include "job/layer_store.h"
#include "model/model.h"
#include "nibble/quantize.h"

/* A linear to encode. */
typedef struct nib_calibration_target {
    const char *module, *tensor; /* its name, and that of its weight in the files: "M.weight" */
    bool transposed;             /* which holds it as [in, out] */
    nib_form form;
    bool finished;               /* its layer lies in the store: set */
} nib_calibration_target;

typedef struct nib_calibration {
    const nib_quantize_options *options;
    const nib_held *held;             /* what the targets become */
    const char *algorithm;            /* "gptq" */
    const char *place;                /* the store is PLACE.unfinished: of the output, or the
                                         caller's name for it */
    nib_calibration_target *targets;
    size_t count;
    nib_bit_plan *bits;               /* of the same matrices: measured first, on the model as it
                                         is, and allotted; the targets get its forms.  NULL: none */
    nib_layer_store store;            /* opened; the caller's to close or remove */
    json_t *report;                   /* set: of each matrix; the caller's */
} nib_calibration;

/* GPTQ's settings as the options have them. */
nib_gptq_options nib_calibration_gptq(const nib_quantize_options *o);
/* Encodes the targets; their tensors are found in the store by the names of the format's parts.
 * What is finished stays there after a failure too.
 * NIB_E_UNSUPPORTED: a model that does not predict the next token; NIB_E_NUMERIC naming the linear,
 * and where its inputs are not finite the record; NIB_E_INVALID of the texts (calibrate_data.h);
 * NIB_E_INTERRUPTED; and those of the model and the store. */
nib_status nib_calibrate(nib_ctx *ctx, nib_calibration *c, nib_error *err);

#endif
