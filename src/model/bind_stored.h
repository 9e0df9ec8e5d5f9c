/* bind_stored.h - a weight as the files hold it: dense, in blocks, or packed in their format. */
#ifndef NIB_MODEL_BIND_STORED_H
#define NIB_MODEL_BIND_STORED_H

#include "model/bind.h"

/* The part of a head's own tensor in a norm of NIB_NORM_APART. */
#define NIB_NORM_APART_PART ".norms.%zu.weight"

enum { NIB_BIND_NAME_ROOM = NIB_MODULE_NAME_ROOM };

/* The tensor module + part ("model.norm" ".weight"), whose whole name comes back in `name`; NULL:
 * absent, as all are without tensors. */
const nib_tensor *nib_bind_find(const nib_bind *b, const char *module, const char *part,
                                char name[NIB_BIND_NAME_ROOM]);

/* What is asked of a weight: its shape, and whether it is encoded while loading. */
typedef struct nib_bind_spec {
    size_t out, in;   /* of one that is not there; one that is has the file's, which the caller
                         checks */
    bool transposed;  /* a dense one lies in the file as [in, out] */
    bool quantizable; /* a format may hold it packed */
    bool stays_dense; /* though it is quantizable, it is not encoded here */
    const char *stack; /* the tensor of which it is slice `slice` of `slices`, or NULL */
    size_t slice, slices;
    const char *apart[2]; /* of a stack: the modules that files may have instead, each a half of
                             the rows, or one alone; NULL: none */
    const char **sources; /* [2] takes the names of their tensors where they are there, borrowed
                             from the files; else stays NULL */
    bool head, embedding; /* what it is of */
} nib_bind_spec;

/* Is the tensor's type one that weights are made of: floats, or a GGUF's blocks? */
bool nib_bind_is_computable(const nib_tensor *t);
/* The matrix that is slice `slice` of `slices` of the tensor, as the family's own files hold it,
 * which the last two of its dimensions are there.  NIB_E_UNSUPPORTED: of no such type. */
nib_status nib_bind_open_held(nib_ctx *ctx, const nib_tensor *t, size_t slice, size_t slices,
                              bool transposed, nib_weight **w, nib_error *err);
/* The same of a tensor that is one matrix; NIB_E_MISMATCH: it is none. */
nib_status nib_bind_open_own(nib_bind *b, const nib_tensor *t, bool transposed, nib_weight **w,
                             nib_error *err);
/* The weight of `module` as the format of the files says, or dense.  NIB_E_MISMATCH: it is missing;
 * or as nib_bind_check_beside(). */
nib_status nib_bind_open_stored(nib_bind *b, const char *module, const nib_bind_spec *spec,
                                nib_weight **w, nib_error *err);
/* NIB_E_UNSUPPORTED: beside M.weight, or in its place, is a piece that no format here reads, and
 * with which the weight is not what its own tensor says. */
nib_status nib_bind_check_beside(const nib_bind *b, const char *module, nib_error *err);
/* NIB_E_MISMATCH: tensor `name` is missing. */
nib_status nib_bind_missing(const nib_bind *b, const char *name, nib_error *err);
/* What a format is asked of. */
nib_format_module nib_bind_module(const char *name, const nib_bind_spec *spec);
/* A nib_part_finder's function, over a nib_bind. */
bool nib_bind_find_part(void *bind, const char *name, nib_part *out);

#endif
