/* grouped_open.h - grouped integers from and to a file's tensors: what the formats that hold them
 * share. */
#ifndef NIB_QUANT_GROUPED_OPEN_H
#define NIB_QUANT_GROUPED_OPEN_H

#include "quant/format.h"
#include "quant/grouped.h"

/* The tensor module + piece ("model.layers.0.mlp.up_proj" ".qweight"). */
bool nib_module_part(nib_part_finder find, const char *module, const char *piece, nib_part *out);

/* Is it a matrix [rows, columns] of `dtype`?  NIB_E_FORMAT naming it with both shapes. */
nib_status nib_check_matrix(const nib_part *p, nib_dtype dtype, uint64_t rows, uint64_t columns,
                            nib_error *err);
/* Float16, bfloat16 or float32, all finite; of 0 a warning, and where they may not be negative that
 * is refused too.  NIB_E_FORMAT naming the value. */
nib_status nib_check_scales(nib_ctx *ctx, const nib_part *scales, bool negative, nib_error *err);

/* As the scales are: all finite.  NIB_E_FORMAT naming the value. */
nib_status nib_check_biases(const nib_part *biases, nib_error *err);

/* Zero point of group g and output o as its file has it, `self` being the file's. */
typedef unsigned nib_zero_of_fn(const void *self, size_t group, size_t output);

/* Makes the weight of what is filled in: base.out, in and dtype, options, order, codes and how they
 * lie, group, groups, scales and how they lie, flip.  zero_of NULL: all zero points are made->zero.
 * g_idx, int32 [in], may be NULL; in order it is the same as none.  bytes: of the file's tensors.
 * NIB_E_FORMAT naming the value of g_idx, NIB_E_NOMEM. */
nib_status nib_grouped_open(nib_ctx *ctx, nib_grouped *made, nib_zero_of_fn *zero_of,
                            const void *self, const nib_part *g_idx, uint64_t bytes, nib_weight **w,
                            nib_error *err);

/* The tensors that are written: nib_format's plan and tensors (grouped_parts.c). */
nib_status nib_grouped_plan(const nib_form *form, size_t out, size_t in, nib_learned learned,
                            const char *name, nib_parts_out *parts, nib_error *err);
nib_status nib_grouped_tensors(const nib_weight *w, const char *name, nib_parts_out *parts,
                               nib_error *err);

/* --- settings that these formats share --- */

/* group_size: -1 is a row.  NIB_E_INVALID: 0, or less. */
nib_status nib_setting_group(const nib_setting *list, const char *where, const char *key,
                             unsigned *group, nib_error *err);
/* "-1" or the number. */
void nib_settings_put_group(nib_settings *to, const char *key, unsigned group);

#endif
