/* grouped_panel_ref.c - grouped integer codes into panels, plainly. */
#include "kernel/kernels.h"

static float rounded(nib_dtype through, float x)
{
    if (through == NIB_F16) return nib_f16_to_f32(nib_f32_to_f16(x));
    return through == NIB_BF16 ? nib_round_bf16(x) : x;
}

static float value(const nib_grouped_codes *c, unsigned code, size_t term, size_t column)
{
    size_t at = c->by_term ? term : nib_grouped_group(c, term) * NIB_PANEL + column;

    if (c->biased)
        return rounded(c->through, rounded(c->through, (float)code * c->scales[at]) + c->zeros[at]);
    return rounded(c->through, ((float)code - c->zeros[at]) * c->scales[at]);
}

void nib_grouped_down_ref(const nib_grouped_codes *c, size_t terms, nib_pack_kind kind,
                          void *panel, size_t strip)
{
    for (size_t n = 0; n < NIB_PANEL; n++) {
        const uint8_t *stream = c->words + n / NIB_STRIP * c->second + n % NIB_STRIP * c->other;
        for (size_t t = 0; t < terms; t++)
            nib_pack_put(kind, panel, strip, t, n, value(c, nib_grouped_code(c, stream, t), t, n));
    }
}

void nib_grouped_across_ref(const nib_grouped_codes *c, size_t terms, nib_pack_kind kind,
                            void *panel, size_t strip)
{
    for (size_t t = 0; t < terms; t++)
        for (size_t n = 0; n < NIB_PANEL; n++)
            nib_pack_put(kind, panel, strip, t, n,
                value(c, nib_grouped_code(c, c->words + t * c->other, n), t, n));
}
