/* peft_card.h - README.md of an adapter: the front matter that tools read, and a skeleton. */
#ifndef NIB_ADAPTER_PEFT_CARD_H
#define NIB_ADAPTER_PEFT_CARD_H

#include "base/base.h"

/* Writes DIR/README.md unless it exists.  base_model may be NULL: unknown (formats.md 3.9). */
nib_status nib_peft_card_write(nib_ctx *ctx, const char *dir, const char *base_model, nib_error *err);

#endif
