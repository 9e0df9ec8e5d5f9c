/* stored.h - weights whose scheme each tensor tells by its own type: those of a GGUF file.
 *
 * Elsewhere a checkpoint has one format, which config.json names (quant/format.h); here every
 * matrix says what its blocks are, and nothing else belongs to it. */
#ifndef NIB_QUANT_STORED_H
#define NIB_QUANT_STORED_H

#include "quant/weight.h"

/* Is there a scheme for blocks of this type ("Q4_K")?  Float types are not blocks. */
bool nib_stored_is_known(const char *type);
/* "Q4_0, Q4_1, ...". */
void nib_stored_known(char *out, size_t room);

/* A weight over `data`, which must outlive it.  rows: row r of the matrix is row rows[r] of what
 * is stored, NULL: r itself; it must outlive the weight too.  NIB_E_UNSUPPORTED: the type is not
 * known; NIB_E_FORMAT: rows are no whole blocks; NIB_E_NOMEM. */
nib_status nib_weight_blocks(nib_ctx *ctx, const char *type, size_t out, size_t in,
                             const void *data, const uint32_t *rows, nib_weight **w,
                             nib_error *err);

/* Row r of the matrix is row rows[r] of the dense or other weight `stored`, which is taken over on
 * success. */
nib_status nib_weight_reordered(nib_ctx *ctx, nib_weight *stored, const uint32_t *rows,
                                nib_weight **w, nib_error *err);

/* Column c of the matrix is column columns[c] of `stored`, which is taken over on success; columns
 * must outlive the weight. */
nib_status nib_weight_columns(nib_ctx *ctx, nib_weight *stored, const uint32_t *columns,
                              nib_weight **w, nib_error *err);
/* The weight that w has with its columns moved so; NULL: it is none. */
const nib_weight *nib_weight_before_columns(const nib_weight *w, const uint32_t *columns);

/* The rows of `first`, then those of `second`, of the same width; turns: a row of each by turns, of
 * as many each.  Both are taken over on success. */
nib_status nib_weight_joined(nib_ctx *ctx, nib_weight *first, nib_weight *second, bool turns,
                             nib_weight **w, nib_error *err);

/* Of each of `heads` the rows of its keys and then those of its values: keys holds theirs turned,
 * [heads in, keys], values as they are, [heads values, in] (quant/latent.c).  Both are taken over
 * on success; their types may differ. */
nib_status nib_weight_latent(nib_ctx *ctx, nib_weight *keys, nib_weight *values, size_t heads,
                             nib_weight **w, nib_error *err);

#endif
