/* gguf.h - one GGUF file: its keys and its tensors, checked against its bytes.
 *
 *     "GGUF" [u32 version][i64 tensors][i64 keys]
 *     keys     { text key; u32 type; value }                  text: [u64 bytes][UTF-8]
 *     tensors  { text name; u32 rank; i64 dims[rank]; u32 type; u64 offset }
 *     padding to general.alignment, then the data; offsets count from there
 *
 * Works on memory, so that a fuzzer can feed it; safetensors.c gives it a map.  Nothing of the keys
 * is copied but their names: values are read where they lie, arrays entry by entry.
 * Format: ggml, docs/gguf.md; formats.md 12. */
#ifndef NIB_FORMAT_GGUF_H
#define NIB_FORMAT_GGUF_H

#include "format/safetensors.h"

typedef enum nib_gguf_kind {
    NIB_GGUF_U8, NIB_GGUF_I8, NIB_GGUF_U16, NIB_GGUF_I16, NIB_GGUF_U32, NIB_GGUF_I32,
    NIB_GGUF_F32, NIB_GGUF_BOOL, NIB_GGUF_TEXT, NIB_GGUF_ARRAY, NIB_GGUF_U64, NIB_GGUF_I64,
    NIB_GGUF_F64, NIB_GGUF_KINDS
} nib_gguf_kind;

typedef struct nib_gguf_text { const char *at; size_t bytes; } nib_gguf_text; /* no NUL behind it */

/* A key's value; of an array the entries. */
typedef struct nib_gguf_value {
    const char *key;
    nib_gguf_kind kind;  /* of an array NIB_GGUF_ARRAY */
    nib_gguf_kind entry; /* of its entries; of others the kind itself */
    uint64_t count;      /* of the entries; of others 1 */
    const uint8_t *at;
    size_t bytes;
} nib_gguf_value;

/* How tensors of a type lie: blocks of `elements` values in `bytes` bytes. */
typedef struct nib_gguf_type {
    uint32_t id;
    const char *name;
    unsigned elements, bytes;
    nib_dtype dtype; /* NIB_DTYPE_OTHER: blocks */
} nib_gguf_type;
const nib_gguf_type *nib_gguf_type_named(const char *name);  /* "Q4_K"; NULL: none */

struct nib_gguf {
    nib_gguf_value *values;
    size_t value_count;
    nib_tensor *tensors; /* in the file's order, shapes in C order; map, file unset */
    size_t count;
    char *names;         /* of keys and tensors */
    size_t data_at;      /* where the data begin */
};

/* Do the bytes, and those of the regular file at `path` (NULL: none), begin as such a file does? */
bool nib_gguf_is(const uint8_t *base, size_t bytes);
bool nib_gguf_is_file(const char *path);

/* Checks a whole file by every rule of formats.md 12.9 and lists what it holds.  `where` names it
 * in errors.  NIB_E_FORMAT; NIB_E_UNSUPPORTED: version 1, a big-endian file, a tensor type that is
 * not known; NIB_E_NOMEM.  *out is the caller's: nib_gguf_free(). */
nib_status nib_gguf_parse(nib_ctx *ctx, const uint8_t *base, size_t bytes, const char *where,
                          nib_gguf *out, nib_error *err);
void nib_gguf_free(nib_ctx *ctx, nib_gguf *g); /* zeroed is fine */

const nib_gguf_value *nib_gguf_find(const nib_gguf *g, const char *key); /* NULL: absent */

/* Entry i of a value whose entries are numbers or bools, as a double, which holds every one of them
 * that a model file means (integers below 2^53).  False: no number, or no such entry. */
bool nib_gguf_number(const nib_gguf_value *v, uint64_t i, double *out);
/* The same of an integer: false too when it is none, or negative. */
bool nib_gguf_count(const nib_gguf_value *v, uint64_t i, uint64_t *out);

/* Texts one after the other: at the beginning *at is 0.  False: no text is left. */
bool nib_gguf_next_text(const nib_gguf_value *v, size_t *at, nib_gguf_text *out);
/* A value that is one text; false: it is not. */
bool nib_gguf_one_text(const nib_gguf_value *v, nib_gguf_text *out);
bool nib_gguf_text_is(nib_gguf_text t, const char *s);

#endif
