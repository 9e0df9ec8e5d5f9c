/* test_scheme.c - every scheme through the same test, by what its object gives alone: decoding by
 * rows and by tiles, dots, forward and backward product, form, bytes, how far the original may have
 * been; and that a forward product of a scheme's own is the one that is used. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "quant/product.h"
#include "quant/transposed.h"
#include "variants.h"

enum { ROWS = 9 };

/* Member by member: there is room between them that nobody sets. */
static bool same_form(const nib_form *a, const nib_form *b)
{
    return a->scheme == b->scheme && a->dtype == b->dtype &&
           memcmp(a->settings, b->settings, sizeof a->settings) == 0;
}

/* Forms by their text, and the type of the original. */
static const struct { const char *text; nib_dtype dtype; } forms[] = {
    { "dense", NIB_F32 },        { "dense", NIB_F16 },         { "dense", NIB_BF16 },
    { "nf4 64", NIB_F32 },       { "nf4 64 double", NIB_BF16 }, { "fp4 32", NIB_F16 },
    { "fp4 128 double", NIB_F32 }, { "nf4 4096", NIB_F32 },
    { "int8", NIB_F32 },         { "int8", NIB_BF16 },
    { "gptq 4 64 sym", NIB_F32 }, { "gptq 4 32 asym", NIB_BF16 }, { "gptq 8 row sym", NIB_F16 },
    { "gptq 3 128 sym", NIB_F32 }, { "gptq 2 16 asym", NIB_F32 }, { "gptq 3 row asym", NIB_F16 },
    { "awq 4 32 asym", NIB_F32 }, { "awq 4 row sym", NIB_F16 },
    { "pack-quantized 4 32 sym", NIB_F32 }, { "pack-quantized 4 row asym", NIB_BF16 },
    { "pack-quantized 3 32 asym", NIB_F16 }, { "pack-quantized 8 32 sym", NIB_BF16 },
    { "pack-quantized 5 row sym", NIB_BF16 }, { "pack-quantized 6 32 sym", NIB_F32 },
    { "pack-quantized 7 16 asym", NIB_F32 }, { "pack-quantized 2 32 sym", NIB_F32 },
    { "int-quantized 8 row sym", NIB_BF16 }, { "int-quantized 8 32 asym", NIB_F16 },
    { "int-quantized 4 32 sym", NIB_F32 },
    { "mlx 4 64 affine", NIB_BF16 }, { "mlx 3 32 affine", NIB_F16 },
    { "mlx 8 128 affine", NIB_F32 },
};

/* Grouped integers pack whole words: their shapes are multiples of 32. */
static size_t side(const char *text, size_t n)
{
    if (strstr(text, "affine")) return nib_round_up(n, 128);
    return strstr(text, "sym") ? nib_round_up(n, 32) : n;
}
static const size_t shapes[][2] = { { 1, 1 }, { 33, 64 }, { 64, 192 }, { 77, 130 }, { 40, 320 } };

/* Values of the form's type, so that a dense weight holds them exactly. */
static nib_weight *original(nib_ctx *ctx, nib_dtype type, size_t out, size_t in)
{
    void *values = test_values(NIB_F32, out * in, 1);
    void *stored = test_guarded(out * in * nib_dtype_bytes(type));
    nib_weight *w = NULL;
    nib_error err;

    nib_convert(stored, type, values, NIB_F32, out * in);
    CHECK(nib_weight_dense(ctx, out, in, type, stored, NULL, &w, &err) == NIB_OK, "%s",
          err.message);
    return w;
}

