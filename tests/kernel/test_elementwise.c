/* test_elementwise.c - every variant this processor can run against the reference, in both types,
 * at every size up to some vectors and a tail, in buffers that end at an unreadable page; and the
 * slopes against finite differences. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "variants.h"

static const nib_dtype types[] = { NIB_F32, NIB_BF16 };

/* How far results may be apart: sums in another order, or bfloat16 rounded twice to the other
 * side. */
static float near(nib_dtype type, float in_float) { return type == NIB_F32 ? in_float : 0x1p-7f; }

static bool same(const void *a, const void *b, nib_dtype type, size_t n)
{
    return memcmp(a, b, n * nib_dtype_bytes(type)) == 0;
}

/* A copy of n values, in a buffer of its own. */
static void *copy(nib_dtype type, const void *x, size_t n)
{
    void *to = test_guarded(n * nib_dtype_bytes(type));
    return memcpy(to, x, n * nib_dtype_bytes(type));
}

static void check_rms_norm(const nib_kernels *k, const char *name, nib_dtype type, nib_rms_form f,
                           size_t rows, size_t width)
{
    nib_kernels ref = nib_kernels_for(0);
    size_t n = rows * width;
    void *x = test_values(type, n, 2), *dy = test_values(type, n, 1),
         *want = test_values(type, n, 1), *y = copy(type, want, n);
    float *w = test_floats(width, 1), *r = test_floats(rows, 0), *r_want = test_floats(rows, 0);
    float *dw_want = test_floats(width, 1), *dw = copy(NIB_F32, dw_want, width);

    /* r of zeros adds nothing */
    ref.rms_norm_back(type, f, rows, width, x, w, r, dy, want, true, NULL);
    k->rms_norm_back(type, f, rows, width, x, w, r, dy, y, true, NULL);
    CHECK(same(y, want, type, n), "%s rms norm back of %zu adds nothing", name, width);
    ref.rms_norm(type, f, rows, width, x, w, 1e-5f, want, r_want);
    k->rms_norm(type, f, rows, width, x, w, 1e-5f, y, r);
    CHECK(test_worst(type, y, want, n) < near(type, 1e-5f) &&
              test_worst(NIB_F32, r, r_want, rows) < 1e-5f,
          "%s rms norm of %zu, type %d, form %d", name, width, (int)type, (int)f);
    k->rms_norm(type, f, rows, width, x, w, 1e-5f, want, NULL);
    CHECK(same(y, want, type, n), "%s rms norm of %zu keeps nothing", name, width);
    for (int add = 1; add >= 0; add--) {
        memcpy(y, want, n * nib_dtype_bytes(type));
        ref.rms_norm_back(type, f, rows, width, x, w, r_want, dy, want, add, add ? dw_want : NULL);
        k->rms_norm_back(type, f, rows, width, x, w, r_want, dy, y, add, add ? dw : NULL);
        CHECK(test_worst(type, y, want, n) < near(type, 2e-5f) &&
                  test_worst(NIB_F32, dw, dw_want, width) < 1e-5f,
              "%s rms norm back of %zu, type %d, add %d", name, width, (int)type, add);
    }
}

