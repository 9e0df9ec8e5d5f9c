/* test_router_logits.c - DeepSeek's routers give their logits in float, whatever the compute type:
 * rounded to bfloat16 two experts would often be equal. */
#include <math.h>

#include "graph/operations.h"
#include "graph/run.h"
#include "model/model.h"
#include "test.h"

enum { TOKENS = 9 };

typedef struct seen { size_t routers; float worst, most; } seen;

/* Of a router's linear: what it gave against sums in float of the same bfloat16 inputs. */
static void look(void *user, const nib_node *n, const nib_io *io, bool backward)
{
    seen *s = user;
    const nib_linear *l = n->op == &nib_op_linear ? n->linear : NULL;
    float *w;

    if (backward || !l || !l->router) return;
    s->routers++;
    w = test_guarded(l->weight->out * l->weight->in * sizeof *w);
    nib_weight_decode(l->weight, 0, l->weight->out, w);
    for (size_t t = 0; t < TOKENS; t++)
        for (size_t e = 0; e < l->weight->out; e++) {
            const uint16_t *x = (const uint16_t *)io->in[0] + t * l->weight->in;
            double sum = 0;
            for (size_t c = 0; c < l->weight->in; c++)
                sum += (double)nib_bf16_to_f32(x[c]) * (double)w[e * l->weight->in + c];
            s->most = fmaxf(s->most, fabsf((float)sum));
            s->worst = fmaxf(s->worst, fabsf(((const float *)io->out)[t * l->weight->out + e] -
                                             (float)sum));
        }
}

static void test_float(void)
{
    static const char *const names[] = { "deepseek-v2", "deepseek-v3" };
    uint32_t ids[TOKENS], positions[TOKENS], offsets[2] = { 0, TOKENS }, targets[TOKENS];
    nib_ctx *ctx = test_ctx();
    nib_error err;

    for (uint32_t i = 0; i < TOKENS; i++) ids[i] = 5 + 11 * i, positions[i] = i, targets[i] = 7;
    for (size_t k = 0; k < NIB_COUNT(names); k++) {
        char dir[600];
        nib_model_options o = { .model = dir };
        nib_batch batch = { .sequences = 1, .targets = targets };
        nib_model *m;
        nib_plan *plan;
        nib_run *run;
        seen s = { 0 };

        snprintf(dir, sizeof dir, "%s/%s", test_data("tests/golden/models"), names[k]);
        batch.axes[NIB_TOKENS] = (nib_axis_rows){ .count = TOKENS, .offsets = offsets };
        batch.axes[NIB_LOGIT_ROWS] = (nib_axis_rows){ .count = TOKENS, .picks = positions };
        batch.inputs[NIB_IDS] = ids;
        batch.inputs[NIB_POSITIONS] = positions;
        REQUIRE_OK(nib_model_open(ctx, &o, NIB_BF16, (nib_model_progress){ 0 }, &m, &err), err);
        REQUIRE_OK(nib_plan_create(m->graph, NIB_PLAN_INFERENCE, TOKENS, TOKENS, &plan, &err),
                   err);
        REQUIRE_OK(nib_run_create(ctx, m->graph, plan, 64, &run, &err), err);
        run->tap = look;
        run->tap_user = &s;
        nib_run_forward(run, &batch);
        CHECK(s.routers > 0 && s.most > 0.1f && s.worst <= 1e-5f * s.most,
              "%s: %zu routers, logits of up to %g differ by %g", names[k], s.routers,
              (double)s.most, (double)s.worst);
        nib_run_destroy(run);
        nib_plan_destroy(ctx, plan);
        nib_model_close(m);
    }
}

int main(void)
{
    static const test_case cases[] = {
        { "DeepSeek's routers give floats under bfloat16", test_float },
    };
    return test_main("router_logits", cases, NIB_COUNT(cases));
}
