/* inspect.h - what a model directory, an adapter or a file holds; and what the machine has. */
#ifndef NIBBLE_INSPECT_H
#define NIBBLE_INSPECT_H

#include "nibble/context.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The report as text (NIB_REPORT_TEXT) or one JSON object (NIB_REPORT_JSON), allocated with the
 * context; nib_report_free() ends it. */
typedef enum nib_report_form { NIB_REPORT_TEXT, NIB_REPORT_JSON } nib_report_form;
nib_status nib_inspect(nib_ctx *ctx, const char *path, nib_report_form form, char **out,
                       nib_error *err);
nib_status nib_doctor(nib_ctx *ctx, nib_report_form form, char **out, nib_error *err);
/* Which small models fit this machine, for training an adapter and for answering: memory by the
 * plan, hours for a million tokens by a trial of some seconds with random weights.  No weights are
 * needed and nothing is fetched.  NIB_E_IO: $TMPDIR takes no file. */
nib_status nib_doctor_of_models(nib_ctx *ctx, nib_report_form form, char **out, nib_error *err);
void nib_report_free(nib_ctx *ctx, char *report);

#ifdef __cplusplus
}
#endif
#endif
