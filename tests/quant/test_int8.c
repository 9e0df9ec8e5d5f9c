/* test_int8.c - 8-bit weights against bitsandbytes 0.50.2 (golden data made by
 * tests/golden/make/int8_golden.py): encoding, decoding, and the forward product, whose rows do
 * not depend on each other; and a file's tensors, good and bad. */
#include "test.h"

#include <math.h>
#include <stdlib.h>

#include "format/safetensors.h"
#include "quant/formats.h"
#include "quant/int8.h"
#include "quant/product.h"
#include "variants.h"

typedef struct golden { nib_ctx *ctx; nib_tensors *file; } golden;

static const nib_tensor *find(const golden *g, const char *name)
{
    const nib_tensor *t = nib_tensors_find(g->file, name);

    if (!t) {
        fprintf(stderr, "int8.safetensors lacks %s\n", name);
        exit(1);
    }
    return t;
}

/* Its data, aligned, with an unreadable page behind it. */
static void *data(const golden *g, const char *name)
{
    const nib_tensor *t = find(g, name);
    void *p = test_guarded((size_t)t->bytes);

    memcpy(p, t->data, (size_t)t->bytes);
    return p;
}

static bool open_golden(golden *g)
{
    nib_error err;

    g->ctx = test_ctx();
    if (!nib_tensors_open(g->ctx, test_data("tests/golden/quant/int8.safetensors"), &g->file, &err))
        return true;
    test_fail(__FILE__, __LINE__, "%s", err.message);
    return false;
}

enum { OUT = 24, IN = 200, ROWS = 6 };

/* The golden matrix of type `kind`, encoded here; NULL: it failed. */
static nib_weight *encoded(const golden *g, const char *kind, float threshold)
{
    char name[64];
    const nib_tensor *t;
    nib_weight *dense = NULL, *w = NULL;
    nib_form f;
    nib_error err;

    snprintf(name, sizeof name, "weight.%s.w", kind);
    t = find(g, name);
    f = nib_int8_form(t->dtype, threshold);
    if (nib_weight_dense(g->ctx, OUT, IN, t->dtype, data(g, name), NULL, &dense, &err) ||
        nib_form_encode(g->ctx, &f, dense, &w, &err))
        test_fail(__FILE__, __LINE__, "%s", err.message);
    nib_weight_destroy(g->ctx, dense);
    return w;
}

/* Codes, scales and decoded values of a matrix of each type. */
static void check_encoding(const golden *g, const char *kind)
{
    char name[64];
    nib_weight *w = encoded(g, kind, 6);
    const nib_int8 *q = (const nib_int8 *)w;
    float values[IN];
    const float *scb;

    REQUIRE(w);
    snprintf(name, sizeof name, "weight.%s.codes", kind);
    CHECK(memcmp(q->codes, data(g, name), OUT * IN) == 0, "%s: codes", kind);
    snprintf(name, sizeof name, "weight.%s.SCB", kind);
    scb = data(g, name);
    CHECK(memcmp(q->scb, scb, OUT * sizeof *scb) == 0, "%s: scales", kind);
    CHECK(w->bytes == OUT * IN + OUT * 4 && nib_weight_finite(w));
    for (size_t r = 0; r < OUT; r++) {
        nib_weight_decode(w, r, r + 1, values);
        for (size_t i = 0; i < IN; i++)
            CHECK(values[i] == (float)q->codes[r * IN + i] * (scb[r] * (1.0f / 127)),
                  "%s: value %zu of row %zu", kind, i, r);
    }
    nib_weight_destroy(g->ctx, w);
}

static void test_encoding(void)
{
    golden g;

    if (!open_golden(&g)) return;
    check_encoding(&g, "float32");
    check_encoding(&g, "float16");
    check_encoding(&g, "bfloat16");
    nib_tensors_close(g.file);
}

static void test_form(void)
{
    nib_form f = nib_int8_form(NIB_BF16, 5.5f), again = { .dtype = NIB_F16 };
    char text[NIB_FORM_ROOM];

    nib_form_text(&f, text);
    CHECK(strcmp(text, "int8") == 0, "%s", text);
    CHECK(nib_int8_form_threshold(&f) == 5.5f);
    CHECK(nib_form_parse("int8", &again) && again.scheme == &nib_int8_scheme &&
          again.dtype == NIB_F16);
    CHECK(!nib_form_parse("int8 64", &again));
}

