/* merge_forecast.c - see merge_forecast.h.
 *
 * A square piece of a matrix, with random values, is merged, encoded, multiplied and calibrated;
 * the whole takes as much longer as it has more values, or more products:
 *
 *     merging, rounding to nearest   out in
 *     a pass of the texts            tokens out in
 *     second moments                 tokens in², for each value that linears read
 *     GPTQ                           in³ + out in²
 */
#include "job/merge_forecast.h"

#include <stdio.h>

#include "base/arena.h"
#include "base/cpu.h"
#include "base/random.h"
#include "base/thread.h"
#include "job/merge_format.h"
#include "job/merge_packed.h"
#include "job/merge_rows.h"
#include "job/quantize_config.h"
#include "quant/gptq.h"
#include "quant/product.h"

enum { SIDE = 1024, ROWS = 512, RANK = 16, MOST_SAMPLES = 128, LONGEST = 512 };
static const double passes = 2; /* of a layer: to observe, and with what was made */

/* Sums over the matrices that are encoded, in double. */
typedef struct work { double values, squares, cubes; } work;

/* --- sizes --- */

static bool is_encoded(const nib_model *m, const nib_merge_options *o, const nib_merge_format *f,
                       const nib_linear *l)
{
    return f->held.format && l != m->head && !l->of_head && !l->parameter &&
           !nib_quantize_leaves(&f->held, l) &&
           !nib_merge_is_skipped(&o->quantize, f->held.format, l->name);
}

static nib_status add_linear(const nib_model *m, const nib_linear *l, const nib_merge_format *f,
                             nib_dtype dtype, nib_merge_forecast *out, nib_error *err)
{
    const nib_format *format = f->held.format;
    nib_parts_out *parts = nib_new(m->ctx, sizeof *parts);
    nib_form form = f->held.form;
    char name[NIB_MODULE_NAME_ROOM + 8];
    nib_status status;

    if (!parts) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", l->name);
    form.dtype = dtype;
    snprintf(name, sizeof name, "%s.weight", l->name);
    status = format->plan(&form, l->weight->out, l->weight->in, (nib_learned){ 0 }, name, parts,
                          err);
    if (status) status = nib_fail_in(err, status, "%s", name);
    out->bytes -= (uint64_t)l->weight->out * l->weight->in * nib_dtype_bytes(form.dtype);
    for (size_t i = 0; !status && i < parts->count; i++) out->bytes += parts->parts[i].bytes;
    out->matrices++;
    nib_free(m->ctx, parts);
    return status;
}

static nib_status add_sizes(const nib_model *m, const nib_merge_options *o,
                            const nib_merge_format *f, const nib_dtype *asked,
                            nib_merge_forecast *out, nib_error *err)
{
    nib_dtype dtype = asked ? *asked : m->linears[0]->weight->dtype;
    nib_status status = NIB_OK;

    out->parameters = m->parameters;
    out->dense_bytes = out->bytes = m->parameters * nib_dtype_bytes(dtype);
    snprintf(out->form, sizeof out->form, "dense");
    for (size_t i = 0; i < m->linear_count && !status; i++)
        if (is_encoded(m, o, f, m->linears[i]))
            status = add_linear(m, m->linears[i], f, dtype, out, err);
    if (f->held.format) nib_form_text(&f->held.form, out->form);
    out->disk_bytes = out->bytes + (f->calibrated ? out->dense_bytes : 0);
    if (o->base_original) out->disk_bytes *= 2; /* both ways are written and compared */
    if (f->calibrated)
        out->tokens = (uint64_t)(o->quantize.num_calibration_samples > 0
                                     ? o->quantize.num_calibration_samples : MOST_SAMPLES) *
                      (uint64_t)(o->quantize.calibration.max_seq_length > 0
                                     ? o->quantize.calibration.max_seq_length : LONGEST);
    return status;
}

