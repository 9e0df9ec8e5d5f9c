/* test_peft_config.c - adapter_config.json read and written again as PEFT 0.21.2 saved it
 * (tests/golden/adapter/config-*.json, made by peft_golden.py), and what is refused. */
#pragma GCC diagnostic ignored "-Wformat-zero-length" /* CHECK without a message */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "adapter/peft_tokens.h"
#include "base/filemap.h"
#include "test.h"

static void test_same_bytes(void)
{
    static const char *const files[] = { "plain", "full", "regex" };
    nib_ctx *ctx = test_ctx();
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(files); i++) {
        char path[600], *want, *got;
        size_t want_bytes, got_bytes;
        nib_peft_config cfg;

        snprintf(path, sizeof path, "tests/golden/adapter/config-%s.json", files[i]);
        REQUIRE_OK(nib_file_read(ctx, test_data(path), 1 << 20, &want, &want_bytes, &err), err);
        REQUIRE_OK(nib_peft_config_parse(ctx, want, want_bytes, path, &cfg, &err), err);
        REQUIRE_OK(nib_peft_config_write(ctx, test_tmpdir(), &cfg, &err), err);
        nib_peft_config_free(ctx, &cfg);
        REQUIRE_OK(nib_peft_config_read(ctx, test_tmpdir(), &cfg, &err), err);
        nib_peft_config_free(ctx, &cfg);
        snprintf(path, sizeof path, "%s/adapter_config.json", test_tmpdir());
        REQUIRE_OK(nib_file_read(ctx, path, 1 << 20, &got, &got_bytes, &err), err);
        CHECK(strcmp(want, got) == 0, "%s: %s", files[i], got);
        nib_free(ctx, want);
        nib_free(ctx, got);
    }
}

static void test_values(void)
{
    nib_ctx *ctx = test_ctx();
    nib_peft_config cfg;
    nib_error err;
    char *text;
    size_t bytes;

    REQUIRE_OK(nib_file_read(ctx, test_data("tests/golden/adapter/config-full.json"), 1 << 20,
                             &text, &bytes, &err),
               err);
    REQUIRE_OK(nib_peft_config_parse(ctx, text, bytes, "full", &cfg, &err), err);
    CHECK(cfg.r == 4 && cfg.lora_alpha == 1.5 && cfg.lora_dropout == 1e-5 && cfg.use_rslora &&
          cfg.fan_in_fan_out);
    CHECK(cfg.bias == NIB_PEFT_BIAS_LORA_ONLY && strcmp(cfg.init_lora_weights, "gaussian") == 0);
    CHECK(cfg.target_modules.kind == NIB_PEFT_LIST && cfg.exclude_modules.kind == NIB_PEFT_REGEX);
    CHECK(cfg.layers_count == 2 && cfg.layers[1] == 3 && cfg.layers_is_list &&
          cfg.layers_pattern.count == 1);
    CHECK(cfg.rank_count == 2 && cfg.alpha_count == 2 && cfg.alpha_pattern[0].value == 0.5);
    CHECK(strcmp(cfg.task_type, "CAUSAL_LM") == 0 && strcmp(cfg.revision, "main") == 0 &&
          !cfg.base_model_name_or_path);
    nib_peft_config_free(ctx, &cfg);
    nib_free(ctx, text);
}