static void check_tiles(const nib_weight *w, const float *rows, const char *what)
{
    for (int i = 0; i < 20; i++) {
        size_t r0 = test_rand() % (w->out + 1), r1 = r0 + test_rand() % (w->out - r0 + 1);
        size_t k0 = test_rand() % (w->in + 1), k1 = k0 + test_rand() % (w->in - k0 + 1);
        size_t ld = k1 - k0 + 3, wrong = 0;
        float *tile = test_guarded((r1 - r0) * ld * sizeof *tile + sizeof *tile);

        w->scheme->decode_tile(w, r0, r1, k0, k1, tile, ld);
        for (size_t r = r0; r < r1; r++)
            wrong += memcmp(tile + (r - r0) * ld, rows + r * w->in + k0,
                            (k1 - k0) * sizeof *tile) != 0;
        CHECK(wrong == 0, "%s: [%zu, %zu) x [%zu, %zu): %zu rows", what, r0, r1, k0, k1, wrong);
    }
}

static void check_errors(const nib_weight *from, const nib_weight *w, const float *rows,
                         const char *what)
{
    float *most = test_floats(w->in, 0), *want = test_floats(w->in, 0);

    for (size_t r = 0; r < w->out; r++) {
        size_t wrong = 0, zero = 0;
        nib_weight_decode(from, r, r + 1, want);
        if (w->scheme->error_row) w->scheme->error_row(w, r, most);
        else if (!nib_weight_is_dense(w)) continue; /* the scheme does not tell */
        for (size_t k = 0; k < w->in; k++) {
            float d = fabsf(want[k] - rows[r * w->in + k]);
            /* in 8 bits scales are off too, by at most a 32nd of the greatest of 256 */
            wrong += !(d <= most[k] * 1.001f + (strstr(what, "double") ? 0.04f : 0));
            zero += w->scheme->error_row && !(most[k] > 0);
        }
        CHECK(wrong == 0 && zero == 0, "%s: row %zu: %zu values are further away, %zu bounds of 0",
              what, r, wrong, zero);
    }
}

typedef void product_fn(nib_ctx *ctx, const nib_kernels *k, const nib_weight *w,
                        const nib_product_args *args, void *scratch);

/* x [rows, terms] by the decoded values; backward: dy W. */
static void check_product(nib_ctx *ctx, const nib_weight *w, const float *decoded, size_t rows,
                          product_fn *run, bool back, const char *what)
{
    nib_kernels k = nib_kernels_for(nib_ctx_cpu(ctx));
    size_t terms = back ? w->out : w->in, outputs = back ? w->in : w->out;
    const float *x = test_floats(rows * terms, 1);
    float *y = test_floats(rows * outputs, 0);
    nib_operand from = { x, terms, NIB_F32 };
    void *ready = test_guarded(nib_operand_bytes(&k, NIB_F32, terms, rows) + 64);
    void *scratch = test_guarded(nib_round_up(
        nib_max(nib_product_scratch_bytes(ctx, nib_max(w->in, w->out), 0, rows),
                nib_product_own_bytes(ctx, w, 0, rows)) + 64, 64));
    /* a forward product of the scheme's own has tests of its own */
    nib_product_args a = { .type = NIB_F32, .y_type = NIB_F32, .rows = rows, .y = y,
                           .ldy = outputs, .decode = w->scheme->forward };
    double worst = 0;

    a.x = run == nib_product_dot ? from : nib_operand_ready(ctx, &k, rows, terms, from, ready);
    run(ctx, &k, w, &a, scratch);
    for (size_t m = 0; m < rows; m++)
        for (size_t n = 0; n < outputs; n++) {
            double sum = 0, size = 1e-30;
            for (size_t i = 0; i < terms; i++) {
                double v = (double)(back ? decoded[i * w->in + n] : decoded[n * w->in + i]);
                sum += v * (double)x[m * terms + i];
                size += fabs(v * (double)x[m * terms + i]);
            }
            worst = fmax(worst, fabs((double)y[m * outputs + n] - sum) / size);
        }
    CHECK(worst < 2e-6, "%s: a sum is off by %g of its terms' size", what, worst);
}

/* Where float32 may lose precision: within it, and with the bits that a row has alone, whichever of
 * its outputs are wanted. */
