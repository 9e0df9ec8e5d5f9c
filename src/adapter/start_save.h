/* start_save.h - what an adapter's directory says of its start.
 *
 * A dense base: the values are those of a LoRA of twice the rank (halves.h), and nothing else is to
 * be written.  A low-bit base that was changed: the adapter is as it was trained, and
 *
 *     DIR/base_change/    a LoRA of A0 and -B0 with the same r and alpha, which, merged into the
 *                         dense model and quantized (nibble quantize --adapter, or PEFT and
 *                         bitsandbytes), gives the base it was trained on
 *
 * stands beside it, with its fingerprint in the adapter's file (merged.h). */
#ifndef NIB_ADAPTER_START_SAVE_H
#define NIB_ADAPTER_START_SAVE_H

#include "adapter/lora.h"

/* The config as it is written: borrows all but its patterns, which nib_start_saved_free() frees. */
nib_status nib_start_saved(const nib_adapter *a, nib_peft_config *out, nib_error *err);
void nib_start_saved_free(const nib_adapter *a, nib_peft_config *saved);

/* Writes DIR/base_change/, where there is something to be written; of an adapter that was read and
 * refers to one, copies it from beside where it was read (a warning where it is not there). */
nib_status nib_start_save_change(const nib_adapter *a, const char *dir, nib_error *err);
/* NIB_E_MISMATCH: DIR/base_change/ is not what this adapter's start took, to the bit. */
nib_status nib_start_same_change(const nib_adapter *a, const char *dir, nib_error *err);

#endif
