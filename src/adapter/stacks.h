/* stacks.h - low-rank branches of experts that a file holds in one tensor (PEFT's
 * target_parameters).
 *
 * Each expert has a branch of its own, as every linear has one; a file holds those of a tensor
 * together (PEFT 0.21.2, lora.ParamWrapper), E experts of rank r:
 *
 *     A [E r, in]   row e r + k: row k of expert e's A
 *     B [out, r E]  column k E + e: column k of expert e's B
 *
 * under the name of the module that has the tensor, P.lora_A.weight.  Of several tensors of one
 * module the last in the model's order has that name, the one before P.base_layer.lora_A.weight,
 * and so on (formats-quant.md 0). */
#ifndef NIB_ADAPTER_STACKS_H
#define NIB_ADAPTER_STACKS_H

#include "adapter/lora.h"
#include "format/safetensors.h"

/* The name by which target_parameters means the linear's tensor, or NULL. */
const char *nib_stack_target(const nib_peft_config *cfg, const nib_linear *l);
/* Every name of target_parameters must mean a tensor of experts, and all those of one version of
 * the reference.  NIB_E_MISMATCH with those that there are; NIB_E_UNSUPPORTED: with lora_dropout
 * or magnitudes, which PEFT refuses too. */
nib_status nib_stacks_check(const nib_adapter *a, nib_error *err);
/* Counts the next two parameters, A and B of expert `l`, to its tensor, `tensor` by name. */
nib_status nib_stacks_add(nib_adapter *a, const nib_linear *l, const char *tensor, nib_error *err);
/* Makes the names of the files' tensors, once all are added. */
nib_status nib_stacks_name(nib_adapter *a, nib_error *err);
/* The tensor that parameter `i` is a part of, or NULL. */
const nib_stack *nib_stacks_at(const nib_adapter *a, size_t i);
void nib_stacks_free(nib_adapter *a);

/* Takes the values of A and B.  transformers 4 does not mark tensors that lie as [E, in, out], so
 * that PEFT under it takes their inputs for outputs: `swapped`, and the change of W is the same
 * product with the two transposed. */
nib_status nib_stack_read(const nib_adapter *a, const nib_stack *s, const nib_tensor *const ab[2],
                          bool swapped, nib_error *err);
/* Whether the shapes are those of swapped inputs and outputs.  *tells: the two differ. */
bool nib_stack_is_swapped(const nib_adapter *a, const nib_stack *s,
                          const nib_tensor *const ab[2], bool *tells);
/* The plans of A and B, and their values. */
void nib_stack_plan(const nib_adapter *a, const nib_stack *s, nib_tensor_plan plans[2]);
nib_status nib_stack_write(const nib_adapter *a, const nib_stack *s, nib_tensor_writer *w,
                           nib_error *err);

#endif