static void check_layer_norm(const nib_kernels *k, const char *name, nib_dtype type, bool plus,
                             size_t rows, size_t width)
{
    nib_kernels ref = nib_kernels_for(0);
    size_t n = rows * width;
    void *x = test_values(type, n, 2), *dy = test_values(type, n, 1),
         *want = test_values(type, n, 1), *y = copy(type, want, n);
    float *w = test_floats(width, 1), *b = width % 2 ? test_floats(width, 1) : NULL;
    float *m = test_floats(rows, 0), *m_want = test_floats(rows, 0), *r = test_floats(rows, 0),
          *r_want = test_floats(rows, 0);
    float *dw_want = test_floats(width, 1), *dw = copy(NIB_F32, dw_want, width);
    float *db_want = test_floats(width, 1), *db = copy(NIB_F32, db_want, width);

    ref.layer_norm(type, plus, rows, width, x, w, b, 1e-3f, want, m_want, r_want);
    k->layer_norm(type, plus, rows, width, x, w, b, 1e-3f, y, m, r);
    CHECK(test_worst(type, y, want, n) < near(type, 2e-5f) &&
              test_worst(NIB_F32, m, m_want, rows) < 1e-5f &&
              test_worst(NIB_F32, r, r_want, rows) < 2e-5f,
          "%s layer norm of %zu, type %d", name, width, (int)type);
    k->layer_norm(type, plus, rows, width, x, w, b, 1e-3f, want, NULL, NULL);
    CHECK(same(y, want, type, n), "%s layer norm of %zu keeps nothing", name, width);
    for (int add = 1; add >= 0; add--) {
        memcpy(y, want, n * nib_dtype_bytes(type));
        ref.layer_norm_back(type, plus, rows, width, x, w, m_want, r_want, dy, want, add,
                            add ? dw_want : NULL, add ? db_want : NULL);
        k->layer_norm_back(type, plus, rows, width, x, w, m_want, r_want, dy, y, add,
                           add ? dw : NULL, add ? db : NULL);
        CHECK(test_worst(type, y, want, n) < near(type, 5e-4f) &&
                  test_worst(NIB_F32, dw, dw_want, width) < 1e-5f &&
                  test_worst(NIB_F32, db, db_want, width) < 1e-5f,
              "%s layer norm back of %zu, type %d, add %d: %g", name, width, (int)type, add,
              (double)test_worst(type, y, want, n));
    }
}

static void test_norms(void)
{
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (size_t t = 0; t < NIB_COUNT(types); t++)
            for (size_t width = 1; width < 70; width++) {
                check_rms_norm(&k, name, types[t], (nib_rms_form)(width / 2 % 3), 1 + width % 3,
                               width);
                check_layer_norm(&k, name, types[t], width & 2, 1 + width % 3, width);
            }
}

static void check_activation(const nib_kernels *k, const char *name, nib_dtype type,
                             nib_activation a, size_t n)
{
    nib_kernels ref = nib_kernels_for(0);
    void *x = test_values(type, n, 6), *u = test_values(type, n, 2), *d = test_values(type, n, 1);
    void *want = test_values(type, n, 1), *y = copy(type, want, n),
         *want2 = test_values(type, n, 0), *y2 = test_values(type, n, 0);

    for (int add = 1; add >= 0; add--) {
        ref.activate_back(type, a, n, x, d, want, add);
        k->activate_back(type, a, n, x, d, y, add);
        CHECK(test_worst(type, y, want, n) < near(type, 5e-6f),
              "%s slope %d of %zu, type %d, add %d: %g", name, (int)a, n, (int)type, add,
              (double)test_worst(type, y, want, n));
    }
    ref.activate(type, a, n, x, want);
    k->activate(type, a, n, x, y);
    CHECK(test_worst(type, y, want, n) < near(type, 2e-6f), "%s activation %d of %zu, type %d",
          name, (int)a, n, (int)type);
    memcpy(y2, x, n * nib_dtype_bytes(type));
    k->activate(type, a, n, y2, y2);
    CHECK(same(y, y2, type, n), "%s activation %d of %zu in place", name, (int)a, n);
    ref.gated(type, a, n, x, u, want);
    k->gated(type, a, n, x, u, y);
    CHECK(test_worst(type, y, want, n) < near(type, 4e-6f), "%s gate %d of %zu, type %d", name,
          (int)a, n, (int)type);
    for (int add = 3; add >= 0; add--) {
        memcpy(y, want, n * nib_dtype_bytes(type));
        memcpy(y2, want2, n * nib_dtype_bytes(type));
        ref.gated_back(type, a, n, x, u, d, want, add & 1, want2, add & 2);
        k->gated_back(type, a, n, x, u, d, y, add & 1, y2, add & 2);
        CHECK(test_worst(type, y, want, n) < near(type, 5e-6f) &&
                  test_worst(type, y2, want2, n) < near(type, 5e-6f),
              "%s gate %d back of %zu, type %d, add %d", name, (int)a, n, (int)type, add);
    }
    k->gated_back(type, a, n, x, u, d, y, false, y, true); /* both into one */
    ref.gated_back(type, a, n, x, u, d, want, false, NULL, false);
    ref.gated_back(type, a, n, x, u, d, NULL, false, want, true);
    CHECK(test_worst(type, y, want, n) < near(type, 5e-6f), "%s gate %d back of %zu into one", name,
          (int)a, n);
    /* NaN of the bits that rounding by addition would make a number */
    memset((char *)x + n / 2 * nib_dtype_bytes(type), 0x7f, nib_dtype_bytes(type));
    ((uint8_t *)x)[(n / 2 + 1) * nib_dtype_bytes(type) - 2] |= 0x80;
    ref.gated(type, a, n, x, u, want);
    k->gated(type, a, n, x, u, y);
    CHECK(test_worst(type, y, want, n) < near(type, 4e-6f), "%s gate %d of %zu, type %d, with NaN",
          name, (int)a, n, (int)type);
}

