/* merge_forecast.h - what a merge will take, from config.json alone: sizes, and the time of pieces
 * that are computed here. */
#ifndef NIB_JOB_MERGE_FORECAST_H
#define NIB_JOB_MERGE_FORECAST_H

#include "base/base.h"
#include "base/dtype.h"
#include "nibble/merge.h"

/* Neither weights nor adapters need be there; nothing is written.  Errors of config.json and of the
 * format's settings.  dtype: of the dense weights where it is asked for, or NULL. */
nib_status nib_merge_forecast_make(nib_ctx *ctx, const nib_merge_options *o,
                                   const nib_dtype *dtype, nib_merge_forecast *out, nib_error *err);

#endif
