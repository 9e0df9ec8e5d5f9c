/* python_json.h - JSON as Python writes it: json.dumps(value, indent=2, sort_keys=True) and a
 * newline, which is how transformers saves config.json.  Doubles are the shortest that read
 * back. */
#ifndef NIB_JOB_PYTHON_JSON_H
#define NIB_JOB_PYTHON_JSON_H

#include <jansson.h>

#include "base/base.h"

/* Replaces the file at `path` whole.  NIB_E_IO, NIB_E_NOMEM, NIB_E_UNSUPPORTED (nested deeper than
 * 64). */
nib_status nib_python_json_write(nib_ctx *ctx, const char *path, const json_t *value,
                                 nib_error *err);

#endif
