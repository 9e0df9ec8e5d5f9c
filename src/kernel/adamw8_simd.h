/* adamw8_simd.h - AdamW with 8-bit moments on vectors: a block at a time, its moments as floats in
 * between. Codes are looked up one by one: both tables lie in cache, and the arithmetic is what
 * vectors are for. */
#include <math.h>

#include "kernel/kernels.h"
#include "kernel/simd.h"

static void decode(const nib_moment_map *map, size_t n, const uint8_t *codes, float absmax,
                   float *x)
{
    for (size_t i = 0; i < n; i++) x[i] = map->values[codes[i]] * absmax;
}

/* x [256] beyond n is zero. */
static void encode(const nib_moment_map *map, size_t n, const float *x, uint8_t *codes,
                   float *absmax)
{
    float at[NIB_MOMENT_BLOCK], most;
    V greatest = v_zero(), reciprocal;

    for (size_t i = 0; i < NIB_MOMENT_BLOCK; i += VN)
        greatest = v_max(v_abs(v_load(x + i)), greatest);
    *absmax = most = v_greatest(greatest);
    if (!(most > 0)) {
        memset(codes, 0, n);
        return;
    }
    reciprocal = v_set(1 / most);
    for (size_t i = 0; i < NIB_MOMENT_BLOCK; i += VN) {
        V y = v_min(v_max(v_mul(v_load(x + i), reciprocal), v_set(-1)), v_set(1));
        y = v_mul(v_mul(v_add(y, v_set(1)), v_set(0.5f)), v_set(65535));
        v_store(at + i, v_add(y, v_set(0.5f)));
    }
    for (size_t i = 0; i < n; i++) codes[i] = map->lookup[(unsigned)at[i]];
}

void NIB_VARIANT(adamw8)(const nib_adamw *o, const nib_moment_maps *maps, size_t count, float *p,
                         const float *g, nib_moments8 s)
{
    const V decay = v_set((float)(1 - o->lr * o->weight_decay)),
            step = v_set((float)(-o->lr / o->bias1));
    const V root = v_set((float)sqrt(o->bias2)), eps = v_set(o->eps), scale = v_set(o->grad_scale);
    const V beta1 = v_set(o->beta1), rest1 = v_set(o->rest1), beta2 = v_set(o->beta2),
            rest2 = v_set(o->rest2);

    for (size_t first = 0, block = 0; first < count; first += NIB_MOMENT_BLOCK, block++) {
        size_t n = nib_min(NIB_MOMENT_BLOCK, count - first);
        float m[NIB_MOMENT_BLOCK] = { 0 }, v[NIB_MOMENT_BLOCK] = { 0 };

        decode(&maps->m, n, s.m + first, s.m_absmax[block], m);
        decode(&maps->v, n, s.v + first, s.v_absmax[block], v);
        for (size_t i = 0; i < n; i += VN) {
            size_t some = nib_min(VN, n - i);
            V gi = v_mul(v_load_n(g + first + i, some), scale), mi = v_load(m + i),
              vi = v_load(v + i), pi;
            mi = v_fma(gi, rest1, v_mul(mi, beta1)); /* past the end all are 0 */
            vi = v_fma(v_mul(rest2, gi), gi, v_mul(vi, beta2));
            v_store(m + i, mi);
            v_store(v + i, vi);
            pi = v_mul(v_load_n(p + first + i, some), decay);
            pi = v_add(pi, v_div(v_mul(step, mi), v_add(v_div(v_sqrt(vi), root), eps)));
            v_store_n(p + first + i, pi, some);
        }
        encode(&maps->m, n, m, s.m + first, s.m_absmax + block);
        encode(&maps->v, n, v, s.v + first, s.v_absmax + block);
    }
}
