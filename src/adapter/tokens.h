/* tokens.h - single rows of the words' embedding that an adapter trains (PEFT's
 * trainable_token_indices).
 *
 * The file holds the rows themselves, E.token_adapter.trainable_tokens_delta [count, D], in the
 * order of the config's list; in the model they stand in place of the embedding's
 * (quant/replaced.h), and of the head's where it is the embedding. */
#ifndef NIB_ADAPTER_TOKENS_H
#define NIB_ADAPTER_TOKENS_H

#include "adapter/lora.h"

/* Once the embeddings and linears have what else the config asks for; nothing without the option.
 * NIB_E_MISMATCH: a module or a word that is not there; NIB_E_UNSUPPORTED: another module than the
 * words' embedding, or one that is adapted in another way too. */
nib_status nib_tokens_attach(nib_adapter *a, nib_error *err);
void nib_tokens_detach(const nib_adapter *a);

#endif
