/* test_awq.c - factors and clipped ranges of activation-aware quantization against numpy in float64
 * (tests/golden/make/awq_golden.py). */
#include <math.h>
#include <string.h>

#include "format/safetensors.h"
#include "quant/awq.h"
#include "quant/grouped.h"
#include "test.h"

enum { ROWS = 32, IN = 160 };

typedef struct fixture {
    nib_tensors *given, *wanted;
    const float *w, *factors, *losses, *clipped;
    nib_hessian *h;
    nib_form form;
} fixture;

static const float *values(nib_tensors *file, const char *name)
{
    const nib_tensor *t = nib_tensors_find(file, name);

    CHECK(t, "%s is missing", name);
    return t ? t->data : NULL;
}

static bool open_fixture(nib_ctx *ctx, fixture *f)
{
    const nib_grouped_options o = { .maker = NIB_GROUPED_AWQ, .bits = 4, .group = 32,
                                    .asymmetric = true, .dtype = NIB_F16 };
    const nib_tensor *x;
    nib_error err;

    f->form = nib_grouped_form(&o);
    if (nib_tensors_open(ctx, test_data("tests/golden/quant/gptq.safetensors"), &f->given, &err) ||
        nib_tensors_open(ctx, test_data("tests/golden/quant/awq.safetensors"), &f->wanted, &err) ||
        nib_hessian_create(ctx, IN, &f->h, &err)) {
        test_fail(__FILE__, __LINE__, "%s", err.message);
        return false;
    }
    f->w = values(f->given, "w");
    f->factors = values(f->wanted, "factors");
    f->losses = values(f->wanted, "losses");
    f->clipped = values(f->wanted, "clipped");
    x = nib_tensors_find(f->given, "x");
    if (x) nib_hessian_observe(f->h, x->data, NIB_BF16, x->shape[0], IN);
    return x && f->w && f->factors && f->losses && f->clipped;
}

static void close_fixture(fixture *f)
{
    nib_hessian_destroy(f->h);
    nib_tensors_close(f->given);
    nib_tensors_close(f->wanted);
}

/* Two matrices of one input. */
static nib_status scales(nib_ctx *ctx, const fixture *f, float *s, double *share, nib_error *err)
{
    nib_awq_matrix m[2] = { { f->h, NULL, &f->form }, { f->h, NULL, &f->form } };
    nib_weight *w[2] = { NULL, NULL };
    nib_status status = NIB_OK;

    for (int i = 0; i < 2 && !status; i++) {
        status = nib_weight_dense(ctx, ROWS / 2, IN, NIB_F32, f->w + i * ROWS / 2 * IN, NULL, &w[i],
                                  err);
        m[i].from = w[i];
    }
    if (!status) status = nib_awq_scales(ctx, m, 2, s, share, err);
    for (int i = 0; i < 2; i++) nib_weight_destroy(ctx, w[i]);
    return status;
}

static void test_golden(void)
{
    fixture f = { 0 };
    float s[IN], w[ROWS * IN];
    double share, least = INFINITY, worst = 0;
    size_t differ = 0;
    nib_error err;

    if (!open_fixture(test_ctx(), &f)) return;
    for (int t = 0; t < 20; t++) least = fmin(least, (double)f.losses[t]);
    REQUIRE_OK(scales(test_ctx(), &f, s, &share, &err), err);
    CHECK(fabs(share - least / (double)f.losses[20]) < 1e-3, "share %g, numpy %g", share,
          least / (double)f.losses[20]);
    for (int i = 0; i < IN; i++)
        worst = fmax(worst, fabs((double)(s[i] - f.factors[i]) / (double)f.factors[i]));
    CHECK(worst < 1e-4, "factors differ by %g", worst);
    for (int i = 0; i < ROWS * IN; i++) w[i] = f.w[i] * f.factors[i % IN];
    REQUIRE_OK(nib_awq_clip(test_ctx(), f.h, f.factors, &f.form, w, ROWS, IN, &err), err);
    for (int i = 0; i < ROWS * IN; i++) {
        float most = fmaxf(fabsf(f.clipped[i]), 1e-3f);
        differ += fabsf(w[i] - f.clipped[i]) > 1e-3f * most;
    }
    CHECK(differ * 500 <= ROWS * IN, "%zu of %d clipped values differ", differ, ROWS * IN);
    for (int i = 0; i < ROWS * IN; i++) differ += w[i] == f.w[i] * f.factors[i % IN];
    CHECK(differ < ROWS * IN, "nothing is clipped");
    close_fixture(&f);
}

static void test_threads(void)
{
    fixture f = { 0 };
    float s[2][IN], w[2][ROWS * IN];
    double share;
    nib_error err;

    for (int k = 0; k < 2; k++) {
        nib_ctx *ctx = test_ctx_threads(k ? 3 : 1, NULL);
        if (!open_fixture(ctx, &f)) return;
        REQUIRE_OK(scales(ctx, &f, s[k], &share, &err), err);
        memcpy(w[k], f.w, sizeof w[k]);
        REQUIRE_OK(nib_awq_clip(ctx, f.h, s[k], &f.form, w[k], ROWS, IN, &err), err);
        close_fixture(&f);
        test_ctx_release(ctx);
    }
    CHECK(memcmp(s[0], s[1], sizeof s[0]) == 0 && memcmp(w[0], w[1], sizeof w[0]) == 0);
}

static void test_refused(void)
{
    fixture f = { 0 };
    float s[IN];
    double share;
    nib_error err;

    if (!open_fixture(test_ctx(), &f)) return;
    f.h->sizes[7] = NAN;
    CHECK(scales(test_ctx(), &f, s, &share, &err) == NIB_E_NUMERIC &&
              strstr(err.message, "input 7"), "%s", err.message);
    close_fixture(&f);
}

int main(void)
{
    static const test_case cases[] = {
        { "factors and ranges equal numpy's", test_golden },
        { "any number of threads", test_threads },
        { "what is refused", test_refused },
    };
    return test_main("awq", cases, NIB_COUNT(cases));
}
