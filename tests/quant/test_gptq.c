/* test_gptq.c - GPTQ of one matrix against numpy in float64 (tests/golden/make/gptq_golden.py), and
 * what it gives where the inputs say too little. */
#include <math.h>
#include <string.h>

#include "format/safetensors.h"
#include "quant/gptq.h"
#include "quant/grouped.h"
#include "test.h"

typedef struct fixture {
    nib_tensors *file;
    const nib_tensor *w, *x;
    nib_weight *weight;
    nib_hessian *hessian;
} fixture;

static bool open_fixture(nib_ctx *ctx, fixture *f)
{
    nib_error err;
    bool open = false;

    if (nib_tensors_open(ctx, test_data("tests/golden/quant/gptq.safetensors"), &f->file, &err)) {
        test_fail(__FILE__, __LINE__, "%s", err.message);
        return false;
    }
    f->w = nib_tensors_find(f->file, "w");
    f->x = nib_tensors_find(f->file, "x");
    open = !nib_weight_dense(ctx, f->w->shape[0], f->w->shape[1], NIB_F32, f->w->data, NULL,
                             &f->weight, &err) &&
           !nib_hessian_create(ctx, f->w->shape[1], &f->hessian, &err);
    if (open) nib_hessian_observe(f->hessian, f->x->data, NIB_BF16, f->x->shape[0], f->x->shape[1]);
    else test_fail(__FILE__, __LINE__, "%s", err.message);
    return open;
}

static void close_fixture(nib_ctx *ctx, fixture *f)
{
    nib_hessian_destroy(f->hessian);
    nib_weight_destroy(ctx, f->weight);
    nib_tensors_close(f->file);
}

static const nib_tensor *need(const nib_tensors *file, const char *name, const char *what)
{
    char full[64];
    const nib_tensor *t;

    snprintf(full, sizeof full, "%s.%s", name, what);
    t = nib_tensors_find(file, full);
    CHECK(t, "%s is missing", full);
    return t;
}

static const struct golden {
    const char *name;
    nib_grouped_options o; /* float32 before */
    nib_gptq_options g;    /* with the usual damping */
} goldens[] = {
    { "plain4", { .bits = 4, .group = 32 }, { .desc_act = false } },
    { "asym4", { .bits = 4, .group = 32, .asymmetric = true }, { .desc_act = false } },
    { "rows4", { .bits = 4, .asymmetric = true }, { .desc_act = false } },
    { "act4", { .bits = 4, .group = 32 }, { .desc_act = true } },
    { "actrows3", { .bits = 3 }, { .desc_act = true } },
    { "static4", { .bits = 4, .group = 64, .asymmetric = true },
      { .desc_act = true, .static_groups = true } },
    { "mse3", { .bits = 3, .group = 32 }, { .mse = 2.4 } },
    { "mseact2", { .bits = 2, .group = 64, .asymmetric = true },
      { .desc_act = true, .mse = 2.4 } },
    { "aware3", { .bits = 3, .group = 64 }, { .act_group_aware = true } },
    { "eight", { .bits = 8, .group = 64 }, { .desc_act = true, .static_groups = true } },
};

static nib_form form_of(const struct golden *c)
{
    nib_grouped_options o = c->o;

    o.maker = NIB_GROUPED_GPTQ;
    o.dtype = NIB_F32;
    return nib_grouped_form(&o);
}

static nib_gptq_options options_of(const struct golden *c)
{
    nib_gptq_options g = c->g;

    g.damp_percent = nib_gptq_defaults.damp_percent;
    g.damp_auto_increment = nib_gptq_defaults.damp_auto_increment;
    return g;
}

/* Codes and groups are equal.  Of 256 steps a few values lie so near to the middle of two that
 * float32 decides otherwise than float64. */
static void compare_codes(const nib_tensors *file, const struct golden *c, const nib_weight *w)
{
    const nib_grouped *q = nib_as_grouped(w);
    const uint8_t *codes = need(file, c->name, "codes")->data;
    const int32_t *groups = need(file, c->name, "g_idx")->data;
    size_t differ = 0;

    for (size_t o = 0; o < w->out; o++)
        for (size_t i = 0; i < w->in; i++)
            differ += nib_stream_code(q->codes + o * 4, q->row_bytes, c->o.bits, i) !=
                      codes[o * w->in + i];
    CHECK(differ <= (c->o.bits == 8 ? w->out * w->in / 400 : 0), "%s: %zu of %zu codes differ",
          c->name, differ, w->out * w->in);
    CHECK(memcmp(q->file_groups, groups, w->in * sizeof *groups) == 0, "%s: groups", c->name);
}