static void test_activations(void)
{
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (size_t t = 0; t < NIB_COUNT(types); t++)
            for (int a = NIB_ACT_SILU; a < NIB_ACT_COUNT; a++)
                for (size_t n = 1; n < 40; n++)
                    check_activation(&k, name, types[t], (nib_activation)a, n);
}

/* Values on both sides of 0 and, where they are few, between eps and it. */
static void check_xielu(const nib_kernels *k, const char *name, nib_dtype type, size_t n)
{
    static const nib_xielu p = { 0.75f, 1.25f, 0.375f, -0.125f };
    nib_kernels ref = nib_kernels_for(0);
    void *x = test_values(type, n, n % 3 ? 6 : 0.3f), *d = test_values(type, n, 1);
    void *want = test_values(type, n, 1), *y = copy(type, want, n);

    nib_put(type, x, n / 2, n & 1 ? 0 : -90);
    for (int add = 1; add >= 0; add--) {
        ref.xielu_back(type, &p, n, x, d, want, add);
        k->xielu_back(type, &p, n, x, d, y, add);
        CHECK(test_worst(type, y, want, n) < near(type, 5e-6f),
              "%s slope of xielu, %zu, type %d, add %d: %g", name, n, (int)type, add,
              (double)test_worst(type, y, want, n));
    }
    ref.xielu(type, &p, n, x, want);
    k->xielu(type, &p, n, x, y);
    CHECK(test_worst(type, y, want, n) < near(type, 2e-6f), "%s xielu of %zu, type %d: %g", name,
          n, (int)type, (double)test_worst(type, y, want, n));
    k->xielu(type, &p, n, x, x);
    CHECK(same(y, x, type, n), "%s xielu of %zu in place", name, n);
}

static void test_xielu(void)
{
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (size_t t = 0; t < NIB_COUNT(types); t++)
            for (size_t n = 1; n < 40; n++) check_xielu(&k, name, types[t], n);
}

/* A row of heads, each `spare` channels from the next, by the angles of some position; channels
 * that are not turned, in place and not, there and back. */
static void check_rotate(const nib_kernels *k, const char *name, nib_dtype type, size_t d,
                         size_t rot, int how)
{
    nib_kernels ref = nib_kernels_for(0);
    bool interleaved = how & 1, inverse = how & 2, add = how & 4;
    size_t heads = 3, x_stride = d + 1 + d % 4, y_stride = d + d % 3,
           n = (heads - 1) * y_stride + d;
    void *x = test_values(type, (heads - 1) * x_stride + d, 2), *want = test_values(type, n, 1),
         *y = copy(type, want, n);
    float *cosine = test_floats(rot / 2, 0), *sine = test_floats(rot / 2, 0),
          position = (float)(test_rand() % 4096);

    for (size_t i = 0; i < rot / 2; i++) {
        float angle = position * powf(10000, -2 * (float)i / (float)rot);
        cosine[i] = cosf(angle);
        sine[i] = sinf(angle);
    }
    ref.rotate(type, heads, d, rot, interleaved, inverse, cosine, sine, x, x_stride, want,
               y_stride, add);
    k->rotate(type, heads, d, rot, interleaved, inverse, cosine, sine, x, x_stride, y, y_stride,
              add);
    CHECK(test_worst(type, y, want, n) < near(type, 1e-6f),
          "%s rotates %zu of %zu, type %d, way %d", name, rot, d, (int)type, how);
    ref.rotate(type, heads, d, rot, interleaved, inverse, cosine, sine, want, y_stride, want,
               y_stride, false);
    k->rotate(type, heads, d, rot, interleaved, inverse, cosine, sine, y, y_stride, y, y_stride,
              false);
    CHECK(test_worst(type, y, want, n) < near(type, 2e-6f),
          "%s rotates %zu of %zu in place, type %d, way %d", name, rot, d, (int)type, how);
}

