/* merge_format.h - what a merged model's linears are written as. */
#ifndef NIB_JOB_MERGE_FORMAT_H
#define NIB_JOB_MERGE_FORMAT_H

#include "model/model.h"
#include "nibble/merge.h"

enum { NIB_MERGE_SETTINGS = 64 };

/* options->format and its settings, as quantize takes them; a format NULL in `held`: dense. */
typedef struct nib_merge_format {
    nib_held held;
    nib_settings base;       /* MODEL's own, where `held` is the same format */
    nib_setting settings[NIB_MERGE_SETTINGS + 1]; /* all, the last has a key NULL */
    bool calibrated;         /* on data, by an algorithm of quantize's */
} nib_merge_format;

/* NIB_E_INVALID: a name that is not known, with the list, or settings that are none of its; what is
 * given without a format that takes it. */
nib_status nib_merge_format_read(nib_ctx *ctx, const nib_merge_options *o, const nib_held *stored,
                                 nib_merge_format *out, nib_error *err);

#endif
