/* panel4_ref.c - packing 4-bit codes, plainly. */
#include "kernel/kernels.h"

static float value(const nib_codes4 *c, size_t row, size_t i, float scale)
{
    unsigned byte = c->codes[row * c->stride + i / 2];
    return c->table[i % 2 ? byte & 15 : byte >> 4] * scale;
}

/* Where term t of column n lies: floats, and pairs of bfloat16. */
static size_t at(size_t t, size_t n, size_t strip)
{
    return n / NIB_STRIP * strip + t * NIB_STRIP + n % NIB_STRIP;
}
static size_t at_pair(size_t t, size_t n, size_t strip)
{
    return n / NIB_STRIP * strip + (t / 2 * NIB_STRIP + n % NIB_STRIP) * 2 + t % 2;
}

void nib_panel4_f32_ref(const nib_codes4 *c, size_t depth, bool rounded, float *panel, size_t strip)
{
    for (size_t k = 0; k < depth; k++)
        for (size_t n = 0; n < NIB_PANEL; n++) {
            float v = value(c, n, k, c->scales[k / c->block * NIB_PANEL + n]);
            panel[at(k, n, strip)] = rounded ? nib_round_bf16(v) : v;
        }
}

void nib_panel4_back_f32_ref(const nib_codes4 *c, size_t rows, bool rounded, float *panel,
                             size_t strip)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t n = 0; n < NIB_PANEL; n++) {
            float v = value(c, r, n, c->scales[r]);
            panel[at(r, n, strip)] = rounded ? nib_round_bf16(v) : v;
        }
}

void nib_panel4_bf16_ref(const nib_codes4 *c, size_t depth, uint16_t *panel, size_t strip)
{
    for (size_t k = 0; k < depth; k++)
        for (size_t n = 0; n < NIB_PANEL; n++)
            panel[at_pair(k, n, strip)] = nib_f32_to_bf16(
                value(c, n, k, c->scales[k / c->block * NIB_PANEL + n]));
}

void nib_panel4_back_bf16_ref(const nib_codes4 *c, size_t rows, uint16_t *panel, size_t strip)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t n = 0; n < NIB_PANEL; n++)
            panel[at_pair(r, n, strip)] = nib_f32_to_bf16(value(c, r, n, c->scales[r]));
}
