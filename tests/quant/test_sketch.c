/* test_sketch.c - what is found contains the greatest outputs, whatever the numbers are like, and
 * is little where they are like a head's; some outputs have the bits that all of them have. */
#include <math.h>
#include <string.h>

#include "quant/product.h"
#include "quant/sketch.h"
#include "test.h"

enum { ROWS = 3000, QUESTIONS = 40 };

typedef struct head {
    nib_ctx *ctx;
    nib_dtype type;
    size_t in;
    nib_weight *w;
    void *data;
    void *x;
    float *wide;
} head;

/* Values of a wide spread, so that rows have outliers. */
static float number(void)
{
    float f = test_rand_float();
    return f * f * f * (test_rand() % 50 ? 1 : 20);
}

static head make(nib_ctx *ctx, nib_dtype weights, nib_dtype type, size_t in)
{
    head h = { .ctx = ctx, .type = type, .in = in,
               .data = test_guarded(ROWS * in * nib_dtype_bytes(weights)),
               .x = test_guarded(in * nib_dtype_bytes(type)),
               .wide = test_guarded(in * sizeof(float)) };
    nib_error err;

    for (size_t i = 0; i < ROWS * in; i++) {
        if (weights == NIB_F32) ((float *)h.data)[i] = number();
        else ((uint16_t *)h.data)[i] = nib_f32_to_bf16(number());
    }
    CHECK(nib_weight_dense(ctx, ROWS, in, weights, h.data, NULL, &h.w, &err) == NIB_OK, "%s",
          err.message);
    return h;
}

/* x near row `like`, so that there are words far likelier than others. */
static void ask(head *h, const nib_kernels *k, size_t like)
{
    nib_weight_decode(h->w, like, like + 1, h->wide);
    for (size_t i = 0; i < h->in; i++) {
        float f = h->wide[i] + number();
        if (h->type == NIB_BF16) ((uint16_t *)h->x)[i] = nib_f32_to_bf16(f);
        else ((float *)h->x)[i] = f;
    }
    if (h->type == NIB_BF16) k->from_bf16(h->in, h->x, h->wide);
    else memcpy(h->wide, h->x, h->in * sizeof(float));
}

static void outputs(const head *h, const nib_kernels *k, const uint32_t *ids, size_t count,
                    float *y)
{
    void *scratch = test_guarded(
        nib_product_scratch_bytes(h->ctx, h->in, 0, 1) / 64 * 64 + 64);
    nib_product_args a = { .type = h->type, .rows = 1, .x = { h->x, h->in, h->type }, .y = y,
                           .ldy = ROWS, .y_type = NIB_F32 };

    if (ids) nib_product_dot_some(h->ctx, k, h->w, &a, ids, count, scratch);
    else nib_product_dot(h->ctx, k, h->w, &a, scratch);
}

/* How many outputs are greater than that of row r. */
static size_t place(const float *y, size_t r)
{
    size_t greater = 0;
    for (size_t i = 0; i < ROWS; i++) greater += y[i] > y[r];
    return greater;
}

static size_t check_found(head *h, const nib_kernels *k, nib_sketch *s, size_t most,
                          const char *what)
{
    float *all = test_guarded(ROWS * sizeof *all), *some = test_guarded(ROWS * sizeof *some);
    nib_found found;
    size_t count, at = 0;
    const uint32_t *ids;

    nib_sketch_find(s, 1, h->wide, most, &found);
    count = found.count;
    ids = found.rows;

    outputs(h, k, NULL, 0, all);
    outputs(h, k, ids, count, some);
    for (size_t i = 0; i < count; i++)
        CHECK(memcmp(&some[i], &all[ids[i]], sizeof *all) == 0,
              "%s: output %u is %a by itself, %a among all", what, ids[i], (double)some[i],
              (double)all[ids[i]]);
    for (size_t r = 0; r < ROWS; r++) {
        while (at < count && ids[at] < r) at++;
        if (at < count && ids[at] == r) continue;
        CHECK(place(all, r) >= most, "%s: row %zu is number %zu and was not found among %zu", what,
              r, place(all, r), count);
    }
    return count;
}

static void check_sizes(nib_ctx *ctx, nib_dtype weights, nib_dtype type, size_t in,
                        const nib_kernels *k)
{
    static const size_t mosts[] = { 1, 2, 50, ROWS, ROWS + 5 };
    head h = make(ctx, weights, type, in);
    nib_sketch *s = NULL;
    size_t found = 0;
    char what[80];
    nib_error err;

    REQUIRE_OK(nib_sketch_create(ctx, k, type, h.w, &s, &err), err);
    for (size_t q = 0; q < QUESTIONS; q++) {
        size_t most = mosts[q % NIB_COUNT(mosts)], count;
        snprintf(what, sizeof what, "%s weights in %s, %zu wide, the %zu greatest",
                 nib_dtype_name(weights), nib_dtype_name(type), in, most);
        ask(&h, k, q * 7);
        count = check_found(&h, k, s, most, what);
        if (most == 1) found += count;
    }
    CHECK(found < QUESTIONS / NIB_COUNT(mosts) * ROWS / 20,
          "%zu wide: %zu rows found where one was asked for", in, found);
    nib_sketch_destroy(s);
    nib_weight_destroy(ctx, h.w);
}

