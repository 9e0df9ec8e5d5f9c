/* test_config.c - generation_config.json: texts equal to transformers' under its settings, and what
 * is refused or named. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "format/json.h"
#include "nibble/generate.h"

/* The small model with another generation_config.json. */
static const char *put_model(const char *config)
{
    static const char *const files[] = { "config.json", "model.safetensors", "tokenizer.json",
                                         "tokenizer_config.json" };
    static char dir[600];
    char path[700], target[700], *from = realpath(test_data("models/pico"), NULL);
    FILE *f;

    if (!from) return NULL;
    snprintf(dir, sizeof dir, "%s", test_tmpdir());
    for (size_t i = 0; i < NIB_COUNT(files); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        snprintf(target, sizeof target, "%s/%s", from, files[i]);
        unlink(path);
        if (symlink(target, path)) break;
    }
    free(from);
    snprintf(path, sizeof path, "%s/generation_config.json", dir);
    f = fopen(path, "w");
    if (!f) return NULL;
    fputs(config, f);
    fclose(f);
    return dir;
}

static nib_status open_with(nib_ctx *ctx, const char *config, nib_generator **g, nib_error *err)
{
    nib_model_options model = { .model = put_model(config), .compute_dtype = NIB_COMPUTE_FLOAT32 };
    *g = NULL;
    return nib_generator_open(ctx, &model, NULL, 0, g, err);
}

static void test_golden(void)
{
    json_t *all = NULL, *one;
    nib_ctx *ctx = test_ctx();
    nib_error err;
    size_t i;

    REQUIRE_OK(nib_json_read(ctx, test_data("tests/golden/generate/configs.json"), 0, &all, &err),
               err);
    json_array_foreach(all, i, one)
    {
        const char *prompt = json_string_value(json_object_get(one, "prompt")),
                   *want = json_string_value(json_object_get(one, "text"));
        char *config = json_dumps(json_object_get(one, "config"), 0);
        json_int_t tokens = json_integer_value(json_object_get(one, "new_tokens"));
        nib_generate_options o;
        nib_generate_result r = { 0 };
        nib_generator *g;
        nib_status status = open_with(ctx, config, &g, &err);

        CHECK(!status, "%.200s: %s", config, err.message);
        if (status) continue;
        nib_generate_defaults(&o);
        status = nib_generator_run(g, prompt, strlen(prompt), &o, &r, &err);
        CHECK((status == NIB_OK) == (want != NULL), "%.200s: %s", config,
              status ? err.message : "accepted");
        if (!status && want)
            CHECK(strcmp(r.text, want) == 0 && (json_int_t)r.new_tokens == tokens,
                  "%.200s: %d tokens, expected %d\n  got  %s\n  want %s", config, (int)r.new_tokens,
                  (int)tokens, r.text, want);
        nib_generate_result_free(g, &r);
        nib_generator_close(g);
        free(config);
    }
    CHECK(i > 25, "%zu cases", i);
    json_decref(all);
}

static void test_refused(void)
{
    static const struct {
        const char *config, *says;
    } cases[] = {
        { "{\"guidance_scale\": 1.5}", "guidance_scale 1.5" },
        { "{\"watermarking_config\": {\"bias\": 2.0}}", "watermarking_config {" },
        { "{\"encoder_repetition_penalty\": 1.2}", "encoder_repetition_penalty" },
        { "{\"num_beams\": 4}", "num_beams 4" },
        { "{\"penalty_alpha\": 0.6, \"top_k\": 4}", "penalty_alpha" },
        { "{\"dola_layers\": \"low\"}", "dola_layers" },
        { "{\"sequence_bias\": [[[1], 2.0]]}", "sequence_bias" },
        { "{\"max_time\": 3}", "max_time" },
        { "{\"constraints\": [1]}", "constraints" },
        { "{\"suppress_tokens\": [1.5]}", "suppress_tokens: element 0" },
        { "{\"bad_words_ids\": []}", "bad_words_ids" },
        { "{\"bad_words_ids\": [[]]}", "bad_words_ids[0]" },
        { "{\"exponential_decay_length_penalty\": [1]}", "exponential_decay_length_penalty" },
        { "{\"stop_strings\": [\"\"]}", "stop_strings" },
        { "{\"min_new_tokens\": \"8\"}", "min_new_tokens" },
    };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_generator *g;
        nib_error err = { .message = "" };
        nib_status status = open_with(ctx, cases[i].config, &g, &err);
        CHECK(status && strstr(err.message, cases[i].says) &&
                  strstr(err.message, "generation_config.json"),
              "%s: %s", cases[i].config, status ? err.message : "accepted");
        nib_generator_close(g);
    }
}

static void hear(void *user, nib_message_kind kind, const char *text)
{
    if (kind == NIB_MESSAGE_WARNING) snprintf(user, 600, "%s", text);
}

/* A key that nobody knows is named, and the model is used. */
static void test_unknown(void)
{
    char heard[600] = "";
    nib_ctx_options o = { .threads = 1, .message = hear, .message_user = heard };
    nib_ctx *ctx = NULL;
    nib_generator *g = NULL;
    nib_error err;

    REQUIRE_OK(nib_ctx_create(&o, &ctx, &err), err);
    CHECK(!open_with(ctx, "{\"top_q\": 3, \"temprature\": 1, \"top_k\": null}", &g, &err), "%s",
          err.message);
    CHECK(strstr(heard, "'top_q', 'temprature'") != NULL, "%s", heard);
    nib_generator_close(g);
    nib_ctx_destroy(ctx);
}

int main(void)
{
    static const test_case cases[] = { { "golden", test_golden },
                                       { "refused", test_refused },
                                       { "unknown", test_unknown } };
    return test_main("generation_config", cases, NIB_COUNT(cases));
}
