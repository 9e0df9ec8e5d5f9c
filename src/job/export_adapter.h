/* export_adapter.h - a LoRA adapter alone as a GGUF file: what llama.cpp loads beside a base. */
#ifndef NIB_JOB_EXPORT_ADAPTER_H
#define NIB_JOB_EXPORT_ADAPTER_H

#include "nibble/export.h"

/* Is it a directory with adapter_config.json and without config.json? */
bool nib_export_is_adapter(const char *dir);
/* options->model is the adapter.  NIB_E_UNSUPPORTED: something in it that the form has no place
 * for, by its name. */
nib_status nib_export_adapter(nib_ctx *ctx, const nib_export_options *options,
                              nib_export_result *result, nib_error *err);

#endif
