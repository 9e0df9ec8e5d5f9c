/* gguf_keys.h - the keys that say what a model is, as llama.cpp's converter writes them (formats.md
 * 12.5, formats-quant.md 7.2), and the divisors of its rope's angles, which are tensors. */
#ifndef NIB_MODEL_GGUF_KEYS_H
#define NIB_MODEL_GGUF_KEYS_H

#include "format/gguf_writer.h"
#include "model/gguf_naming.h"

typedef struct nib_gguf_divisors {
    const char *name; /* "rope_freqs.weight" */
    float *values;
    size_t count;
} nib_gguf_divisors;

/* The most that a model has: for short texts and for long ones. */
typedef struct nib_gguf_keys_out {
    nib_gguf_divisors divisors[2];
    size_t divisor_count;
} nib_gguf_keys_out;

#define NIB_GGUF_FILE_TYPE "general.file_type"
#define NIB_GGUF_FILE_TYPE_LATER UINT32_MAX

/* general.architecture and the architecture's own keys.  file_type: llama.cpp's number for the
 * types of the weights, or NIB_GGUF_FILE_TYPE_LATER: the caller writes that key.
 * NIB_E_UNSUPPORTED: what config.json says has no key; NIB_E_MISMATCH: it
 * lacks a key that GGUF must have. */
nib_status nib_gguf_put_model(const nib_model *m, const nib_gguf_naming *n, unsigned file_type,
                              nib_gguf_writer *w, nib_gguf_keys_out *out, nib_error *err);
/* The row of a table of positions that a text's first token takes. */
size_t nib_gguf_first_position(const nib_graph *g);
/* That there is no tokenizer, and how many ids there are: without it llama.cpp takes no file. */
void nib_gguf_put_no_tokenizer(const nib_model *m, const nib_gguf_naming *n, nib_gguf_writer *w);
void nib_gguf_keys_out_free(nib_ctx *ctx, nib_gguf_keys_out *out); /* zeroed is fine */

/* Do two models compute the same, whatever their weights?  NIB_E_UNSUPPORTED: they do not, with
 * what differs: so `written` was read back from a file whose keys cannot say what `m` is. */
nib_status nib_gguf_compare_graphs(const nib_model *m, const nib_model *written, nib_error *err);

#endif
