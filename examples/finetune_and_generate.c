/* finetune_and_generate.c - trains an adapter on a model and asks it something, with nothing but
 * the public headers.  Builds as C17 and as C++17.
 *
 *     finetune_and_generate MODEL DATA.jsonl ADAPTER_DIR "prompt" */
#include <stdio.h>
#include <string.h>

#include <nibble/nibble.h>

static void show_step(void *user, const nib_step_report *r)
{
    (void)user;
    if (r->step % 10 == 0)
        fprintf(stderr, "step %llu of %llu, loss %.4f\n", (unsigned long long)r->step,
                (unsigned long long)r->steps, r->loss);
}

static bool show_text(void *user, const char *text, size_t bytes)
{
    (void)user;
    return fwrite(text, 1, bytes, stdout) == bytes;
}

/* A dense model is quantized while it is loaded. */
static const nib_setting four_bit[] = { { "load_in_4bit", "true" }, { NULL, NULL } };

static nib_status finetune(nib_ctx *ctx, char **argv, nib_error *err)
{
    nib_finetune_options o;

    nib_finetune_defaults(&o);
    o.model.model = argv[1];
    o.model.settings = four_bit;
    o.data.data = argv[2];
    o.output_dir = argv[3];
    o.overwrite = true;
    o.lora.r = 8;
    o.lora.lora_alpha = 16;
    o.lora.target_modules.all_linear = true;
    o.train.learning_rate = 5e-3;
    o.train.max_steps = 100;
    o.on_step = show_step;
    return nib_finetune(ctx, &o, err);
}

static nib_status ask(nib_ctx *ctx, char **argv, nib_error *err)
{
    nib_model_options model;
    nib_adapter_choice adapter;
    nib_generate_options o;
    nib_generate_result r;
    nib_generator *g = NULL;
    nib_status status;

    memset(&model, 0, sizeof model);
    model.model = argv[1];
    model.settings = four_bit;
    adapter.name = NULL; /* the only one */
    adapter.dir = argv[3];
    status = nib_generator_open(ctx, &model, &adapter, 1, &g, err);
    if (status) return status;

    memset(&r, 0, sizeof r);
    nib_generate_defaults(&o);
    o.temperature = 0;
    o.max_new_tokens = 64;
    o.on_text = show_text;
    status = nib_generator_run(g, argv[4], strlen(argv[4]), &o, &r, err);
    if (!status) putchar('\n');
    nib_generate_result_free(g, &r);
    nib_generator_close(g);
    return status;
}

int main(int argc, char **argv)
{
    nib_ctx *ctx = NULL;
    nib_error err;
    nib_status status;

    if (argc != 5) {
        fprintf(stderr, "usage: %s MODEL DATA.jsonl ADAPTER_DIR \"prompt\"\n", argv[0]);
        return 2;
    }
    status = nib_ctx_create(NULL, &ctx, &err);
    if (!status) status = finetune(ctx, argv, &err);
    if (!status) status = ask(ctx, argv, &err);
    if (status) fprintf(stderr, "%s\n", err.message);
    nib_ctx_destroy(ctx);
    return status ? 1 : 0;
}