static void check_high(nib_ctx *ctx, const nib_weight *w, const float *decoded, const char *what)
{
    nib_kernels k = nib_kernels_for(nib_ctx_cpu(ctx));
    const float *x = test_floats(NIB_DOT_ROWS * w->in, 1);
    float *y = test_floats(NIB_DOT_ROWS * w->out, 0), *one = test_floats(w->out, 0), some = 0;
    const uint32_t last = (uint32_t)w->out - 1;
    void *scratch = test_guarded(
        nib_round_up(nib_product_dot_scratch_bytes(ctx, w->in, NIB_DOT_ROWS) + 64, 64));
    nib_product_args a = { .type = NIB_F32, .y_type = NIB_F32, .precision = NIB_PRECISION_HIGH,
                           .rows = NIB_DOT_ROWS, .x = { x, w->in, NIB_F32 }, .y = y,
                           .ldy = w->out };
    double worst = 0;

    if (w->scheme->forward) return; /* has tests of its own */
    nib_product_dot(ctx, &k, w, &a, scratch);
    a.rows = 1;
    a.y = one;
    nib_product_dot(ctx, &k, w, &a, scratch);
    CHECK(memcmp(one, y, w->out * sizeof *one) == 0, "%s: a row alone", what);
    a.y = &some;
    nib_product_dot_some(ctx, &k, w, &a, &last, 1, scratch);
    CHECK(some == one[last], "%s: an output alone", what);
    for (size_t n = 0; n < NIB_DOT_ROWS * w->out; n++) {
        double sum = 0, size = 1e-30;
        for (size_t i = 0; i < w->in; i++) {
            double v = (double)decoded[n % w->out * w->in + i] *
                       (double)x[n / w->out * w->in + i];
            sum += v;
            size += fabs(v);
        }
        worst = fmax(worst, fabs((double)y[n] - sum) / size);
    }
    /* codes are multiplied, not values that are rounded to bfloat16 */
    CHECK(worst < 4e-3, "%s: a sum is off by %g of its terms' size", what, worst);
}

static void check_form(const nib_weight *w, const nib_form *form, const char *what)
{
    nib_form again = { .dtype = form->dtype };
    char text[NIB_FORM_ROOM], twice[NIB_FORM_ROOM];
    uint64_t bytes = 0;
    nib_form is = nib_weight_form(w);

    nib_form_text(form, text);
    nib_form_text(&is, twice);
    CHECK(strcmp(text, twice) == 0 && is.dtype == form->dtype && w->dtype == form->dtype,
          "%s: is %s %s", what, twice, nib_dtype_name(is.dtype));
    CHECK(nib_form_parse(twice, &again) && same_form(&again, form), "%s: read back",
          what);
    CHECK(form->scheme->bytes(form, w->out, w->in, &bytes) && bytes == w->bytes &&
              w->bytes == w->owned_bytes,
          "%s: %" PRIu64 " bytes, not %zu (%zu owned)", what, bytes, w->bytes, w->owned_bytes);
}

/* What is not there has the same form and size, and encoding makes it so. */
static void check_blank(nib_ctx *ctx, const nib_form *form, size_t out, size_t in, size_t bytes,
                        const char *what)
{
    nib_weight *blank = NULL, *filled = NULL, *again = NULL;
    bool same = false;
    nib_form is;
    nib_error err;

    REQUIRE_OK(nib_weight_blank(ctx, form, out, in, &blank, &err), err);
    is = nib_weight_form(blank);
    CHECK(nib_weight_is_blank(blank) && same_form(&is, form) &&
              blank->bytes == bytes && !blank->owned_bytes,
          "%s: blank, %zu bytes", what, blank->bytes);
    REQUIRE_OK(nib_form_encode(ctx, form, blank, &filled, &err), err);
    REQUIRE_OK(nib_form_encode(ctx, form, blank, &again, &err), err);
    REQUIRE_OK(nib_weight_same(ctx, filled, again, &same, &err), err);
    CHECK(same && filled->bytes == bytes && filled->scheme == form->scheme, "%s: filled", what);
    nib_weight_destroy(ctx, again);
    nib_weight_destroy(ctx, filled);
    nib_weight_destroy(ctx, blank);
}