/* --- products --- */

/* x [rows, IN] of `type` times w, plus bias, on the context's threads; y in the same type. */
static void *multiply(nib_ctx *ctx, const nib_kernels *k, const nib_weight *w, nib_dtype type,
                      const void *x, size_t rows, const float *bias)
{
    void *y = test_guarded(rows * OUT * nib_dtype_bytes(type));
    size_t bytes = w->scheme->forward_bytes(ctx, w, 0, rows);
    char *scratch = test_guarded(nib_round_up(bytes, 64));
    nib_product_args args = { .type = type, .rows = rows, .x = { x, IN, type }, .y = y,
                              .ldy = OUT, .y_type = type, .bias = bias };

    w->scheme->forward(ctx, k, w, &args, scratch);
    return y;
}

static float greatest(const float *x, size_t n)
{
    float most = 0;

    for (size_t i = 0; i < n; i++) most = fmaxf(most, fabsf(x[i]));
    return most;
}

/* A row's outputs differ from the library's by the constant 1 / 127^2, which its CPU code has as
 * 6.200124e-05, a 1.8e-5th more, and by the order of float sums. */
static void check_float(const golden *g, float threshold, const char *name)
{
    nib_weight *w = encoded(g, "float32", threshold);
    nib_kernels k = nib_kernels_for(nib_ctx_cpu(g->ctx));
    const float *want = data(g, name), *bias = data(g, "product.bias"), *got;

    REQUIRE(w);
    got = multiply(g->ctx, &k, w, NIB_F32, data(g, "product.x"), ROWS, bias);
    for (size_t i = 0; i < ROWS * OUT; i++) {
        size_t o = i % OUT;
        float sums = fabsf(want[i] - bias[o]) + 14 * ((const nib_int8 *)w)->scb[o];
        CHECK(fabsf(got[i] - want[i]) <= 2e-5f * sums,
              "%s: value %zu of row %zu is %g, expected %g", name, o, i / OUT, (double)got[i],
              (double)want[i]);
    }
    nib_weight_destroy(g->ctx, w);
}

static void check_bfloat16(const golden *g)
{
    nib_weight *w = encoded(g, "float32", 6);
    nib_kernels k = nib_kernels_for(nib_ctx_cpu(g->ctx));
    const uint16_t *want = data(g, "product.y.bfloat16"), *got;
    float *bias = data(g, "product.bias"), row[OUT];

    REQUIRE(w);
    for (size_t o = 0; o < OUT; o++) bias[o] = nib_round_bf16(bias[o]);
    got = multiply(g->ctx, &k, w, NIB_BF16, data(g, "product.x.bfloat16"), ROWS, bias);
    for (size_t m = 0; m < ROWS; m++) {
        for (size_t o = 0; o < OUT; o++) row[o] = nib_bf16_to_f32(want[m * OUT + o]);
        for (size_t o = 0; o < OUT; o++) { /* the library rounds twice where there are outliers */
            float y = nib_bf16_to_f32(got[m * OUT + o]);
            CHECK(fabsf(y - row[o]) <= 0x1p-6f * (fabsf(row[o]) + ((const nib_int8 *)w)->scb[o]),
                  "bfloat16: value %zu of row %zu is %g, expected %g", o, m, (double)y,
                  (double)row[o]);
        }
        CHECK(greatest(row, OUT) > 0);
    }
    nib_weight_destroy(g->ctx, w);
}

static void test_products(void)
{
    golden g;

    if (!open_golden(&g)) return;
    check_float(&g, 0, "product.y.none");
    check_float(&g, 6, "product.y.six");
    check_bfloat16(&g);
    nib_tensors_close(g.file);
}

