/* merge_config.h - config.json of a merged model. */
#ifndef NIB_JOB_MERGE_CONFIG_H
#define NIB_JOB_MERGE_CONFIG_H

#include "job/labelled.h"
#include "job/merge_packed.h"

/* Writes dir/config.json: the model's, with the quantization of `packed` or none (but of experts
 * that stay packed), tied only if the merged weights are, with the labels.  set_dtype: with the
 * type of the plan's weights. */
nib_status nib_merge_write_config(const nib_model *m, const nib_merge_plan *plan,
                                  const nib_merge_packed *packed, const nib_labels *labels,
                                  bool set_dtype, const char *dir,
                                  nib_error *err);

#endif
