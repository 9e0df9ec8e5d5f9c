/* known_models.c - see known_models.h.  What does not change sizes or work is left out; the numbers
 * are those of the models' own config.json on the hub. */
#include "job/known_models.h"

#include "base/base.h"

#define SIZES(type, hidden, inner, layers, heads, kv_heads, width, words, tied)                    \
    "{\"model_type\": \"" type "\", \"hidden_size\": " #hidden ", \"intermediate_size\": " #inner  \
    ", \"num_hidden_layers\": " #layers ", \"num_attention_heads\": " #heads                       \
    ", \"num_key_value_heads\": " #kv_heads ", \"head_dim\": " #width                              \
    ", \"rms_norm_eps\": 1e-05, \"max_position_embeddings\": 32768, \"vocab_size\": " #words       \
    ", \"tie_word_embeddings\": " tied ", \"dtype\": \"bfloat16\""

#define LLAMA(...) SIZES("llama", __VA_ARGS__) ", \"hidden_act\": \"silu\"}"
#define MISTRAL(...) SIZES("mistral", __VA_ARGS__) ", \"hidden_act\": \"silu\", "                  \
    "\"sliding_window\": null}"
#define QWEN3(...) SIZES("qwen3", __VA_ARGS__) ", \"hidden_act\": \"silu\"}"
#define QWEN2(hidden, inner, layers, heads, kv_heads, words, tied)                                 \
    "{\"model_type\": \"qwen2\", \"hidden_size\": " #hidden ", \"intermediate_size\": " #inner     \
    ", \"num_hidden_layers\": " #layers ", \"num_attention_heads\": " #heads                       \
    ", \"num_key_value_heads\": " #kv_heads ", \"rms_norm_eps\": 1e-06, \"hidden_act\": \"silu\""  \
    ", \"max_position_embeddings\": 32768, \"vocab_size\": " #words                                \
    ", \"tie_word_embeddings\": " tied ", \"dtype\": \"bfloat16\"}"
#define GEMMA3(...) SIZES("gemma3_text", __VA_ARGS__) ", \"query_pre_attn_scalar\": 256, "         \
    "\"sliding_window\": 512, \"rope_local_base_freq\": 10000.0, "                                 \
    "\"hidden_activation\": \"gelu_pytorch_tanh\"}"
#define GRANITE(hidden, inner, layers, heads, kv_heads, kinds) \
    "{\"model_type\": \"granitemoehybrid\", \"hidden_size\": " #hidden                             \
    ", \"shared_intermediate_size\": " #inner ", \"intermediate_size\": " #inner                   \
    ", \"num_local_experts\": 0, \"num_experts_per_tok\": 0, \"num_hidden_layers\": " #layers      \
    ", \"num_attention_heads\": " #heads ", \"num_key_value_heads\": " #kv_heads                   \
    ", \"layer_types\": [" kinds "\"attention\"]"                                                  \
    ", \"position_embedding_type\": \"rope\", \"tie_word_embeddings\": true"                       \
    ", \"max_position_embeddings\": 32768, \"vocab_size\": 100352, \"dtype\": \"bfloat16\"}"
#define ONE "\"attention\", "
#define THREE ONE ONE ONE
#define NINE THREE THREE THREE
#define LFM2(hidden, inner, heads)                                                                 \
    "{\"model_type\": \"lfm2\", \"hidden_size\": " #hidden ", \"block_ff_dim\": " #inner           \
    ", \"block_auto_adjust_ff_dim\": true, \"block_multiple_of\": 256"                             \
    ", \"block_ffn_dim_multiplier\": 1.0, \"num_hidden_layers\": 16"                               \
    ", \"num_attention_heads\": " #heads ", \"num_key_value_heads\": 8, \"conv_L_cache\": 3"       \
    ", \"layer_types\": [" CONVS ATTENTION CONVS ATTENTION CONVS ATTENTION CONV ATTENTION CONV     \
    ATTENTION CONV ATTENTION "\"conv\"], \"max_position_embeddings\": 32768"                       \
    ", \"vocab_size\": 65536, \"dtype\": \"bfloat16\"}"
#define CONV "\"conv\", "
#define CONVS CONV CONV
#define ATTENTION "\"full_attention\", "

static const nib_known_model known[] = {
    { "SmolLM2-135M", LLAMA(576, 1536, 30, 9, 3, 64, 49152, "true") },
    { "Gemma-3-270M", GEMMA3(640, 2048, 18, 4, 1, 256, 262144, "true") },
    { "LFM2-350M", LFM2(1024, 6656, 16) },
    { "SmolLM2-360M", LLAMA(960, 2560, 32, 15, 5, 64, 49152, "true") },
    { "Granite-4.0-350M", GRANITE(1024, 2048, 28, 16, 4, NINE NINE NINE) },
    { "Qwen2.5-0.5B", QWEN2(896, 4864, 24, 14, 2, 151936, "true") },
    { "Qwen3-0.6B", QWEN3(1024, 3072, 28, 16, 8, 128, 151936, "true") },
    { "LFM2-700M", LFM2(1536, 10240, 24) },
    { "Gemma-3-1B", GEMMA3(1152, 6912, 26, 4, 1, 256, 262144, "true") },
    { "LFM2-1.2B", LFM2(2048, 12288, 32) },
    { "Llama-3.2-1B", LLAMA(2048, 8192, 16, 32, 8, 64, 128256, "true") },
    { "Qwen2.5-1.5B", QWEN2(1536, 8960, 28, 12, 2, 151936, "true") },
    { "Granite-4.0-1B", GRANITE(2048, 4096, 40, 16, 4, NINE NINE NINE NINE THREE) },
    { "SmolLM2-1.7B", LLAMA(2048, 8192, 24, 32, 32, 64, 49152, "true") },
    { "Qwen3-1.7B", QWEN3(2048, 6144, 28, 16, 8, 128, 151936, "true") },
    { "Qwen2.5-3B", QWEN2(2048, 11008, 36, 16, 2, 151936, "true") },
    { "Llama-3.2-3B", LLAMA(3072, 8192, 28, 24, 8, 128, 128256, "true") },
    { "Phi-4-mini",
      SIZES("phi3", 3072, 8192, 32, 24, 8, 128, 200064, "true")
      ", \"hidden_act\": \"silu\", \"partial_rotary_factor\": 0.75, "
      "\"original_max_position_embeddings\": 4096, \"pad_token_id\": 199999}" },
    { "Qwen3-4B", QWEN3(2560, 9728, 36, 32, 8, 128, 151936, "true") },
    { "Mistral-7B", MISTRAL(4096, 14336, 32, 32, 8, 128, 32768, "false") },
    { "Qwen2.5-7B", QWEN2(3584, 18944, 28, 28, 4, 152064, "false") },
    { "Llama-3.1-8B", LLAMA(4096, 14336, 32, 32, 8, 128, 128256, "false") },
};

const nib_known_model *nib_known_model_at(size_t i)
{
    return i < NIB_COUNT(known) ? &known[i] : NULL;
}
