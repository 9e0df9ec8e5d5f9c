/* test_elementwise.c - every variant this processor can run against the reference, at odd sizes, in
 * buffers that end at an unreadable page; and the slopes against finite differences. */
#include <math.h>
#include <stdlib.h>

#include "kernel/kernels.h"
#include "test.h"

static const uint32_t levels[] = { NIB_CPU_AVX2, NIB_CPU_AVX2 | NIB_CPU_AVX512 };

/* Each level the machine has, with its name; ends with NULL. */
static const char *next_level(size_t *i, nib_kernels *k)
{
    uint32_t has = nib_cpu_detect();
    while (*i < NIB_COUNT(levels)) {
        uint32_t cpu = levels[(*i)++];
        if ((has & cpu) == cpu) {
            *k = nib_kernels_for(cpu);
            return nib_cpu_name(cpu);
        }
    }
    return NULL;
}

static float *numbers(size_t n, float size)
{
    float *p = test_guarded(n * sizeof *p);
    for (size_t i = 0; i < n; i++) p[i] = size * test_rand_float();
    return p;
}

static float worst(const float *a, const float *b, size_t n)
{
    float w = 0;
    for (size_t i = 0; i < n; i++) w = fmaxf(w, fabsf(a[i] - b[i]) / (1 + fabsf(b[i])));
    return w;
}

static void test_norms(void)
{
    nib_kernels ref = nib_kernels_for(0), k;
    const char *name;

    for (size_t level = 0; (name = next_level(&level, &k));)
        for (size_t width = 1; width < 70; width += 3) {
            size_t rows = 3, n = rows * width;
            float *x = numbers(n, 2), *w = numbers(width, 1), *b = numbers(width, 1), *dy = numbers(n, 1);
            float *y = numbers(n, 0), *want = numbers(n, 0), r[2][3], m[2][3];
            float *dw = numbers(width, 0), *dw_want = numbers(width, 0);

            ref.rms_norm(NIB_F32, rows, width, x, w, 1e-5f, want, r[0]);
            k.rms_norm(NIB_F32, rows, width, x, w, 1e-5f, y, r[1]);
            CHECK(worst(y, want, n) < 1e-5f, "%s rms norm of %zu", name, width);
            ref.rms_norm_back(NIB_F32, rows, width, x, w, r[0], dy, want, true, dw_want);
            k.rms_norm_back(NIB_F32, rows, width, x, w, r[0], dy, y, true, dw);
            CHECK(worst(y, want, n) < 2e-5f && worst(dw, dw_want, width) < 1e-5f, "%s rms norm back of %zu", name, width);
            ref.layer_norm(NIB_F32, rows, width, x, w, b, 1e-3f, want, m[0], r[0]);
            k.layer_norm(NIB_F32, rows, width, x, w, b, 1e-3f, y, m[1], r[1]);
            CHECK(worst(y, want, n) < 2e-5f, "%s layer norm of %zu", name, width);
            ref.layer_norm_back(NIB_F32, rows, width, x, w, m[0], r[0], dy, want, false, NULL, NULL);
            k.layer_norm_back(NIB_F32, rows, width, x, w, m[0], r[0], dy, y, false, NULL, NULL);
            CHECK(worst(y, want, n) < 5e-4f, "%s layer norm back of %zu: %g", name, width, (double)worst(y, want, n));
        }
}

