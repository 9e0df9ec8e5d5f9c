/* windows.h - which tokens of a text are predicted, and from which: the protocols of perplexity. */
#ifndef NIB_JOB_WINDOWS_H
#define NIB_JOB_WINDOWS_H

#include "base/base.h"
#include "nibble/perplexity.h"

/* Tokens [begin, end) are read; of those [first, end) are predicted, each from all before it. */
typedef struct nib_window { size_t begin, end, first; } nib_window;

typedef struct nib_windowing {
    nib_perplexity_preset preset;
    size_t tokens, length, stride; /* stride 0: side by side */
    size_t count;                  /* of windows */
} nib_windowing;

/* NIB_E_INVALID: the text is too short for one window (llama.cpp: for two), or the numbers fit no
 * window. */
nib_status nib_windowing_make(nib_perplexity_preset preset, size_t tokens, size_t length,
                              size_t stride, nib_windowing *out, nib_error *err);
nib_window nib_windowing_at(const nib_windowing *w, size_t i);

#endif
