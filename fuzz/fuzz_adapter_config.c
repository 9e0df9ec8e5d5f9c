/* fuzz_adapter_config.c - any text as adapter_config.json, then matching with what it says. */
#include <stdlib.h>

#include "adapter/peft_match.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char *const names[] = { "lm_head", "model.layers.11.self_attn.q_proj", "h.0.mlp",
                                         "" };
    static const char *const defaults[] = { "q_proj" };
    static nib_ctx *ctx; /* one for the whole run: it starts threads */
    nib_peft_config cfg = { 0 };
    nib_peft_matcher *m = NULL;
    nib_error err;

    if (!ctx && nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, &err)) abort();
    if (nib_peft_config_parse(ctx, (const char *)data, bytes, "input", &cfg, &err) == NIB_OK &&
        nib_peft_matcher_create(ctx, &cfg, defaults, 1, &m, &err) == NIB_OK) {
        for (size_t i = 0; i < NIB_COUNT(names); i++) {
            int64_t r = 1;
            double alpha;
            bool yes;
            (void)nib_peft_match(m, names[i], i % 2, i == 0, &yes, &err);
            if (nib_peft_rank(m, names[i], &r, &alpha, &err) == NIB_OK && r < 1) abort();
            (void)nib_peft_saves(&cfg, names[i]);
        }
    }
    nib_peft_matcher_destroy(m);
    nib_peft_config_free(ctx, &cfg);
    return 0;
}
