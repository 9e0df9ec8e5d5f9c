/* logits.c - see logits.h. */
#include "logits.h"

#include "graph/readout.h"

enum { MOST_TOKENS = 64 };

bool test_compute(const nib_model *m, const uint32_t *ids, size_t count, float *logits)
{
    uint32_t offsets[2] = { 0, (uint32_t)count }, rows[MOST_TOKENS];
    nib_batch batch = { .sequences = 1,
                        .axes = { [NIB_TOKENS] = { .count = count, .offsets = offsets },
                                  [NIB_LOGIT_ROWS] = { .count = count, .picks = rows } },
                        .inputs = { [NIB_IDS] = ids, [NIB_POSITIONS] = rows } };
    nib_plan *plan = NULL;
    nib_run *run = NULL;
    nib_error err;
    bool good;

    if (count > MOST_TOKENS) {
        test_fail(__FILE__, __LINE__, "%zu tokens", count);
        return false;
    }
    for (size_t i = 0; i < count; i++) rows[i] = (uint32_t)i;
    good = !nib_plan_create(m->graph, NIB_PLAN_INFERENCE, count, count, &plan, &err) &&
           !nib_run_create(m->ctx, m->graph, plan, count, &run, &err);
    CHECK(good, "%s", err.message);
    if (good) {
        nib_run_forward(run, &batch);
        nib_run_logits(run, 0, count, logits);
    }
    nib_run_destroy(run);
    nib_plan_destroy(m->ctx, plan);
    return good;
}
