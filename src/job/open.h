/* open.h - what every job opens: tokenizer, model, adapters. */
#ifndef NIB_JOB_OPEN_H
#define NIB_JOB_OPEN_H

#include "adapter/adapter.h"
#include "text/tokenizer.h"

/* org/name when `dir` lies in a hub cache (.../models--org--name/snapshots/<hash>), as it is typed
 * or as it is called in full; allocated.  NULL with NIB_OK: it does not. */
nib_status nib_hub_name(nib_ctx *ctx, const char *dir, char **out, nib_error *err);

/* The name of the base model for adapter_config.json: `given`, else org/name when dir lies in a hub
 * cache, else config.json's _name_or_path, else dir as typed.  Allocated; NULL: no memory. */
char *nib_base_model_name(nib_ctx *ctx, const char *given, const char *dir, const json_t *config);

/* The directory's tokenizer; *out stays NULL when it has none: records may carry token ids. */
nib_status nib_open_tokenizer(nib_ctx *ctx, const char *dir, nib_tokenizer **out, nib_error *err);

/* Notes what compute_dtype became, and that float16 is computed in float32. */
nib_dtype nib_open_compute(nib_ctx *ctx, nib_compute wanted);

#endif
