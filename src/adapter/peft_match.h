/* peft_match.h - which modules an adapter sits on, exactly as PEFT decides (formats.md 3.4). */
#ifndef NIB_ADAPTER_PEFT_MATCH_H
#define NIB_ADAPTER_PEFT_MATCH_H

#include "adapter/peft_config.h"

typedef struct nib_peft_match nib_peft_match;

/* Compiles the patterns of a config.  defaults: the family's names for target_modules null
 * (NULL-terminated).  NIB_E_FORMAT / NIB_E_UNSUPPORTED name a pattern that does not compile. */
nib_status nib_peft_match_create(const nib_peft_config *c, const char *const *defaults,
                                 nib_peft_match **out, nib_error *err);
void nib_peft_match_destroy(nib_peft_match *m);

/* Does a low-rank branch sit on this module?  linear: a Linear, otherwise an embedding; head: the
 * output embedding, which all-linear leaves out.  NIB_E_UNSUPPORTED: a match limit was passed. */
nib_status nib_peft_is_target(nib_peft_match *m, const char *module, bool linear, bool head,
                              bool *yes, nib_error *err);
/* Is the module trained as a whole (modules_to_save)? */
bool nib_peft_is_saved(const nib_peft_match *m, const char *module);
nib_status nib_peft_rank(nib_peft_match *m, const char *module, int *rank, nib_error *err);
/* scale = alpha / r, or alpha / sqrt(r) with use_rslora */
nib_status nib_peft_scale(nib_peft_match *m, const char *module, double *scale, nib_error *err);

/* What lands in the file for all-linear: the matched names, condensed to suffixes when there are
 * 20 or more (formats.md 3.4, last paragraphs).  all: every module name of the model. */
nib_status nib_peft_condense(nib_ctx *ctx, const char *const *targets, size_t target_count,
                             const char *const *all, size_t all_count, nib_peft_names *out, nib_error *err);

#endif
