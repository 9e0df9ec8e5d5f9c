/* peft_tokens.h - trainable_token_indices of adapter_config.json: null, a list of words' numbers,
 * or lists by the names of modules. */
#ifndef NIB_ADAPTER_PEFT_TOKENS_H
#define NIB_ADAPTER_PEFT_TOKENS_H

#include "adapter/peft_config.h"
#include "format/json.h"
#include "format/jsontext.h"

/* Reads `value` (NULL and null: none) into a config that has none.  NIB_E_FORMAT: not what PEFT
 * writes; NIB_E_NOMEM. */
nib_status nib_peft_tokens_read(nib_ctx *ctx, const json_t *value, const char *where,
                                nib_peft_config *cfg, nib_error *err);
/* One list without a name, as the option has it; count 0: none. */
nib_status nib_peft_tokens_set(nib_ctx *ctx, nib_peft_config *cfg, const int *ids, size_t count,
                               nib_error *err);
void nib_peft_tokens_free(nib_ctx *ctx, nib_peft_config *cfg);
/* The value, as PEFT writes it. */
void nib_peft_tokens_put(nib_text *t, const nib_peft_config *cfg);
/* The same words in every list, in any order: all lists mean the embedding, whatever names it. */
bool nib_peft_tokens_same(const nib_peft_config *x, const nib_peft_config *y);

#endif