/* And zero points; scales but for the rounding to float16. */
static void compare(const nib_tensors *file, const struct golden *c, const nib_weight *w)
{
    const nib_grouped *q = nib_as_grouped(w);
    const uint8_t *zeros = need(file, c->name, "zeros")->data;
    const float *scales = need(file, c->name, "scales")->data;

    compare_codes(file, c, w);
    for (size_t k = 0; k < q->groups * w->out; k++) {
        float scale = nib_f16_to_f32(((const uint16_t *)q->scales)[k]);
        CHECK(fabsf(scale - scales[k]) <= 5e-4f * scales[k], "%s: scale %zu is %g, expected %g",
              c->name, k, (double)scale, (double)scales[k]);
        CHECK((q->zeros ? q->zeros[k] : q->zero) == zeros[k], "%s: zero point %zu", c->name, k);
    }
}

static void test_golden(void)
{
    fixture f = { 0 };
    nib_error err;

    if (!open_fixture(test_ctx(), &f)) return;
    for (size_t i = 0; i < NIB_COUNT(goldens); i++) {
        const struct golden *c = &goldens[i];
        nib_form form = form_of(c);
        nib_gptq_options options = options_of(c);
        nib_gptq_report report;
        nib_weight *w, *nearest;
        double error = 0, plain = 0;
        float want = *(const float *)need(f.file, c->name, "error")->data;

        REQUIRE_OK(nib_gptq_encode(f.hessian, &form, f.weight, &options, &w, &report, &err), err);
        compare(f.file, c, w);
        CHECK(report.damp == .05 && report.raises == 0 && report.dead == 3, "%s: %g, %u, %zu",
              c->name, report.damp, report.raises, report.dead);
        REQUIRE_OK(nib_form_encode(test_ctx(), &form, f.weight, &nearest, &err), err);
        REQUIRE_OK(nib_hessian_error(f.hessian, f.weight, w, &error, &err), err);
        REQUIRE_OK(nib_hessian_error(f.hessian, f.weight, nearest, &plain, &err), err);
        /* scales are rounded to float16, which the least error does not know */
        CHECK(fabs(error - (double)want) < .02 * (double)want, "%s: error %g, expected %g", c->name,
              error, (double)want);
        CHECK(error < .8 * plain, "%s: error %g, of round to nearest %g", c->name, error, plain);
        nib_weight_destroy(test_ctx(), w);
        nib_weight_destroy(test_ctx(), nearest);
    }
    close_fixture(test_ctx(), &f);
}

/* GPTQModel's own class for one matrix (tests/golden/make/gptq_reference_golden.py): its Hessian to
 * the rounding of float32, and from the same inputs the same codes and groups. */
static void test_reference(void)
{
    fixture f = { 0 };
    nib_tensors *file;
    nib_error err;
    const float *h;
    double worst = 0;
    size_t compared = 0;

    if (!open_fixture(test_ctx(), &f)) return;
    REQUIRE_OK(nib_tensors_open(test_ctx(),
                                test_data("tests/golden/quant/gptq_reference.safetensors"), &file,
                                &err), err);
    h = nib_tensors_find(file, "hessian")->data;
    for (size_t i = 0; i < f.weight->in; i++)
        for (size_t j = i; j < f.weight->in; j++, h++) {
            double size = sqrt((double)nib_hessian_at(f.hessian, i, i) *
                               (double)nib_hessian_at(f.hessian, j, j));
            double apart = fabs((double)nib_hessian_at(f.hessian, i, j) - (double)*h);
            if (apart > worst * size) worst = apart / size;
        }
    CHECK(worst < 1e-6, "the Hessian differs by %g of its diagonal", worst);
    for (size_t i = 0; i < NIB_COUNT(goldens); i++) {
        const struct golden *c = &goldens[i];
        nib_form form = form_of(c);
        nib_gptq_options options = options_of(c);
        nib_gptq_report report;
        nib_weight *w;
        char name[64];

        snprintf(name, sizeof name, "%s.codes", c->name);
        if (!nib_tensors_find(file, name)) continue; /* its search for a range is another one */
        REQUIRE_OK(nib_gptq_encode(f.hessian, &form, f.weight, &options, &w, &report, &err), err);
        compare_codes(file, c, w);
        compared++;
        nib_weight_destroy(test_ctx(), w);
    }
    CHECK(compared == 8, "%zu cases", compared);
    nib_tensors_close(file);
    close_fixture(test_ctx(), &f);
}

