/* test_grouped_panel.c - packing grouped integer codes into panels: every variant against the
 * reference bit for bit, for every width, order of codes and rounding, at odd addresses, in buffers
 * that end at an unreadable page. */
#include <string.h>

#include "variants.h"

static const nib_dtype types[] = { NIB_F32, NIB_F16, NIB_BF16 };
static const char *const kinds[] = { "floats", "rounded", "pairs" };

static uint8_t *random_words(size_t words)
{
    uint8_t *p = test_guarded(words * 4);
    for (size_t i = 0; i < words * 4; i++) p[i] = (uint8_t)(test_rand() >> 9);
    return p;
}

static float *random_zeros(size_t n, unsigned bits)
{
    float *zeros = test_floats(n, 0);
    for (size_t i = 0; i < n; i++) zeros[i] = (float)(test_rand() % (1u << bits));
    return zeros;
}

/* Both variants of one piece. */
static void check(const nib_kernels *k, const char *name, const nib_grouped_codes *c, bool down,
                  size_t terms)
{
    size_t strip = terms * NIB_STRIP + 8, n = strip + terms * NIB_STRIP;
    float *want = test_floats(n, 0), *got = test_floats(n, 0);

    for (int kind = 0; kind < 3; kind++) {
        if (kind == NIB_PACK_PAIRS && terms % 2) continue;
        memset(want, 0, n * sizeof *want);
        memset(got, 0, n * sizeof *got);
        (down ? nib_grouped_down_ref : nib_grouped_across_ref)(c, terms, (nib_pack_kind)kind,
                                                               want, strip);
        (down ? k->grouped_down : k->grouped_across)(c, terms, (nib_pack_kind)kind, got, strip);
        CHECK(memcmp(got, want, n * sizeof *got) == 0,
              "%s: %s %s of %zu terms, %u bits%s, through %s, %s", name, kinds[kind],
              down ? "down" : "across", terms, c->bits,
              c->awq ? " (awq)" : c->biased ? " (biased)" : "",
              nib_dtype_name(c->through), c->by_term ? "a scale a term" : c->groups ? "groups by "
              "number" : "groups in order");
    }
}

/* Scales of columns, groups in order or by number, and of terms. */
static void check_scales(const nib_kernels *k, const char *name, nib_grouped_codes c, bool down,
                         size_t terms)
{
    enum { GROUPS = 5 };
    int32_t *groups = test_guarded(terms * sizeof *groups);

    c.group = nib_round_up(nib_ceil_div(terms, GROUPS), 32);
    c.scales = test_floats(nib_max(terms, GROUPS * NIB_PANEL), 0.01f);
    c.zeros = c.biased ? test_floats(nib_max(terms, GROUPS * NIB_PANEL), 0.1f)
                       : random_zeros(nib_max(terms, GROUPS * NIB_PANEL), c.bits);
    for (size_t t = 0; t < terms; t++) groups[t] = (int32_t)(test_rand() % GROUPS);
    check(k, name, &c, down, terms);
    c.begun = c.group - 32;
    check(k, name, &c, down, nib_min(terms, (GROUPS - 1) * c.group + 32));
    c.groups = groups;
    check(k, name, &c, down, terms);
    c.groups = NULL;
    c.by_term = true;
    check(k, name, &c, down, terms);
}

static void each_width(void (*run)(const nib_kernels *k, const char *name, nib_grouped_codes c))
{
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (unsigned bits = 2; bits <= 9; bits++)
            for (size_t t = 0; t < 2 * NIB_COUNT(types); t++)
                run(&k, name, (nib_grouped_codes){ .bits = bits == 9 ? 4 : bits, .awq = bits == 9,
                                                   .flip = bits == 8 && t % 2 ? 0x80808080u : 0,
                                                   .biased = bits < 9 && t >= NIB_COUNT(types),
                                                   .through = types[t % NIB_COUNT(types)] });
}

/* Words of 32 columns side by side, and of each strip by itself. */
static void down_one(const nib_kernels *k, const char *name, nib_grouped_codes c)
{
    for (size_t terms = 32; terms <= 160; terms += 64) {
        size_t words = terms * c.bits / 32;
        c.next = NIB_PANEL * 4 + 4;
        c.other = 4;
        c.second = NIB_STRIP * 4;
        c.words = random_words((words - 1) * (NIB_PANEL + 1) + NIB_PANEL);
        check_scales(k, name, c, true, terms);
        c.next = NIB_STRIP * 4;
        c.second = words * c.next;
        c.words = random_words(2 * words * NIB_STRIP);
        check_scales(k, name, c, true, terms);
    }
}

static void test_down(void) { each_width(down_one); }

/* Words of a stream one after the other, and apart. */
static void across_one(const nib_kernels *k, const char *name, nib_grouped_codes c)
{
    for (size_t terms = 1; terms <= 7; terms += terms == 2 ? 5 : 1) {
        c.next = 4;
        c.other = c.bits * 4;
        c.words = random_words(terms * c.bits);
        check_scales(k, name, c, false, terms);
        c.next = terms * 4;
        c.other = 4;
        c.words = random_words(terms * c.bits);
        check_scales(k, name, c, false, terms);
    }
}

static void test_across(void) { each_width(across_one); }

int main(void)
{
    static const test_case cases[] = { { "down", test_down }, { "across", test_across } };
    return test_main("grouped_panel", cases, NIB_COUNT(cases));
}
