/* adapter.h - making, reading, writing and closing a LoRA adapter on a model. */
#ifndef NIB_ADAPTER_ADAPTER_H
#define NIB_ADAPTER_ADAPTER_H

#include "adapter/start.h"

/* The form of a base's linears: "dense", "nf4 64", "fp4 128 double" (block size,
 * double-quantized). */
void nib_base_form(const nib_model *m, char form[NIB_BASE_FORM_ROOM]);

/* A new adapter in a free slot with fresh values, to be trained: takes over `config`.  Initial
 * values are a function of (seed, module's name, place), or of the weights, which may then change
 * (start.h, with its errors).  NIB_E_MISMATCH: nothing matched; NIB_E_UNSUPPORTED: biases or
 * modules_to_save in another slot than 0, for these change the modules themselves. */
nib_status nib_adapter_create(nib_model *model, nib_peft_config *config, unsigned slot,
                              uint64_t seed, nib_adapter **out, nib_error *err);
/* The same with what a start from the weights may need (start.h). */
nib_status nib_adapter_create_from(nib_model *model, nib_peft_config *config, unsigned slot,
                                   uint64_t seed, const nib_start_options *start,
                                   nib_adapter **out, nib_error *err);
/* Reads a PEFT directory into a free slot.  train: its parameters get gradients. */
nib_status nib_adapter_open(nib_model *model, const char *dir, unsigned slot, bool train,
                            nib_adapter **out, nib_error *err);
/* The same of one that the model's weights hold, to take it out: NIB_E_MISMATCH where they say that
 * they do not. */
nib_status nib_adapter_open_merged(nib_model *model, const char *dir, unsigned slot,
                                   nib_adapter **out, nib_error *err);
/* Takes the parameters out of the modules, and restores what the adapter changed there and nothing
 * else; before the model is closed. */
void nib_adapter_close(nib_adapter *a);

/* DIR/adapter_model.safetensors, else, where only that is there, adapter_model.bin.  The caller's;
 * NULL: no memory. */
char *nib_adapter_file(nib_ctx *ctx, const char *dir);

/* Takes the values of nib_adapter_file(), which must have exactly the adapter's
 * parameters. */
nib_status nib_adapter_read_values(nib_adapter *a, const char *dir, nib_error *err);

/* Writes DIR/adapter_model.safetensors and adapter_config.json and README.md; DIR exists.
 * training: Markdown on how it was trained, for README.md, or NULL. */
nib_status nib_adapter_save(const nib_adapter *a, const char *dir, const char *training,
                            nib_error *err);

/* Elements trained, and of the whole model with the adapter (PEFT's "all params"). */
uint64_t nib_adapter_trainable(const nib_adapter *a);
uint64_t nib_adapter_all(const nib_adapter *a);

#endif
