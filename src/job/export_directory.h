/* export_directory.h - a GGUF file as the directory that it was converted from. */
#ifndef NIB_JOB_EXPORT_DIRECTORY_H
#define NIB_JOB_EXPORT_DIRECTORY_H

#include "nibble/export.h"

/* Is it that: MODEL a GGUF file, and OUT none? */
bool nib_export_is_directory(const nib_export_options *o);
/* NIB_E_MISMATCH: what was written does not answer as MODEL does; then nothing is left. */
nib_status nib_export_directory(nib_ctx *ctx, const nib_export_options *options,
                                nib_export_result *result, nib_error *err);

#endif