/* The same bits with one thread as with three. */
static void test_threads(void)
{
    const struct golden *c = &goldens[3];
    nib_form form = form_of(c);
    nib_gptq_options options = options_of(c);
    nib_weight *made[2];
    nib_ctx *ctx[2] = { test_ctx_threads(1, NULL), test_ctx_threads(3, NULL) };
    fixture f[2] = { 0 };
    nib_gptq_report report;
    nib_error err;
    bool same = false;

    for (int i = 0; i < 2; i++) {
        if (!open_fixture(ctx[i], &f[i])) return;
        REQUIRE_OK(nib_gptq_encode(f[i].hessian, &form, f[i].weight, &options, &made[i], &report,
                                   &err), err);
    }
    REQUIRE_OK(nib_weight_same(ctx[0], made[0], made[1], &same, &err), err);
    CHECK(same);
    for (int i = 0; i < 2; i++) {
        nib_weight_destroy(ctx[i], made[i]);
        close_fixture(ctx[i], &f[i]);
        test_ctx_release(ctx[i]);
    }
}

/* H against sums in double, from float32 rows with a gap, more than one buffer of them. */
static void test_sums(void)
{
    enum { IN = 37, LD = 40, N = NIB_HESSIAN_ROWS + 9 };
    float *x = test_guarded(N * LD * sizeof *x);
    nib_hessian *h;
    nib_error err;

    for (size_t i = 0; i < N * LD; i++) x[i] = test_rand_float();
    REQUIRE_OK(nib_hessian_create(test_ctx(), IN, &h, &err), err);
    nib_hessian_observe(h, x, NIB_F32, 5, LD);
    nib_hessian_observe(h, x + 5 * LD, NIB_F32, N - 5, LD);
    CHECK(h->rows == N);
    for (size_t i = 0; i < IN; i++)
        for (size_t j = 0; j < IN; j++) {
            double sum = 0;
            for (size_t r = 0; r < N; r++) sum += (double)x[r * LD + i] * (double)x[r * LD + j];
            CHECK(fabs((double)nib_hessian_at(h, i, j) - sum) < 1e-3, "%zu, %zu", i, j);
        }
    nib_hessian_destroy(h);
}

/* Three rows say nothing of most directions: only damping makes H positive definite.  Rounding may
 * carry a little of it; a huge scale beside it takes more. */
static void test_singular(void)
{
    enum { IN = 96 };
    const nib_grouped_options o = { NIB_GROUPED_GPTQ, 4, 32, false, false, NIB_F32 };
    const nib_gptq_options least = { .damp_percent = 1e-13, .damp_auto_increment = .01 },
                           stuck = { .damp_percent = 1e-13 };
    nib_form form = nib_grouped_form(&o);
    float x[2 * IN], *values = test_guarded(32 * IN * sizeof *values);
    nib_weight *w, *made;
    nib_hessian *h;
    nib_gptq_report report;
    nib_error err;

    for (size_t i = 0; i < IN; i++) x[i] = x[i + IN] = 1 + (float)i / 7; /* of rank 1, rounded */
    for (size_t i = 0; i < 32 * IN; i++) values[i] = test_rand_float();
    REQUIRE_OK(nib_weight_dense(test_ctx(), 32, IN, NIB_F32, values, NULL, &w, &err), err);
    REQUIRE_OK(nib_hessian_create(test_ctx(), IN, &h, &err), err);
    nib_hessian_observe(h, x, NIB_F32, 2, IN);
    REQUIRE_OK(nib_gptq_encode(h, &form, w, &least, &made, &report, &err), err);
    CHECK(report.raises == 1 && fabs(report.damp - .01) < 1e-6, "%u, %g", report.raises,
          report.damp);
    nib_weight_destroy(test_ctx(), made);
    REQUIRE_OK(nib_gptq_encode(h, &form, w, &stuck, &made, &report, &err), err);
    CHECK(report.raises >= 1 && report.damp > 1e-7 && report.damp < 1e-3, "%u, %g", report.raises,
          report.damp);
    nib_weight_destroy(test_ctx(), made);
    nib_hessian_destroy(h);
    nib_weight_destroy(test_ctx(), w);
}

