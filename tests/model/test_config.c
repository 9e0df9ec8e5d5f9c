/* test_config.c - unreadable values of config.json are refused, with the key and the value. */
#include <stdlib.h>
#include <string.h>

#include "model/arch_llama.h"
#include "model/model.h"
#include "test.h"

static nib_status parse(nib_ctx *ctx, const char *text, nib_error *err)
{
    nib_config *config = NULL;
    json_t *json;
    nib_status status = nib_json_parse(text, strlen(text), "config.json", 0, &json, err);

    if (status) return status;
    status = nib_config_parse(ctx, json, "config.json", false, &config, err);
    nib_config_free(ctx, config);
    json_decref(json);
    return status;
}

/* `change` replaces a key's value, or adds it: later keys would be duplicates, so it goes by
 * name. */
static nib_status with(nib_ctx *ctx, const char *type, const char *key, const char *value,
                       nib_error *err)
{
    static const char *const plain[][2] = {
        { "vocab_size", "128" }, { "hidden_size", "64" }, { "num_hidden_layers", "2" },
        { "num_attention_heads", "4" },
        { "n_embd", "64" }, { "n_layer", "2" }, { "n_head", "4" }, { "rotary_dim", "8" },
        { "max_position_embeddings", "256" },
    };
    char text[2000];
    size_t n = (size_t)snprintf(text, sizeof text, "{\"model_type\": \"%s\"", type);

    for (size_t i = 0; i < NIB_COUNT(plain); i++)
        if (strcmp(plain[i][0], key) != 0)
            n += (size_t)snprintf(text + n, sizeof text - n, ", \"%s\": %s", plain[i][0],
                                  plain[i][1]);
    if (value) n += (size_t)snprintf(text + n, sizeof text - n, ", \"%s\": %s", key, value);
    snprintf(text + n, sizeof text - n, "}");
    return parse(ctx, text, err);
}

static void test_refused(void)
{
    static const struct { const char *type, *key, *value, *says; } cases[] = {
        { "llama", "hidden_size", NULL, "hidden_size is missing" },
        { "llama", "hidden_size", "\"64\"", "hidden_size" },
        { "llama", "hidden_size", "64.5", "hidden_size" },
        { "llama", "hidden_size", "-64", "-64" },
        { "llama", "hidden_size", "99999999999999999999", "99999999999999999999" },
        { "llama", "hidden_size", "1073741824", "absurd sizes" },
        { "falcon", "hidden_size", "1073741824", "absurd sizes" },
        { "llama", "num_hidden_layers", "20000", "num_hidden_layers is 20000" },
        { "llama", "num_attention_heads", "5", "multiple of 5 heads" },
        { "llama", "num_key_value_heads", "3", "3 key/value heads" },
        { "llama", "rms_norm_eps", "-1e-6", "rms_norm_eps" },
        { "llama", "rms_norm_eps", "1e300", "rms_norm_eps" },
        { "llama", "rope_theta", "0", "rope_theta is 0" },
        { "llama", "rope_theta", "1e-300", "no numbers" },
        { "llama", "rope_scaling", "{\"type\": \"linear\"}", "factor" },
        { "llama", "rope_scaling", "{\"type\": \"linear\", \"factor\": 1e-45}", "no numbers" },
        { "llama", "rope_scaling",
          "{\"type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 0}",
          "expected above 0" },
        { "llama", "rope_scaling", "{\"type\": \"llama3\", \"factor\": 4}",
          "needs original_max_position_embeddings" },
        { "llama", "rope_scaling",
          "{\"type\": \"llama3\", \"factor\": 4, \"original_max_position_embeddings\": 64}",
          "low_freq_factor" },
        { "llama", "dtype", "\"seven\"", "dtype is 'seven'" },
        { "gemma2", "sliding_window", "null", "sliding_window is null or off" },
        { "qwen2", "head_dim", "null", "head_dim is null" },
        { "llama", "rope_scaling", "{\"type\": \"ntk\", \"factor\": 4}", "'ntk'" },
        { "llama", "rope_scaling", "[]", "rope_scaling is not an object" },
        { "llama", "hidden_act", "\"mish\"", "'mish'" },
        { "llama", "tie_word_embeddings", "1", "tie_word_embeddings" },
        { "ministral3", "sliding_window", "null", "llama_4_scaling_beta" },
        { "ministral3", "rope_parameters",
          "{\"rope_type\": \"default\", \"llama_4_scaling_beta\": -1}", "llama_4_scaling_beta -1" },
        { "gemma4_text", "enable_moe_block", "true", "num_experts" },
        { "gemma4_text", "use_bidirectional_attention", "\"all\"", "known are null" },
        { "gemma4_text", "num_kv_shared_layers", "2", "makes keys" },
        { "gemma4_text", "per_layer_config", "{\"2\": {\"head_dim\": 8}}", "'2' is no layer of 2" },
        { "gemma4_text", "per_layer_config", "{\"1\": {\"heads\": 8}}", "'heads', known" },
        { "gemma4_text", "per_layer_config", "{\"1\": {\"head_dim\": 0}}", "head_dim of layer 1" },
        { "gptj", "rotary_dim", "7", "7 rotated channels" },
        { "gptj", "rotary_dim", "64", "64 rotated channels in heads of 16" },
        { "mamba", "hidden_size", "64", "model_type 'mamba' is none of the " },
        { "gemma9", "hidden_size", "64", "nearest: gemma" },
        { "qwen-2", "hidden_size", "64", "that are known, nearest: qwen2, qwen3" },
        { "x", "hidden_size", "64", "that are known (README.md" },
    };
    nib_ctx *ctx = test_ctx();
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_status status = with(ctx, cases[i].type, cases[i].key, cases[i].value, &err);
        CHECK(status && strstr(err.message, cases[i].says), "%s %s: %s", cases[i].key,
              cases[i].value ? cases[i].value : "-", status ? err.message : "taken");
        CHECK(!status || strncmp(err.message, "config.json: ", 13) == 0, "%s", err.message);
    }
    for (size_t i = 0; i < 3; i++) {
        static const char *const types[] = { "llama", "gptj", "falcon" };
        CHECK(with(ctx, types[i], "-", NULL, &err) == NIB_OK, "%s: %s", types[i], err.message);
    }
}

