/* open.h - what jobs ask when they open a model: its name for others, what is computed in. */
#ifndef NIB_JOB_OPEN_H
#define NIB_JOB_OPEN_H

#include "adapter/adapter.h"
#include "text/tokenizer.h"

/* The name of the base model for adapter_config.json: `given`, else org/name when dir lies in a hub
 * cache, else config.json's _name_or_path, else dir as typed.  Allocated; NULL: no memory. */
char *nib_base_model_name(nib_ctx *ctx, const char *given, const char *dir, const json_t *config);

/* Notes what compute_dtype became, and that float16 is computed in float32. */
nib_dtype nib_open_compute(nib_ctx *ctx, nib_compute wanted);

#endif
