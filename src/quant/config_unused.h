/* config_unused.h - keys of a quantization_config that nobody reads, and what is read but not done.
 *
 * Libraries write many that only tell how the file was made; each format lists them beside those
 * that it reads.  Any other may change what the weights mean, so it is named. */
#ifndef NIB_QUANT_CONFIG_UNUSED_H
#define NIB_QUANT_CONFIG_UNUSED_H

#include "quant/weight_settings.h"

/* One warning (unused-key) for the keys of `config`, the quantization_config of the file `where`,
 * that `known` does not have, NULL at its end.  An entry is a path ("bits"), in which "*" stands
 * for any name and "#" for any number; "**" at the end means all that is inside.  It knows what it
 * lies in too.  The members of a key that is named are not. */
void nib_warn_unused_settings(nib_ctx *ctx, const nib_setting *config, const char *where,
                              const char *const *known);
/* A note where the config rounds inputs of linears or cached keys and values (W8A8, FP8's schemes):
 * only weights are read so, and products are of the compute type. */
void nib_note_unrounded(nib_ctx *ctx, const nib_setting *config, const char *where);

#endif
