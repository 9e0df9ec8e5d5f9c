/* test_grouped_dot.c - products of few rows with grouped integer codes: the sums are
 * within float's rounding of the reference's, whose are within what fixed point loses of exact
 * ones; a row has the same bits alone and among others. */
#include <math.h>
#include <string.h>

#include "kernel/dot4.h"
#include "variants.h"

enum { TERMS = 192, LD = TERMS * 2 + TERMS * 3 / 8, WORDS = TERMS / 4 };

typedef struct setup {
    nib_grouped_codes c;
    float *x; /* [4, TERMS] */
    char *ready;
} setup;

static setup random_setup(unsigned bits, size_t group, bool apart)
{
    size_t words = TERMS * bits / 32, groups = nib_ceil_div(TERMS, group) + 1;
    uint8_t *codes = test_guarded(words * NIB_PANEL * 4);
    float *zeros = test_floats(groups * NIB_PANEL, 0);
    setup s = { .c = { .words = codes, .bits = bits, .other = 4, .group = group,
                       .flip = bits == 8 ? 0x80808080u : 0, .begun = group - 32,
                       .scales = test_floats(groups * NIB_PANEL, 0.1f), .zeros = zeros },
                .x = test_floats(4 * TERMS, 1), .ready = test_guarded(4 * LD) };

    for (size_t i = 0; i < words * NIB_PANEL * 4; i++) codes[i] = (uint8_t)(test_rand() >> 9);
    for (size_t i = 0; i < groups * NIB_PANEL; i++) zeros[i] = (float)(test_rand() % (1u << bits));
    s.c.next = apart ? NIB_STRIP * 4 : NIB_PANEL * 4;
    s.c.second = apart ? words * NIB_STRIP * 4 : NIB_STRIP * 4;
    for (size_t m = 0; m < 4; m++)
        nib_arrange_fixed_ref(TERMS, (nib_fixed_order)bits, s.x + m * TERMS, s.ready + m * LD);
    return s;
}

/* The sum of exact products, and of their sizes. */
static double exact(const setup *s, size_t m, size_t n, double *size)
{
    const nib_grouped_codes *c = &s->c;
    const uint8_t *stream = c->words + n / NIB_STRIP * c->second + n % NIB_STRIP * 4;
    double sum = 0;

    *size = 0;
    for (size_t t = 0; t < TERMS; t++) {
        size_t at = nib_grouped_group(c, t) * NIB_PANEL + n;
        double w = ((double)nib_grouped_code(c, stream, t) - (double)c->zeros[at]) *
                   (double)c->scales[at];
        sum += w * (double)s->x[m * TERMS + t];
        *size += fabs((double)c->scales[at]) * (1u << c->bits);
    }
    return sum;
}

static void check_dot(const nib_kernels *k, const char *name, const setup *s)
{
    float got[4 * NIB_PANEL], alone[NIB_PANEL], want[4 * NIB_PANEL];
    const nib_fixed_x x = nib_fixed_x_at(s->ready, TERMS, 0, LD);
    double worst = 0, off = 0;

    memset(got, 0, sizeof got);
    memset(want, 0, sizeof want);
    k->grouped_dot(&s->c, TERMS, 4, &x, got);
    nib_grouped_dot_ref(&s->c, TERMS, 4, &x, want);
    for (size_t m = 0; m < 4; m++) {
        const nib_fixed_x one = nib_fixed_x_at(s->ready + m * LD, TERMS, 0, LD);
        memset(alone, 0, sizeof alone);
        k->grouped_dot(&s->c, TERMS, 1, &one, alone);
        CHECK(memcmp(alone, got + m * NIB_PANEL, sizeof alone) == 0, "%s: row %zu alone", name, m);
        for (size_t n = 0; n < NIB_PANEL; n++) {
            double size, sum = exact(s, m, n, &size);
            worst = fmax(worst, fabs((double)got[m * NIB_PANEL + n] - sum) / size);
            off = fmax(off, fabs((double)got[m * NIB_PANEL + n] -
                                 (double)want[m * NIB_PANEL + n]) / size);
        }
    }
    CHECK(worst < 2e-5 && off < 1e-6, "%s: %u bits, groups of %zu: off by %g, %g of the reference",
          name, s->c.bits, s->c.group, worst, off);
}

static void test_dot(void)
{
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (unsigned bits = 2; bits <= 8; bits *= 2)
            for (size_t group = 32; group <= 128; group *= 2)
                for (int apart = 0; apart < 2; apart++) {
                    setup s = random_setup(bits, group, apart);
                    check_dot(&k, name, &s);
                }
}

int main(void)
{
    static const test_case cases[] = { { "dot", test_dot } };
    return test_main("grouped_dot", cases, NIB_COUNT(cases));
}
