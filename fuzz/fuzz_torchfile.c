/* fuzz_torchfile.c - any bytes as a file of torch.save, and as the pickle inside one: refused, or
 * every tensor readable. */
#include <stdlib.h>

#include "format/pickle.h"
#include "format/torchfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static nib_ctx *ctx; /* one for the whole run: it starts threads */
    nib_safetensors_header h = { 0 };
    nib_filemap copies = { 0 };
    nib_pickle pickle = { 0 };
    nib_error err;
    volatile uint8_t sum = 0;

    if (!ctx && nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, &err)) abort();
    if (nib_torchfile_parse(ctx, data, bytes, "input", &h, &copies, &err) == NIB_OK) {
        for (size_t i = 0; i < h.count; i++) {
            const uint8_t *p = h.tensors[i].data;
            for (uint64_t b = 0; b < h.tensors[i].bytes; b++) sum = (uint8_t)(sum + p[b]);
        }
    }
    nib_safetensors_header_free(ctx, &h);
    nib_filemap_close(&copies);
    if (nib_pickle_read(ctx, data, bytes, "input", &pickle, &err) == NIB_OK)
        for (size_t i = 0; i < pickle.count; i++)
            if (pickle.tensors[i].rank > NIB_MAX_RANK || !*pickle.tensors[i].name) abort();
    nib_pickle_free(ctx, &pickle);
    return 0;
}
