/* bit_plan.h - a quantization of mixed widths: how many bits each matrix gets, so that the files or
 * the packed weights have the size that is asked for.
 *
 * Each matrix has the widths that its shape allows among 2, 3, 4 and 8 bits.  Their errors are
 * measured, as the fraction of the matrix's output, or without calibration of the matrix itself,
 * whose square is lost; what is least is their mean over all weights (job/allot.h).  Format gptq,
 * whose files have rules for single modules. */
#ifndef NIB_JOB_BIT_PLAN_H
#define NIB_JOB_BIT_PLAN_H

#include <jansson.h>

#include "job/allot.h"
#include "nibble/quantize.h"
#include "quant/format.h"
#include "quant/gptq.h"

enum { NIB_BIT_WIDTHS = 4 };

typedef struct nib_bit_matrix {
    const char *module;             /* borrowed */
    uint64_t weights;
    unsigned bits[NIB_BIT_WIDTHS];  /* of each choice, narrow first */
    nib_form forms[NIB_BIT_WIDTHS];
} nib_bit_matrix;

typedef struct nib_bit_plan {
    nib_ctx *ctx;
    const nib_quantize_options *options;
    nib_bit_matrix *matrices;       /* [count] */
    nib_allot_part *parts;          /* [count] the same: bytes of the packed tensors, errors */
    size_t count;
    uint64_t room;                  /* for the packed tensors */
    nib_form usual;                 /* of the width that most weights have: set by allotting */
    unsigned usual_bits;
    bool allotted;
} nib_bit_plan;

/* Is one asked for?  NIB_E_INVALID, NIB_E_UNSUPPORTED: beside what contradicts it, by name.
 * algorithm: NULL where codes are rounded to nearest. */
nib_status nib_bit_plan_asked(const nib_quantize_options *o, const nib_held *held,
                              const char *algorithm, bool *asked, nib_error *err);

nib_status nib_bit_plan_create(nib_ctx *ctx, const nib_quantize_options *o, size_t matrices,
                               nib_bit_plan *p, nib_error *err);
void nib_bit_plan_free(nib_bit_plan *p); /* a zeroed one is fine */

/* The next matrix, "M.weight", with the widths that it can have; dtype: of its values.  gptq: NULL
 * where codes are rounded to nearest.  NIB_E_UNSUPPORTED: it can have none. */
nib_status nib_bit_plan_add(nib_bit_plan *p, const nib_format *format, const char *module,
                            size_t out, size_t in, nib_dtype dtype, const nib_gptq_options *gptq,
                            nib_error *err);
/* The form of a matrix. */
const nib_form *nib_bit_plan_form(const nib_bit_plan *p, size_t i, nib_allot_which which);

/* least, most: bytes of all files where every matrix has its narrowest width, and its widest.
 * NIB_E_INVALID: the target lies beyond them, with the range. */
nib_status nib_bit_plan_set_room(nib_bit_plan *p, uint64_t least, uint64_t most, nib_error *err);
/* The errors of a matrix that is rounded to nearest. */
nib_status nib_bit_plan_measure(nib_bit_plan *p, size_t i, const nib_weight *w, nib_error *err);
/* Chooses; all errors are set.  A note says what came out. */
nib_status nib_bit_plan_allot(nib_bit_plan *p, nib_error *err);
double nib_bit_plan_bits(const nib_bit_plan *p, nib_allot_which which); /* of a weight */

/* Rules for the matrices that have another width than `usual`, into config.json's
 * quantization_config.  NIB_E_NOMEM. */
nib_status nib_bit_plan_put_rules(const nib_bit_plan *p, json_t *config, nib_error *err);

#endif