static void test_refused(void)
{
    const nib_grouped_options awq = { NIB_GROUPED_AWQ, 4, 32, true, false, NIB_F32 };
    const nib_gptq_options bad[] = { { .damp_percent = 0 },
                                     { .damp_percent = 1 },
                                     { .damp_percent = .05, .damp_auto_increment = -1 },
                                     { .damp_percent = .05, .mse = -1 },
                                     { .damp_percent = .05, .mse = (double)NAN } };
    const nib_gptq_options act = { .damp_percent = .05, .desc_act = true };
    nib_form form = form_of(&goldens[0]), other = nib_grouped_form(&awq);
    fixture f = { 0 };
    nib_gptq_report report;
    nib_weight *w, *with_nan;
    nib_error err;
    float *values, row[160] = { 0 };

    if (!open_fixture(test_ctx(), &f)) return;
    for (size_t i = 0; i < NIB_COUNT(bad); i++)
        CHECK(nib_gptq_encode(f.hessian, &form, f.weight, &bad[i], &w, &report, &err) ==
              NIB_E_INVALID, "options %zu", i);
    CHECK(nib_gptq_encode(f.hessian, &other, f.weight, &act, &w, &report, &err) ==
          NIB_E_UNSUPPORTED); /* AWQ's files know no order */
    values = test_guarded(f.w->bytes);
    memcpy(values, f.w->data, f.w->bytes);
    values[7 * 160 + 5] = NAN;
    REQUIRE_OK(nib_weight_dense(test_ctx(), 32, 160, NIB_F32, values, NULL, &with_nan, &err), err);
    CHECK(nib_gptq_encode(f.hessian, &form, with_nan, &nib_gptq_defaults, &w, &report, &err) ==
          NIB_E_NUMERIC);
    nib_weight_destroy(test_ctx(), with_nan);
    row[17] = INFINITY;
    nib_hessian_observe(f.hessian, row, NIB_F32, 1, 160);
    CHECK(nib_gptq_encode(f.hessian, &form, f.weight, &nib_gptq_defaults, &w, &report, &err) ==
              NIB_E_NUMERIC && strstr(err.message, "input 17"), "%s", err.message);
    close_fixture(test_ctx(), &f);
}

/* Each allocation fails once; nothing is left behind. */
static void test_no_memory(void)
{
    nib_form form = form_of(&goldens[0]);

    for (size_t fail_at = 1;; fail_at++) {
        test_heap heap = { .fail_at = 0 };
        nib_ctx *ctx = test_ctx_heap(&heap);
        fixture f = { 0 };
        nib_gptq_report report;
        nib_weight *w = NULL;
        nib_error err;
        nib_status status;

        if (!open_fixture(ctx, &f)) return;
        heap.fail_at = heap.calls + fail_at;
        status = nib_gptq_encode(f.hessian, &form, f.weight, &nib_gptq_defaults, &w, &report, &err);
        heap.fail_at = 0;
        CHECK(status == NIB_OK || (status == NIB_E_NOMEM && !w), "%zu: %s", fail_at, err.message);
        nib_weight_destroy(ctx, w);
        close_fixture(ctx, &f);
        CHECK(heap.live == 0, "%zu: %zu left", fail_at, heap.live);
        test_ctx_release(ctx);
        if (!status) {
            CHECK(fail_at > 8, "only %zu allocations", fail_at - 1);
            return;
        }
    }
}

int main(void)
{
    static const test_case cases[] = {
        { "codes equal numpy's", test_golden },
        { "Hessian and codes equal GPTQModel's", test_reference },
        { "any number of threads", test_threads },
        { "second moments", test_sums },
        { "singular inputs", test_singular },
        { "what is refused", test_refused },
        { "no memory", test_no_memory },
    };
    return test_main("gptq", cases, NIB_COUNT(cases));
}
