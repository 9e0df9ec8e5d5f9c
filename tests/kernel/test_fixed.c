/* test_fixed.c - a row in fixed point is the same in every variant: order, steps and sums, of
 * blocks of zeros, of great values and of values that are not finite. */
#include <math.h>
#include <string.h>

#include "variants.h"

enum { TERMS = 192, MOST_UNIT = 4 * NIB_FIXED_BLOCK };

static void check(const nib_kernels *k, const char *name, nib_fixed_order order)
{
    size_t bytes = nib_fixed_bytes(TERMS);
    float *x = test_floats(TERMS, 3);
    void *want = test_guarded(bytes), *got = test_guarded(bytes);

    memset(x + 32, 0, 32 * sizeof *x);
    x[70] = 1e30f;
    x[100] = NAN;
    x[130] = -INFINITY;
    nib_arrange_fixed_ref(TERMS, order, x, want);
    k->arrange_fixed(TERMS, order, x, got);
    for (size_t i = 0; i < TERMS / NIB_FIXED_BLOCK; i++) { /* NaN has many bits */
        nib_fixed_x a = nib_fixed_x_at(want, TERMS, i * NIB_FIXED_BLOCK, 0);
        nib_fixed_x b = nib_fixed_x_at(got, TERMS, i * NIB_FIXED_BLOCK, 0);
        CHECK(isnan(*a.steps) == isnan(*b.steps) && isnan(*a.steps) == (i == 3 || i == 4),
              "%s: step %zu", name, i);
        CHECK(memcmp(a.words, b.words, NIB_FIXED_BLOCK * sizeof *a.words) == 0, "%s: block %zu",
              name, i);
        if (isnan(*a.steps)) CHECK(isnan(b.sums[0]) && isnan(b.sums[1]), "%s: sums %zu", name, i);
        else CHECK(memcmp(a.sums, b.sums, 2 * sizeof *a.sums) == 0 && *a.steps == *b.steps,
                   "%s: order %d, block %zu", name, (int)order, i);
    }
}

static const nib_fixed_order orders[] = { NIB_FIXED_IN_ORDER, NIB_FIXED_EVEN_ODD, NIB_FIXED_CODES2,
                                          NIB_FIXED_CODES3, NIB_FIXED_CODES4, NIB_FIXED_CODES8,
                                          NIB_FIXED_TURNS, NIB_FIXED_HALVES, NIB_FIXED_TURNS4 };

static void test_arrange(void)
{
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (size_t i = 0; i < NIB_COUNT(orders); i++) check(&k, name, orders[i]);
}

/* Each order is a permutation of a unit. */
static void test_orders(void)
{
    for (size_t o = 0; o < NIB_COUNT(orders); o++) {
        size_t unit = nib_fixed_unit(orders[o]);
        bool seen[MOST_UNIT] = { false };
        for (size_t i = 0; i < unit; i++) seen[nib_fixed_place(orders[o], i)] = true;
        for (size_t i = 0; i < unit; i++) CHECK(seen[i], "order %d: %zu", (int)orders[o], i);
    }
}

/* Words of both signs are what was put, up to the greatest, each at a place of its own. */
static void test_words(void)
{
    for (size_t o = 0; o < NIB_COUNT(orders); o++) {
        size_t unit = nib_fixed_unit(orders[o]);
        for (int32_t word = -NIB_FIXED_MOST; word <= NIB_FIXED_MOST; word++) {
            int16_t words[MOST_UNIT] = { 0 };
            size_t at = (size_t)(word & 127) % unit, other = (at + 1) % unit;
            nib_fixed_put(orders[o], words, at, word);
            nib_fixed_put(orders[o], words, other, -word);
            CHECK(nib_fixed_word(orders[o], words, at) == word &&
                      nib_fixed_word(orders[o], words, other) == -word,
                  "order %d: %d", (int)orders[o], (int)word);
        }
    }
}

int main(void)
{
    static const test_case cases[] = { { "orders", test_orders }, { "words", test_words },
                                       { "arrange", test_arrange } };
    return test_main("fixed", cases, NIB_COUNT(cases));
}
