/* peft_card.h - README.md of an adapter: the model card (formats.md 3.9). */
#ifndef NIB_ADAPTER_PEFT_CARD_H
#define NIB_ADAPTER_PEFT_CARD_H

#include "adapter/peft_config.h"

/* Writes DIR/README.md: front matter as PEFT's (base_model, library_name, pipeline_tag for
 * CAUSAL_LM, tags) and a page with the adapter's own values; a base model that is a path is named
 * by its last part.  `training`: lines of Markdown on how it was trained, or NULL.  An existing
 * README.md is kept as it is: somebody may have written in it. */
nib_status nib_peft_card_write(nib_ctx *ctx, const char *dir, const nib_peft_config *cfg,
                               const char *training, nib_error *err);

#endif
