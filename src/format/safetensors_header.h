/* safetensors_header.h - the header of one .safetensors file, checked against its bytes.
 *
 * Works on memory, so that a fuzzer can feed it; safetensors.c gives it a map. */
#ifndef NIB_FORMAT_SAFETENSORS_HEADER_H
#define NIB_FORMAT_SAFETENSORS_HEADER_H

#include <jansson.h>

#include "format/safetensors.h"

typedef struct nib_safetensors_header {
    nib_tensor *tensors; /* in data order; data points into the bytes given; map, file unset */
    size_t count;
    char *names;         /* where the tensors' names are kept */
    json_t *metadata;    /* the __metadata__ object, or NULL */
} nib_safetensors_header;

/* Checks a whole file of `bytes` bytes at `base` by every rule of formats.md 1.6 and lists its
 * tensors.  `where` names it in errors.  NIB_E_FORMAT or NIB_E_NOMEM; *out is the caller's,
 * who ends it with nib_safetensors_header_free(). */
nib_status nib_safetensors_parse(nib_ctx *ctx, const uint8_t *base, size_t bytes, const char *where,
                                 nib_safetensors_header *out, nib_error *err);
void nib_safetensors_header_free(nib_ctx *ctx, nib_safetensors_header *h); /* zeroed is fine */

/* The element types of the format, in its own order, which is also the order files are laid
 * out in, from the last to the first (formats.md 1.2, 1.3). */
typedef struct nib_safetensors_type {
    const char *name;
    unsigned bits;
    nib_dtype dtype;
} nib_safetensors_type;

enum { NIB_SAFETENSORS_TYPES = 22 };
extern const nib_safetensors_type nib_safetensors_types[NIB_SAFETENSORS_TYPES];

enum { NIB_SAFETENSORS_LARGEST_HEADER = 100000000, NIB_SAFETENSORS_LONGEST_NAME = 4096 };

#endif
