/* lora_options.h - the caller's LoRA options as PEFT's config. */
#ifndef NIB_JOB_LORA_OPTIONS_H
#define NIB_JOB_LORA_OPTIONS_H

#include "adapter/peft_config.h"
#include "nibble/finetune.h"

/* NIB_E_INVALID names the option and what it may be. */
nib_status nib_lora_config(nib_ctx *ctx, const nib_lora_options *o, nib_peft_config *out,
                           nib_error *err);

/* Is it an init_lora_weights that nibble computes (adapter/start.h)? */
bool nib_lora_knows_init(const char *init);

#endif
