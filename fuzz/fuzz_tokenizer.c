/* fuzz_tokenizer.c - tokenizer.json and a text, in one input: JSON, a NUL, text. */
#include <stdint.h>
#include <string.h>

#include "text/tokenizer.h"
#include "text/tokenizer_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, 0, size);
    size_t json = end ? (size_t)(end - data) : size;
    nib_ctx_options options = { .threads = 1 };
    nib_tokenizer *t = NULL;
    nib_tokens tokens = { 0 };
    nib_ctx *ctx;
    nib_error err;

    if (nib_ctx_create(&options, &ctx, &err)) return 0;
    if (!nib_tokenizer_parse(ctx, (const char *)data, json, "fuzz", &t, &err) && end) {
        const char *text = (const char *)end + 1;
        size_t bytes = size - json - 1;
        if (!nib_tokenizer_encode(t, text, bytes, true, &tokens, NULL, &err)) {
            char *out;
            size_t out_bytes;
            uint32_t ids[64];
            size_t n = 0;
            for (; n < tokens.count && n < 64; n++) ids[n] = tokens.items[n].id;
            if (!nib_tokenizer_decode(t, ids, n, true, &out, &out_bytes, &err)) nib_free(ctx, out);
        }
    }
    nib_tokens_free(ctx, &tokens);
    nib_tokenizer_close(t);
    nib_ctx_destroy(ctx);
    return 0;
}
