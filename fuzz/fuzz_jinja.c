/* fuzz_jinja.c - any text as a template, rendered over a small chat: spans stay inside the text. */
#include <stdlib.h>

#include "text/jinja_template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static nib_ctx *ctx; /* one for the whole run: it starts threads */
    nib_jinja *t = NULL;
    nib_jinja_output out = { 0 };
    nib_error err;
    json_t *v = json_pack("{s:[{s:s,s:s},{s:s,s:s}],s:b,s:s}", "messages", "role", "user",
                          "content", " hi ", "role", "assistant", "content", "yes",
                          "add_generation_prompt", 1, "bos_token", "<s>");

    if (!v || (!ctx && nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, &err))) abort();
    if (!nib_jinja_create(ctx, "input", (const char *)data, bytes, &t, &err) &&
        !nib_jinja_render(t, v, NULL, &out, &err))
        for (size_t i = 0; i < out.span_count; i++)
            if (out.spans[i].begin > out.spans[i].end || out.spans[i].end > out.bytes) abort();
    nib_jinja_output_free(ctx, &out);
    nib_jinja_destroy(t);
    json_decref(v);
    return 0;
}
