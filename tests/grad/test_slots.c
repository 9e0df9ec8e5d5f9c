/* test_slots.c - a training step over sequences with different adapters gives each the gradients
 * that training it alone gives. */
#include "graph/build_experts.h"
#include "lab.h"
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SEQUENCES = 3, BOTH = LAB_LORA | LAB_SECOND };

/* Two of three experts for each row, with both adapters. */
static nib_value experts(lab *l, nib_value x, int how)
{
    const nib_route_desc route = { .experts = 3, .top = 2, .normalize = true };
    nib_expert_spec spec = { .part = "w", .out = 10, .form = NIB_EXPERT_MODULES };
    nib_experts e;

    lab_linear(l, "router", 3, 10, 0);
    for (int i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "moe.%d.w", i);
        lab_linear(l, name, 10, 10, how);
    }
    e = nib_route(&l->b, lab_apply(l, x, "router"), &route);
    x = nib_apply_experts(&l->b, nib_dispatch(&l->b, x, e), e, spec, "moe");
    return nib_combine(&l->b, x, e);
}

/* Two adapters on everything that can have one, dense and 4-bit, with dropout in odd variants; a
 * bias and a full copy that all sequences train; with magnitudes in the last two. */
static void build(lab *l)
{
    int dropout = l->variant & 1 ? LAB_DROPOUT : 0, dora = l->variant & 2 ? LAB_DORA : 0;
    nib_value x, y;

    memcpy(l->lengths, (uint32_t[4]){ 7, 5, 12, 0 }, sizeof l->lengths);
    lab_embedding(l, "embed", 10, BOTH | LAB_NF4 | dora);
    lab_linear(l, "up", 22, 10, BOTH | LAB_TRAIN | dropout | dora);
    lab_linear(l, "down", 10, 22, BOTH | LAB_NF4 | dropout | dora);
    lab_linear(l, "whole", 10, 10, BOTH | LAB_FULL);
    x = lab_embed(l, "embed");
    l->b.segment++;
    y = nib_activate(&l->b, lab_apply(l, x, "up"), NIB_ACT_SILU);
    x = nib_add(&l->b, x, lab_apply(l, y, "down"));
    l->b.segment++;
    x = nib_add(&l->b, x, lab_apply(l, x, "whole"));
    l->b.segment++;
    x = nib_add(&l->b, x, experts(l, x, BOTH | LAB_BIAS | dropout | dora));
    lab_finish(l, x, 10, BOTH | dropout | dora);
}

/* The sequences of the lab's batch whose slot is `slot`, or all of them. */
typedef struct piece {
    nib_batch batch;
    uint32_t offsets[SEQUENCES + 1], ids[LAB_ROWS], positions[LAB_ROWS], picks[LAB_ROWS],
        targets[LAB_ROWS], records[SEQUENCES];
    uint8_t slots[SEQUENCES];
} piece;

static void cut(const lab *l, const uint8_t *slots, int slot, piece *p)
{
    nib_batch *b = &p->batch;
    nib_axis_rows *tokens = &b->axes[NIB_TOKENS], *logits = &b->axes[NIB_LOGIT_ROWS];
    const nib_axis_rows *all = l->batch.axes;

    *p = (piece){ .batch = { .axes = { [NIB_TOKENS] = { .offsets = p->offsets },
                                       [NIB_LOGIT_ROWS] = { .picks = p->picks } },
                             .inputs = { [NIB_IDS] = p->ids, [NIB_POSITIONS] = p->positions },
                             .targets = p->targets, .slots = p->slots, .records = p->records } };
    for (uint32_t s = 0; s < l->batch.sequences; s++) {
        if (slot >= 0 && slots[s] != slot) continue;
        for (size_t r = 0; r < all[NIB_LOGIT_ROWS].count; r++) {
            uint32_t row = all[NIB_LOGIT_ROWS].picks[r];
            if (row < l->offsets[s] || row >= l->offsets[s + 1]) continue;
            p->picks[logits->count] = row - l->offsets[s] + (uint32_t)tokens->count;
            p->targets[logits->count++] = l->batch.targets[r];
        }
        for (uint32_t t = l->offsets[s]; t < l->offsets[s + 1]; t++, tokens->count++) {
            p->ids[tokens->count] = l->ids[t];
            p->positions[tokens->count] = l->positions[t];
        }
        p->records[b->sequences] = 7 + s; /* dropout is by record, not by place */
        p->slots[b->sequences] = slots[s];
        p->offsets[++b->sequences] = (uint32_t)tokens->count;
    }
}