/* Linears of one input share its second moments. */
static work add_work(const nib_model *m, const nib_merge_options *o, const nib_merge_format *f)
{
    const nib_graph *g = m->graph;
    work w = { 0 };
    int before = NIB_NONE;

    for (size_t i = 0; i < g->node_count; i++) {
        const nib_linear *l = g->nodes[i].linear;
        double in, out;
        if (!l || (f->held.format && !is_encoded(m, o, f, l))) continue;
        in = (double)l->weight->in;
        out = (double)l->weight->out;
        w.values += in * out;
        if (g->nodes[i].inputs[0] != before) w.squares += in * in;
        before = g->nodes[i].inputs[0];
        w.cubes += in * in * in + in * in * out;
    }
    return w;
}

/* --- time --- */

typedef struct piece {
    nib_ctx *ctx;
    float *w, *x, *y, *room; /* [SIDE, SIDE], [ROWS, SIDE] twice, [threads, 2, SIDE] */
    nib_params params;
    nib_branch branch;
    nib_weight *weight;
} piece;

/* From -1 to 1; n is a multiple of 4. */
static void fill(float *values, size_t n, uint32_t key)
{
    for (size_t i = 0; i < n; i += 4) {
        const uint32_t keys[2] = { key, 0 }, counter[4] = { (uint32_t)i, 0, 0, 0 };
        uint32_t bits[4];
        nib_philox(keys, counter, bits);
        for (size_t k = 0; k < 4; k++) values[i + k] = 2 * nib_unit_float(bits[k]) - 1;
    }
}

static nib_status make_piece(nib_ctx *ctx, piece *p, nib_error *err)
{
    const size_t n = (size_t)SIDE * SIDE;

    p->ctx = ctx;
    p->w = nib_new_array(ctx, n, sizeof(float));
    p->x = nib_new_array(ctx, ROWS, SIDE * sizeof(float));
    p->y = nib_new_array(ctx, ROWS, SIDE * sizeof(float));
    p->room = nib_new_array(ctx, nib_threads(ctx), 2 * SIDE * sizeof(float));
    p->branch = (nib_branch){ .a = nib_params_add(ctx, &p->params, "A", RANK, SIDE),
                              .b = nib_params_add(ctx, &p->params, "B", SIDE, RANK), .scale = 1 };
    if (!p->w || !p->x || !p->y || !p->room || !p->branch.a || !p->branch.b)
        return nib_fail(err, NIB_E_NOMEM, "a piece of %d x %d: out of memory", SIDE, SIDE);
    fill(p->w, n, 1);
    fill(p->x, (size_t)ROWS * SIDE, 2);
    return nib_weight_dense(ctx, SIDE, SIDE, NIB_F32, p->w, NULL, &p->weight, err);
}

static void free_piece(piece *p)
{
    if (!p->ctx) return;
    nib_weight_destroy(p->ctx, p->weight);
    nib_params_free(p->ctx, &p->params);
    nib_free(p->ctx, p->w);
    nib_free(p->ctx, p->x);
    nib_free(p->ctx, p->y);
    nib_free(p->ctx, p->room);
}

static void merge_row(void *arg, size_t row, unsigned worker)
{
    piece *p = arg;
    float *to = p->room + (size_t)worker * 2 * SIDE;

    nib_weight_decode(p->weight, row, row + 1, to);
    nib_merge_add_row(&p->branch, false, row, to + SIDE, to, SIDE);
}

static nib_status time_encode(piece *p, const nib_form *form, double *seconds, nib_error *err)
{
    double start = nib_clock_seconds();
    nib_weight *made = NULL;
    nib_status status = nib_form_encode(p->ctx, form, p->weight, &made, err);

    *seconds = nib_clock_seconds() - start;
    nib_weight_destroy(p->ctx, made);
    return status;
}

