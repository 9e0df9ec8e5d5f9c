/* adamw8_ref.c - the reference of AdamW with 8-bit moments, one value at a time. */
#include <math.h>

#include "kernel/kernels.h"

/* Back to codes.  Written so that a value that is no number stays inside the table. */
static void encode(const nib_moment_map *map, size_t n, const float *x, uint8_t *codes,
                   float *absmax)
{
    float most = 0, reciprocal;

    for (size_t i = 0; i < n; i++) most = fmaxf(most, fabsf(x[i]));
    *absmax = most;
    reciprocal = most > 0 ? 1 / most : 0;
    for (size_t i = 0; i < n; i++) {
        float y = fminf(fmaxf(x[i] * reciprocal, -1), 1);
        codes[i] = most > 0 ? map->lookup[(unsigned)((y + 1) * 0.5f * 65535 + 0.5f)] : 0;
    }
}

void nib_adamw8_ref(const nib_adamw *o, const nib_moment_maps *maps, size_t count, float *p,
                    const float *g, nib_moments8 s)
{
    float decay = (float)(1 - o->lr * o->weight_decay), step = (float)(-o->lr / o->bias1);
    float root = (float)sqrt(o->bias2), m[NIB_MOMENT_BLOCK], v[NIB_MOMENT_BLOCK];

    for (size_t first = 0, block = 0; first < count; first += NIB_MOMENT_BLOCK, block++) {
        size_t n = nib_min(NIB_MOMENT_BLOCK, count - first);

        for (size_t i = 0; i < n; i++) {
            float gi = g[first + i] * o->grad_scale;
            m[i] = maps->m.values[s.m[first + i]] * s.m_absmax[block];
            v[i] = maps->v.values[s.v[first + i]] * s.v_absmax[block];
            m[i] = fmaf(gi, o->rest1, m[i] * o->beta1);
            v[i] = fmaf(o->rest2 * gi, gi, v[i] * o->beta2);
            p[first + i] = p[first + i] * decay + step * m[i] / (sqrtf(v[i]) / root + o->eps);
        }
        encode(&maps->m, n, m, s.m + first, s.m_absmax + block);
        encode(&maps->v, n, v, s.v + first, s.v_absmax + block);
    }
}
