/* opened.c - see opened.h. */
#include "opened.h"

#include <math.h>

#include "model/held.h"
#include "quant/product.h"
#include "variants.h"

static bool find_part(void *self, const char *name, nib_part *out)
{
    const test_parts *p = self;

    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->items[i].name, name) == 0) return *out = p->items[i], true;
    return false;
}

nib_part_finder test_parts_finder(test_parts *p) { return (nib_part_finder){ find_part, p }; }

nib_status test_open_weight(nib_ctx *ctx, const char *json, test_parts *p, nib_weight **w,
                            nib_error *err)
{
    const nib_format_module m = { .name = "m", .class = "Linear" };
    json_t *config = json_pack("{s:o}", "quantization_config", json_loads(json, 0, NULL));
    nib_held held = { 0 };
    nib_status status = nib_held_read(ctx, config, "config.json", &held, err);

    *w = NULL;
    for (size_t i = 0; !status && held.format->check && i < p->count; i++)
        status = held.format->check(&p->items[i], test_parts_finder(p), err);
    if (!status)
        status = held.format->open(ctx, test_parts_finder(p), &held, &m, w, err);
    nib_held_free(ctx, &held);
    json_decref(config);
    return status;
}

void test_check_tiles(const nib_weight *w, const float *all)
{
    for (int n = 0; n < 40; n++) {
        size_t r0 = test_rand() % w->out, r1 = r0 + test_rand() % (w->out - r0) + 1;
        size_t k0 = test_rand() % w->in, k1 = k0 + test_rand() % (w->in - k0) + 1;
        float *tile = test_guarded((r1 - r0) * (k1 - k0) * sizeof *tile);

        w->scheme->decode_tile(w, r0, r1, k0, k1, tile, k1 - k0);
        for (size_t r = r0; r < r1; r++)
            CHECK(memcmp(tile + (r - r0) * (k1 - k0), all + r * w->in + k0,
                         (k1 - k0) * sizeof *tile) == 0,
                  "rows %zu to %zu, columns %zu to %zu", r0, r1, k0, k1);
    }
}

void test_check_products(nib_ctx *ctx, const nib_weight *w, const float *all, nib_dtype type,
                         size_t rows)
{
    nib_kernels k = nib_kernels_for(nib_ctx_cpu(ctx));
    size_t wide = nib_max(w->out, w->in);
    void *x = test_values(type, rows * wide, 1), *ready = test_guarded(rows * (wide + 64) * 4);
    void *scratch = test_guarded(nib_round_up(nib_product_scratch_bytes(ctx, wide, 1, rows), 64));
    float *y[2] = { test_guarded(rows * wide * 4), test_guarded(rows * wide * 4) };
    const nib_weight *pair[2] = { w };
    nib_weight *dense = NULL;
    nib_error err;

    REQUIRE_OK(nib_weight_dense(ctx, w->out, w->in, NIB_F32, all, NULL, &dense, &err), err);
    pair[1] = dense;
    for (int back = 0; back < 2; back++) {
        size_t from = back ? w->out : w->in, to = back ? w->in : w->out;
        for (int i = 0; i < 2; i++) {
            nib_operand rows_of = { x, from, type };
            nib_product_args args = { .type = type, .rows = rows, .y = y[i], .ldy = to,
                                      .y_type = NIB_F32,
                                      .x = nib_operand_ready(ctx, &k, rows, from, rows_of, ready) };
            (back ? nib_product_backward : nib_product_forward)(ctx, &k, pair[i], &args, scratch);
        }
        CHECK(memcmp(y[0], y[1], rows * to * sizeof(float)) == 0, "%s, %s: other bits",
              nib_dtype_name(type), back ? "backward" : "forward");
    }
    nib_weight_destroy(ctx, dense);
}

void test_check_dots(nib_ctx *ctx, const nib_weight *w, const float *all)
{
    nib_kernels k = nib_kernels_for(nib_ctx_cpu(ctx));
    float *x = test_floats(4 * w->in, 1), *y = test_guarded(4 * w->out * sizeof *y);
    float *alone = test_guarded(w->out * sizeof *alone);
    void *scratch = test_guarded(nib_round_up(nib_product_scratch_bytes(ctx, w->in, 1, 4), 64));
    nib_product_args args = { .type = NIB_F32, .y_type = NIB_F32, .ldy = w->out };

    for (size_t rows = 1; rows <= 4; rows++) {
        args.rows = rows;
        args.x = (nib_operand){ x, w->in, NIB_F32 };
        args.y = y;
        nib_product_dot(ctx, &k, w, &args, scratch);
        for (size_t m = 0; m < rows; m++)
            for (size_t o = 0; o < w->out; o++) {
                double want = 0, size = 0;
                for (size_t i = 0; i < w->in; i++) {
                    double term = (double)x[m * w->in + i] * (double)all[o * w->in + i];
                    want += term;
                    size += fabs(term);
                }
                CHECK(fabs((double)y[m * w->out + o] - want) <= 1e-5 * size, "row %zu of %zu, "
                      "output %zu: %g, expected %g", m, rows, o, (double)y[m * w->out + o], want);
            }
        args.rows = 1;
        args.x.x = x + (rows - 1) * w->in;
        args.y = alone;
        nib_product_dot(ctx, &k, w, &args, scratch);
        CHECK(memcmp(alone, y + (rows - 1) * w->out, w->out * sizeof *y) == 0,
              "row %zu has other bits than alone", rows - 1);
    }
}
