/* test_experts_apart.c - Qwen3.5-MoE with each expert in tensors of its own, dense or packed.
 *
 * tests/golden/experts/ has such models and transformers' logits of them
 * (tests/golden/make/experts_golden.py); that the dense one is the fused one bit for bit, with
 * gradients and adapters, tests/job/test_parameters.c shows. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "adapter/adapter.h"
#include "logits.h"
#include "model/model.h"
#include "nibble/merge.h"
#include "test.h"

enum { VOCABULARY = 32, TOKENS = 12 };

static const char *const packed[] = { "fp8", "nf4" };

static const char *golden(const char *name)
{
    char path[200];

    snprintf(path, sizeof path, "tests/golden/experts/%s", name);
    return test_data(path);
}

static nib_status open_model(nib_ctx *ctx, const char *dir, bool experts, bool blank,
                             nib_model **m, nib_error *err)
{
    nib_model_options o = { .model = dir, .quantize_experts = experts };

    return blank ? nib_model_open_blank(ctx, &o, NIB_F32, m, err)
                 : nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, m, err);
}

static void check_logits(nib_ctx *ctx, const char *dir, const char *name)
{
    float got[TOKENS * VOCABULARY];
    char path[600];
    nib_tensors *expected = NULL;
    nib_model *m = NULL;
    nib_error err;
    double worst = 0;

    snprintf(path, sizeof path, "%s/expected.safetensors", golden(name));
    REQUIRE_OK(nib_tensors_open(ctx, path, &expected, &err), err);
    REQUIRE_OK(open_model(ctx, dir, false, false, &m, &err), err);
    if (test_compute(m, nib_tensors_find(expected, "ids")->data, TOKENS, got)) {
        const float *want = nib_tensors_find(expected, "logits")->data;
        for (size_t i = 0; i < NIB_COUNT(got); i++) {
            double d = fabs((double)got[i] - (double)want[i]);
            if (!(d <= worst)) worst = d;
        }
        CHECK(worst <= 1e-4, "%s: logits differ by %g", dir, worst);
    }
    nib_model_close(m);
    nib_tensors_close(expected);
}

static void test_packed(void)
{
    for (size_t i = 0; i < NIB_COUNT(packed); i++) {
        nib_ctx *ctx = test_ctx();
        nib_model *m = NULL;
        size_t experts = 0;
        nib_error err;

        check_logits(ctx, golden(packed[i]), packed[i]);
        CHECK(nib_ctx_warning_count(ctx) == 0, "%s: %s", packed[i],
              nib_ctx_warning(ctx, 0).text);
        REQUIRE_OK(open_model(ctx, golden(packed[i]), false, false, &m, &err), err);
        for (size_t k = 0; k < m->linear_count; k++) {
            nib_form form = nib_weight_form(m->linears[k]->weight);
            CHECK(nib_form_is_dense(&form) == !m->linears[k]->stack, "%s: %s", packed[i],
                  m->linears[k]->name);
            experts += m->linears[k]->stack != NULL;
        }
        CHECK(experts == 4, "%zu matrices of experts", experts);
        nib_model_close(m);
    }
}

/* What is packed on disk is dense tensors of each expert afterwards, under their own names. */
static void test_merged(void)
{
    for (size_t i = 0; i < NIB_COUNT(packed); i++) {
        nib_ctx *ctx = test_ctx();
        char out[600], path[700];
        nib_merge_options o = { .model = golden(packed[i]), .out = out, .dtype = "float32" };
        nib_tensors *t;
        nib_error err;

        snprintf(out, sizeof out, "%s/%s", test_tmpdir(), packed[i]);
        REQUIRE_OK(nib_merge(ctx, &o, &err), err);
        check_logits(ctx, out, packed[i]);
        snprintf(path, sizeof path, "%s/model.safetensors", out);
        REQUIRE_OK(nib_tensors_open(ctx, path, &t, &err), err);
        for (size_t k = 0; k < nib_tensors_count(t); k++)
            CHECK(nib_tensors_at(t, k)->dtype == NIB_F32, "%s: %s", packed[i],
                  nib_tensors_at(t, k)->name);
        CHECK(nib_tensors_find(t, "model.layers.0.mlp.experts.1.up_proj.weight"), "%s",
              packed[i]);
        nib_tensors_close(t);
    }
}