/* Transformers 5 has the fraction of a head that is rotated in rope_parameters. */
static void test_partial(void)
{
    static const struct { const char *more; size_t rotated; } forms[] = {
        { "", 8 },
        { ", \"partial_rotary_factor\": 0.25", 4 },
        { ", \"rope_parameters\": {\"rope_theta\": 1e4, \"partial_rotary_factor\": 0.75}", 12 },
        { ", \"partial_rotary_factor\": 0.25, "
          "\"rope_parameters\": {\"rope_type\": \"default\"}", 4 },
    };
    nib_ctx *ctx = test_ctx();
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(forms); i++) {
        char text[400];
        nib_config *config = NULL;
        json_t *json;

        snprintf(text, sizeof text,
                 "{\"model_type\": \"phi\", \"vocab_size\": 9, \"hidden_size\": 64, "
                 "\"num_hidden_layers\": 1, \"num_attention_heads\": 4%s}", forms[i].more);
        REQUIRE_OK(nib_json_parse(text, strlen(text), "config.json", 0, &json, &err), err);
        REQUIRE_OK(nib_config_parse(ctx, json, "config.json", false, &config, &err), err);
        CHECK(((const nib_llama *)config->values)->rope.rot == forms[i].rotated, "%s: %zu channels",
              forms[i].more, ((const nib_llama *)config->values)->rope.rot);
        nib_config_free(ctx, config);
        json_decref(json);
    }
}

/* transformers 5 saves a qwen2_moe without windows with a window of 0; with windows it is none. */
static void test_no_window(void)
{
    static const char *const windowed[] = { "false", "true" };
    static const char *const types[] = { "qwen2_moe", "qwen3" };
    nib_ctx *ctx = test_ctx();
    nib_error err = { 0 };

    for (size_t i = 0; i < NIB_COUNT(windowed); i++) {
        char text[400];
        snprintf(text, sizeof text,
                 "{\"model_type\": \"%s\", \"vocab_size\": 9, \"hidden_size\": 64, "
                 "\"num_hidden_layers\": 1, \"num_attention_heads\": 4, "
                 "\"num_key_value_heads\": 4, \"sliding_window\": 0, "
                 "\"use_sliding_window\": %s}", types[i], windowed[i]);
        nib_status status = parse(ctx, text, &err);
        CHECK(i ? status == NIB_E_FORMAT && strstr(err.message, "sliding_window is 0") : !status,
              "%s: %s", types[i], err.message);
    }
}

static const test_case cases[] = { { "values that cannot be are refused by key", test_refused },
                                   { "the rotated part of a head", test_partial },
                                   { "a window of 0 where there is none", test_no_window } };

int main(void) { return test_main("test_config", cases, NIB_COUNT(cases)); }
