/* quantize_config.h - the small files of a quantized model directory: config.json, tokenizer,
 * ... */
#ifndef NIB_JOB_QUANTIZE_CONFIG_H
#define NIB_JOB_QUANTIZE_CONFIG_H

#include "base/outfile.h"
#include "job/bit_plan.h"
#include "model/model.h"
#include "nibble/quantize.h"

/* Writes dir/config.json: the model's with quantization_config as `held` has it, rules where `bits`
 * (NULL: none) gives matrices other widths, `origin` in
 * _name_or_path (NULL: where the model comes from) and, when options->dtype is not NULL, the dtype
 * of the other tensors. */
nib_status nib_quantize_write_config(nib_ctx *ctx, const nib_quantize_options *options,
                                     const char *origin,
                                     const nib_held *held, const nib_bit_plan *bits,
                                     const nib_model *model, const char *dir, nib_error *err);

/* Does a linear stay dense in the formats of integers, as with the libraries they are of: a router,
 * or a gate of one output, which rounding would hurt the most and spare the least? */
bool nib_quantize_leaves(const nib_held *held, const nib_linear *l);

/* Puts quantization_config as `held` has it into `config`: what stays dense is in
 * options->skip_modules (none: the head), and what the model has beside its linears. */
nib_status nib_quantize_set_config(nib_ctx *ctx, const nib_quantize_options *options,
                                   const nib_held *held, const nib_model *model, json_t *config,
                                   nib_error *err);

/* Leaves weights and reports of an earlier run, which would contradict this one's, out of the
 * directory that takes its place. */
nib_status nib_quantize_drop_old(nib_outdir *out, nib_error *err);

/* NIB_E_UNSUPPORTED: no reader of the format would look for the linear's codes. */
nib_status nib_quantize_check_class(const nib_held *held, const nib_linear *l, const char *where,
                                    nib_error *err);

/* Copies what lies beside the weights: tokenizer, chat template, generation_config.json. */
nib_status nib_quantize_copy_files(nib_ctx *ctx, const char *model, const char *dir,
                                   nib_error *err);
/* Of those the tokenizer's and the chat template alone: what lies in an adapter's directory. */
nib_status nib_copy_tokenizer_files(nib_ctx *ctx, const char *model, const char *dir,
                                    nib_error *err);
/* DIR/additional_chat_templates/ of a model (copy_templates.c).  None: nothing is done. */
nib_status nib_copy_templates(nib_ctx *ctx, const char *model, const char *dir, nib_error *err);

/* NIB_E_INVALID when `out` is `model` (or an adapter that is read), lies in it or contains it. */
nib_status nib_quantize_check_places(const char *model, const char *out, nib_error *err);
/* The same of --data, if it is there: a file, a folder, or a data set in the hub's cache by its
 * name. */
nib_status nib_check_data_place(const char *data, const char *out, nib_error *err);
/* Are they one place, links followed?  What is not there yet counts by its name. */
bool nib_quantize_is_same_place(const char *a, const char *b);

#endif
