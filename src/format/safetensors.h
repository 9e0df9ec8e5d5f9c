/* safetensors.h - read-only access to the tensors of .safetensors files, and writing them.
 *
 *     [u64 LE: header_bytes][header_bytes of JSON][tensor data ...]
 *
 * Opening maps the file and checks every offset against its size (formats.md 1.6), so
 * a view got from here is safe to read in full.  No tensor data is copied.
 * Format: huggingface/safetensors, README, section "Format". */
#ifndef NIB_FORMAT_SAFETENSORS_H
#define NIB_FORMAT_SAFETENSORS_H

#include "base/base.h"
#include "base/dtype.h"
#include "base/filemap.h"

enum { NIB_MAX_RANK = 16 };

typedef struct nib_tensor {
    const char *name;      /* borrowed from the file */
    nib_dtype dtype;
    const char *dtype_name;/* as in the file: "BF16" */
    unsigned rank;
    uint64_t shape[NIB_MAX_RANK];
    const void *data;      /* on the map; any alignment */
    uint64_t bytes;
    uint64_t elements;
    const nib_filemap *map;/* for giving pages back */
    const char *file;      /* path, for messages */
    /* Where a GGUF holds a tensor otherwise than the family's own files do: */
    const uint32_t *rows;  /* row r (value r of a vector) lies at rows[r]; NULL: at r; of two
                              tensors in the first's rows, and the other's behind them */
    const uint32_t *columns; /* of a matrix: column c of a row lies at columns[c]; NULL: at c */
    float offset;          /* to be added to each value */
    bool straight;         /* as [out, in], where theirs are [in, out] */
    bool foreign;          /* theirs have no such tensor */
    bool is_rest;          /* foreign, and the `rest` of another */
    const struct nib_tensor *rest; /* theirs is this one and then the other, of equal shape, along
                              `axis`, whose size here is that of both; `bytes` are this one's.
                              NULL: there is no other */
    bool decay;            /* -exp(x), where theirs is x */
    bool turns;            /* not one behind the other, but an index of each by turns */
    unsigned axis;
    bool latent;           /* not that either: theirs [heads, keys + values, in] is this one's
                              [heads, in, keys], turned, beside the other's [heads, values, in] */
    uint32_t slices;       /* of nib_tensors_change(): theirs are so many, one behind the other in
                              this one, and the name has %d for their numbers; 0: one */
} nib_tensor;

/* One file, or all shards of a directory, as one set of named tensors. */
typedef struct nib_tensors nib_tensors;

/* path: a .safetensors file, a PyTorch file (.bin, .pt, .pth: formats.md 2), an index of shards of
 * either, a GGUF file or the first of those it is split into (formats.md 12), or a directory
 * holding one of model.safetensors, its index, pytorch_model.bin, its index (that order,
 * transformers').  NIB_E_IO, NIB_E_FORMAT, NIB_E_UNSUPPORTED (of a PyTorch file), NIB_E_NOMEM. */
nib_status nib_tensors_open(nib_ctx *ctx, const char *path, nib_tensors **out, nib_error *err);
void nib_tensors_close(nib_tensors *t); /* NULL is fine; every view ends here */

size_t nib_tensors_count(const nib_tensors *t);
const nib_tensor *nib_tensors_at(const nib_tensors *t,
                                 size_t i); /* in data order, shard by shard */
const nib_tensor *nib_tensors_find(const nib_tensors *t, const char *name); /* NULL: none; hashed */
/* The keys of a GGUF file, of the first where it is split; NULL: the tensors are not from one. */
typedef struct nib_gguf nib_gguf;
const nib_gguf *nib_tensors_gguf(const nib_tensors *t);
/* Lets `change` alter each tensor's name and how it is held; names of no two may be equal then.
 * What it says is several (slices, the first of at least two dimensions) is taken apart. */
nib_status nib_tensors_change(nib_tensors *t,
                              nib_status (*change)(void *self, nib_tensor *t, nib_error *err),
                              void *self, nib_error *err);
/* More tensors, whose data lie in the first file and whose names and lists live as long as the
 * others; `map` and `file` are set here. */
nib_status nib_tensors_add(nib_tensors *t, const nib_tensor *more, size_t count, nib_error *err);
/* Memory that lives as long as the tensors, for their names and rows; NULL: none. */
void *nib_tensors_alloc(nib_tensors *t, size_t bytes);
/* Value of a __metadata__ key of the first file, or NULL. */
const char *nib_tensors_metadata(const nib_tensors *t, const char *key);
/* NIB_E_IO if a mapped file was replaced or written since it was opened. */
nib_status nib_tensors_unchanged(const nib_tensors *t, nib_error *err);

/* --- writing: tensors declared first, then their data in any order of declaration --- */
typedef struct nib_tensor_writer nib_tensor_writer;

typedef struct nib_tensor_plan {
    const char *name;
    nib_dtype dtype;
    unsigned rank;
    uint64_t shape[NIB_MAX_RANK];
} nib_tensor_plan;

/* Writes DIR/STEM.safetensors, or, when the data passes shard_bytes (0: never), shards
 * STEM-0000i-of-0000n.safetensors and STEM.safetensors.index.json, filled greedily in the
 * order given (formats.md 1.3, 1.5), __metadata__ {"format": "pt"}.  DIR exists.  The caller then
 * gives each tensor's data once, in the order given here, in pieces of any size (within a file
 * the tensors lie in the order of the format, so the pieces are put where they belong). Plans are
 * copied.  A tensor above shard_bytes gets a shard of its own, as in transformers; a name that
 * comes twice, is empty, "__metadata__" or longer than 4096 bytes, or a type the format lacks, is
 * NIB_E_INVALID.  Files of another layout that lie in DIR (a single file before shards) stay. */
nib_status nib_tensor_writer_create(nib_ctx *ctx, const char *dir, const char *stem,
                                    const nib_tensor_plan *plans, size_t count,
                                    uint64_t shard_bytes, nib_tensor_writer **out, nib_error *err);
/* The same with more entries of __metadata__ in every file: keys and texts in turn, ended by a key
 * that is NULL. */
nib_status nib_tensor_writer_create_noted(nib_ctx *ctx, const char *dir, const char *stem,
                                          const nib_tensor_plan *plans, size_t count,
                                          uint64_t shard_bytes, const char *const *notes,
                                          nib_tensor_writer **out, nib_error *err);
/* *bytes: what all files that it would write take, but for the index of shards. */
nib_status nib_tensor_files_bytes(nib_ctx *ctx, const nib_tensor_plan *plans, size_t count,
                                  uint64_t shard_bytes, const char *const *notes,
                                  uint64_t *bytes, nib_error *err);
nib_status nib_tensor_writer_put(nib_tensor_writer *w, const void *data, size_t bytes,
                                 nib_error *err);
/* Checks that all data came, syncs and renames every file; frees w also on failure. */
nib_status nib_tensor_writer_commit(nib_tensor_writer *w, nib_error *err);
void nib_tensor_writer_discard(nib_tensor_writer *w);

#endif