static void test_activations(void)
{
    nib_kernels ref = nib_kernels_for(0), k;
    const char *name;

    for (size_t level = 0; (name = next_level(&level, &k));)
        for (int a = NIB_ACT_SILU; a <= NIB_ACT_QUICK_GELU; a++)
            for (size_t n = 1; n < 40; n += 2) {
                float *x = numbers(n, 6), *u = numbers(n, 2), *d = numbers(n, 1), *y = numbers(n, 0), *want = numbers(n, 0);
                float *y2 = numbers(n, 0), *want2 = numbers(n, 0);

                ref.activate(NIB_F32, (nib_activation)a, n, x, want);
                k.activate(NIB_F32, (nib_activation)a, n, x, y);
                CHECK(worst(y, want, n) < 2e-6f, "%s activation %d: %g", name, a, (double)worst(y, want, n));
                ref.activate_back(NIB_F32, (nib_activation)a, n, x, d, want, false);
                k.activate_back(NIB_F32, (nib_activation)a, n, x, d, y, false);
                CHECK(worst(y, want, n) < 5e-6f, "%s slope %d: %g", name, a, (double)worst(y, want, n));
                ref.gated_back(NIB_F32, (nib_activation)a, n, x, u, d, want, want2);
                k.gated_back(NIB_F32, (nib_activation)a, n, x, u, d, y, y2);
                CHECK(worst(y, want, n) < 5e-6f && worst(y2, want2, n) < 5e-6f, "%s gate %d", name, a);
            }
}

/* The reference's own slopes, in double steps. */
static void test_slopes(void)
{
    nib_kernels ref = nib_kernels_for(0);

    for (int a = NIB_ACT_SILU; a <= NIB_ACT_QUICK_GELU; a++)
        for (float x = -4.1f; x < 4; x += 0.37f) {
            float lo = x - 0.01f, hi = x + 0.01f, one = 1, y0, y1, slope;
            ref.activate(NIB_F32, (nib_activation)a, 1, &lo, &y0);
            ref.activate(NIB_F32, (nib_activation)a, 1, &hi, &y1);
            ref.activate_back(NIB_F32, (nib_activation)a, 1, &x, &one, &slope, false);
            CHECK(fabsf((y1 - y0) / (hi - lo) - slope) < 2e-3f, "activation %d at %g", a, (double)x);
        }
}

static void test_loss_and_optimizer(void)
{
    nib_kernels ref = nib_kernels_for(0), k;
    const char *name;

    for (size_t level = 0; (name = next_level(&level, &k));)
        for (size_t n = 1; n < 200; n += 13) {
            float *x = numbers(n, 9), *y = numbers(n, 0), m[2], s[2];
            nib_adamw o = { .lr = 1e-3f, .beta1 = 0.9f, .beta2 = 0.999f, .rest1 = 0.1f, .rest2 = 0.001f, .eps = 1e-8f, .weight_decay = 0.1f,
                            .grad_scale = 0.5f, .bias1 = 0.1, .bias2 = 0.001 };
            float *p = numbers(n, 1), *q = numbers(n, 0), *g = numbers(n, 1), *m0 = numbers(n, 0), *v0 = numbers(n, 0);
            float *m1 = numbers(n, 0), *v1 = numbers(n, 0);

            ref.logsumexp(n, x, &m[0], &s[0]);
            k.logsumexp(n, x, &m[1], &s[1]);
            CHECK(m[0] == m[1] && fabsf(s[0] - s[1]) < 1e-5f * s[0], "%s log-sum-exp of %zu", name, n);
            memcpy(y, x, n * sizeof *y);
            ref.softmax_scaled(n, x, m[0] + logf(s[0]), 2);
            k.softmax_scaled(n, y, m[0] + logf(s[0]), 2);
            CHECK(worst(y, x, n) < 1e-5f, "%s softmax of %zu", name, n);
            memcpy(q, p, n * sizeof *q);
            ref.adamw(&o, n, p, g, m0, v0);
            k.adamw(&o, n, q, g, m1, v1);
            CHECK(worst(q, p, n) < 1e-6f && worst(m1, m0, n) < 1e-6f, "%s AdamW of %zu", name, n);
        }
}

