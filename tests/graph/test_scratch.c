/* test_scratch.c - what a thread needs for a sequence is for the longest one, however many there
 * are in a batch: recurrences, RWKV's averages, moving averages. */
#include "test.h"

#include "graph/operations.h"
#include "graph/run.h"
#include "model/model.h"

enum { LONGEST = 128, MANY = 64 };

static size_t own_bytes(const nib_graph *g, const nib_op *op, size_t tokens)
{
    size_t most = 0, rows[NIB_MAX_AXES] = { 0 };

    rows[NIB_TOKENS] = tokens;
    for (size_t i = 0; i < g->node_count; i++)
        if (g->nodes[i].op == op)
            most = nib_max(most, op->longest_scratch(g, &g->nodes[i], rows));
    return most;
}

static void check(const char *dir, const nib_op *op)
{
    nib_ctx *ctx = test_ctx();
    nib_model_options o = { .model = test_data(dir) };
    nib_model *m = NULL;
    nib_plan *plan = NULL;
    nib_error err;
    size_t one, all;

    REQUIRE_OK(nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, &m, &err), err);
    REQUIRE_OK(nib_plan_create(m->graph, NIB_PLAN_INFERENCE, LONGEST * MANY, 1, &plan, &err), err);
    /* as if all were trained, whose backward needs the most */
    for (size_t i = 0; i < m->graph->value_count; i++) m->graph->values[i].needs_grad = true;
    one = own_bytes(m->graph, op, LONGEST);
    all = own_bytes(m->graph, op, LONGEST * MANY);
    CHECK(one && all > 2 * one, "%s: %zu bytes for one text, %zu for one of all tokens", dir, one,
          all);
    CHECK(op != &nib_op_scan || /* of the others what linears need is more */
              nib_run_bytes(m->graph, plan, LONGEST) + (all - one) / 2 <=
                  nib_run_bytes(m->graph, plan, LONGEST * MANY),
          "%s: %zu bytes, for one text of all tokens %zu", dir,
          nib_run_bytes(m->graph, plan, LONGEST),
          nib_run_bytes(m->graph, plan, LONGEST * MANY));
    nib_plan_destroy(ctx, plan);
    nib_model_close(m);
}

static void test_longest(void)
{
    check("tests/golden/models/falcon-h1", &nib_op_scan);
    check("tests/golden/models/qwen3-next", &nib_op_scan);
    check("tests/golden/models/rwkv", &nib_op_wkv);
    check("tests/golden/encoders/mega-seq", &nib_op_average);
}

int main(void)
{
    static const test_case cases[] = { { "longest", test_longest } };
    return test_main("scratch", cases, NIB_COUNT(cases));
}
