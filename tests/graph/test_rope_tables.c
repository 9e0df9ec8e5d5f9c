/* test_rope_tables.c - one table for each distinct rope; long sequences have their own angles. */
#include "lab.h"
#include "test.h"

#include <math.h>
#include <string.h>

#include "graph/rope_tables.h"

enum { HALF = 3, LONG_FROM = 8 };

static const float angles[] = { 1, 0.2f, 0.03f }, others[] = { 1, 0.5f, 0.25f },
                   same[] = { 1, 0.2f, 0.03f };
static nib_rope ropes[] = {
    { .rot = 2 * HALF, .inv = angles, .attention_factor = 1 },
    { .rot = 2 * HALF, .inv = others, .attention_factor = 1.5f },
    { .rot = 2 * HALF, .inv = same, .attention_factor = 1, .interleaved = true },
    { .rot = 2 * HALF, .inv = angles, .attention_factor = 1, .long_inv = others,
      .long_from = LONG_FROM },
};

static void build(lab *l)
{
    nib_value x;

    lab_embedding(l, "embed", 2 * HALF, 0);
    x = lab_embed(l, "embed");
    for (size_t i = 0; i < NIB_COUNT(ropes); i++) x = nib_rotate(&l->b, x, 1, 2 * HALF, &ropes[i]);
    lab_finish(l, x, 2 * HALF, 0);
}

static bool is_angle(const float *cosine, const float *sine, size_t t, float inv, float factor)
{
    float angle = (float)t * inv;
    return *cosine == (float)cos((double)angle) * factor &&
           *sine == (float)sin((double)angle) * factor;
}

static void test_tables(void)
{
    enum { POSITIONS = 20 };
    nib_ctx *ctx = test_ctx();
    nib_tables t;
    nib_error err;
    lab l;

    if (lab_open(&l, ctx, NIB_F32, build, 0)) {
        REQUIRE_OK(nib_tables_create(ctx, l.b.graph, POSITIONS, &t, &err), err);
        CHECK(t.count == 3, "%zu tables", t.count);
        CHECK(nib_tables_bytes(l.b.graph, POSITIONS) == 8 * POSITIONS * HALF * sizeof(float),
              "%zu bytes", nib_tables_bytes(l.b.graph, POSITIONS));
        CHECK(nib_tables_of(&t, &ropes[0]).cosines == nib_tables_of(&t, &ropes[2]).cosines,
              "ropes of one content have two tables");
        for (size_t i = 0; i < NIB_COUNT(ropes); i++) {
            nib_rope_table table = nib_tables_of(&t, &ropes[i]);
            CHECK(table.half == HALF && !table.to_long == !ropes[i].long_inv, "rope %zu", i);
            for (size_t at = 0; at < POSITIONS * HALF; at++) {
                size_t j = at % HALF, longer = at + table.to_long;
                CHECK(is_angle(table.cosines + at, table.sines + at, at / HALF, ropes[i].inv[j],
                               ropes[i].attention_factor), "rope %zu, value %zu", i, at);
                if (table.to_long)
                    CHECK(is_angle(table.cosines + longer, table.sines + longer, at / HALF,
                                   ropes[i].long_inv[j], ropes[i].attention_factor),
                          "rope %zu, value %zu of long sequences", i, at);
            }
        }
        nib_tables_destroy(ctx, &t);
    }
    lab_close(&l);
}

/* --- which angles a row gets --- */

static void build_one(lab *l)
{
    lab_embedding(l, "embed", 2 * HALF, 0);
    lab_finish(l, nib_rotate(&l->b, lab_embed(l, "embed"), 1, 2 * HALF, &ropes[l->variant]),
               2 * HALF, 0);
}

static void keep_rotated(void *user, const nib_node *node, const nib_io *io, bool backward)
{
    if (node->rope && !backward) memcpy(user, io->out, 20 * 2 * HALF * sizeof(float));
}

static void rotated(int variant, float *out)
{
    lab l;

    if (lab_open(&l, test_ctx(), NIB_F32, build_one, variant) && lab_plan(&l, NIB_PLAN_INFERENCE)) {
        CHECK(l.batch.axes[NIB_TOKENS].count == 20, "lengths 7, 1 and 12");
        l.run->tap = keep_rotated;
        l.run->tap_user = out;
        nib_run_forward(l.run, &l.batch);
    }
    lab_close(&l);
}

/* Of three sequences of 7, 1 and 12 tokens the last one is longer than LONG_FROM. */
static void test_long(void)
{
    static float plain[20 * 2 * HALF], both[20 * 2 * HALF], longer[20 * 2 * HALF];
    static const size_t first = 8 * 2 * HALF, bytes = sizeof plain;

    ropes[1].attention_factor = 1;
    rotated(0, plain);
    rotated(1, longer);
    rotated(3, both);
    ropes[1].attention_factor = 1.5f;
    CHECK(memcmp(plain, both, first * sizeof *both) == 0, "short sequences have other angles");
    CHECK(memcmp(longer + first, both + first, bytes - first * sizeof *both) == 0,
          "the long one has not the long angles");
    CHECK(memcmp(longer, plain, bytes) != 0, "no difference");
}

static const test_case cases[] = {
    { "tables", test_tables },
    { "long sequences", test_long },
};

int main(void) { return test_main("test_rope_tables", cases, NIB_COUNT(cases)); }
