/* differences.c - see differences.h. */
#include "differences.h"

#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "test.h"

static const float H = 0.03125f;

static double difference(lab *l, float *x)
{
    float at = *x;
    double f[4];
    static const float steps[] = { -2, -1, 1, 2 };

    for (int i = 0; i < 4; i++) {
        *x = at + steps[i] * H;
        f[i] = lab_step(l);
    }
    *x = at;
    return (8 * (f[2] - f[1]) - (f[3] - f[0])) / (12 * (double)H);
}

static float greatest(const float *g, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++) most = fmaxf(most, fabsf(g[i]));
    return most;
}

static size_t all_elements(const lab *l)
{
    size_t n = 0;
    for (size_t i = 0; i < l->params.count; i++) n += nib_param_count(l->params.items[i]);
    return n;
}

/* The gradients of a step, one parameter after another. */
static float *gradients(lab *l)
{
    float *g = test_guarded(all_elements(l) * sizeof *g), *to = g;

    lab_step(l);
    for (size_t i = 0; i < l->params.count; i++) {
        memcpy(to, l->params.items[i]->grad, nib_param_count(l->params.items[i]) * sizeof *g);
        to += nib_param_count(l->params.items[i]);
    }
    return g;
}

static void check_differences(lab *l, const float *g, const char *what, const char *isa)
{
    for (size_t i = 0; i < l->params.count; i++) {
        nib_param *p = l->params.items[i];
        size_t n = nib_param_count(p), step = n / l->elements + 1;
        double most = (double)greatest(g, n), worst = 0;

        if (!p->wants_grad) {
            CHECK(most == 0, "%s %d on %s: %s is not trained, but has a gradient", what, l->variant,
                  isa, p->name);
            g += n;
            continue;
        }
        CHECK(most > 0.01, "%s %d on %s: %s has no gradient to speak of", what, l->variant, isa,
              p->name);
        for (size_t j = 0; j < n; j += step) {
            double d = difference(l, &p->value[j]) - (double)g[j];
            if (!(fabs(d) <= worst)) worst = fabs(d);
        }
        CHECK(worst <= 5e-4 * most, "%s %d on %s: %s: off by %g, greatest %g", what, l->variant,
              isa, p->name, worst, most);
        g += n;
    }
}

static void check_bf16(nib_ctx *ctx, lab_build *build, int variant, const float *g,
                       const char *what, const char *isa)
{
    lab l;

    if (lab_open(&l, ctx, NIB_BF16, build, variant)) {
        float *half = gradients(&l);
        if (lab_plan(&l, NIB_PLAN_CHECKPOINT))
            CHECK(memcmp(half, gradients(&l), all_elements(&l) * sizeof *half) == 0,
                  "%s %d on %s in bfloat16: other bits when segments are run again", what, variant,
                  isa);
        for (size_t i = 0; i < l.params.count; i++) {
            size_t n = nib_param_count(l.params.items[i]);
            float most = greatest(g, n), worst = 0;
            for (size_t j = 0; j < n; j++)
                if (!(fabsf(g[j] - half[j]) <= worst)) worst = fabsf(g[j] - half[j]);
            CHECK(worst <= 0.03f * most, "%s %d on %s in bfloat16: %s: off by %g, greatest %g",
                  what, variant, isa, l.params.items[i]->name, (double)worst, (double)most);
            g += n;
            half += n;
        }
    }
    lab_close(&l);
}

void check_gradients_on(const char *isa, lab_build *build, int variant, const char *what)
{
    nib_ctx *ctx = test_ctx_threads(1, isa);
    float *g = NULL;
    lab l;

    if (lab_open(&l, ctx, NIB_F32, build, variant)) {
        g = gradients(&l);
        check_differences(&l, g, what, isa);
        if (lab_plan(&l, NIB_PLAN_CHECKPOINT))
            CHECK(memcmp(g, gradients(&l), all_elements(&l) * sizeof *g) == 0,
                  "%s %d on %s: other bits when segments are run again", what, variant, isa);
    }
    lab_close(&l);
    if (g) check_bf16(ctx, build, variant, g, what, isa);
    test_ctx_release(ctx);
}

void check_gradients(lab_build *build, int count, const char *what)
{
    static const char *const names[] = { "ref", "avx2", "avx512", "avx512bf16", "amx" };
    uint32_t cpu;

    for (size_t i = 0; i < NIB_COUNT(names); i++)
        if (nib_cpu_from_name(names[i], &cpu) && (nib_cpu_detect() & cpu) == cpu)
            for (int v = 0; v < count; v++) check_gradients_on(names[i], build, v, what);
}

nib_value input(lab *l, const char *name, size_t width)
{
    lab_embedding(l, name, width, LAB_FULL);
    return lab_embed(l, name);
}
