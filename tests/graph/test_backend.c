/* test_backend.c - a run computes with the functions of its backend alone: one that passes every
 * call on, but doubles what a linear makes, changes just that. */
#include "lab.h"
#include "test.h"

#include <string.h>

#include "graph/backend.h"
#include "graph/readout.h"

static size_t forwards, backwards, others;

static void double_forward(nib_run *run, const nib_node *node, const nib_io *io)
{
    nib_backend_cpu.operations[NIB_OP_LINEAR]->forward(run, node, io);
    for (size_t i = 0; i < nib_run_rows(run, NIB_TOKENS) * node->linear->weight->out; i++)
        ((float *)io->out)[i] *= 2;
    forwards++;
}

static void count_backward(nib_run *run, const nib_node *node, const nib_io *io)
{
    nib_backend_cpu.operations[NIB_OP_LINEAR]->backward(run, node, io);
    backwards++;
}

static void pass_forward(nib_run *run, const nib_node *node, const nib_io *io)
{
    nib_backend_cpu.operations[node->op->id]->forward(run, node, io);
    others++;
}

static const nib_op_functions doubling = { double_forward, count_backward },
                              passing = { pass_forward, NULL };

static void build(lab *l)
{
    nib_value x;

    lab_embedding(l, "embed", 8, 0);
    lab_linear(l, "w", 8, 8, LAB_LORA);
    x = lab_embed(l, "embed");
    l->b.segment++;
    lab_finish(l, lab_apply(l, x, "w"), 8, 0);
}

static void keep_linear(void *user, const nib_node *node, const nib_io *io, bool backward)
{
    if (node->linear && !backward && node->op->id == NIB_OP_LINEAR)
        memcpy(user, io->out, 20 * 8 * sizeof(float));
}

static void test_backend(void)
{
    static float plain[20 * 8], doubled[20 * 8];
    nib_backend backend = nib_backend_cpu;
    lab l;

    for (int op = 0; op < NIB_OP_COUNT; op++)
        CHECK(nib_backend_cpu.operations[op], "operation %d", op);
    backend.operations[NIB_OP_LINEAR] = &doubling;
    if (lab_open(&l, test_ctx(), NIB_F32, build, 0)) {
        l.run->tap = keep_linear;
        l.run->tap_user = plain;
        lab_step(&l);
        l.run->backend = &backend;
        l.run->tap_user = doubled;
        lab_step(&l);
        CHECK(forwards == 1 && backwards == 1, "%zu and %zu calls", forwards, backwards);
        for (size_t i = 0; i < NIB_COUNT(plain); i++)
            CHECK(doubled[i] == 2 * plain[i], "value %zu: %g and %g", i, (double)plain[i],
                  (double)doubled[i]);
        if (lab_plan(&l, NIB_PLAN_INFERENCE)) {
            for (int op = 0; op < NIB_OP_COUNT; op++) backend.operations[op] = &passing;
            l.run->backend = &backend;
            nib_run_forward(l.run, &l.batch);
            nib_run_loss(l.run);
            CHECK(others == 4, "%zu calls, expected embedding, linear, gather and loss", others);
        }
    }
    lab_close(&l);
}

static const test_case cases[] = { { "a backend of one's own", test_backend } };

int main(void) { return test_main("test_backend", cases, NIB_COUNT(cases)); }
