/* fuzz_json_schema.c - a schema, a line break, and a text that is held to it. */
#include <stdlib.h>
#include <string.h>

#include "job/json_schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static nib_ctx *ctx; /* one for the whole run: it starts threads */
    const uint8_t *end = bytes ? memchr(data, '\n', bytes) : NULL;
    size_t schema_bytes = end ? (size_t)(end - data) : bytes;
    nib_json_schema *s = NULL;
    nib_error err;

    if (!ctx && nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, &err)) abort();
    if (nib_json_schema_parse(ctx, (const char *)data, schema_bytes, "input", &s, &err) == NIB_OK) {
        size_t fields = nib_json_schema_field_count(s), rest = end ? bytes - schema_bytes - 1 : 0;
        bool *right = calloc(fields + 1, sizeof *right);
        char *text = calloc(rest + 1, 1);
        if (!right || !text) abort();
        if (rest) memcpy(text, end + 1, rest);
        /* of a text that it takes every required field, and every other one, is right */
        if (nib_json_schema_takes(s, text, right) && strchr(text, '{') == text)
            for (size_t i = 0; i < fields; i++)
                if (!right[i]) abort();
        free(right);
        free(text);
    }
    nib_json_schema_close(s);
    return 0;
}
