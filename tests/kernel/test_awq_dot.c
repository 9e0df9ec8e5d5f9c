/* test_awq_dot.c - products of few rows with AWQ's codes: within float's rounding of the
 * reference's, whose are within what fixed point loses of exact sums of codes taken apart here; a
 * row has the same bits alone and among others. */
#include <math.h>
#include <string.h>

#include "kernel/dot4.h"
#include "variants.h"

enum { MOST_OUTPUTS = 2 * NIB_AWQ_STRIP, ROOM = MOST_OUTPUTS * NIB_DOT_ROWS };

typedef struct setup {
    nib_awq_group g;
    float *x; /* [4, inputs] */
    char *ready;
    size_t ld;
} setup;

/* next: not always a multiple of anything, and the last row ends the array. */
static setup random_setup(size_t inputs, size_t outputs, size_t apart)
{
    size_t next = outputs / 2 + apart, bytes = (inputs - 1) * next + outputs / 2;
    uint8_t *rows = test_guarded(bytes);
    float *zeros = test_guarded(outputs * sizeof *zeros);
    setup s = { .g = { .rows = rows, .next = next, .inputs = inputs, .outputs = outputs,
                       .scales = test_floats(outputs, 0.1f), .zeros = zeros },
                .x = test_floats(4 * inputs, 1),
                .ld = nib_round_up(nib_fixed_bytes(inputs), 4) };

    for (size_t i = 0; i < bytes; i++) rows[i] = (uint8_t)(test_rand() >> 9);
    for (size_t i = 0; i < outputs; i++) zeros[i] = (float)(test_rand() % 16);
    s.ready = test_guarded(4 * s.ld);
    for (size_t m = 0; m < 4; m++)
        nib_arrange_fixed_ref(inputs, NIB_FIXED_IN_ORDER, s.x + m * inputs, s.ready + m * s.ld);
    return s;
}

/* AutoAWQ's order, as formats.md 7.1 has it. */
static unsigned code_of(const nib_awq_group *g, size_t input, size_t output)
{
    static const unsigned order[8] = { 0, 2, 4, 6, 1, 3, 5, 7 };
    uint32_t word = nib_load_le32(g->rows + input * g->next + output / 8 * 4);

    for (unsigned j = 0; j < 8; j++)
        if (order[j] == output % 8) return word >> 4 * j & 15;
    return 99;
}

static double exact(const setup *s, size_t m, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < s->g.inputs; i++)
        sum += ((double)code_of(&s->g, i, n) - (double)s->g.zeros[n]) * (double)s->g.scales[n] *
               (double)s->x[m * s->g.inputs + i];
    return sum;
}

static void check_dot(const nib_kernels *k, const char *name, const setup *s)
{
    float *got = test_floats(s->g.outputs * 4, 1), *want = test_floats(s->g.outputs * 4, 1);
    float *alone = test_floats(s->g.outputs, 1), room[ROOM];
    const nib_fixed_x x = nib_fixed_x_at(s->ready, s->g.inputs, 0, s->ld);
    double worst = 0, off = 0, greatest = 0;

    for (size_t i = 0; i < 4 * s->g.inputs; i++) greatest = fmax(greatest, fabs((double)s->x[i]));
    memset(got, 0, s->g.outputs * 4 * sizeof *got);
    memset(want, 0, s->g.outputs * 4 * sizeof *want);
    k->awq_dot(&s->g, 4, &x, room, got);
    nib_awq_dot_ref(&s->g, 4, &x, room, want);
    for (size_t m = 0; m < 4; m++) {
        const nib_fixed_x one = nib_fixed_row(&x, m);
        memset(alone, 0, s->g.outputs * sizeof *alone);
        k->awq_dot(&s->g, 1, &one, room, alone);
        for (size_t n = 0; n < s->g.outputs; n++) {
            size_t at = (n / 32 * 4 + m) * 32 + n % 32;
            double size = (double)s->g.inputs * 16 * greatest *
                          fabs((double)s->g.scales[n]) + 1e-30;
            CHECK(memcmp(&got[at], &alone[n], sizeof *got) == 0, "%s: row %zu alone", name, m);
            worst = fmax(worst, fabs((double)got[at] - exact(s, m, n)) / size);
            off = fmax(off, fabs((double)got[at] - (double)want[at]) / size);
        }
    }
    CHECK(worst < 2e-5 && off < 1e-6, "%s: %zu x %zu, off by %g, %g of the reference", name,
          s->g.inputs, s->g.outputs, worst, off);
}

static void test_dot(void)
{
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (size_t inputs = 32; inputs <= 128; inputs += 32)
            for (size_t outputs = 32; outputs <= MOST_OUTPUTS; outputs += 32) {
                setup s = random_setup(inputs, outputs, inputs / 32 % 3 * 5);
                check_dot(&k, name, &s);
            }
}

/* The greatest codes and words of x, whose sums are the greatest: none wraps. */
static void test_greatest(void)
{
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (int sign = -1; sign <= 1; sign += 2) {
            setup s = random_setup(64, 96, 0);
            memset((uint8_t *)(uintptr_t)s.g.rows, 255, s.g.inputs * s.g.next);
            for (size_t i = 0; i < 4 * 64; i++)
                s.x[i] = (float)sign * (i % 64 ? 126 * 256 + 128 : NIB_FIXED_MOST);
            for (size_t m = 0; m < 4; m++)
                nib_arrange_fixed_ref(64, NIB_FIXED_IN_ORDER, s.x + m * 64, s.ready + m * s.ld);
            check_dot(&k, name, &s);
        }
}

int main(void)
{
    static const test_case cases[] = { { "dot", test_dot }, { "greatest", test_greatest } };
    return test_main("kernel/test_awq_dot", cases, NIB_COUNT(cases));
}
