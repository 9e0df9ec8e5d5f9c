/* grown.h - which tensors of a model have a row for each word, and the rows that they get. */
#ifndef NIB_JOB_GROWN_H
#define NIB_JOB_GROWN_H

#include "job/mean_rows.h"
#include "model/model.h"

enum { NIB_GROWN_MOST = 4 }; /* embedding, head, its bias by two names */

typedef struct nib_grown_table {
    const nib_tensor *tensor;
    nib_mean_rows *rows;       /* NULL: zeros; one of the nib_grown */
} nib_grown_table;

typedef struct nib_grown {
    nib_ctx *ctx;
    const nib_model *model;      /* blank */
    const nib_tensors *tensors;
    nib_grown_table tables[NIB_GROWN_MOST];
    size_t count;
    nib_mean_rows embedding, head, bias;
    uint64_t before, after;      /* rows */
    float *row;                  /* [width] */
    uint8_t *bytes;              /* the same in the tensor's type */
} nib_grown;

/* Finds the tables of `model`, opened blank, in its files, and checks them: NIB_E_UNSUPPORTED where
 * one is quantized, or is none that is known here; NIB_E_MISMATCH where its shape is not what
 * config.json says.  What they refer to is borrowed. */
nib_status nib_grown_find(const nib_model *model, const nib_tensors *tensors, nib_grown *out,
                          nib_error *err);
/* Learns what rows before .. after are. */
nib_status nib_grown_learn(nib_grown *g, uint64_t after, uint64_t seed, nib_error *err);
/* The table that `t` is; NULL: it stays as it is. */
const nib_grown_table *nib_grown_of(const nib_grown *g, const nib_tensor *t);
/* Writes the new rows behind the old ones, which the caller has put. */
nib_status nib_grown_put(nib_grown *g, const nib_grown_table *table, nib_tensor_writer *to,
                         nib_error *err);
void nib_grown_free(nib_grown *g);

#endif