static nib_status time_product(piece *p, double *seconds, nib_error *err)
{
    const nib_kernels k = nib_kernels_for(nib_ctx_cpu(p->ctx));
    nib_product_args args = { .type = NIB_F32, .rows = ROWS, .y = p->y, .ldy = SIDE,
                              .y_type = NIB_F32 };
    size_t ready = nib_operand_bytes(&k, NIB_F32, SIDE, ROWS);
    nib_arena arena = { 0 };
    double start;
    nib_status status = nib_arena_create(p->ctx, nib_round_up(ready, 64) +
                                         nib_product_scratch_bytes(p->ctx, SIDE, 0, ROWS), &arena,
                                         err);

    if (status) return status;
    start = nib_clock_seconds();
    args.x = nib_operand_ready(p->ctx, &k, ROWS, SIDE, (nib_operand){ p->x, SIDE, NIB_F32 },
                               arena.base);
    nib_product_forward(p->ctx, &k, p->weight, &args, arena.base + nib_round_up(ready, 64));
    *seconds = nib_clock_seconds() - start;
    nib_arena_destroy(p->ctx, &arena);
    return NIB_OK;
}

static nib_status time_gptq(piece *p, const nib_form *form, double *observe, double *encode,
                            nib_error *err)
{
    const nib_gptq_options plain = { .desc_act = false };
    const nib_form ordered = nib_gptq_form(form, &plain);
    nib_gptq_report report;
    nib_hessian *h = NULL;
    nib_weight *made = NULL;
    double start;
    nib_status status = nib_hessian_create(p->ctx, SIDE, &h, err);

    if (status) return status;
    start = nib_clock_seconds();
    nib_hessian_observe(h, p->x, NIB_F32, ROWS, SIDE);
    *observe = nib_clock_seconds() - start;
    start = nib_clock_seconds();
    status = nib_gptq_encode(h, &ordered, p->weight, &nib_gptq_defaults, &made, &report, err);
    *encode = nib_clock_seconds() - start;
    nib_weight_destroy(p->ctx, made);
    nib_hessian_destroy(h);
    return status;
}

/* Seconds of a piece. */
typedef struct times { double merge, encode, product, observe, gptq; } times;

static nib_status time_piece(piece *p, const nib_merge_format *f, times *t, nib_error *err)
{
    double start = nib_clock_seconds();
    nib_form form = f->held.form;
    nib_status status = NIB_OK;

    form.dtype = NIB_F16;
    nib_parallel_for(p->ctx, SIDE, merge_row, p);
    t->merge = nib_clock_seconds() - start;
    if (!f->held.format) return NIB_OK;
    if (!f->calibrated) return time_encode(p, &form, &t->encode, err);
    status = time_product(p, &t->product, err);
    return status ? status : time_gptq(p, &form, &t->observe, &t->gptq, err);
}

/* The first time warms caches and threads; the second is taken. */
static nib_status add_times(nib_ctx *ctx, const nib_merge_format *f, work w,
                            nib_merge_forecast *out, nib_error *err)
{
    const double n = SIDE, tokens = (double)out->tokens / ROWS;
    times t = { 0 };
    piece p = { 0 };
    nib_status status = make_piece(ctx, &p, err);

    for (int i = 0; i < 2 && !status; i++) status = time_piece(&p, f, &t, err);
    out->merge_seconds = (t.merge + t.encode) / (n * n) * w.values;
    out->calibrate_seconds = tokens * passes * t.product / (n * n) * w.values +
                             tokens * t.observe / (n * n) * w.squares +
                             t.gptq / (2 * n * n * n) * w.cubes;
    free_piece(&p);
    return status;
}

nib_status nib_merge_forecast_make(nib_ctx *ctx, const nib_merge_options *o,
                                   const nib_dtype *dtype, nib_merge_forecast *out, nib_error *err)
{
    const nib_model_options model = { .model = o->model };
    nib_merge_forecast f = { 0 };
    nib_merge_format format;
    nib_model *m = NULL;
    nib_status status = nib_model_open_blank(ctx, &model, NIB_F32, &m, err);

    if (!status) status = nib_merge_format_read(ctx, o, &m->stored, &format, err);
    if (!status) status = add_sizes(m, o, &format, dtype, &f, err);
    if (!status) status = add_times(ctx, &format, add_work(m, o, &format), &f, err);
    if (!status) *out = f;
    nib_model_close(m);
    return status;
}
