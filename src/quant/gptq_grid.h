/* gptq_grid.h - GPTQ's grid of a group: scale and zero point from its range, and the nearest code.
 *
 *     in float; the range holds 0; symmetric: absmax / (maxq / 2) around 2^(bits-1)
 *
 * One thing differs from GPTQModel's: it gives a symmetric group without negative values half the
 * step, which clips the upper half of it.  Source: formats.md 6.6. */
#ifndef NIB_QUANT_GPTQ_GRID_H
#define NIB_QUANT_GPTQ_GRID_H

#include <math.h>

#include "quant/grouped.h"

typedef struct nib_grid { float scale, zero; } nib_grid;

static inline float nib_grid_most(const nib_grouped_options *o)
{
    return (float)((1u << o->bits) - 1);
}
static inline float nib_grid_middle(const nib_grouped_options *o)
{
    return (float)(1u << (o->bits - 1));
}

static inline nib_grid nib_gptq_grid(const nib_grouped_options *o, float low, float high)
{
    nib_grid g;

    low = fminf(low, 0);
    high = fmaxf(high, 0);
    if (!o->asymmetric) {
        high = fmaxf(-low, high);
        low = -high;
    }
    if (low == 0 && high == 0) low = -1, high = 1;
    g.scale = (high - low) / nib_grid_most(o);
    g.zero = o->asymmetric ? rintf(-low / g.scale) : nib_grid_middle(o);
    return g;
}

static inline float nib_gptq_code(const nib_grouped_options *o, nib_grid g, float w)
{
    return fminf(fmaxf(rintf(w / g.scale) + g.zero, 0), nib_grid_most(o));
}

#endif