/* A row has the bits it has alone, whatever its neighbours, the threads and the kernels. */
static void test_rows_alone(void)
{
    golden g;
    nib_kernels ref = nib_kernels_for(0), k;
    nib_ctx *one = test_ctx_threads(1, NULL);
    const char *name;
    const float *x, *all;
    nib_weight *w;

    if (!open_golden(&g)) return;
    x = data(&g, "product.x");
    w = encoded(&g, "float32", 6);
    REQUIRE(w);
    all = multiply(g.ctx, &ref, w, NIB_F32, x, ROWS, NULL);
    for (size_t m = 0; m < ROWS; m++)
        CHECK(memcmp(multiply(one, &ref, w, NIB_F32, x + m * IN, 1, NULL), all + m * OUT,
                     OUT * sizeof *all) == 0, "row %zu alone", m);
    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        CHECK(memcmp(multiply(one, &k, w, NIB_F32, x, ROWS, NULL), all, ROWS * OUT * sizeof *all) ==
              0, "%s", name);
    nib_weight_destroy(g.ctx, w);
    nib_tensors_close(g.file);
}

/* More rows than are made ready at a time, and outputs that are no whole tiles. */
static void test_many_rows(void)
{
    enum { MANY = 1100, WIDE = 70 };
    nib_ctx *ctx = test_ctx();
    nib_kernels k = nib_kernels_for(nib_ctx_cpu(ctx));
    float *values = test_floats(WIDE * IN, 1), *x = test_floats(MANY * IN, 7);
    float *y = test_guarded(MANY * WIDE * sizeof *y), *last = test_guarded(WIDE * sizeof *last);
    nib_form f = nib_int8_form(NIB_F32, 6);
    nib_weight *dense, *w;
    nib_product_args args = { .type = NIB_F32, .rows = MANY, .x = { x, IN, NIB_F32 }, .y = y,
                              .ldy = WIDE, .y_type = NIB_F32 };
    nib_error err;
    void *scratch;

    REQUIRE_OK(nib_weight_dense(ctx, WIDE, IN, NIB_F32, values, NULL, &dense, &err), err);
    REQUIRE_OK(nib_form_encode(ctx, &f, dense, &w, &err), err);
    scratch = test_guarded(nib_round_up(w->scheme->forward_bytes(ctx, w, 0, MANY), 64));
    w->scheme->forward(ctx, &k, w, &args, scratch);
    for (size_t m = 0; m < MANY; m += 157) {
        args.rows = 1;
        args.x.x = x + m * IN;
        args.y = last;
        w->scheme->forward(ctx, &k, w, &args, scratch);
        CHECK(memcmp(last, y + m * WIDE, WIDE * sizeof *y) == 0, "row %zu", m);
    }
    nib_weight_destroy(ctx, w);
    nib_weight_destroy(ctx, dense);
}

/* What is too large for float16 is refused by row and column. */
static void test_too_large(void)
{
    nib_ctx *ctx = test_ctx();
    float values[6] = { 1, 2, 3, 4, 70000, 5 };
    nib_form f = nib_int8_form(NIB_F32, 6);
    nib_weight *dense, *w = NULL;
    nib_error err;

    REQUIRE_OK(nib_weight_dense(ctx, 2, 3, NIB_F32, values, NULL, &dense, &err), err);
    CHECK(nib_form_encode(ctx, &f, dense, &w, &err) == NIB_E_NUMERIC && !w);
    CHECK(strstr(err.message, "row 1, column 1 is 70000"), "%s", err.message);
    values[4] = NAN;
    CHECK(nib_form_encode(ctx, &f, dense, &w, &err) == NIB_E_NUMERIC && !w);
    CHECK(strstr(err.message, "row 1, column 1 is nan"), "%s", err.message);
    values[4] = 65504;
    REQUIRE_OK(nib_form_encode(ctx, &f, dense, &w, &err), err);
    nib_weight_destroy(ctx, w);
    nib_weight_destroy(ctx, dense);
}

/* --- tensors of a file --- */

typedef struct parts { nib_part items[3]; } parts;

static bool find_part(void *self, const char *name, nib_part *out)
{
    const parts *p = self;

    for (size_t i = 0; i < NIB_COUNT(p->items); i++)
        if (p->items[i].name && strcmp(p->items[i].name, name) == 0)
            return *out = p->items[i], true;
    return false;
}

enum { FILE_ROWS = 2, FILE_COLUMNS = 3 };
static const int8_t file_codes[FILE_ROWS * FILE_COLUMNS] = { 1, -2, 127, -128, 0, 5 };
static float file_scales[FILE_ROWS];
static uint8_t file_order;

