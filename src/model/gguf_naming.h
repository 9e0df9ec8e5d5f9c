/* gguf_naming.h - the way out: a module's name in GGUF. */
#ifndef NIB_MODEL_GGUF_NAMING_H
#define NIB_MODEL_GGUF_NAMING_H

#include "model/gguf_rows.h"
#include "model/model.h"

enum { NIB_GGUF_NAME_ROOM = 80 };

/* What the keys and tensors of a model are called. */
typedef struct nib_gguf_naming {
    const nib_gguf_family *family;
    const nib_gguf_name *names;
    const nib_gguf_whole *tensors; /* NULL: none */
    nib_gguf_heads heads;
} nib_gguf_naming;

/* NIB_E_UNSUPPORTED: the family has no names in GGUF, with those that have. */
nib_status nib_gguf_naming_of(const nib_model *m, nib_gguf_naming *out, nib_error *err);

/* "blk.3.attn_q" of "model.layers.3.self_attn.q_proj", and how it is held; of the experts of a
 * layer the same name.  NULL: GGUF has no place for the module. */
const nib_gguf_name *nib_gguf_name_of(const nib_gguf_naming *n, const char *module,
                                      char out[NIB_GGUF_NAME_ROOM]);

/* Is the linear one expert's, which lie in one tensor there? */
bool nib_gguf_is_expert(const nib_gguf_naming *n, const nib_linear *l);

/* A tensor of the family by its whole name ("model.layers.3.mlp.experts.gate_up_proj"). */
typedef struct nib_gguf_tensor_name {
    char name[NIB_GGUF_NAME_ROOM + 8]; /* "blk.3.ffn_gate_exps.weight" */
    char rest[NIB_GGUF_NAME_ROOM + 8]; /* the second half of its rows; "": it is one there too */
    nib_gguf_held held;
} nib_gguf_tensor_name;

/* False: GGUF has no place for the tensor. */
bool nib_gguf_tensor_of(const nib_gguf_naming *n, const char *tensor, nib_gguf_tensor_name *out);
/* The same for a linear's weight, which may be one of all experts'. */
bool nib_gguf_weight_of(const nib_gguf_naming *n, const nib_linear *l, nib_gguf_tensor_name *out);

/* What a tensor ("blk.0.attn_k.weight") of the model holds multiplied. */
nib_gguf_fold nib_gguf_fold_of(const nib_gguf_naming *n, const nib_model *m, const char *name);

#endif
