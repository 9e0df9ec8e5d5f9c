/* sentence_dense.h - the Dense modules of a sentence-transformers directory: N_Dense/config.json
 * and model.safetensors. */
#ifndef NIB_JOB_SENTENCE_DENSE_H
#define NIB_JOB_SENTENCE_DENSE_H

#include "train/dense_layer.h"

/* Reads DIR/PATH into *out, which is zeroed; nib_dense_free() also on failure.  NIB_E_FORMAT,
 * NIB_E_UNSUPPORTED and NIB_E_MISMATCH name the file and what is wrong. */
nib_status nib_sentence_dense_read(nib_ctx *ctx, const char *dir, const char *path,
                                   nib_dense *out, nib_error *err);
/* Takes the values of DIR's modules of the same paths and shapes, as a checkpoint has them. */
nib_status nib_sentence_dense_reload(nib_ctx *ctx, const char *dir, nib_dense *list, size_t count,
                                     nib_error *err);
/* Writes DIR/PATH, in float32. */
nib_status nib_sentence_dense_write(nib_ctx *ctx, const char *dir, const nib_dense *d,
                                    nib_error *err);

#endif
