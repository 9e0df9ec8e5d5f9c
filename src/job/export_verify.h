/* export_verify.h - whether a file that was written answers as the model does that it was made
 * of. */
#ifndef NIB_JOB_EXPORT_VERIFY_H
#define NIB_JOB_EXPORT_VERIFY_H

#include "model/model.h"
#include "text/tokenizer.h"

/* Is the family one that gives no next words?  Then llama.cpp computes the rows of the last layer,
 * and the model is opened without a head. */
nib_status nib_export_is_encoder(nib_ctx *ctx, const char *model, bool *encoder, nib_error *err);

typedef struct nib_export_check {
    int prompts;
    double greatest; /* difference of two logits, relative to the largest of the prompt */
} nib_export_check;

/* Opens `path`, which was written of m, in float32.  *w is the caller's.  NIB_E_MISMATCH,
 * NIB_E_UNSUPPORTED: its keys make another model. */
nib_status nib_export_open_written(const nib_model *m, const char *path, nib_model **w,
                                   nib_error *err);
/* Compares its tokenizer and the logits of five prompts (of a model without a head the last rows)
 * with those of m.  t: NULL without a tokenizer; most: the greatest difference that the types
 * explain.  NIB_E_MISMATCH, NIB_E_UNSUPPORTED: they differ, with what and by how much. */
nib_status nib_export_verify(nib_model *m, nib_model *w, nib_tokenizer *t, double most,
                             nib_export_check *out, nib_error *err);
/* The logits of the prompts, with those after swap(self), which a second call undoes. */
nib_status nib_export_verify_swap(nib_model *m, nib_tokenizer *t, void (*swap)(void *self),
                                  void *self, double most, nib_export_check *out, nib_error *err);

#endif