static void test_rotate(void)
{
    static const size_t dims[] = { 2, 6, 8, 10, 16, 18, 32, 34, 64, 80, 128 };
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (size_t t = 0; t < NIB_COUNT(types); t++)
            for (size_t i = 0; i < NIB_COUNT(dims); i++)
                for (int how = 0; how < 8; how += 1 + i % 2) {
                    check_rotate(&k, name, types[t], dims[i], dims[i], how);
                    check_rotate(&k, name, types[t], dims[i], dims[i] / 4 * 2, how);
                    check_rotate(&k, name, types[t], dims[i] + 5, dims[i], how);
                }
}

static void test_sums(void)
{
    nib_kernels ref = nib_kernels_for(0), k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (size_t n = 1; n < 600; n += n < 50 ? 1 : 51) {
            float *x = test_floats(n, 2), *want = test_floats(n, 1), *y = copy(NIB_F32, want, n);

            ref.axpy(n, 0.7f, x, want);
            k.axpy(n, 0.7f, x, y);
            CHECK(test_worst(NIB_F32, y, want, n) < 1e-6f, "%s axpy of %zu", name, n);
            CHECK(fabs(k.sum_squares(n, x) - ref.sum_squares(n, x)) < 1e-6 * ref.sum_squares(n, x),
                  "%s squares of %zu", name, n);
            for (size_t t = 0; t < NIB_COUNT(types); t++) {
                void *a = test_values(types[t], n, 3), *b = test_values(types[t], n, 1),
                     *sum = test_values(types[t], n, 0);
                ref.add(types[t], n, a, b, sum);
                k.add(types[t], n, a, b, a);
                CHECK(same(a, sum, types[t], n), "%s adds %zu of type %d in place", name, n,
                      (int)types[t]);
                for (int add = 1; add >= 0; add--) {
                    ref.scale(types[t], n, -1.7f, b, sum, add);
                    k.scale(types[t], n, -1.7f, b, a, add);
                    CHECK(same(a, sum, types[t], n), "%s scales %zu of type %d, add %d", name, n,
                          (int)types[t], add);
                }
                k.scale(types[t], n, -1.7f, b, b, false);
                CHECK(same(b, a, types[t], n), "%s scales %zu of type %d in place", name, n,
                      (int)types[t]);
            }
        }
}

/* The reference's own slopes, in double steps. */
static void test_slopes(void)
{
    nib_kernels ref = nib_kernels_for(0);

    for (int a = NIB_ACT_SILU; a < NIB_ACT_COUNT; a++)
        for (float x = -4.1f; x < 4; x += 0.37f) {
            float lo = x - 0.01f, hi = x + 0.01f, one = 1, y0, y1, slope;
            ref.activate(NIB_F32, (nib_activation)a, 1, &lo, &y0);
            ref.activate(NIB_F32, (nib_activation)a, 1, &hi, &y1);
            ref.activate_back(NIB_F32, (nib_activation)a, 1, &x, &one, &slope, false);
            CHECK(fabsf((y1 - y0) / (hi - lo) - slope) < 2e-3f, "activation %d at %g", a,
                  (double)x);
        }
}