static void check_scheme(nib_ctx *ctx, const char *text, nib_dtype dtype, size_t out, size_t in)
{
    nib_weight *from = original(ctx, dtype, out, in), *w = NULL;
    nib_form form = { .dtype = dtype };
    char what[100];
    float *rows = test_floats(out * in, 0);
    bool same = false;
    nib_error err;

    snprintf(what, sizeof what, "%s of %s, %zu x %zu", text, nib_dtype_name(dtype), out, in);
    REQUIRE(from && nib_form_parse(text, &form), "%s is not known", what);
    form.dtype = dtype;
    REQUIRE_OK(nib_form_encode(ctx, &form, from, &w, &err), err);
    check_form(w, &form, what);
    CHECK(nib_weight_finite(w), "%s: not finite", what);
    for (size_t r = 0; r < out; r++) nib_weight_decode(w, r, r + 1, rows + r * in);
    check_tiles(w, rows, what);
    check_errors(from, w, rows, what);
    for (size_t m = 1; m <= NIB_DOT_ROWS; m++)
        check_product(ctx, w, rows, m, nib_product_dot, false, what);
    check_high(ctx, w, rows, what);
    for (size_t m = 1; m <= ROWS; m += 4) {
        check_product(ctx, w, rows, m, nib_product_forward, false, what);
        check_product(ctx, w, rows, m, nib_product_backward, true, what);
    }
    REQUIRE_OK(nib_weight_same(ctx, w, w, &same, &err), err);
    CHECK(same, "%s: is itself", what);
    REQUIRE_OK(nib_weight_same(ctx, from, w, &same, &err), err);
    CHECK(same == nib_form_is_dense(&form) || out * in == 1, "%s: as the original", what);
    check_blank(ctx, &form, out, in, w->bytes, what);
    nib_weight_destroy(ctx, w);
    nib_weight_destroy(ctx, from);
}

static void test_schemes(void)
{
    nib_ctx *ctx = test_ctx();

    for (size_t f = 0; f < NIB_COUNT(forms); f++)
        for (size_t s = 0; s < NIB_COUNT(shapes); s++)
            check_scheme(ctx, forms[f].text, forms[f].dtype, side(forms[f].text, shapes[s][0]),
                         side(forms[f].text, shapes[s][1]));
}

/* Whatever is stored, its transpose has its values, form and bytes. */
static void check_transposed(nib_ctx *ctx, const char *text, nib_dtype dtype, size_t out, size_t in)
{
    nib_weight *from = original(ctx, dtype, in, out), *stored = NULL, *w = NULL;
    nib_form form = { .dtype = dtype }, is;
    float *columns = test_floats(out * in, 0), *rows = test_floats(out * in, 0);
    char what[100];
    nib_error err;

    snprintf(what, sizeof what, "transpose of %s of %s, %zu x %zu", text, nib_dtype_name(dtype),
             out, in);
    REQUIRE(from && nib_form_parse(text, &form), "%s is not known", what);
    form.dtype = dtype;
    REQUIRE_OK(nib_form_encode(ctx, &form, from, &stored, &err), err);
    nib_weight_decode(stored, 0, in, columns);
    REQUIRE_OK(nib_weight_transposed(ctx, stored, &w, &err), err);
    is = nib_weight_form(w);
    CHECK(w->out == out && w->in == in && w->bytes == stored->bytes &&
              same_form(&is, &form) &&
              nib_weight_is_dense(w) == nib_weight_is_dense(stored),
          "%s: shape, bytes or form", what);
    for (size_t i = 0; i < out * in; i++) rows[i] = columns[i % in * out + i / in];
    check_tiles(w, rows, what);
    for (size_t m = 1; m <= NIB_DOT_ROWS; m++)
        check_product(ctx, w, rows, m, nib_product_dot, false, what);
    check_product(ctx, w, rows, ROWS, nib_product_forward, false, what);
    check_product(ctx, w, rows, ROWS, nib_product_backward, true, what);
    nib_weight_destroy(ctx, w);
    nib_weight_destroy(ctx, from);
}

