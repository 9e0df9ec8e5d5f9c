/* fuzz_gguf.c - any bytes as a GGUF file: refused, or every tensor, number and text readable. */
#include <stdlib.h>

#include "format/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static nib_ctx *ctx; /* one for the whole run: it starts threads */
    nib_gguf g = { 0 };
    nib_error err;
    volatile uint8_t sum = 0;

    if (!ctx && nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, &err)) abort();
    if (nib_gguf_parse(ctx, data, bytes, "input", &g, &err) == NIB_OK) {
        uint64_t total = 0;
        for (size_t i = 0; i < g.count; i++) {
            const uint8_t *p = g.tensors[i].data;
            for (uint64_t b = 0; b < g.tensors[i].bytes; b++) sum = (uint8_t)(sum + p[b]);
            total += g.tensors[i].bytes;
        }
        if (total > bytes) abort(); /* tensors would overlap */
        for (size_t i = 0; i < g.value_count; i++) {
            const nib_gguf_value *v = &g.values[i];
            nib_gguf_text text;
            size_t at = 0, texts = 0;
            double number;
            if (nib_gguf_find(&g, v->key) != v) abort();
            while (nib_gguf_next_text(v, &at, &text)) {
                for (size_t b = 0; b < text.bytes; b++) sum = (uint8_t)(sum + text.at[b]);
                texts++;
            }
            if (v->entry == NIB_GGUF_TEXT && texts != v->count) abort();
            for (uint64_t k = 0; k < v->count && v->entry != NIB_GGUF_TEXT; k++)
                if (!nib_gguf_number(v, k, &number)) abort();
        }
    }
    nib_gguf_free(ctx, &g);
    return 0;
}
