/* attach.h - putting parameters into the slots of modules, and taking them out. */
#ifndef NIB_ADAPTER_ATTACH_H
#define NIB_ADAPTER_ATTACH_H

#include "adapter/lora.h"

/* Makes every parameter that the config asks for, with zero values (full copies and biases: the
 * model's), in the order of the model's modules.  train: they get gradients. */
nib_status nib_adapter_attach(nib_adapter *a, bool train, nib_error *err);
/* A full copy of a linear's or the embedding's weight, also when config does not name it: files
 * may hold one (formats.md 3.6). */
nib_status nib_attach_full_linear(nib_adapter *a, nib_linear *l, const char *suffix,
                                  nib_error *err);
nib_status nib_attach_full_embedding(nib_adapter *a, nib_embedding *e, const char *suffix,
                                     nib_error *err);
/* The head of a tied model, under ensure_weight_tying, computes with the trained copy of the
 * embedding, which gets its gradient too.  False: there is no such copy, or it has one of its
 * own. */
bool nib_attach_tied_head(nib_adapter *a);
/* A bias that is trained, in its module's place: M<suffix>, or the parameter of its own name. */
nib_status nib_attach_bias(nib_adapter *a, nib_linear *l, const char *suffix, nib_error *err);
/* Takes the adapter's own parameters out; those of others stay. */
void nib_adapter_detach(nib_adapter *a);

#define NIB_PEFT_PREFIX "base_model.model."

#endif
