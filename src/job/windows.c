/* windows.c - see windows.h.
 *
 * Sources: GPTQ (arXiv 2210.17323, A.2.1) and its datautils.py; the guide to perplexity of
 * fixed-length models in transformers' documentation (stride; its sum weighs a window by one token
 * less than it predicts, ours by all of them); llama.cpp's tools/perplexity. */
#include "job/windows.h"

/* One begins each `stride` tokens, until the text's end is read. */
static size_t strided(size_t tokens, size_t length, size_t stride)
{
    return tokens <= length ? 1 : 1 + nib_ceil_div(tokens - length, stride);
}

nib_status nib_windowing_make(nib_perplexity_preset preset, size_t tokens, size_t length,
                              size_t stride, nib_windowing *out, nib_error *err)
{
    bool halves = preset == NIB_PERPLEXITY_LLAMA_CPP;
    size_t least = halves ? 2 * length : stride ? 2 : length;

    *out = (nib_windowing){ preset, tokens, length, stride, 0 };
    if (length < (halves ? 4 : 2))
        return nib_fail(err, NIB_E_INVALID, "context-length: %zu, expected at least %d", length,
                        halves ? 4 : 2);
    if (stride && halves)
        return nib_fail(err, NIB_E_INVALID,
                        "stride is for the windows of --preset gptq; llama.cpp's "
                        "lie side by side");
    if (stride > length)
        return nib_fail(err, NIB_E_INVALID,
                        "stride %zu exceeds context-length %zu: tokens between windows would not "
                        "be predicted", stride, length);
    if (tokens < least)
        return nib_fail(err, NIB_E_INVALID,
                        "the text has %zu tokens, %zu are needed for windows of %zu: give more "
                        "text or a smaller --context-length", tokens, least, length);
    out->count = stride ? strided(tokens, length, stride) : tokens / length;
    return NIB_OK;
}

nib_window nib_windowing_at(const nib_windowing *w, size_t i)
{
    size_t begin = i * (w->stride ? w->stride : w->length);
    nib_window at = { .begin = begin, .end = nib_min(begin + w->length, w->tokens),
                      .first = begin + 1 };

    if (w->preset == NIB_PERPLEXITY_LLAMA_CPP) at.first = begin + w->length / 2 + 1;
    else if (w->stride && i > 0) at.first = nib_max(begin - w->stride + w->length, begin + 1);
    return at;
}
