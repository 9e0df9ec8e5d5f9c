/* gguf_rows.h - where the rows of a matrix lie that GGUF reorders (nib_gguf_held). */
#ifndef NIB_MODEL_GGUF_ROWS_H
#define NIB_MODEL_GGUF_ROWS_H

#include "model/gguf_family.h"

typedef struct nib_gguf_heads {
    uint64_t heads, kv_heads, head_dim;
    uint64_t key_heads, value_heads, key_dim, value_dim; /* of the delta rule; 0: there is none */
} nib_gguf_heads;

/* Are the rows of a matrix held so reordered?  Groups of one key are as they were. */
bool nib_gguf_reorders(const nib_gguf_heads *h, nib_gguf_held held);
/* Are its columns? */
bool nib_gguf_reorders_columns(const nib_gguf_heads *h, nib_gguf_held held);
/* Whether the sizes are ones that rows can be reordered by, and `rows` is how many such a matrix
 * has; of NIB_GGUF_TILED_COLUMNS the same of columns. */
bool nib_gguf_rows_fit(const nib_gguf_heads *h, nib_gguf_held held, uint64_t rows);
/* Where row r of the family's matrix lies in the file, of sizes that fit; of
 * NIB_GGUF_TILED_COLUMNS where column r does.  Of NIB_GGUF_KEY_GROUPS the rows of the second
 * tensor are behind those of the first. */
uint64_t nib_gguf_place(const nib_gguf_heads *h, nib_gguf_held held, uint64_t r);
/* How many rows the first tensor of NIB_GGUF_KEY_GROUPS has. */
uint64_t nib_gguf_group_rows(const nib_gguf_heads *h);
/* Which row of the family's matrix lies at `place`, of NIB_GGUF_KEY_GROUPS. */
uint64_t nib_gguf_group_row_at(const nib_gguf_heads *h, uint64_t place);
/* Does the file hold -exp(x)? */
bool nib_gguf_decays(nib_gguf_held held);
/* "6 heads of 16 channels ...": the sizes, for messages. */
void nib_gguf_heads_text(const nib_gguf_heads *h, nib_gguf_held held, char out[160]);

#endif