static parts good_parts(void)
{
    file_scales[0] = 0.5f;
    file_scales[1] = 0;
    file_order = 0;
    return (parts){ {
        { .name = "m.weight", .dtype = NIB_I8, .rank = 2, .shape = { FILE_ROWS, FILE_COLUMNS },
          .elements = 6, .bytes = 6, .data = file_codes },
        { .name = "m.SCB", .dtype = NIB_F32, .rank = 1, .shape = { FILE_ROWS }, .elements = 2,
          .bytes = 8, .data = file_scales },
        { .name = "m.weight_format", .dtype = NIB_U8, .elements = 1, .bytes = 1,
          .data = &file_order } } };
}

static nib_status open_parts(parts *p, nib_weight **w, nib_error *err)
{
    const nib_held held = { .format = &nib_format_int8, .form = nib_int8_form(NIB_BF16, 4) };

    return nib_format_int8.open(test_ctx(), (nib_part_finder){ find_part, p }, &held,
                                &(nib_format_module){ .name = "m", .class = "Linear" }, w, err);
}

static void test_opens(void)
{
    char misaligned[1 + sizeof file_scales];
    parts p = good_parts();
    float values[FILE_ROWS * FILE_COLUMNS];
    nib_weight *w;
    nib_error err;

    memcpy(misaligned + 1, file_scales, sizeof file_scales);
    for (int kind = 0; kind < 3; kind++) {
        if (kind == 1) p.items[2].name = NULL; /* as in old files */
        if (kind == 2) p.items[1].data = misaligned + 1;
        REQUIRE_OK(open_parts(&p, &w, &err), err);
        REQUIRE(w);
        CHECK(((nib_int8 *)w)->threshold == 4 && w->dtype == NIB_BF16 && w->out == FILE_ROWS);
        nib_weight_decode(w, 0, FILE_ROWS, values);
        CHECK(values[0] == 0.5f * (1.0f / 127) && values[2] == 127 * (0.5f * (1.0f / 127)) &&
              values[3] == 0 && values[5] == 0);
        nib_weight_destroy(test_ctx(), w);
    }
    p.items[0].dtype = NIB_F16; /* a dense module of the same file */
    p.items[1].name = NULL;
    REQUIRE_OK(open_parts(&p, &w, &err), err);
    CHECK(!w);
}

/* formats.md 4.8: one thing wrong in each. */
static void test_refused(void)
{
    static const char *const says[] = {
        "m.SCB is missing",
        "m.SCB is there, but m.weight is uint8, expected int8",
        "m.weight has rank 1, expected a matrix",
        "m.SCB: dtype float16, expected float32",
        "m.SCB: 3 values, expected 2",
        "m.SCB: value 1 is nan",
        "m.SCB: value 0 is -1",
        "m.weight_format is 3 (col_ampere); known is 0 (row)",
        "m.weight_format is 9 (unknown)",
        "m.weight_format: 2 values of uint8, expected one",
    };

    for (size_t i = 0; i < NIB_COUNT(says); i++) {
        parts p = good_parts();
        nib_weight *w = NULL;
        nib_error err = { 0 };
        nib_part *weight = p.items, *scales = p.items + 1, *order = p.items + 2;

        switch (i) {
        case 0: scales->name = NULL; break;
        case 1: weight->dtype = NIB_U8; break;
        case 2: weight->rank = 1; break;
        case 3: scales->dtype = NIB_F16; break;
        case 4: scales->elements = 3; break;
        case 5: file_scales[1] = NAN; break;
        case 6: file_scales[0] = -1; break;
        case 7: file_order = 3; break;
        case 8: file_order = 9; break;
        case 9: order->elements = 2; break;
        }
        CHECK(open_parts(&p, &w, &err) && !w && strstr(err.message, says[i]), "'%s', expected '%s'",
              err.message, says[i]);
        nib_weight_destroy(test_ctx(), w);
    }
}