/* The gradients of all parameters, one after the other. */
static float *gradients(lab *l, const uint8_t *slots, int slot)
{
    size_t n = 0, at = 0;
    float *all;
    piece p;

    for (size_t i = 0; i < l->params.count; i++) n += nib_param_count(l->params.items[i]);
    all = test_guarded(n * sizeof *all);
    cut(l, slots, slot, &p);
    nib_params_clear_grads(&l->params);
    nib_run_step(l->run, &p.batch);
    for (size_t i = 0; i < l->params.count; i++) {
        size_t count = nib_param_count(l->params.items[i]);
        memcpy(all + at, l->params.items[i]->grad, count * sizeof *all);
        at += count;
    }
    return all;
}

/* What is an adapter's own: nothing comes from the other's sequences, and the same bits where its
 * sequences are neighbours.  What both train: the sum. */
static void check_batch(lab *l, const uint8_t *slots, bool neighbours, const char *what)
{
    const float *both = gradients(l, slots, -1), *first = gradients(l, slots, 0),
                *second = gradients(l, slots, 1);

    for (size_t i = 0; i < l->params.count; i++) {
        const nib_param *p = l->params.items[i];
        size_t n = nib_param_count(p);
        bool of_first = strstr(p->name, "lora_"), of_second = strstr(p->name, "second_");
        float most = 0, worst = 0;

        for (size_t j = 0; j < n; j++) {
            float want = (of_second ? 0 : first[j]) + (of_first ? 0 : second[j]);
            if (of_first)
                CHECK(second[j] == 0, "%s: %s has a gradient from another's", what, p->name);
            if (of_second)
                CHECK(first[j] == 0, "%s: %s has a gradient from another's", what, p->name);
            most = fmaxf(most, fabsf(want));
            if (!(fabsf(both[j] - want) <= worst)) worst = fabsf(both[j] - want);
        }
        CHECK(most > 0.01f, "%s: %s has no gradient to speak of", what, p->name);
        if ((of_first && neighbours) || of_second)
            CHECK(worst == 0, "%s: %s: off by %g of %g", what, p->name,
                  (double)worst, (double)most);
        CHECK(worst <= 1e-5f * most, "%s: %s: off by %g of %g", what, p->name, (double)worst,
              (double)most);
        both += n;
        first += n;
        second += n;
    }
}

static void check_type(nib_dtype type, const char *what)
{
    static const uint8_t neighbours[] = { 0, 0, 1 }, between[] = { 0, 1, 0 };
    static const uint8_t none[] = { 255, 255, 0 };

    for (int variant = 0; variant < 4; variant++) {
        lab l;
        if (lab_open(&l, test_ctx(), type, build, variant)) {
            check_batch(&l, neighbours, true, what);
            check_batch(&l, between, false, what);
            if (lab_plan(&l, NIB_PLAN_CHECKPOINT)) check_batch(&l, neighbours, true, what);
            const float *without = gradients(&l, none, -1), *alone = gradients(&l, none, 0);
            for (size_t i = 0; i < l.params.count; i++) {
                const nib_param *p = l.params.items[i];
                if (strstr(p->name, "lora_") || strstr(p->name, "second_"))
                    CHECK(memcmp(without, alone, nib_param_count(p) * sizeof *alone) == 0,
                          "%s: %s has gradients from sequences without adapter", what, p->name);
                without += nib_param_count(p);
                alone += nib_param_count(p);
            }
        }
        lab_close(&l);
    }
}

static void test_float32(void) { check_type(NIB_F32, "float32"); }
static void test_bfloat16(void) { check_type(NIB_BF16, "bfloat16"); }

static const test_case cases[] = {
    { "two adapters in one batch, float32", test_float32 },
    { "two adapters in one batch, bfloat16", test_bfloat16 },
};

int main(void) { return test_main("test_slots", cases, NIB_COUNT(cases)); }