/* quantize_experts is about dense ones: what is NF4 already stays as it lies. */
static void test_asked_again(void)
{
    nib_ctx *ctx = test_ctx();
    nib_model *plain = NULL, *again = NULL;
    nib_error err;

    REQUIRE_OK(open_model(ctx, golden("nf4"), false, false, &plain, &err), err);
    REQUIRE_OK(open_model(ctx, golden("nf4"), true, false, &again, &err), err);
    for (size_t i = 0; i < plain->linear_count; i++) {
        bool same = false;
        REQUIRE_OK(nib_weight_same(ctx, plain->linears[i]->weight, again->linears[i]->weight,
                                   &same, &err), err);
        CHECK(same, "%s", plain->linears[i]->name);
    }
    nib_model_close(plain);
    nib_model_close(again);
}

/* Before there are files, experts of a format whose tools take them apart count as packed. */
static void test_planned(void)
{
    nib_ctx *ctx = test_ctx();
    nib_model *whole = NULL, *blank = NULL;
    nib_error err;

    REQUIRE_OK(open_model(ctx, golden("fp8"), false, false, &whole, &err), err);
    REQUIRE_OK(open_model(ctx, golden("fp8"), false, true, &blank, &err), err);
    for (size_t i = 0; i < whole->linear_count; i++) {
        nib_form a = nib_weight_form(whole->linears[i]->weight);
        nib_form b = nib_weight_form(blank->linears[i]->weight);
        CHECK(a.scheme == b.scheme, "%s is planned as %s", whole->linears[i]->name,
              b.scheme->name);
    }
    nib_model_close(whole);
    nib_model_close(blank);
}

/* --- what cannot be --- */

/* A copy of a model with `to` in its header instead of `from`, which is as long. */
static const char *renamed(const char *model, const char *from, const char *to)
{
    char command[1400];
    const char *dir = test_tmpdir();

    snprintf(command, sizeof command,
             "cp %s/config.json %s/ && sed 's/%s/%s/' %s/model.safetensors > %s/model.safetensors",
             model, dir, from, to, model, dir);
    CHECK(system(command) == 0, "%s", command);
    return dir;
}

static void check_refused(const char *model, const char *from, const char *to, const char *word)
{
    nib_ctx *ctx = test_ctx();
    nib_model *m = NULL;
    nib_error err = { 0 };
    nib_status status = open_model(ctx, renamed(model, from, to), false, false, &m, &err);

    CHECK(status == NIB_E_MISMATCH && strstr(err.message, word), "%s: %d %s", to, (int)status,
          err.message);
    nib_model_close(m);
}

static void test_refused(void)
{
    const char *apart = golden("dense"), *fused = test_data("tests/golden/models/qwen3-5-moe");

    check_refused(apart, "experts.1.up_proj.weight", "experts.1.up_prox.weight",
                  "experts.1.up_proj.weight is missing");
    check_refused(apart, "experts.2.gate_proj.weight", "experts.2.gate_prox.weight",
                  "experts.2.gate_proj.weight of this one");
    check_refused(fused, "shared_expert.gate_proj.weight\":",
                  "experts.0.gate_proj.weight\":    ", "holds all experts");
}

int main(void)
{
    static const test_case cases[] = {
        { "FP8 and NF4, an expert at a time, have transformers' logits", test_packed },
        { "merged, they are dense tensors of each expert", test_merged },
        { "experts that are low-bit are not encoded again", test_asked_again },
        { "a plan counts them as the files have them", test_planned },
        { "a part that is missing, and both forms at once", test_refused },
    };
    return test_main("experts_apart", cases, NIB_COUNT(cases));
}
