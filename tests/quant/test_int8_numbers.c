/* test_int8_numbers.c - the public int8 functions against bitsandbytes 0.50.2 and torch 2.13.0
 * (golden data made by tests/golden/make/int8_golden.py). */
#include "test.h"

#include <math.h>
#include <stdlib.h>

#include "format/safetensors.h"
#include "nibble/int8.h"

typedef struct golden { nib_ctx *ctx; nib_tensors *file; } golden;

/* The tensor numbers.NAME.PART. */
static const nib_tensor *find(const golden *g, const char *name, const char *part)
{
    char full[96];
    const nib_tensor *t;

    snprintf(full, sizeof full, "numbers.%s.%s", name, part);
    t = nib_tensors_find(g->file, full);
    if (!t) {
        fprintf(stderr, "int8.safetensors lacks %s\n", full);
        exit(1);
    }
    return t;
}

static float first_float(const nib_tensor *t)
{
    float x;
    memcpy(&x, t->data, sizeof x);
    return x;
}

static void check_absmax(const golden *g, const char *name, const float *x, size_t n)
{
    const nib_tensor *codes = find(g, name, "absmax.codes");
    int8_t *got = test_guarded(n);
    float *back = test_guarded(n * sizeof *back), absmax;
    nib_error err;

    REQUIRE_OK(nib_int8_absmax_quantize(x, n, got, &absmax, &err), err);
    CHECK(absmax == first_float(find(g, name, "absmax")), "%s: absmax %g", name, (double)absmax);
    for (size_t i = 0; i < n; i++)
        CHECK(got[i] == ((const int8_t *)codes->data)[i],
              "%s: absmax code %zu of %g is %d", name, i, (double)x[i], got[i]);
    nib_int8_absmax_dequantize(got, n, absmax, back);
    for (size_t i = 0; i < n; i++)
        CHECK(fabsf(back[i] - x[i]) <= absmax / 127 * 0.50001f, "%s: %g comes back as %g", name,
              (double)x[i], (double)back[i]);
}

static void check_zeropoint(const golden *g, const char *name, const float *x, size_t n)
{
    const nib_tensor *codes = find(g, name, "zero.codes");
    const nib_tensor *restored = find(g, name, "zero.restored");
    int8_t *got = test_guarded(n);
    float *back = test_guarded(n * sizeof *back), step;
    int32_t point, wanted;
    nib_error err;

    memcpy(&wanted, find(g, name, "zero.point")->data, sizeof wanted);
    REQUIRE_OK(nib_int8_zeropoint_quantize(x, n, got, &step, &point, &err), err);
    CHECK(step == first_float(find(g, name, "zero.step")) && point == wanted,
          "%s: step %g, zero point %d, expected %d", name, (double)step, (int)point, (int)wanted);
    nib_int8_zeropoint_dequantize(got, n, step, point, back);
    for (size_t i = 0; i < n; i++) {
        int8_t code = ((const int8_t *)codes->data)[i];
        CHECK(got[i] == code, "%s: zero-point code %zu of %g is %d, expected %d", name, i,
              (double)x[i], got[i], code);
        CHECK(memcmp(back + i, (const char *)restored->data + 4 * i, 4) == 0,
              "%s: %g comes back as %g", name, (double)x[i], (double)back[i]);
    }
}

static void test_golden(void)
{
    static const char *const names[] = { "example", "normal", "relu", "negative", "halves" };
    golden g = { .ctx = test_ctx() };
    nib_error err;

    REQUIRE_OK(nib_tensors_open(g.ctx, test_data("tests/golden/quant/int8.safetensors"), &g.file,
                                &err), err);
    for (size_t i = 0; i < NIB_COUNT(names); i++) {
        const nib_tensor *t = find(&g, names[i], "x");
        float *x = test_guarded((size_t)t->bytes);
        memcpy(x, t->data, (size_t)t->bytes);
        check_absmax(&g, names[i], x, (size_t)t->elements);
        check_zeropoint(&g, names[i], x, (size_t)t->elements);
    }
    nib_tensors_close(g.file);
}

/* The numbers that include/nibble/int8.h shows. */
static void test_example(void)
{
    const float x[8] = { 1.2f, -0.5f, -4.3f, 1.2f, -3.1f, 0.8f, 2.4f, 5.4f };
    const int8_t want[8] = { 28, -12, -101, 28, -73, 19, 56, 127 };
    int8_t codes[8];
    float absmax;
    nib_error err;

    REQUIRE_OK(nib_int8_absmax_quantize(x, 8, codes, &absmax, &err), err);
    CHECK(absmax == 5.4f && memcmp(codes, want, 8) == 0);
}

static void test_edges(void)
{
    const float zeros[3] = { 0, -0.0f, 0 }, tiny[2] = { 0x1p-149f, -0x1p-148f };
    const float wide[2] = { 3e38f, -3e38f }, bad[2] = { 1, NAN };
    int8_t codes[3] = { 9, 9, 9 };
    float scale = 9;
    int32_t point = 9;
    nib_error err;

    CHECK(nib_int8_absmax_quantize(bad, 2, codes, &scale, &err) == NIB_E_NUMERIC);
    CHECK(strstr(err.message, "value 1 of 2"), "%s", err.message);
    CHECK(nib_int8_zeropoint_quantize(bad, 2, codes, &scale, &point, &err) == NIB_E_NUMERIC);
    CHECK(nib_int8_zeropoint_quantize(wide, 2, codes, &scale, &point, &err) == NIB_E_NUMERIC);
    CHECK(codes[0] == 9 && scale == 9 && point == 9, "written although it failed");

    REQUIRE_OK(nib_int8_absmax_quantize(tiny, 2, codes, &scale, &err), err);
    CHECK(codes[0] == 64 && codes[1] == -127 && scale == 0x1p-148f, "%d %d", codes[0], codes[1]);
    REQUIRE_OK(nib_int8_absmax_quantize(zeros, 3, codes, &scale, &err), err);
    CHECK(scale == 0 && !codes[0] && !codes[1] && !codes[2]);
    REQUIRE_OK(nib_int8_absmax_quantize(zeros, 0, codes, &scale, &err), err);
    codes[0] = 9;
    REQUIRE_OK(nib_int8_zeropoint_quantize(zeros, 3, codes, &scale, &point, &err), err);
    CHECK(scale == 1 && point == 0 && codes[0] == 0);
    REQUIRE_OK(nib_int8_zeropoint_quantize(tiny, 2, codes, &scale, &point, &err), err);
    CHECK(scale == 1 && point == 0 && codes[0] == 0 && codes[1] == 0);
}

static const test_case cases[] = {
    { "the header's worked example", test_example },
    { "codes and scales of bitsandbytes and torch", test_golden },
    { "zeros, extremes and what has no code", test_edges },
};

int main(void) { return test_main("test_int8_numbers", cases, NIB_COUNT(cases)); }
