/* peft_names.h - names of an adapter's tensors on disk (formats.md 3.6). */
#ifndef NIB_ADAPTER_PEFT_NAMES_H
#define NIB_ADAPTER_PEFT_NAMES_H

#include "base/base.h"

typedef enum nib_peft_tensor {
    NIB_PEFT_LORA_A,      /* "base_model.model.<module>.lora_A.weight" [R, in] */
    NIB_PEFT_LORA_B,      /* "...lora_B.weight" [out, R] */
    NIB_PEFT_EMBEDDING_A, /* "...lora_embedding_A" [R, V] */
    NIB_PEFT_EMBEDDING_B, /* "...lora_embedding_B" [H, R] */
    NIB_PEFT_BASE_BIAS,   /* "...base_layer.bias" [out]: the bias of an adapted module */
    NIB_PEFT_BASE_WEIGHT, /* "...base_layer.weight": an adapted embedding saved whole */
    NIB_PEFT_WEIGHT,      /* "...weight": a module saved whole (modules_to_save) */
    NIB_PEFT_BIAS         /* "...bias": the same, or any bias of an unadapted module */
} nib_peft_tensor;

/* The name of a tensor of `module`, a path in the base model.  NULL: no memory. */
char *nib_peft_tensor_name(nib_ctx *ctx, const char *module, nib_peft_tensor kind);

/* Takes a name apart: *module_bytes of the module path at *module, borrowed from `name`.  False: it
 * does not begin with "base_model.model." or has none of the endings.  An ending is taken at its
 * longest:
 * "...base_layer.bias" is never NIB_PEFT_BIAS. */
bool nib_peft_tensor_parse(const char *name, const char **module, size_t *module_bytes,
                           nib_peft_tensor *kind);

#endif
