/* fuzz_safetensors.c - any bytes as a .safetensors file: refused, or every tensor readable. */
#include <stdlib.h>

#include "format/safetensors_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static nib_ctx *ctx; /* one for the whole run: it starts threads */
    nib_safetensors_header h = { 0 };
    nib_error err;
    volatile uint8_t sum = 0;

    if (!ctx && nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, &err)) abort();
    if (nib_safetensors_parse(ctx, data, bytes, "input", &h, &err) == NIB_OK) {
        uint64_t total = 0;
        for (size_t i = 0; i < h.count; i++) {
            const uint8_t *p = h.tensors[i].data;
            for (uint64_t b = 0; b < h.tensors[i].bytes; b++) sum = (uint8_t)(sum + p[b]);
            total += h.tensors[i].bytes;
        }
        /* the tensors fill the data exactly */
        if (total != bytes - 8 - nib_load_le64(data)) abort();
    }
    nib_safetensors_header_free(ctx, &h);
    return 0;
}
