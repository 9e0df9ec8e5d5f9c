/* test_quantize_experts.c - experts that are one tensor of the reference, which a file holds so or
 * apart, quantized while loading. */
#include "model/model.h"
#include "test.h"

static nib_status open_model(nib_ctx *ctx, const char *name, const char *flag, bool experts,
                             bool blank, nib_model **out, nib_error *err)
{
    const nib_setting settings[] = { { flag, "true" }, { NULL, NULL } };
    nib_model_options o = { .model = test_data(name), .settings = flag ? settings : NULL,
                            .quantize_experts = experts };

    if (blank) return nib_model_open_blank(ctx, &o, NIB_F32, out, err);
    return nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, out, err);
}

static const char *const models[] = { "tests/golden/models/granitemoe",
                                      "tests/golden/models/gpt-oss",
                                      "tests/golden/models/qwen3-5-moe",
                                      "tests/golden/experts/dense" };

/* Each expert is what its slice of the tensor gives when it is encoded as a linear is: whether the
 * tensor holds it as [out, in] or as [in, out], and its bias with it. */
static void test_slices(void)
{
    static const char *const flags[] = { "load_in_4bit", "load_in_8bit" };
    nib_ctx *ctx = test_ctx();
    nib_error err = { 0 };

    for (size_t k = 0; k < NIB_COUNT(models) * NIB_COUNT(flags); k++) {
        const char *name = models[k / 2], *flag = flags[k % 2];
        nib_model *dense = NULL, *packed = NULL, *blank = NULL;
        size_t experts = 0;

        REQUIRE_OK(open_model(ctx, name, NULL, false, false, &dense, &err), err);
        REQUIRE_OK(open_model(ctx, name, flag, true, false, &packed, &err), err);
        REQUIRE_OK(open_model(ctx, name, flag, true, true, &blank, &err), err);
        for (size_t i = 0; i < dense->linear_count; i++) {
            const nib_linear *d = dense->linears[i], *q = packed->linears[i];
            nib_form form = packed->asked.form;
            nib_weight *want = NULL;
            bool same;

            if (!d->stack) continue;
            experts++;
            form.dtype = d->weight->dtype;
            REQUIRE_OK(nib_form_encode(ctx, &form, d->weight, &want, &err), err);
            REQUIRE_OK(nib_weight_same(ctx, want, q->weight, &same, &err), err);
            CHECK(same && !nib_weight_is_dense(q->weight), "%s %s: %s", name, flag, q->name);
            CHECK(!d->bias == !q->bias, "%s %s: bias of %s", name, flag, q->name);
            nib_weight_destroy(ctx, want);
        }
        CHECK(experts >= 6, "%s: %zu slices", name, experts);
        CHECK(packed->weight_bytes == blank->weight_bytes,
              "%s %s: %" PRIu64 " bytes, a plan of %" PRIu64, name, flag, packed->weight_bytes,
              blank->weight_bytes);
        CHECK(packed->quantized_now, "%s", name);
        nib_model_close(dense);
        nib_model_close(packed);
        nib_model_close(blank);
    }
}

/* Not asked for they stay as they are; without a form for the linears there is none for them. */
static void test_not_asked(void)
{
    nib_ctx *ctx = test_ctx();
    nib_error err = { 0 };
    nib_model *m = NULL;

    for (size_t k = 0; k < NIB_COUNT(models); k++) {
        REQUIRE_OK(open_model(ctx, models[k], "load_in_4bit", false, false, &m, &err), err);
        for (size_t i = 0; i < m->linear_count; i++) {
            nib_form form = nib_weight_form(m->linears[i]->weight);
            CHECK(!m->linears[i]->stack || nib_form_is_dense(&form), "%s: %s", models[k],
                  m->linears[i]->name);
        }
        nib_model_close(m);
    }
    CHECK(open_model(ctx, models[0], NULL, true, false, &m, &err) == NIB_E_INVALID &&
              strstr(err.message, "load_in_4bit"),
          "%s", err.message);
}

int main(void)
{
    static const test_case cases[] = {
        { "each expert of a tensor is encoded as a linear is", test_slices },
        { "experts stay dense where nothing asks for them", test_not_asked },
    };
    return test_main("quantize_experts", cases, NIB_COUNT(cases));
}
