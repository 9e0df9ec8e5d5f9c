/* lora_continue.h - what a run asks of an adapter that it trains further. */
#ifndef NIB_JOB_LORA_CONTINUE_H
#define NIB_JOB_LORA_CONTINUE_H

#include "adapter/adapter.h"
#include "nibble/finetune.h"

/* An adapter keeps the configuration it was made with, so each option of `o` that was given
 * (o->given) must agree with it.  Of what names modules the modules count, not the spelling.
 * NIB_E_INVALID names all that contradict, both values; NIB_E_NOMEM. */
nib_status nib_lora_continues(const nib_adapter *a, const nib_lora_options *o, nib_error *err);

#endif
