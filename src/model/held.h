/* held.h - how the weights of a model are held: what config.json says, what the caller asks for. */
#ifndef NIB_MODEL_HELD_H
#define NIB_MODEL_HELD_H

#include "format/json.h"
#include "format/safetensors.h"
#include "quant/format.h"

/* What config.json's quantization_config says; absent or null: dense.  `where` names the file; *out
 * is freed with nib_held_free(), after a failure too.
 * NIB_E_UNSUPPORTED: a method that is not known.  NIB_E_FORMAT: it is no object. */
nib_status nib_held_read(nib_ctx *ctx, const json_t *config, const char *where, nib_held *out,
                         nib_error *err);

/* Are the settings those that the model is stored with?  NIB_E_INVALID names all that are not, with
 * both values, for a stored form is not changed.  *idle: one that belongs to another format, and so
 * is without effect, or NULL. */
nib_status nib_held_agrees(const nib_held *stored, const nib_setting *settings, const char *model,
                           const nib_setting **idle, nib_error *err);

static inline nib_part nib_tensor_part(const nib_tensor *t)
{
    return (nib_part){ .name = t->name, .dtype = t->dtype, .rank = t->rank,
                       .shape = { t->shape[0], t->shape[1], t->shape[2], t->shape[3] },
                       .elements = t->elements, .bytes = t->bytes, .data = t->data,
                       .rest = t->rest ? t->rest->data : NULL };
}

/* Finds tensors by their names in the files. */
nib_part_finder nib_tensors_finder(const nib_tensors *tensors);

#endif
