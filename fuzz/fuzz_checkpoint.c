/* fuzz_checkpoint.c - any text as nibble_state.json and as trainer_state.json; what is read is
 * written and read again. */
#include <stdlib.h>

#include "train/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void history(nib_ctx *ctx, const char *text, size_t bytes)
{
    nib_trainer_state s, again;
    nib_text t = { .ctx = ctx };
    nib_error err;

    nib_trainer_state_init(ctx, &s);
    nib_trainer_state_init(ctx, &again);
    if (nib_trainer_state_parse(&s, text, bytes, "input", &err) == NIB_OK) {
        nib_trainer_state_put(&t, &s);
        if (nib_trainer_state_parse(&again, t.data, t.bytes, "again", &err)) abort();
        if (again.log_count != s.log_count || again.global_step != s.global_step) abort();
    }
    nib_text_free(&t);
    nib_trainer_state_free(&s);
    nib_trainer_state_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static nib_ctx *ctx; /* one for the whole run: it starts threads */
    nib_checkpoint c = { 0 };
    json_t *root = NULL;
    nib_error err;

    if (!ctx && nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, &err)) abort();
    if (nib_checkpoint_parse(ctx, (const char *)data, bytes, "input", &root, &c, &err) == NIB_OK &&
        !c.identity)
        abort();
    nib_checkpoint_free(ctx, &c);
    json_decref(root);
    history(ctx, (const char *)data, bytes);
    return 0;
}
