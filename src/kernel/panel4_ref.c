/* panel4_ref.c - packing 4-bit codes, plainly. */
#include "kernel/kernels.h"

static float value(const nib_codes4 *c, size_t row, size_t i, float scale)
{
    unsigned byte = c->codes[row * c->stride + i / 2];
    return c->table[i % 2 ? byte & 15 : byte >> 4] * scale;
}

void nib_panel4_f32_ref(const nib_codes4 *c, size_t depth, bool rounded, float *panel)
{
    for (size_t k = 0; k < depth; k++)
        for (size_t n = 0; n < NIB_PANEL; n++) {
            float v = value(c, n, k, c->scales[k / c->block * NIB_PANEL + n]);
            panel[k * NIB_PANEL + n] = rounded ? nib_round_bf16(v) : v;
        }
}

void nib_panel4_back_f32_ref(const nib_codes4 *c, size_t rows, bool rounded, float *panel)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t n = 0; n < NIB_PANEL; n++) {
            float v = value(c, r, n, c->scales[r]);
            panel[r * NIB_PANEL + n] = rounded ? nib_round_bf16(v) : v;
        }
}

void nib_panel4_bf16_ref(const nib_codes4 *c, size_t depth, uint16_t *panel)
{
    for (size_t k = 0; k < depth; k++)
        for (size_t n = 0; n < NIB_PANEL; n++)
            panel[(k / 2 * NIB_PANEL + n) * 2 + k % 2] =
                nib_f32_to_bf16(value(c, n, k, c->scales[k / c->block * NIB_PANEL + n]));
}

void nib_panel4_back_bf16_ref(const nib_codes4 *c, size_t rows, uint16_t *panel)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t n = 0; n < NIB_PANEL; n++)
            panel[(r / 2 * NIB_PANEL + n) * 2 + r % 2] = nib_f32_to_bf16(value(c, r, n, c->scales[r]));
}
