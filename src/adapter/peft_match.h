/* peft_match.h - which modules an adapter config means, with which rank and alpha.
 *
 * Exactly PEFT's rules (formats.md 3.4; its tuners_utils.py, check_target_module_exists and
 * get_pattern_key).  Names are module paths of the base model: "model.layers.0.mlp.up_proj".
 * Python's regular expressions run under PCRE2: what the two read alike is accepted, any
 * other construct is refused by name. */
#ifndef NIB_ADAPTER_PEFT_MATCH_H
#define NIB_ADAPTER_PEFT_MATCH_H

#include "adapter/peft_config.h"

typedef struct nib_peft_matcher nib_peft_matcher;

/* `defaults`: the family's targets, used where target_modules is null (formats.md 3.5).  Borrows
 * cfg and defaults until nib_peft_matcher_destroy().  NIB_E_UNSUPPORTED: a construct PCRE2 reads
 * otherwise than Python; NIB_E_FORMAT: not a regular expression; NIB_E_NOMEM. */
nib_status nib_peft_matcher_create(nib_ctx *ctx, const nib_peft_config *cfg,
                                   const char *const *defaults, size_t default_count,
                                   nib_peft_matcher **out, nib_error *err);
void nib_peft_matcher_destroy(nib_peft_matcher *m); /* NULL is fine */

/* *yes: the module gets an adapter.  With a list or a regular expression the kind of module does
 * not count: where *yes is true for one that cannot have an adapter, PEFT fails, and so must the
 * caller. NIB_E_FORMAT: an expression passed the match limits on this name. */
nib_status nib_peft_match(const nib_peft_matcher *m, const char *name, bool is_linear,
                          bool is_output_head, bool *yes, nib_error *err);

/* Rank and alpha of a module that matched. */
nib_status nib_peft_rank(const nib_peft_matcher *m, const char *name, int64_t *r, double *alpha,
                         nib_error *err);

/* The module is trained and stored whole: its name, or that of a module that it lies in, ends with
 * an item of modules_to_save, without regard to dots ("head" means lm_head too). */
bool nib_peft_saves(const nib_peft_config *cfg, const char *name);

/* What PEFT stores for a list of `count` module paths, when `others` are all modules not meant: the
 * list itself below 20, else the least set of suffixes that tells them apart, sorted. */
nib_status nib_peft_condense(nib_ctx *ctx, const char *const *targets, size_t count,
                             const char *const *others, size_t other_count, nib_peft_names *out,
                             nib_error *err);

#endif
