/* gguf_rows.h - where the rows of a matrix lie that GGUF reorders (nib_gguf_held). */
#ifndef NIB_MODEL_GGUF_ROWS_H
#define NIB_MODEL_GGUF_ROWS_H

#include "model/gguf_family.h"

typedef struct nib_gguf_heads { uint64_t heads, kv_heads, head_dim; } nib_gguf_heads;

/* Are the rows of a matrix held so reordered?  Groups of one key are as they were. */
bool nib_gguf_reorders(const nib_gguf_heads *h, nib_gguf_held held);
/* Whether the sizes are ones that rows can be reordered by, and `rows` is how many such a matrix
 * has. */
bool nib_gguf_rows_fit(const nib_gguf_heads *h, nib_gguf_held held, uint64_t rows);
/* Where row r of the family's matrix lies in the file, of sizes that fit. */
uint64_t nib_gguf_place(const nib_gguf_heads *h, nib_gguf_held held, uint64_t r);

#endif