static void test_loss_and_optimizer(void)
{
    nib_kernels ref = nib_kernels_for(0), k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (size_t n = 1; n < 200; n += n < 40 ? 1 : 13) {
            float *x = test_floats(n, 9), *y = test_floats(n, 0), *z = test_floats(n, 0), m[2],
                  s[2];
            nib_adamw o = { .lr = 1e-3f, .beta1 = 0.9f, .beta2 = 0.999f, .rest1 = 0.1f,
                            .rest2 = 0.001f, .eps = 1e-8f, .weight_decay = 0.1f, .grad_scale = 0.5f,
                            .bias1 = 0.1, .bias2 = 0.001 };
            float *p = test_floats(n, 1), *q = test_floats(n, 0), *g = test_floats(n, 1),
                  *m0 = test_floats(n, 0), *v0 = test_floats(n, 0);
            float *m1 = test_floats(n, 0), *v1 = test_floats(n, 0);

            ref.logsumexp(n, x, &m[0], &s[0]);
            k.logsumexp(n, x, &m[1], &s[1]);
            CHECK(m[0] == m[1] && fabsf(s[0] - s[1]) < 1e-5f * s[0], "%s log-sum-exp of %zu", name,
                  n);
            memcpy(y, x, n * sizeof *y);
            for (float cap = 0; cap < 12; cap += 5) {
                ref.cap_logits(n, x, 1.5f, cap);
                k.cap_logits(n, y, 1.5f, cap);
                CHECK(test_worst(NIB_F32, y, x, n) < 2e-6f, "%s cap %g of %zu", name, (double)cap,
                      n);
            }
            memcpy(z, x, n * sizeof *z);
            memcpy(y, x, n * sizeof *y);
            ref.softmax_scaled(n, x, m[0] + logf(s[0]), 2, 0);
            k.softmax_scaled(n, y, m[0] + logf(s[0]), 2, 0);
            CHECK(test_worst(NIB_F32, y, x, n) < 1e-5f, "%s softmax of %zu", name, n);
            memcpy(y, z, n * sizeof *y);
            ref.softmax_scaled(n, z, m[0] + logf(s[0]), 2, 10);
            k.softmax_scaled(n, y, m[0] + logf(s[0]), 2, 10);
            CHECK(test_worst(NIB_F32, y, z, n) < 1e-5f, "%s capped softmax of %zu", name, n);
            memcpy(q, p, n * sizeof *q);
            ref.adamw(&o, n, p, g, m0, v0);
            k.adamw(&o, n, q, g, m1, v1);
            CHECK(test_worst(NIB_F32, q, p, n) < 1e-6f && test_worst(NIB_F32, m1, m0, n) < 1e-6f,
                  "%s AdamW of %zu", name, n);
        }
}

/* bfloat16 both ways, bit for bit, infinities and NaN among them, with every tail. */
static void test_bf16(void)
{
    nib_kernels ref = nib_kernels_for(0), k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (size_t n = 1; n < 90; n++) {
            uint32_t *bits = test_guarded(n * sizeof *bits);
            uint16_t *y = test_values(NIB_BF16, n, 0), *want = test_values(NIB_BF16, n, 0);
            float *back = test_floats(n, 0), *back_want = test_floats(n, 0);
            static const uint32_t odd[] = { 0x7f800000, 0x7fc00001, 0x7f800001,
                                            0xff7fffff, 0x00000001, 0x80008000 };

            for (size_t i = 0; i < n; i++)
                bits[i] = test_rand() % 4 ? test_rand() * 2654435761u
                                          : odd[test_rand() % NIB_COUNT(odd)];
            ref.to_bf16(n, (const float *)(const void *)bits, want);
            k.to_bf16(n, (const float *)(const void *)bits, y);
            CHECK(same(y, want, NIB_BF16, n), "%s %zu to bfloat16", name, n);
            ref.from_bf16(n, want, back_want);
            k.from_bf16(n, want, back);
            CHECK(same(back, back_want, NIB_F32, n), "%s %zu from bfloat16", name, n);
            for (size_t i = 0; i < n; i++) y[i] &= 0xbfff; /* of float16 no NaN, which may change */
            ref.from_f16(n, y, back_want);
            k.from_f16(n, y, back);
            CHECK(same(back, back_want, NIB_F32, n), "%s %zu from float16", name, n);
        }
}

int main(void)
{
    static const test_case cases[] = {
        { "norms", test_norms },   { "activations", test_activations },
        { "xielu", test_xielu },   { "slopes", test_slopes },
        { "rotate", test_rotate }, { "sums", test_sums },
        { "bf16", test_bf16 },     { "loss_and_optimizer", test_loss_and_optimizer },
    };
    return test_main("elementwise", cases, NIB_COUNT(cases));
}
