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

static setup random_setup(unsigned bits, size_t group, bool apart, bool biased)
{
    size_t words = TERMS * bits / 32, groups = nib_ceil_div(TERMS, group) + 1;
    uint8_t *codes = test_guarded(words * NIB_PANEL * 4);
    float *zeros = test_floats(groups * NIB_PANEL, 0);
    setup s = { .c = { .words = codes, .bits = bits, .other = 4, .group = group,
                       .flip = bits == 8 && !biased ? 0x80808080u : 0, .begun = group - 32,
                       .biased = biased,
                       .scales = test_floats(groups * NIB_PANEL, 0.1f), .zeros = zeros },
                .x = test_floats(4 * TERMS, 1), .ready = test_guarded(4 * LD) };

    for (size_t i = 0; i < words * NIB_PANEL * 4; i++) codes[i] = (uint8_t)(test_rand() >> 9);
    for (size_t i = 0; i < groups * NIB_PANEL; i++)
        zeros[i] = biased ? test_rand_float() : (float)(test_rand() % (1u << bits));
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
        double code = nib_grouped_code(c, stream, t), zero = (double)c->zeros[at],
               scale = (double)c->scales[at];
        double w = c->biased ? code * scale + zero : (code - zero) * scale;
        sum += w * (double)s->x[m * TERMS + t];
        *size += fabs(scale) * (1u << c->bits) + (c->biased ? fabs(zero) : 0);
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
    k->grouped_dot(&s->c, TERMS, 4, &x, NIB_PANEL, got);
    nib_grouped_dot_ref(&s->c, TERMS, 4, &x, NIB_PANEL, want);
    for (size_t m = 0; m < 4; m++) {
        const nib_fixed_x one = nib_fixed_x_at(s->ready + m * LD, TERMS, 0, LD);
        memset(alone, 0, sizeof alone);
        k->grouped_dot(&s->c, TERMS, 1, &one, NIB_PANEL, alone);
        CHECK(memcmp(alone, got + m * NIB_PANEL, sizeof alone) == 0, "%s: row %zu alone", name, m);
        for (size_t n = 0; n < NIB_PANEL; n++) {
            double size, sum = exact(s, m, n, &size);
            worst = fmax(worst, fabs((double)got[m * NIB_PANEL + n] - sum) / size);
            off = fmax(off, fabs((double)got[m * NIB_PANEL + n] -
                                 (double)want[m * NIB_PANEL + n]) / size);
        }
    }
    CHECK(worst < 2e-5 && off < 1e-6,
          "%s: %u bits%s, groups of %zu: off by %g, %g of the reference", name, s->c.bits,
          s->c.biased ? " (biased)" : "", s->c.group, worst, off);
}

static void test_dot(void)
{
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (unsigned bits = 2; bits <= 8; bits += bits < 4 ? 1 : 4)
            for (size_t group = 32; group <= 128; group *= 2)
                for (int which = 0; which < 4; which++) {
                    setup s = random_setup(bits, group, which & 1, which & 2);
                    check_dot(&k, name, &s);
                }
}

/* Panels side by side, of one group: each has the bits that it has alone. */
static void check_panels(nib_grouped_dot_fn *dot, const char *name, unsigned bits)
{
    enum { COLUMNS = 3 * NIB_PANEL, ROWS = 2 };
    size_t words = TERMS * bits / 32;
    uint8_t *codes = test_guarded(words * COLUMNS * 4);
    float together[COLUMNS * ROWS] = { 0 }, alone[NIB_PANEL * ROWS];
    nib_grouped_codes c = { .words = codes, .bits = bits, .other = 4, .next = COLUMNS * 4,
                            .second = NIB_STRIP * 4, .group = TERMS,
                            .scales = test_floats(COLUMNS, 0.1f),
                            .zeros = test_floats(COLUMNS, 5) };
    setup s = random_setup(bits, TERMS, false, false);
    const nib_fixed_x x = nib_fixed_x_at(s.ready, TERMS, 0, LD);

    for (size_t i = 0; i < words * COLUMNS * 4; i++) codes[i] = (uint8_t)(test_rand() >> 9);
    dot(&c, TERMS, ROWS, &x, COLUMNS, together);
    for (size_t n = 0; n < COLUMNS; n += NIB_PANEL) {
        memset(alone, 0, sizeof alone);
        dot(&c, TERMS, ROWS, &x, NIB_PANEL, alone);
        CHECK(memcmp(alone, together + n * ROWS, sizeof alone) == 0, "%s: %u bits, panel %zu", name,
              bits, n / NIB_PANEL);
        c.words += NIB_PANEL * 4;
        c.scales += NIB_PANEL;
        c.zeros += NIB_PANEL;
    }
}

static void test_panels(void)
{
    nib_kernels k;
    const char *name;

    for (unsigned bits = 2; bits <= 8; bits += bits < 4 ? 1 : 4)
        check_panels(nib_grouped_dot_ref, "ref", bits);
    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (unsigned bits = 2; bits <= 8; bits += bits < 4 ? 1 : 4)
            check_panels(k.grouped_dot, name, bits);
}

/* The greatest codes and words of x: their sums of 16 bits do not wrap. */
static void test_greatest(void)
{
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (unsigned bits = 2; bits <= 8; bits += bits < 4 ? 1 : 4) {
            setup s = random_setup(bits, TERMS, false, false);
            memset((uint8_t *)(uintptr_t)s.c.words, 255, TERMS * bits / 32 * NIB_PANEL * 4);
            /* high and low byte of words: -126 and -128, of the first -127 twice */
            for (size_t i = 0; i < 4 * TERMS; i++)
                s.x[i] = i % 32 ? -(126.0f * 256 + 128) / NIB_FIXED_MOST : -1;
            for (size_t m = 0; m < 4; m++)
                nib_arrange_fixed_ref(TERMS, (nib_fixed_order)bits, s.x + m * TERMS,
                                      s.ready + m * LD);
            check_dot(&k, name, &s);
        }
}

int main(void)
{
    static const test_case cases[] = { { "dot", test_dot },
                                       { "panels", test_panels },
                                       { "greatest", test_greatest } };
    return test_main("grouped_dot", cases, NIB_COUNT(cases));
}
