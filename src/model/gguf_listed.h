/* gguf_listed.h - small tensors of each layer that GGUF holds as keys, a list of numbers each
 * (nib_gguf_listed). */
#ifndef NIB_MODEL_GGUF_LISTED_H
#define NIB_MODEL_GGUF_LISTED_H

#include "model/gguf_naming.h"

/* Adds the tensors of the family's lists to those of the file: float32, where the keys lie.
 * NIB_E_FORMAT: a key is missing, or no list of floats, one for each layer or one for all. */
nib_status nib_gguf_listed_add(nib_tensors *t, const nib_gguf_family *f, const char *where,
                               nib_error *err);
/* The entry whose tensors this is one of ("model.layers.3.mlp.act_fn.beta"); NULL: of none. */
const nib_gguf_listed *nib_gguf_listed_of(const nib_gguf_family *f, const char *tensor);
/* The way out: the lists, of the model's vectors. */
void nib_gguf_listed_put(const nib_model *m, const nib_gguf_family *f,
                         struct nib_gguf_writer *w);

#endif
