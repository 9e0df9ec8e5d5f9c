/* export_place.h - where an exported file goes. */
#ifndef NIB_JOB_EXPORT_PLACE_H
#define NIB_JOB_EXPORT_PLACE_H

#include "nibble/export.h"

/* NIB_E_INVALID: OUT, or the Modelfile beside it, is what is read, is there already (without
 * overwrite), or is no regular file. */
nib_status nib_export_check_place(nib_ctx *ctx, const nib_export_options *o, nib_error *err);
/* The finished file `temporary` gets the name OUT. */
nib_status nib_export_put_in_place(nib_ctx *ctx, const char *temporary, const char *out,
                                   nib_error *err);

#endif
