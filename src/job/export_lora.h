/* export_lora.h - the pairs of a LoRA GGUF (formats-quant.md 7.12).
 *
 * Beside general.architecture the file has adapter.lora.alpha and of each matrix M two tensors,
 * "M.weight.lora_a" [R, in] and "M.weight.lora_b" [out, R]; of the embedding [V, R] and [width, R].
 * llama.cpp adds alpha / R * B A.  There is one alpha: what PEFT scales otherwise is multiplied
 * into B.  B has the rows of the base's matrix, and their order.  Experts lie in one tensor each,
 * [experts, R, in] and [experts, out, R]: one without an adapter has zeros, smaller ranks are
 * filled up with them.  Of a matrix that is two there each has A, and its own rows of B. */
#ifndef NIB_JOB_EXPORT_LORA_H
#define NIB_JOB_EXPORT_LORA_H

#include "adapter/adapter.h"
#include "model/gguf_keys.h"

typedef struct nib_lora_pair {
    char name[NIB_GGUF_NAME_ROOM + 8]; /* of the base's matrix, with ".weight" */
    nib_branch *branch;
    bool embedding;
    nib_gguf_held held;
    nib_gguf_fold fold;                /* of B's rows, which the base's matrix has too */
    float factor;                      /* of B; 1 where alpha / R is PEFT's scale */
    size_t first_row, row_step, rows;  /* of B that are this matrix's: first_row + i row_step; of
                                          NIB_GGUF_KEY_GROUPS those that lie from first_row on */
    size_t slices, slice;              /* of a tensor of experts: how many, which; slices 0: none */
    size_t tensor;                     /* the first pair of the same name */
    size_t rank;                       /* the tensor's: the greatest of its pairs */
    size_t owner;                      /* the first pair of the same branch */
} nib_lora_pair;

typedef struct nib_lora_list {
    nib_lora_pair *items;
    size_t count, capacity; /* pairs of a tensor follow one another, in the order of experts */
    size_t tensors;         /* with two factors each */
    float alpha;
    size_t scaled;          /* pairs whose factor is not 1 */
} nib_lora_list;

/* Of the adapter in slot 0, borrowed.  NIB_E_UNSUPPORTED: a module that GGUF has no place for, a
 * part of an adapter that the form has none for. */
nib_status nib_lora_list_make(const nib_adapter *a, const nib_gguf_naming *n, nib_lora_list *out,
                              nib_error *err);
void nib_lora_list_free(nib_ctx *ctx, nib_lora_list *list); /* zeroed is fine */

/* Keys and tensors, declared and written.  type: NIB_F32, NIB_F16 or NIB_BF16.  NIB_E_NUMERIC: a
 * value that it cannot hold. */
void nib_lora_declare(const nib_lora_list *list, const nib_gguf_naming *n, nib_dtype type,
                      nib_gguf_writer *w);
nib_status nib_lora_write(nib_ctx *ctx, const nib_lora_list *list, const nib_gguf_naming *n,
                          nib_dtype type, nib_gguf_writer *w, nib_error *err);

/* What the file at `path` holds in place of the branches' own factors and scales, until the second
 * call of nib_lora_swap(). */
typedef struct nib_lora_read {
    nib_ctx *ctx;
    const nib_lora_list *list;
    float **values;         /* [2 * count] A and B */
    float *scales;          /* [count] */
} nib_lora_read;
nib_status nib_lora_open(nib_ctx *ctx, const nib_lora_list *list, const nib_gguf_naming *n,
                         const char *path, nib_lora_read *out, nib_error *err);
void nib_lora_swap(void *read);
void nib_lora_close(nib_lora_read *read); /* zeroed is fine */

#endif
