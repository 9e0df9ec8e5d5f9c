/* test_mlx_models.c - models of MLX whose experts are stacks in the family's own files too, or that
 * have convolutions or a latent attention: the logits are mlx_lm's
 * (tests/golden/make/mlx_experts_golden.py, mlx_layout_golden.py), as read and merged into floats;
 * a dry run counts what the files have. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "adapter/adapter.h"
#include "format/safetensors.h"
#include "model/model.h"
#include "nibble/merge.h"
#include "logits.h"
#include "test.h"

enum { VOCABULARY = 128, TOKENS = 12 };

static const char *const names[] = { "granitemoe", "gemma4-moe", "gpt-oss", "lfm2", "qwen3-next",
                                     "qwen3-5-moe", "granite-hybrid", "granite-hybrid-experts",
                                     "deepseek-v3" };

static const char *golden(const char *name)
{
    char path[200];

    snprintf(path, sizeof path, "tests/golden/mlx/%s", name);
    return test_data(path);
}

static nib_status open_model(nib_ctx *ctx, const char *dir, bool blank, nib_model **m,
                             nib_error *err)
{
    nib_model_options o = { .model = dir };

    return blank ? nib_model_open_blank(ctx, &o, NIB_F32, m, err)
                 : nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, m, err);
}

static void check_logits(nib_ctx *ctx, const char *dir, const char *name, double tolerance)
{
    float got[TOKENS * VOCABULARY];
    char path[600];
    nib_tensors *expected = NULL;
    nib_model *m = NULL;
    nib_error err;
    double worst = 0;

    snprintf(path, sizeof path, "%s/expected.safetensors", golden(name));
    REQUIRE_OK(nib_tensors_open(ctx, path, &expected, &err), err);
    REQUIRE_OK(open_model(ctx, dir, false, &m, &err), err);
    if (test_compute(m, nib_tensors_find(expected, "ids")->data, TOKENS, got)) {
        const float *want = nib_tensors_find(expected, "logits")->data;
        for (size_t i = 0; i < NIB_COUNT(got); i++) {
            double d = fabs((double)got[i] - (double)want[i]);
            if (!(d <= worst)) worst = d;
        }
        CHECK(worst <= tolerance, "%s: logits differ by %g", dir, worst);
    }
    nib_model_close(m);
    nib_tensors_close(expected);
}

static void test_logits(void)
{
    for (size_t i = 0; i < NIB_COUNT(names); i++) {
        nib_ctx *ctx = test_ctx();
        check_logits(ctx, golden(names[i]), names[i], 1e-4);
        CHECK(nib_ctx_warning_count(ctx) == 0, "%s: %s", names[i], nib_ctx_warning(ctx, 0).text);
    }
}

static void test_merged(void)
{
    for (size_t i = 0; i < NIB_COUNT(names); i++) {
        nib_ctx *ctx = test_ctx();
        char out[600];
        nib_merge_options o = { .model = golden(names[i]), .out = out, .dtype = "float32" };
        nib_error err;

        snprintf(out, sizeof out, "%s/%s", test_tmpdir(), names[i]);
        REQUIRE_OK(nib_merge(ctx, &o, &err), err);
        check_logits(ctx, out, names[i], 1e-4);
    }
}

static void test_planned(void)
{
    for (size_t i = 0; i < NIB_COUNT(names); i++) {
        nib_ctx *ctx = test_ctx();
        nib_model *m = NULL, *blank = NULL;
        nib_error err;

        REQUIRE_OK(open_model(ctx, golden(names[i]), false, &m, &err), err);
        REQUIRE_OK(open_model(ctx, golden(names[i]), true, &blank, &err), err);
        /* scales are float32 here, and counted in the type of config.json */
        CHECK(m->parameters == blank->parameters && blank->weight_bytes < m->weight_bytes &&
                  blank->weight_bytes > m->weight_bytes / 3,
              "%s: %zu parameters in %zu bytes, planned are %zu in %zu", names[i],
              (size_t)m->parameters, (size_t)m->weight_bytes, (size_t)blank->parameters,
              (size_t)blank->weight_bytes);
        nib_model_close(blank);
        nib_model_close(m);
    }
}

/* Of kv_b_proj's two parts one is not there. */
static void test_part_missing(void)
{
    const char *from = golden("deepseek-v3"), *dir = test_tmpdir();
    nib_ctx *ctx = test_ctx();
    char command[1400];
    nib_model *m = NULL;
    nib_error err = { 0 };

    snprintf(command, sizeof command,
             "cp %s/config.json %s/ && sed 's/unembed_out/unembed_oux/g' %s/model.safetensors "
             "> %s/model.safetensors", from, dir, from, dir);
    CHECK(system(command) == 0, "%s", command);
    CHECK(open_model(ctx, dir, false, &m, &err) == NIB_E_MISMATCH &&
              strstr(err.message, "has 2 heads, and model.layers.0.self_attn.unembed_out"), "%s",
          err.message);
    nib_model_close(m);
}

int main(void)
{
    static const test_case cases[] = { { "logits are mlx_lm's", test_logits },
                                       { "merged", test_merged },
                                       { "a part is missing", test_part_missing },
                                       { "planned", test_planned } };
    return test_main("mlx_models", cases, NIB_COUNT(cases));
}
