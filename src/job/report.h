/* report.h - a JSON object as text for people, or as JSON. */
#ifndef NIB_JOB_REPORT_H
#define NIB_JOB_REPORT_H

#include <jansson.h>

#include "base/base.h"
#include "nibble/inspect.h"

/* Text: a line "key: value" each key, in the order they were set, '_' as a space; sizes in "bytes"
 * and keys ending so with a unit beside them; a list of objects as a table.  *out is the
 * caller's. */
nib_status nib_report_make(nib_ctx *ctx, const json_t *report, nib_report_form form, char **out,
                           nib_error *err);

#endif
