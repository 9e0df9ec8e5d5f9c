/* fuzz_config.c - any text as config.json, and the graph it asks for.
 *
 * The graph is built over shapes without data, of the sizes that config.json makes: a config that
 * is taken must also give a graph whose pieces fit. */
#include <stdlib.h>

#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static nib_ctx *ctx; /* one for the whole run: it starts threads */
    nib_config *config;
    nib_outline outline;
    json_t *json;
    nib_error err;

    if (!ctx && nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, &err)) abort();
    if (nib_json_parse((const char *)data, bytes, "config.json", 0, &json, &err)) return 0;
    if (nib_config_parse(ctx, json, "config.json", false, &config, &err) == NIB_OK) {
        /* What config.json alone decides fits together: a mismatch could only be blamed on
         * tensors. */
        if (nib_outline_make(ctx, config, "config.json", &outline, &err) == NIB_E_MISMATCH) abort();
        nib_config_free(ctx, config);
    }
    json_decref(json);
    return 0;
}
