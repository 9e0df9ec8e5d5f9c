/* pickle.h - the tensors that a pickle of PyTorch's torch.save describes; nothing is executed.
 *
 * A pickle is a program for a stack machine whose GLOBAL and REDUCE call any function of Python.
 * Here only the opcodes of formats.md 2.3 exist, a global is one of a fixed list of names, and
 * calling one makes a description.  Anything else is refused by its name. */
#ifndef NIB_FORMAT_PICKLE_H
#define NIB_FORMAT_PICKLE_H

#include "format/safetensors.h"

typedef struct nib_pickle_type {
    const char *name; /* as in safetensors: "BF16" */
    unsigned bytes;   /* of an element */
    nib_dtype dtype;
} nib_pickle_type;

typedef struct nib_pickle_tensor {
    char *name;                  /* its key in the top dictionary */
    const char *storage;         /* digits, borrowed from the pickle */
    size_t storage_digits;
    uint64_t storage_bytes;      /* of the whole storage */
    const nib_pickle_type *type; /* of an element */
    uint64_t offset;             /* in elements, as the strides */
    unsigned rank;
    uint64_t shape[NIB_MAX_RANK], stride[NIB_MAX_RANK];
    uint64_t elements;
} nib_pickle_tensor;

typedef struct nib_pickle { nib_pickle_tensor *tensors; size_t count; } nib_pickle;

/* Reads a whole pickle: one dictionary of names and tensors.  Each tensor lies inside its storage
 * as the pickle has it, in bytes that fit in 64 bits.  NIB_E_FORMAT; NIB_E_UNSUPPORTED naming the
 * opcode, the global or the key that is none of a model's; NIB_E_NOMEM.  *out is the caller's. */
nib_status nib_pickle_read(nib_ctx *ctx, const uint8_t *data, size_t bytes, const char *where,
                           nib_pickle *out, nib_error *err);
void nib_pickle_free(nib_ctx *ctx, nib_pickle *p); /* zeroed is fine */

#endif
