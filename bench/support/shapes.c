/* shapes.c - config.json of some models, and random weights for them. */
#include "shapes.h"

#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LLAMA(hidden, inner, layers, heads, kv_heads, theta, tied, words)                          \
    "{\"model_type\": \"llama\", \"hidden_size\": " #hidden ", \"intermediate_size\": " #inner     \
    ", \"num_hidden_layers\": " #layers ", \"num_attention_heads\": " #heads                       \
    ", \"num_key_value_heads\": " #kv_heads ", \"rope_theta\": " #theta                            \
    ", \"rms_norm_eps\": 1e-05, \"hidden_act\": \"silu\", \"max_position_embeddings\": 4096"       \
    ", \"tie_word_embeddings\": " #tied ", \"torch_dtype\": \"bfloat16\""                          \
    ", \"vocab_size\": " #words "}"

const bench_shape bench_smollm2 = { "smollm2", "SmolLM2-135M",
                                    LLAMA(576, 1536, 30, 9, 3, 100000.0, true, 49152),
                                    106168320, 49152.0 * 576, 576, 30 };
const bench_shape bench_tinyllama = { "tinyllama", "TinyLlama-1.1B",
                                      LLAMA(2048, 5632, 22, 32, 4, 10000.0, false, 32000),
                                      968884224, 32000.0 * 2048, 2048, 22 };
const bench_shape bench_llama2_7b = { "7b", "Llama-2-7B",
                                      LLAMA(4096, 11008, 32, 32, 32, 10000.0, false, 32000),
                                      6476005376, 32000.0 * 4096, 4096, 32 };

/* The large vocabularies, and the recurrences.  Sizes as published where they are known; what is
 * not among them is the configuration class's default. */
static const bench_shape others[] = {
    { "gemma3", "Gemma-3-270M",
      "{\"model_type\": \"gemma3_text\", \"hidden_size\": 640, \"intermediate_size\": 2048, "
      "\"num_hidden_layers\": 18, \"num_attention_heads\": 4, \"num_key_value_heads\": 1, "
      "\"head_dim\": 256, \"query_pre_attn_scalar\": 256, \"sliding_window\": 512, "
      "\"rope_theta\": 1000000.0, \"rope_local_base_freq\": 10000.0, \"rms_norm_eps\": 1e-06, "
      "\"hidden_activation\": \"gelu_pytorch_tanh\", \"max_position_embeddings\": 32768, "
      "\"vocab_size\": 262144, \"torch_dtype\": \"bfloat16\"}",
      100270080, 262144.0 * 640, 1024, 18 },
    { "qwen3", "Qwen3-0.6B",
      "{\"model_type\": \"qwen3\", \"hidden_size\": 1024, \"intermediate_size\": 3072, "
      "\"num_hidden_layers\": 28, \"num_attention_heads\": 16, \"num_key_value_heads\": 8, "
      "\"head_dim\": 128, \"rope_theta\": 1000000, \"rms_norm_eps\": 1e-06, "
      "\"hidden_act\": \"silu\", \"max_position_embeddings\": 40960, "
      "\"tie_word_embeddings\": true, \"vocab_size\": 151936, \"torch_dtype\": \"bfloat16\"}",
      440401920, 151936.0 * 1024, 2048, 28 },
#define FOUR "\"linear_attention\", \"linear_attention\", \"linear_attention\", \"full_attention\""
    { "qwen3_5", "Qwen3.5-0.8B",
      "{\"model_type\": \"qwen3_5_text\", \"hidden_size\": 1024, \"intermediate_size\": 3584, "
      "\"num_hidden_layers\": 24, \"num_attention_heads\": 8, \"num_key_value_heads\": 2, "
      "\"head_dim\": 256, \"linear_num_key_heads\": 16, \"linear_num_value_heads\": 16, "
      "\"layer_types\": [" FOUR ", " FOUR ", " FOUR ", " FOUR ", " FOUR ", " FOUR "], "
      "\"tie_word_embeddings\": true, \"vocab_size\": 248320, \"torch_dtype\": \"bfloat16\"}",
      497614848, 248320.0 * 1024, 2048, 6 },
    { "lfm2", "LFM2-350M",
      "{\"model_type\": \"lfm2\", \"hidden_size\": 1024, \"block_ff_dim\": 6656, "
      "\"num_hidden_layers\": 16, \"num_attention_heads\": 16, \"num_key_value_heads\": 8, "
      "\"layer_types\": [\"conv\", \"conv\", \"full_attention\", \"conv\", \"conv\", "
      "\"full_attention\", \"conv\", \"conv\", \"full_attention\", \"conv\", \"full_attention\", "
      "\"conv\", \"full_attention\", \"conv\", \"full_attention\", \"conv\"], "
      "\"vocab_size\": 65536, \"torch_dtype\": \"bfloat16\"}",
      287309824, 65536.0 * 1024, 1024, 6 },
#define MAMBA3 "\"mamba\", \"mamba\", \"mamba\""
    { "granite_h", "Granite-4.0-H-350M",
      "{\"model_type\": \"granitemoehybrid\", \"hidden_size\": 768, "
      "\"shared_intermediate_size\": 2048, \"num_local_experts\": 0, "
      "\"num_experts_per_tok\": 0, \"num_hidden_layers\": 32, \"num_attention_heads\": 12, "
      "\"num_key_value_heads\": 4, \"mamba_n_heads\": 48, \"mamba_d_head\": 32, "
      "\"mamba_d_state\": 128, \"position_embedding_type\": null, \"layer_types\": ["
      MAMBA3 ", " MAMBA3 ", " MAMBA3 ", \"mamba\", \"attention\", \"mamba\", \"mamba\", "
      "\"attention\", " MAMBA3 ", \"attention\", " MAMBA3 ", " MAMBA3 ", " MAMBA3 ", "
      "\"attention\", " MAMBA3 ", \"mamba\"], \"tie_word_embeddings\": true, "
      "\"vocab_size\": 100352, \"torch_dtype\": \"bfloat16\"}",
      262914048, 100352.0 * 768, 768, 4 },
};

const bench_shape *bench_shape_named(const char *key)
{
    static const bench_shape *const first[] = { &bench_smollm2, &bench_tinyllama,
                                                &bench_llama2_7b };

    for (size_t i = 0; i < sizeof first / sizeof *first; i++)
        if (strcmp(first[i]->key, key) == 0) return first[i];
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(others[i].key, key) == 0) return &others[i];
    return NULL;
}

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
    static const char *const files[] = { "config.json", "data.jsonl", "model.safetensors",
                                         "model.gguf" };
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