static void test_transposed(void)
{
    nib_ctx *ctx = test_ctx();

    for (size_t f = 0; f < NIB_COUNT(forms); f++)
        for (size_t s = 0; s < NIB_COUNT(shapes); s++)
            check_transposed(ctx, forms[f].text, forms[f].dtype, side(forms[f].text, shapes[s][0]),
                             side(forms[f].text, shapes[s][1]));
}

static void test_texts(void)
{
    static const char *const unknown[] = { "", "nf4", "nf4 63", "nf5 64", "nf4 64 twice", "nf4  64",
                                           "nf4 64 ", "nf4 064", "dense 8", "fp4 8192", "int8 64",
                                           "gptq 4 128", "gptq 9 128 sym", "gptq 4 0128 sym",
                                           "gptq 4 row symmetric", "awq 4 row sym act" };
    nib_form form = { .dtype = NIB_F32 };

    for (size_t i = 0; i < NIB_COUNT(unknown); i++)
        CHECK(!nib_form_parse(unknown[i], &form), "'%s' is taken", unknown[i]);
}

/* --- a scheme with a forward product of its own --- */

static void decode_ones(const nib_weight *w, size_t r0, size_t r1, size_t k0, size_t k1, float *dst,
                        size_t ld)
{
    (void)w;
    for (size_t r = r0; r < r1; r++)
        for (size_t k = k0; k < k1; k++) dst[(r - r0) * ld + k - k0] = 1;
}

static size_t own_bytes(nib_ctx *ctx, const nib_weight *w, size_t max_rank, size_t max_rows)
{
    (void)ctx, (void)max_rank;
    return w->in + max_rows;
}

static void put_sevens(nib_ctx *ctx, const nib_kernels *k, const nib_weight *w,
                       const nib_product_args *a, void *scratch)
{
    (void)ctx, (void)k;
    memset(scratch, 0, w->in + a->rows);
    for (size_t m = 0; m < a->rows; m++)
        for (size_t n = 0; n < w->out; n++) ((float *)a->y)[m * a->ldy + n] = 7;
}

static void test_own_forward(void)
{
    static const nib_scheme scheme = { .name = "own", .decode_tile = decode_ones,
                                       .forward = put_sevens, .forward_bytes = own_bytes };
    const nib_weight w = { .scheme = &scheme, .out = 3, .in = 8 };
    nib_ctx *ctx = test_ctx();
    nib_kernels k = nib_kernels_for(nib_ctx_cpu(ctx));
    float x[16], y[16];
    void *scratch = test_guarded(nib_round_up(nib_product_scratch_bytes(ctx, 8, 0, 2), 64));
    nib_product_args a = { .type = NIB_F32, .y_type = NIB_F32, .rows = 2, .x = { x, 8, NIB_F32 },
                           .y = y, .ldy = 3 };

    for (size_t i = 0; i < 16; i++) x[i] = 1;
    CHECK(nib_product_own_bytes(ctx, &w, 0, 2) == 10, "its scratch");
    nib_product_forward(ctx, &k, &w, &a, scratch);
    CHECK(y[0] == 7 && y[5] == 7, "forward: %g", (double)y[0]);
    memset(y, 0, sizeof y);
    nib_product_dot(ctx, &k, &w, &a, scratch);
    CHECK(y[0] == 7 && y[5] == 7, "dots: %g", (double)y[0]);
    a.x.ld = 3;
    a.ldy = 8;
    nib_product_backward(ctx, &k, &w, &a, scratch);
    CHECK(y[0] == 3 && y[15] == 3, "backward decodes: %g", (double)y[0]);
}

int main(void)
{
    static const test_case cases[] = {
        { "schemes", test_schemes },
        { "transposed", test_transposed },
        { "texts", test_texts },
        { "own_forward", test_own_forward },
    };
    return test_main("scheme", cases, NIB_COUNT(cases));
}
