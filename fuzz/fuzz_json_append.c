/* fuzz_json_append.c - a member added to any object: what was JSON stays it, with one more. */
#include <stdlib.h>

#include "format/json.h"
#include "format/json_append.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void append(nib_ctx *ctx, const char *text, size_t bytes, const json_t *before)
{
    const json_t *list = json_object_get(before, "list");
    nib_text out = { .ctx = ctx };
    json_t *after = NULL;
    nib_error err;
    nib_status status = nib_json_append(text, "input", "list", '[', "\n    9", &out, &err);

    if (status) {
        if (!list || json_is_array(list) || json_is_null(list)) abort();
    } else if (nib_json_parse(out.data, out.bytes, "output", 0, &after, &err)) {
        if (!memchr(text, 0x5c, bytes)) abort(); /* the key "\u006cist" would come twice */
    } else {
        const json_t *longer = json_object_get(after, "list");
        size_t n = json_array_size(list);
        if (json_array_size(longer) != n + 1) abort();
        if (json_integer_value(json_array_get(longer, n)) != 9) abort();
        if (json_object_size(after) != json_object_size(before) + !list) abort();
    }
    json_decref(after);
    nib_text_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static nib_ctx *ctx; /* one for the whole run: it starts threads */
    json_t *before = NULL;
    nib_error err;
    char *text;

    if (!ctx && nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, NULL)) abort();
    text = nib_strndup(ctx, (const char *)data, bytes);
    if (!text) abort();
    if (!memchr(data, 0, bytes) && !nib_json_parse(text, bytes, "input", 0, &before, &err) &&
        json_is_object(before))
        append(ctx, text, bytes, before);
    json_decref(before);
    nib_free(ctx, text);
    return 0;
}
