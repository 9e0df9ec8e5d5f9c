/* arch_gemma4.h - Gemma 4's names in GGUF, which fill a file of their own. */
#ifndef NIB_MODEL_ARCH_GEMMA4_H
#define NIB_MODEL_ARCH_GEMMA4_H

#include "model/arch.h"

extern const nib_gguf_family nib_gemma4_gguf;

#endif
