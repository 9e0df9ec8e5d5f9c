/* bind_experts.h - the matrix of an expert that is a slice of one tensor for the reference.
 *
 * The files hold all of them in that tensor, "M.gate_up_proj" [experts, out, in]; or in tensors of
 * their format; or each expert apart, its rows in modules of its own, one behind the other:
 * "M.0.gate_proj.weight", "M.0.up_proj.weight".  So transformers 5 saves Qwen3.5-MoE, though not
 * the released files, and so quantizers pack it (formats.md 10.30). */
#ifndef NIB_MODEL_BIND_EXPERTS_H
#define NIB_MODEL_BIND_EXPERTS_H

#include "model/bind_stored.h"

/* The matrix, the caller's to destroy.  NIB_E_MISMATCH: it is not there, has other sizes than
 * config.json says, or is there in two forms; else as nib_bind_open_stored(). */
nib_status nib_bind_slice(nib_bind *b, const nib_bind_spec *spec, nib_weight **w, nib_error *err);

#endif
