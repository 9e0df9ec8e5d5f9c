/* gguf_model.h - a GGUF file as the model directory that it was converted from. */
#ifndef NIB_MODEL_GGUF_MODEL_H
#define NIB_MODEL_GGUF_MODEL_H

#include "format/json.h"
#include "model/arch.h"
#include "model/gguf_family.h"

/* The family that the keys of a GGUF file name, of several the one that fits its tensors (which
 * have their names in the file).  NIB_E_UNSUPPORTED: none, with those that are known. */
nib_status nib_gguf_family_of(const nib_tensors *tensors, const char *where,
                              const nib_gguf_family **family, nib_error *err);
/* general.architecture, into `room`.  NIB_E_FORMAT: it is missing, or too long. */
nib_status nib_gguf_architecture(const nib_gguf *keys, const char *where, char *out, size_t room,
                                 nib_error *err);
/* The list of all, for messages. */
void nib_gguf_families_known(char *out, size_t room);

/* config.json as the converter read it, as far as the keys tell; *json: json_decref(). */
nib_status nib_gguf_config_make(nib_ctx *ctx, const char *path, json_t **json, nib_error *err);

/* The tensors of a model, a directory (MLX's too) or a GGUF file, under the names of its family. */
nib_status nib_model_tensors_open(nib_ctx *ctx, const char *model, nib_tensors **out,
                                  nib_error *err);

#endif
