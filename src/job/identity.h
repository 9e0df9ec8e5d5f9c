/* identity.h - what two runs must have in common for one to resume where the other was: keys and
 * values, files and data as hashes, which begin with "sha256:". */
#ifndef NIB_JOB_IDENTITY_H
#define NIB_JOB_IDENTITY_H

#include <jansson.h>

#include "base/hash.h"
#include "format/safetensors.h"
#include "train/data.h"

typedef struct nib_identity {
    nib_ctx *ctx;
    json_t *json; /* an object; the caller's */
    bool failed;  /* no memory: reported once, at the end */
} nib_identity;

void nib_identity_put(nib_identity *i, const char *key, json_t *value); /* takes the value over */
void nib_identity_text(nib_identity *i, const char *key, const char *s); /* NULL: null */
void nib_identity_int(nib_identity *i, const char *key, int64_t n);
void nib_identity_float(nib_identity *i, const char *key, double x);
void nib_identity_bool(nib_identity *i, const char *key, bool b);
void nib_identity_hash(nib_identity *i, const char *key, nib_sha256 *h);

void nib_identity_add_string(nib_sha256 *h, const char *s); /* with its end */
void nib_identity_add_u64(nib_sha256 *h, uint64_t n);

/* The file dir/name, absent where there is none. */
nib_status nib_identity_file(nib_identity *i, const char *key, const char *dir, const char *name,
                             nib_error *err);
/* "model weights": headers and lengths of the weights' files, and the first bytes of each
 * tensor. */
void nib_identity_weights(nib_identity *i, const nib_tensors *tensors);
/* Tokens and marks of every record: the same for two files that give the same ones. */
void nib_identity_data(nib_identity *i, const char *key, const nib_dataset *d);

/* The keys whose values differ, with both, as a list for a message; "" where none does.  The
 * caller's to free; NULL: no memory. */
char *nib_identity_differences(nib_ctx *ctx, const json_t *there, const json_t *here);

#endif
