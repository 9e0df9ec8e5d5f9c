/* test_awq_turn.c - AWQ's words turned: each code is where its input and output say, in every
 * variant. */
#include <string.h>

#include "variants.h"

enum { MOST = 9 };

/* AutoAWQ's order, as formats.md 7.1 has it. */
static unsigned code_of(const uint8_t *rows, size_t next, size_t input, size_t output)
{
    static const unsigned order[8] = { 0, 2, 4, 6, 1, 3, 5, 7 };
    uint32_t word = nib_load_le32(rows + input * next + output / 8 * 4);

    for (unsigned j = 0; j < 8; j++)
        if (order[j] == output % 8) return word >> 4 * j & 15;
    return 99;
}

static void check_variant(const nib_kernels *k, const char *variant)
{
    for (size_t count = 1; count <= MOST; count++) {
        size_t next = 16 + count % 3 * 4, bytes = (8 * count - 1) * next + 16;
        uint8_t *rows = test_guarded(bytes);
        uint32_t *to = test_guarded(count * 32 * sizeof *to);

        for (size_t i = 0; i < bytes; i++) rows[i] = (uint8_t)test_rand();
        k->awq_turn(count, rows, next, to);
        for (size_t o = 0; o < 32; o++)
            for (size_t i = 0; i < 8 * count; i++)
                CHECK((to[i / 8 * 32 + o] >> 4 * (i % 8) & 15) == code_of(rows, next, i, o),
                      "%s: input %zu, output %zu", variant, i, o);
    }
}

static void test_variants(void)
{
    nib_kernels k = nib_kernels_for(0);
    const char *name;

    check_variant(&k, "ref");
    for (size_t level = 0; (name = test_next_variant(&level, &k));) check_variant(&k, name);
}

int main(void)
{
    static const test_case cases[] = { { "variants", test_variants } };
    return test_main("kernel/test_awq_turn", cases, NIB_COUNT(cases));
}
