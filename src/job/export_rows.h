/* export_rows.h - the data of one tensor of a GGUF file, a few rows at a time. */
#ifndef NIB_JOB_EXPORT_ROWS_H
#define NIB_JOB_EXPORT_ROWS_H

#include "job/export_plan.h"

/* Decodes, adds the adapter's change, puts rows where GGUF has them, encodes.  NIB_E_NUMERIC: a
 * value that is not finite, or that the type cannot hold. */
nib_status nib_export_write(nib_ctx *ctx, const nib_export_item *item, const nib_gguf_heads *heads,
                            nib_gguf_writer *w, nib_error *err);

#endif
