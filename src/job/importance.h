/* importance.h - how much each input of a matrix counts when it is encoded: the mean square of what
 * it is multiplied by on some texts (an importance matrix; formats-quant.md 7.10).
 *
 * Read of llama.cpp's files, GGUF or of the older form, or made of texts. */
#ifndef NIB_JOB_IMPORTANCE_H
#define NIB_JOB_IMPORTANCE_H

#include "adapter/adapter.h"
#include "model/gguf_naming.h"
#include "nibble/finetune.h"
#include "text/tokenizer.h"

typedef struct nib_importance {
    char *name;    /* "blk.0.attn_q.weight" */
    float *values; /* [groups, in] */
    size_t count, groups; /* groups: experts, or 1 */
    float *rows;   /* [groups] that they are means over; 0: none reached it */
} nib_importance;

typedef struct nib_importances {
    nib_ctx *ctx;
    nib_importance *items;
    size_t count, capacity;
    char *file, *dataset; /* as the keys of what was made with it name them; NULL: not known */
    uint32_t chunks, chunk_tokens; /* records of the texts, and the most tokens of one */
} nib_importances;

/* Of llama.cpp's file.  NIB_E_FORMAT: it is none, or has a value below 0 or not finite. */
nib_status nib_importances_open(nib_ctx *ctx, const char *path, nib_importances *out,
                                nib_error *err);
/* Of what model `m` computes on the records of data->data, at most `records` of them. */
nib_status nib_importances_make(nib_model *m, const nib_gguf_naming *n, nib_tokenizer *t,
                                const nib_data_options *data, size_t records, nib_importances *out,
                                nib_error *err);
void nib_importances_free(nib_importances *m); /* zeroed is fine */

/* NULL: it has none. */
const nib_importance *nib_importance_of(const nib_importances *m, const char *name);
/* An entry of zeros; NULL: no memory. */
nib_importance *nib_importance_add(nib_importances *m, const char *name, size_t name_bytes,
                                   size_t count, size_t groups);
/* Writes the file that llama.cpp reads, of GGUF's form. */
nib_status nib_importances_write(const nib_importances *m, const char *path, nib_error *err);

#endif