static void test_refuses(void)
{
    static const struct { const char *json; nib_status status; const char *says; } bad[] = {
        { "[]", NIB_E_FORMAT, "not an object" },
        { "{}", NIB_E_FORMAT, "peft_type is missing" },
        { "{\"peft_type\":\"IA3\"}", NIB_E_UNSUPPORTED, "IA3" },
        { "{\"peft_type\":1}", NIB_E_FORMAT, "peft_type" },
        { "{\"peft_type\":\"LORA\",\"r\":0}", NIB_E_FORMAT, "r is 0" },
        { "{\"peft_type\":\"LORA\",\"r\":8.0}", NIB_E_FORMAT, "expected an integer" },
        { "{\"peft_type\":\"LORA\",\"lora_alpha\":\"8\"}", NIB_E_FORMAT, "lora_alpha" },
        { "{\"peft_type\":\"LORA\",\"lora_dropout\":1}", NIB_E_FORMAT, "lora_dropout" },
        { "{\"peft_type\":\"LORA\",\"bias\":\"some\"}", NIB_E_FORMAT, "bias is some" },
        { "{\"peft_type\":\"LORA\",\"target_modules\":3}", NIB_E_FORMAT, "target_modules" },
        { "{\"peft_type\":\"LORA\",\"target_modules\":[1]}", NIB_E_FORMAT, "target_modules" },
        { "{\"peft_type\":\"LORA\",\"modules_to_save\":\"x\"}", NIB_E_FORMAT, "modules_to_save" },
        { "{\"peft_type\":\"LORA\",\"init_lora_weights\":\"magic\"}", NIB_E_FORMAT, "magic" },
        { "{\"peft_type\":\"LORA\",\"rank_pattern\":{\"a\":0}}", NIB_E_FORMAT, "rank_pattern" },
        { "{\"peft_type\":\"LORA\",\"alpha_pattern\":{\"a\":\"b\"}}", NIB_E_FORMAT,
          "alpha_pattern" },
        { "{\"peft_type\":\"LORA\",\"layers_to_transform\":\"1\"}", NIB_E_FORMAT,
          "layers_to_transform" },
        { "{\"peft_type\":\"LORA\",\"target_modules\":\"a\",\"layers_to_transform\":1}",
          NIB_E_FORMAT, "need a list" },
        { "{\"peft_type\":\"LORA\",\"layers_pattern\":\"h\"}", NIB_E_FORMAT,
          "layers_to_transform is not" },
        { "{\"peft_type\":\"LORA\",\"use_dora\":1}", NIB_E_FORMAT, "use_dora is" },
        { "{\"peft_type\":\"LORA\",\"lora_bias\":true}", NIB_E_UNSUPPORTED, "lora_bias" },
        { "{\"peft_type\":\"LORA\",\"alora_invocation_tokens\":[1]}", NIB_E_UNSUPPORTED, "alora" },
        { "{\"peft_type\":\"LORA\",\"arrow_config\":{\"a\":1}}", NIB_E_UNSUPPORTED, "arrow" },
        { "{\"peft_type\":\"LORA\",\"use_bdlora\":{\"a\":1}}", NIB_E_UNSUPPORTED, "bdlora" },
        { "{\"peft_type\":\"LORA\",\"use_qalora\":true}", NIB_E_UNSUPPORTED, "qalora" },
        { "{\"peft_type\":\"LORA\",\"layer_replication\":[[0,1]]}", NIB_E_UNSUPPORTED,
          "replication" },
        { "{\"peft_type\":\"LORA\",\"target_parameters\":\"a\"}", NIB_E_FORMAT,
          "target_parameters is neither null nor a list" },
        { "{\"peft_type\":\"LORA\",\"megatron_config\":{\"a\":1}}", NIB_E_UNSUPPORTED, "megatron" },
    };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(bad); i++) {
        nib_peft_config cfg;
        nib_error err = { 0 };
        nib_status status = nib_peft_config_parse(ctx, bad[i].json, strlen(bad[i].json), "config",
                                                  &cfg, &err);
        CHECK(status == bad[i].status, "%s: %d", bad[i].json, status);
        CHECK(strstr(err.message, bad[i].says), "%s: says: %s", bad[i].json, err.message);
    }
}

/* All lists of an adapter mean the embedding, whatever names it: the words count. */
static void test_words(void)
{
    static const struct { const char *x, *y; bool same; } pairs[] = {
        { "[5, 7]", "{\"embed_tokens\": [5, 7]}", true },
        { "[5, 7]", "[7, 5]", true },
        { "{\"embed_tokens\": [5], \"lm_head\": [5]}", "[5]", true },
        { "null", "[]", true },
        { "[5, 7]", "[5, 8]", false },
        { "[5, 7]", "[5]", false },
        { "null", "[5]", false },
        { "{\"a\": [5], \"b\": [6]}", "[5]", false },
    };

    for (size_t i = 0; i < NIB_COUNT(pairs); i++) {
        const char *const texts[] = { pairs[i].x, pairs[i].y };
        nib_peft_config c[2] = { { 0 } };
        nib_error err;

        for (int k = 0; k < 2; k++) {
            char json[200];
            snprintf(json, sizeof json, "{\"peft_type\": \"LORA\", "
                     "\"trainable_token_indices\": %s}", texts[k]);
            REQUIRE_OK(nib_peft_config_parse(test_ctx(), json, strlen(json), "c", &c[k], &err),
                       err);
        }
        CHECK(nib_peft_tokens_same(&c[0], &c[1]) == pairs[i].same &&
                  nib_peft_tokens_same(&c[1], &c[0]) == pairs[i].same, "%s, %s", texts[0],
              texts[1]);
        for (int k = 0; k < 2; k++) nib_peft_config_free(test_ctx(), &c[k]);
    }
}

int main(void)
{
    static const test_case cases[] = {
        { "same_bytes", test_same_bytes },
        { "values", test_values },
        { "words", test_words },
        { "refuses", test_refuses },
    };
    return test_main("peft_config", cases, NIB_COUNT(cases));
}
