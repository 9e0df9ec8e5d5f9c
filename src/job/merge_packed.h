/* merge_packed.h - merged matrices encoded in a low-bit form, one in memory at a time. */
#ifndef NIB_JOB_MERGE_PACKED_H
#define NIB_JOB_MERGE_PACKED_H

#include "job/merge_plan.h"
#include "nibble/quantize.h"

/* A matrix that is encoded: its tensors stand in the file in the place of one. */
typedef struct nib_merge_matrix {
    nib_merge_item *item;
    nib_parts_out parts;
} nib_merge_matrix;

/* Matrices in another form of the same format. */
typedef struct nib_merge_wide {
    nib_form form;
    char **modules; /* [count] their names */
    size_t count;
} nib_merge_wide;

typedef struct nib_merge_packed {
    nib_ctx *ctx;
    nib_held held;             /* a format NULL: nothing is encoded */
    const nib_merge_wide *wide;
    nib_merge_matrix *matrices; /* in the order of the plan */
    size_t count;
    const char **dense;        /* modules that stay dense beside the head, for config.json */
    size_t dense_count;
} nib_merge_packed;

/* Chooses the matrices as quantize does: the linears but the head (of an encoder its parts) and
 * what skip_modules names; where the format can say so, what is dense in a low-bit MODEL stays so.
 * Their items become NIB_MERGE_PACKED, their tensors are planned.  wide: must outlive it.
 * NIB_E_UNSUPPORTED, NIB_E_INVALID (a group that does not divide), naming the matrix;
 * NIB_E_MISMATCH: no matrix to encode. */
nib_status nib_merge_pack(nib_model *m, const nib_quantize_options *o, const nib_held *held,
                          const nib_merge_wide *wide, nib_merge_plan *plan, nib_merge_packed *out,
                          nib_error *err);
/* Does skip_modules name it, as the format reads such a list? */
bool nib_merge_is_skipped(const nib_quantize_options *o, const nib_format *f, const char *module);
void nib_merge_packed_free(nib_merge_packed *p); /* a zeroed one is fine */

/* The matrix of an item of that kind. */
const nib_merge_matrix *nib_merge_packed_of(const nib_merge_packed *p, const nib_merge_item *item);
/* W + s B A in float, encoded.  NIB_E_NUMERIC: a value that is not finite. */
nib_status nib_merge_write_packed(const nib_merge_packed *p, nib_tensor_writer *w,
                                  const nib_merge_matrix *m, nib_error *err);

#endif