/* What is written is what is read; the names are those of the format. */
static void test_tensors(void)
{
    static const char *const names[] = { "a.b.weight", "a.b.SCB", "a.b.weight_format" };
    static const nib_dtype types[] = { NIB_I8, NIB_F32, NIB_U8 };
    parts p = good_parts();
    nib_parts_out planned, out;
    nib_weight *w;
    nib_form f;
    char long_name[700];
    nib_error err;

    REQUIRE_OK(open_parts(&p, &w, &err), err);
    f = nib_weight_form(w);
    REQUIRE_OK(nib_format_int8.plan(&f, FILE_ROWS, FILE_COLUMNS, (nib_learned){ 0 }, "a.b.weight",
                                    &planned, &err), err);
    REQUIRE_OK(nib_format_int8.tensors(w, "a.b.weight", &out, &err), err);
    REQUIRE(planned.count == 3 && out.count == 3);
    for (size_t i = 0; i < 3; i++)
        CHECK(!strcmp(planned.parts[i].name, names[i]) && !strcmp(out.parts[i].name, names[i]) &&
              planned.parts[i].dtype == types[i] && out.parts[i].rank == 2 - i &&
              planned.parts[i].bytes == out.parts[i].bytes && !planned.parts[i].data,
              "tensor %zu is %s", i, out.parts[i].name);
    CHECK(memcmp(out.parts[0].data, file_codes, sizeof file_codes) == 0 && out.parts[0].bytes == 6);
    CHECK(memcmp(out.parts[1].data, file_scales, sizeof file_scales) == 0 &&
          out.parts[1].bytes == 8);
    CHECK(*(const uint8_t *)out.parts[2].data == 0 && out.parts[2].bytes == 1);
    memset(long_name, 'x', sizeof long_name - 1);
    strcpy(long_name + sizeof long_name - 8, ".weight");
    CHECK(nib_format_int8.tensors(w, long_name, &out, &err) == NIB_E_INVALID);
    nib_weight_destroy(test_ctx(), w);
}

/* Each allocation fails once: an error, and nothing is left. */
static void test_allocation_failures(void)
{
    static float values[6] = { 1, 2, 3, 4, 5, 6 };
    char misaligned[1 + sizeof file_scales];
    parts p = good_parts();
    nib_form f = nib_int8_form(NIB_F32, 6);
    size_t fails = 0;

    memcpy(misaligned + 1, file_scales, sizeof file_scales);
    p.items[1].data = misaligned + 1;
    for (size_t at = 1;; at++) {
        test_heap heap = { 0 };
        nib_ctx *ctx = test_ctx_heap(&heap);
        nib_weight *dense = NULL, *a = NULL, *b = NULL;
        size_t live = heap.live;
        nib_error err;
        nib_status status;

        heap.fail_at = heap.calls + at;
        status = nib_weight_dense(ctx, 2, 3, NIB_F32, values, NULL, &dense, &err);
        if (!status) status = nib_form_encode(ctx, &f, dense, &a, &err);
        if (!status)
            status = nib_format_int8.open(ctx, (nib_part_finder){ find_part, &p },
                                          &(nib_held){ .format = &nib_format_int8, .form = f },
                                          &(nib_format_module){ .name = "m", .class = "Linear" },
                                          &b, &err);
        nib_weight_destroy(ctx, dense);
        nib_weight_destroy(ctx, a);
        nib_weight_destroy(ctx, b);
        CHECK(heap.live == live, "allocation %zu: %zu left", at, heap.live - live);
        test_ctx_release(ctx);
        if (!status) break;
        CHECK(status == NIB_E_NOMEM, "allocation %zu: %s", at, err.message);
        fails++;
    }
    CHECK(fails >= 5, "%zu allocations", fails);
}

static const test_case cases[] = {
    { "codes, scales and decoded values", test_encoding },
    { "the form as text", test_form },
    { "products of rows with and without outliers", test_products },
    { "a row alone and among others", test_rows_alone },
    { "many rows, outputs that are no whole tile", test_many_rows },
    { "values that float16 does not hold", test_too_large },
    { "tensors of a file", test_opens },
    { "tensors that are refused", test_refused },
    { "tensors that are written", test_tensors },
    { "allocations that fail", test_allocation_failures },
};

int main(void) { return test_main("test_int8", cases, NIB_COUNT(cases)); }
