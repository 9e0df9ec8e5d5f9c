/* reader_layers.h - what each layer is, where a model's layers are of several kinds. */
#ifndef NIB_MODEL_READER_LAYERS_H
#define NIB_MODEL_READER_LAYERS_H

#include "model/reader.h"

/* A list of one word a layer, as places in `known`, whose end is NULL; another word is refused.
 * NULL when the key is absent or null. */
uint8_t *nib_read_layer_kinds(nib_reader *r, const char *key, size_t layers,
                              const char *const *known);

#endif
