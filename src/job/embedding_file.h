/* embedding_file.h - embeddings into a file that is there whole or not at all: .npy, .safetensors
 * or .jsonl. */
#ifndef NIB_JOB_EMBEDDING_FILE_H
#define NIB_JOB_EMBEDDING_FILE_H

#include "format/jsontext.h"

typedef struct nib_embedding_file nib_embedding_file;

/* For texts x width floats.  NIB_E_INVALID: the name ends otherwise. */
nib_status nib_embedding_file_create(nib_ctx *ctx, const char *path, size_t texts, size_t width,
                                     nib_embedding_file **out, nib_error *err);
/* The next row. */
nib_status nib_embedding_file_put(nib_embedding_file *f, const float *row, nib_error *err);
nib_status nib_embedding_file_commit(nib_embedding_file *f, nib_error *err); /* frees f always */
void nib_embedding_file_discard(nib_embedding_file *f); /* NULL is fine */

/* Does the name end so that it can be created? */
nib_status nib_embedding_file_check(const char *path, nib_error *err);
/* {"embedding": [...]}: the fewest digits that read back as the same float. */
void nib_embedding_line(nib_text *line, const float *row, size_t width);

#endif