static void test_greatest(void)
{
    nib_ctx *ctx = test_ctx();
    nib_kernels best = nib_kernels_for(nib_ctx_cpu(ctx)), plain = nib_kernels_for(0);

    check_sizes(ctx, NIB_BF16, NIB_F32, 576, &best);
    check_sizes(ctx, NIB_BF16, NIB_BF16, 200, &best);
    check_sizes(ctx, NIB_F32, NIB_F32, 65, &plain);
    check_sizes(ctx, NIB_F32, NIB_BF16, 130, &best); /* rounded before it is multiplied */
}

/* Equal rows are all found; a row with an infinity always is; x of zeros or with a NaN finds
 * nothing. */
static void test_odd(void)
{
    nib_ctx *ctx = test_ctx();
    nib_kernels k = nib_kernels_for(nib_ctx_cpu(ctx));
    head h = make(ctx, NIB_F32, NIB_F32, 96);
    float *rows = h.data;
    bool infinite = false;
    size_t equal = 0;
    nib_found found;
    nib_sketch *s = NULL;
    nib_error err;

    for (size_t r = 100; r < 140; r++) memcpy(rows + r * h.in, rows, h.in * sizeof *rows);
    rows[77 * h.in + 5] = INFINITY;
    rows[78 * h.in] = 1e37f;
    memset(rows + 79 * h.in, 0, h.in * sizeof *rows);
    REQUIRE_OK(nib_sketch_create(ctx, &k, NIB_F32, h.w, &s, &err), err);
    memcpy(h.wide, rows, h.in * sizeof *rows);
    nib_sketch_find(s, 1, h.wide, 2, &found);
    for (size_t i = 0; i < found.count; i++) {
        equal += found.rows[i] == 0 || (found.rows[i] >= 100 && found.rows[i] < 140);
        infinite |= found.rows[i] == 77;
    }
    CHECK(equal == 41 && infinite, "%zu of 41 equal rows were found, and the infinite one was%s",
          equal, infinite ? "" : " not");
    h.wide[3] = NAN;
    nib_sketch_find(s, 1, h.wide, 1, &found);
    CHECK(found.count == 0, "%zu rows for a NaN", found.count);
    memset(h.wide, 0, h.in * sizeof *h.wide);
    nib_sketch_find(s, 1, h.wide, 1, &found);
    CHECK(found.count == 0, "%zu rows for zeros", found.count);
    nib_sketch_destroy(s);
    nib_weight_destroy(ctx, h.w);
}

/* Several rows of x at once find what each finds alone, also beside one without bounds. */
static void test_together(void)
{
    enum { IN = 100 };
    nib_ctx *ctx = test_ctx();
    nib_kernels k = nib_kernels_for(nib_ctx_cpu(ctx));
    head h = make(ctx, NIB_BF16, NIB_F32, IN);
    float *x = test_guarded(NIB_DOT_ROWS * IN * sizeof *x);
    nib_sketch *s = NULL;
    nib_error err;

    REQUIRE_OK(nib_sketch_create(ctx, &k, NIB_F32, h.w, &s, &err), err);
    for (size_t m = 0; m < NIB_DOT_ROWS; m++) {
        ask(&h, &k, m * 11);
        memcpy(x + m * IN, h.wide, IN * sizeof *x);
    }
    memset(x + IN, 0, IN * sizeof *x);
    for (size_t M = 1; M <= NIB_DOT_ROWS; M++)
        for (size_t m = 0; m < M; m++) {
            nib_found found[NIB_DOT_ROWS], one;
            uint32_t *rows = test_guarded(ROWS * sizeof *rows);
            nib_sketch_find(s, M, x, 3, found);
            memcpy(rows, found[m].rows, found[m].count * sizeof *rows);
            nib_sketch_find(s, 1, x + m * IN, 3, &one);
            CHECK(one.count == found[m].count &&
                      memcmp(one.rows, rows, one.count * sizeof *rows) == 0,
                  "row %zu of %zu: %zu found, alone %zu", m, M, found[m].count, one.count);
            CHECK((one.count > 0) == (m != 1), "row %zu: %zu found", m, one.count);
        }
    nib_sketch_destroy(s);
    nib_weight_destroy(ctx, h.w);
}

static void test_memory(void)
{
    float data[4 * 8] = { 1 };
    nib_kernels k = nib_kernels_for(0);
    bool done = false;

    for (size_t n = 1; n < 20 && !done; n++) {
        test_heap heap = { 0 };
        nib_ctx *ctx = test_ctx_heap(&heap);
        nib_weight *w = NULL;
        nib_sketch *s = NULL;
        nib_status status;
        nib_error err;

        REQUIRE_OK(nib_weight_dense(ctx, 4, 8, NIB_F32, data, NULL, &w, &err), err);
        heap.fail_at = heap.calls + n;
        status = nib_sketch_create(ctx, &k, NIB_F32, w, &s, &err);
        done = heap.calls < heap.fail_at;
        CHECK(status == (done ? NIB_OK : NIB_E_NOMEM), "allocation %zu failed: status %d", n,
              (int)status);
        nib_sketch_destroy(s);
        nib_weight_destroy(ctx, w);
        CHECK(heap.live == 0, "allocation %zu failed: %zu blocks are left", n, heap.live);
        test_ctx_release(ctx);
    }
    CHECK(done, "it allocates without end");
}

static const test_case cases[] = {
    { "the greatest are found, with the bits of all outputs", test_greatest },
    { "equal, infinite and empty rows", test_odd },
    { "several questions at once", test_together },
    { "every allocation may fail", test_memory },
};

int main(void) { return test_main("test_sketch", cases, NIB_COUNT(cases)); }
