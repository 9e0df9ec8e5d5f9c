/* strips.h - the small float factors of low-rank branches as strips of a panel (kernel/gemm.h). */
#ifndef NIB_QUANT_STRIPS_H
#define NIB_QUANT_STRIPS_H

#include "kernel/gemm.h"

/* Element (column n, term k) at at[n * column + k * term]. */
typedef struct nib_strided { const float *at; size_t column, term; } nib_strided;

/* Terms [k0, k1) of `depth` of all strips that `columns` columns begin; what is behind the last
 * column is zero. */
static inline void nib_pack_strips(nib_strided x, size_t columns, size_t depth, size_t k0,
                                   size_t k1, float *panel)
{
    for (size_t n0 = 0; n0 < columns; n0 += NIB_STRIP, panel += NIB_STRIP * depth)
        for (size_t k = k0; k < k1; k++)
            for (size_t n = 0; n < NIB_STRIP; n++)
                panel[k * NIB_STRIP + n] = n0 + n < columns ? x.at[(n0 + n) * x.column + k * x.term]
                                                            : 0;
}

#endif
