/* gguf_writer.h - writing a GGUF file: keys and tensors declared first, then the tensors' data.
 *
 *     nib_gguf_writer_create()
 *     nib_gguf_put_...(), nib_gguf_add_tensor()    in the order of the file; a failure is kept
 *     nib_gguf_writer_open()                       lays out, checks the disk, writes the header
 *     nib_gguf_writer_put()                        the data, in the order of the tensors
 *     nib_gguf_writer_commit()
 *
 * Version 3, alignment 32, little-endian; layout: gguf.h, formats.md 12.1. */
#ifndef NIB_FORMAT_GGUF_WRITER_H
#define NIB_FORMAT_GGUF_WRITER_H

#include "format/gguf.h"

typedef struct nib_gguf_writer nib_gguf_writer;

nib_status nib_gguf_writer_create(nib_ctx *ctx, nib_gguf_writer **out, nib_error *err);

/* Of a kind that is a number or a bool; the value must be one that the kind holds. */
void nib_gguf_put_number(nib_gguf_writer *w, const char *key, nib_gguf_kind kind, double value);
void nib_gguf_put_text(nib_gguf_writer *w, const char *key, const char *text, size_t bytes);
/* An array, whose `count` entries follow in calls of the two below. */
void nib_gguf_put_array(nib_gguf_writer *w, const char *key, nib_gguf_kind entry, size_t count);
void nib_gguf_entry_number(nib_gguf_writer *w, nib_gguf_kind kind, double value);
void nib_gguf_entry_text(nib_gguf_writer *w, const char *text, size_t bytes);
/* shape in C order, its last dimension a multiple of the type's block. */
void nib_gguf_add_tensor(nib_gguf_writer *w, const char *name, const nib_gguf_type *type,
                         unsigned rank, const uint64_t *shape);
/* The bytes that the tensors take so far, padding and all. */
uint64_t nib_gguf_writer_bytes(const nib_gguf_writer *w);

/* The bytes of the header so far, without the padding behind it. */
uint64_t nib_gguf_writer_header_bytes(const nib_gguf_writer *w);

/* NIB_E_NOMEM for whatever failed before; NIB_E_INVALID: a name of 64 bytes or more; NIB_E_IO: the
 * file cannot be made, or the disk has no room for it, with both sizes.  Nothing appears at `path`
 * before the commit. */
nib_status nib_gguf_writer_open(nib_gguf_writer *w, const char *path, nib_error *err);
/* A piece of any size of the tensors' data; the padding between them is the writer's. */
nib_status nib_gguf_writer_put(nib_gguf_writer *w, const void *data, size_t bytes, nib_error *err);
/* Checks that all data came, syncs and renames; frees w also on failure. */
nib_status nib_gguf_writer_commit(nib_gguf_writer *w, nib_error *err);
void nib_gguf_writer_discard(nib_gguf_writer *w); /* NULL is fine */

#endif