/* bfloat16 both ways, bit for bit, infinities and NaN among them. */
static void test_bf16(void)
{
    nib_kernels ref = nib_kernels_for(0), k;
    const char *name;

    for (size_t level = 0; (name = next_level(&level, &k));) {
        size_t n = 77;
        uint32_t *bits = test_guarded(n * sizeof *bits);
        uint16_t *y = test_guarded(n * sizeof *y), *want = test_guarded(n * sizeof *want);

        for (int round = 0; round < 50; round++) {
            for (size_t i = 0; i < n; i++) bits[i] = test_rand() * 2654435761u + test_rand();
            bits[3] = 0x7f800000;
            bits[4] = 0x7fc00001;
            bits[5] = 0x7f800001;
            bits[6] = 0xff7fffff;
            ref.to_bf16(n, (const float *)(const void *)bits, want);
            k.to_bf16(n, (const float *)(const void *)bits, y);
            CHECK(memcmp(y, want, n * sizeof *y) == 0, "%s to bfloat16", name);
        }
    }
}

/* Attention with windows, grouped heads, ALiBi and odd lengths, forward and backward. */
static void check_attention(const nib_kernels *k, const char *name, size_t T, size_t d, size_t window, bool alibi)
{
    nib_kernels ref = nib_kernels_for(0);
    size_t heads = 2, row = heads * d, bytes = nib_attention_scratch_bytes(d, T);
    const float slopes[] = { 0.25f, 0.0625f };
    float *q = numbers(T * row, 1), *key = numbers(T * d, 1), *v = numbers(T * d, 1), *d_o = numbers(T * row, 1);
    float *out[2], *lse[2], *dq[2], *dk[2], *dv[2];
    void *scratch = test_guarded((bytes + 63) / 64 * 64);

    for (int i = 0; i < 2; i++) {
        nib_attention_args a = { .type = NIB_F32, .heads = heads, .kv_heads = 1, .head_dim = d, .scale = 0.3f,
                                 .window = window, .alibi_slopes = alibi ? slopes : NULL,
                                 .q_heads = { row, d, heads, 0 }, .kv_heads_k = { d, d, 1, 0 }, .kv_heads_v = { d, d, 1, 0 },
                                 .q = q, .k = key, .v = v, .lse_stride = T, .q_len = T, .kv_len = T, .head = 1, .d_o = d_o };
        a.o = out[i] = numbers(T * row, 0);
        a.lse = lse[i] = numbers(heads * T, 0);
        a.dq = dq[i] = numbers(T * row, 0);
        a.dk = dk[i] = numbers(T * d, 0);
        a.dv = dv[i] = numbers(T * d, 0);
        (i ? k : &ref)->attention_forward(&a, scratch);
        (i ? k : &ref)->attention_backward(&a, scratch);
    }
    CHECK(worst(out[1], out[0], T * row) < 1e-5f && worst(lse[1] + T, lse[0] + T, T) < 1e-5f, "%s attention %zu x %zu", name, T, d);
    CHECK(worst(dq[1], dq[0], T * row) < 1e-4f && worst(dk[1], dk[0], T * d) < 1e-4f && worst(dv[1], dv[0], T * d) < 1e-4f,
          "%s attention back %zu x %zu, window %zu", name, T, d, window);
}

static void test_attention(void)
{
    static const size_t lengths[] = { 1, 2, 55, 56, 57, 64, 65, 130 };
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = next_level(&level, &k));)
        for (size_t i = 0; i < NIB_COUNT(lengths); i++) {
            check_attention(&k, name, lengths[i], 32, 0, false);
            check_attention(&k, name, lengths[i], 20, 7, false);
            check_attention(&k, name, lengths[i], 64, 70, true);
        }
}

int main(void)
{
    static const test_case cases[] = { { "norms", test_norms }, { "activations", test_activations }, { "slopes", test_slopes },
                                       { "loss_and_optimizer", test_loss_and_optimizer }, { "bf16", test_bf16 },
                                       { "attention", test_attention } };
    return test_main("elementwise", cases, NIB_COUNT(cases));
}
