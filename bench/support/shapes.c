/* shapes.c - config.json of some models, and random weights for them. */
#include "shapes.h"

#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LLAMA(hidden, inner, layers, heads, kv_heads, theta, tied, words)                          \
    "{\"model_type\": \"llama\", \"hidden_size\": " #hidden ", \"intermediate_size\": " #inner     \
    ", \"num_hidden_layers\": " #layers ", \"num_attention_heads\": " #heads                       \
    ", \"num_key_value_heads\": " #kv_heads ", \"rope_theta\": " #theta                            \
    ", \"rms_norm_eps\": 1e-05, \"hidden_act\": \"silu\", \"max_position_embeddings\": 4096"       \
    ", \"tie_word_embeddings\": " #tied ", \"torch_dtype\": \"bfloat16\""                          \
    ", \"vocab_size\": " #words "}"

const bench_shape bench_smollm2 = { "SmolLM2-135M",
                                    LLAMA(576, 1536, 30, 9, 3, 100000.0, true, 49152),
                                    106168320,
                                    49152.0 * 576,
                                    576,
                                    30 };
const bench_shape bench_tinyllama = { "TinyLlama-1.1B",
                                      LLAMA(2048, 5632, 22, 32, 4, 10000.0, false, 32000),
                                      968884224,
                                      32000.0 * 2048,
                                      2048,
                                      22 };
const bench_shape bench_llama2_7b = {
    "Llama-2-7B", LLAMA(4096, 11008, 32, 32, 32, 10000.0, false, 32000),
    6476005376,   32000.0 * 4096,
    4096,         32
};

void bench_write(const char *dir, const char *name, const char *text)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "w");
    if (!f || fputs(text, f) < 0 || fclose(f)) {
        perror(path);
        exit(1);
    }
}

char *bench_shape_dir(const bench_shape *s)
{
    static const char end[] = "/nibble-bench-XXXXXX";
    const char *tmp = getenv("TMPDIR");
    char *dir;

    if (!tmp) tmp = "/tmp";
    dir = malloc(strlen(tmp) + sizeof end);
    if (!dir) abort();
    strcat(strcpy(dir, tmp), end);
    if (!mkdtemp(dir)) {
        perror(dir);
        exit(1);
    }
    bench_write(dir, "config.json", s->config);
    return dir;
}

void bench_remove_dir(char *dir)
{
    static const char *const files[] = { "config.json", "data.jsonl", "model.safetensors" };
    char path[512];

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
    rmdir(dir);
    free(dir);
}

nib_model *bench_model(nib_ctx *ctx, const char *dir, nib_dtype compute)
{
    const nib_setting four_bit[] = { { "load_in_4bit", "true" },
                                     { "bnb_4bit_use_double_quant", "true" },
                                     { NULL, NULL } };
    nib_model_options o = { .model = dir, .settings = four_bit };
    nib_model *model;
    nib_error err;

    bench_demand(nib_model_open_blank(ctx, &o, compute, &model, &err), &err);
    bench_demand(nib_model_fill(model, (nib_model_progress){ 0 }, &err), &err);
    return model;
}
