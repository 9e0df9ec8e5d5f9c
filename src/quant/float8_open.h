/* float8_open.h - scaled E4M3 floats from a file's tensors: what the formats that hold them share.
 *
 *     M.weight            F8_E4M3  [out, in]
 *     M.weight_scale_inv           a grid of blocks, or as below; or
 *     M.weight_scale               [], [1]; [out], [out, 1]; or a grid of blocks
 *     M.input_scale                of activations, without use here */
#ifndef NIB_QUANT_FLOAT8_OPEN_H
#define NIB_QUANT_FLOAT8_OPEN_H

#include "quant/float8.h"
#include "quant/format.h"

/* What config.json says of a weight. */
typedef struct nib_float8_said {
    nib_float8_options options; /* with blocks the scales must be their grid */
    bool exact;                 /* without blocks: the scales must be of options' shape too */
    bool rounded;               /* values are rounded to the scales' type */
} nib_float8_said;

/* The weight of `module`: *w, or NULL where its tensors are not E4M3.  NIB_E_FORMAT for parts that
 * are missing, doubled or of a wrong shape, scales that are no positive numbers; NIB_E_MISMATCH
 * where the scales are of the other kind than `said->options.divide`. */
nib_status nib_float8_open(nib_ctx *ctx, nib_part_finder find, const char *module,
                           const nib_float8_said *said, nib_weight **w, nib_error *err);
/* As nib_format.describe; blocks: of a grid of scales, rows and columns. */
bool nib_float8_describe(const nib_part *t, nib_part_finder find, const nib_float8_options *blocks,
                         uint64_t shape[2], nib_form *form);

#endif
