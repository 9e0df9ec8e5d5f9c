/* test_grouped_row.c - products of few rows with a row of grouped codes: within float's rounding of
 * the reference's, whose are within what fixed point loses of exact sums of codes taken apart here;
 * a row has the same bits alone and among others. */
#include <math.h>
#include <string.h>

#include "kernel/dot4.h"
#include "variants.h"

enum { MOST_TERMS = 512, LD = MOST_TERMS * 2 + MOST_TERMS * 7 / 8 };

typedef struct setup {
    nib_grouped_row row;
    float *x, *ones; /* [4, terms], [4, groups] */
    char *ready;
} setup;

static void arrange(setup *s)
{
    size_t terms = s->row.terms, groups = terms / s->row.group;

    for (size_t m = 0; m < 4; m++) {
        char *to = s->ready + m * LD;
        nib_arrange_fixed_ref(terms, nib_grouped_row_order(s->row.bits), s->x + m * terms, to);
        nib_grouped_row_repeat(s->row.bits, terms, to);
        for (size_t g = 0; g < groups; g++) {
            double sum = 0;
            for (size_t i = 0; i < s->row.group; i++)
                sum += (double)s->x[m * terms + g * s->row.group + i];
            s->ones[m * groups + g] = (float)sum;
        }
    }
}

static setup random_setup(unsigned bits, size_t terms, size_t group, uint8_t flip)
{
    size_t bytes = terms * bits / 8, groups = terms / group;
    uint8_t *codes = test_guarded(bytes);
    setup s = { .row = { .codes = codes, .bits = bits, .flip = flip, .terms = terms,
                         .group = group, .scales = test_floats(groups, 0.1f),
                         .offsets = test_floats(groups, 1) },
                .x = test_floats(4 * terms, 1), .ones = test_floats(4 * groups, 0),
                .ready = test_guarded(4 * LD) };

    for (size_t i = 0; i < bytes; i++) codes[i] = (uint8_t)(test_rand() >> 9);
    arrange(&s);
    return s;
}

/* Nibbles as they lie in little-endian words of 32 bits, the first the lowest; bytes as signed ones
 * where they are flipped. */
static double code_of(const nib_grouped_row *row, size_t i)
{
    if (row->bits == 4) return nib_load_le32(row->codes + i / 8 * 4) >> i % 8 * 4 & 15;
    return row->flip ? (double)(int8_t)row->codes[i] + 128 : (double)row->codes[i];
}

static double exact(const setup *s, size_t m, double *size)
{
    const nib_grouped_row *row = &s->row;
    double sum = 0;

    *size = 1e-30;
    for (size_t i = 0; i < row->terms; i++) {
        size_t g = i / row->group;
        double w = code_of(row, i) * (double)row->scales[g] - (double)row->offsets[g];
        sum += w * (double)s->x[m * row->terms + i];
        *size += fabs((double)row->scales[g]) * (1u << row->bits) + fabs((double)row->offsets[g]);
    }
    return sum;
}

static void check_dot(const nib_kernels *k, const char *name, const setup *s)
{
    const nib_grouped_row *row = &s->row;
    size_t groups = row->terms / row->group;
    const nib_fixed_x x = nib_fixed_x_at(s->ready, row->terms, 0, LD);
    float got[4 * 3], want[4 * 3], alone;
    double worst = 0, off = 0;

    k->grouped_row_dot(row, 4, &x, s->ones, groups, got, 3);
    nib_grouped_row_dot_ref(row, 4, &x, s->ones, groups, want, 3);
    for (size_t m = 0; m < 4; m++) {
        const nib_fixed_x one = nib_fixed_row(&x, m);
        double size, sum = exact(s, m, &size);
        k->grouped_row_dot(row, 1, &one, s->ones + m * groups, groups, &alone, 1);
        CHECK(memcmp(&got[m * 3], &alone, sizeof alone) == 0, "%s: row %zu alone", name, m);
        worst = fmax(worst, fabs((double)got[m * 3] - sum) / size);
        off = fmax(off, fabs((double)got[m * 3] - (double)want[m * 3]) / size);
    }
    CHECK(worst < 2e-5 && off < 1e-6,
          "%s: %u bits, %zu terms in groups of %zu: off by %g, %g of the reference", name,
          row->bits, row->terms, row->group, worst, off);
}

static void test_dot(void)
{
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (unsigned bits = 4; bits <= 8; bits += 4)
            for (size_t group = 64; group <= 256; group *= 2)
                for (size_t terms = group; terms <= MOST_TERMS; terms += group) {
                    setup s = random_setup(bits, terms, group, bits == 8 && group == 64 ? 128 : 0);
                    check_dot(&k, name, &s);
                }
}

/* The greatest codes and words of x: their sums of 16 bits do not wrap. */
static void test_greatest(void)
{
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (unsigned bits = 4; bits <= 8; bits += 4)
            for (int sign = -1; sign <= 1; sign += 2) {
                setup s = random_setup(bits, 128, 64, 0);
                memset((uint8_t *)(uintptr_t)s.row.codes, 255, s.row.terms * bits / 8);
                /* high and low byte of words: 126 and 128, of the first 127 twice */
                for (size_t i = 0; i < 4 * s.row.terms; i++)
                    s.x[i] = (float)sign * (i % 32 ? 126.0f * 256 + 128 : NIB_FIXED_MOST);
                for (size_t i = 0; i < 4 * s.row.terms; i++) s.x[i] /= NIB_FIXED_MOST;
                arrange(&s);
                check_dot(&k, name, &s);
            }
}

int main(void)
{
    static const test_case cases[] = { { "dot", test_dot }, { "greatest", test_greatest } };
    return test_main("kernel/test_grouped_row", cases, NIB_COUNT(cases));
}
