/* test_adamw8.c - every variant of AdamW with 8-bit moments against the reference, bit for bit over
 * several steps, at odd sizes, in buffers that end at an unreadable page; with blocks of zeros and
 * numbers that are none. */
#include <math.h>

#include "kernel/kernels.h"
#include "quant/dynamic_map.h"
#include "test.h"

typedef struct state { float *p, *m_absmax, *v_absmax; uint8_t *m, *v; } state;

static state make(size_t n)
{
    size_t blocks = nib_ceil_div(n, NIB_MOMENT_BLOCK);
    state s = { test_guarded(n * sizeof(float)), test_guarded(blocks * sizeof(float)),
                test_guarded(blocks * sizeof(float)), test_guarded(n), test_guarded(n) };

    for (size_t i = 0; i < n; i++) s.p[i] = (float)(i % 37) * 0.01f - 0.2f, s.m[i] = s.v[i] = 0;
    for (size_t i = 0; i < blocks; i++) s.m_absmax[i] = s.v_absmax[i] = 0;
    return s;
}

static bool same(const state *a, const state *b, size_t n)
{
    size_t blocks = nib_ceil_div(n, NIB_MOMENT_BLOCK) * sizeof(float);

    return memcmp(a->p, b->p, n * sizeof(float)) == 0 && memcmp(a->m, b->m, n) == 0 &&
           memcmp(a->v, b->v, n) == 0 && memcmp(a->m_absmax, b->m_absmax, blocks) == 0 &&
           memcmp(a->v_absmax, b->v_absmax, blocks) == 0;
}

static void run(const nib_kernels *k, const nib_moment_maps *maps, int step, size_t n,
                const float *g, const state *s)
{
    nib_adamw o = { .lr = 1e-2, .weight_decay = step % 2 ? 0.1 : 0, .beta1 = 0.9f, .beta2 = 0.99f,
                    .rest1 = (float)(1 - 0.9),
                    .rest2 = (float)(1 - 0.99), .eps = 1e-8f, .grad_scale = 0.37f,
                    .bias1 = 1 - pow(0.9, step),
                    .bias2 = 1 - pow(0.99, step) };

    k->adamw8(&o, maps, n, s->p, g, (nib_moments8){ s->m, s->v, s->m_absmax, s->v_absmax });
}

static void test_variants(void)
{
    static const uint32_t levels[] = { NIB_CPU_AVX2, NIB_CPU_AVX2 | NIB_CPU_AVX512 };
    static const size_t sizes[] = { 1, 7, 8, 16, 17, 255, 256, 257, 511, 1000, 1024 };
    nib_moment_maps *maps = test_guarded(sizeof *maps);
    nib_kernels ref = nib_kernels_for(0);

    nib_dynamic_map(true, maps->m.values);
    nib_dynamic_map(false, maps->v.values);
    nib_dynamic_lookup(maps->m.values, maps->m.lookup);
    nib_dynamic_lookup(maps->v.values, maps->v.lookup);
    for (size_t level = 0; level < NIB_COUNT(levels); level++)
        for (size_t c = 0;
             c < NIB_COUNT(sizes) && (nib_cpu_detect() & levels[level]) == levels[level]; c++) {
            nib_kernels k = nib_kernels_for(levels[level]);
            size_t n = sizes[c];
            state want = make(n), got = make(n);
            float *g = test_guarded(n * sizeof *g);

            for (int step = 1; step <= 5; step++) {
                for (size_t i = 0; i < n; i++)
                    g[i] = i / 256 == 1 ? 0 : test_rand_float() * ldexpf(1, -(int)(i % 20));
                run(&ref, maps, step, n, g, &want);
                run(&k, maps, step, n, g, &got);
                CHECK(same(&want, &got, n), "%s, %zu values, step %d", nib_cpu_name(levels[level]),
                      n, step);
            }
            g[n / 2] = (float)NAN; /* must not reach beyond the tables */
            g[n - 1] = (float)INFINITY;
            run(&ref, maps, 6, n, g, &want);
            run(&k, maps, 6, n, g, &got);
            CHECK(memcmp(want.m, got.m, n) == 0 && memcmp(want.v, got.v, n) == 0,
                  "%s, %zu values, no numbers", nib_cpu_name(levels[level]), n);
        }
}

int main(void)
{
    static const test_case cases[] = { { "variants", test_variants } };
    return test_main("adamw8", cases, NIB_COUNT(cases));
}
