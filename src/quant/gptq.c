/* gptq.c - see gptq.h.  Rows of the matrix do not see each other: a thread takes some of them
 * through all columns. */
#include "quant/gptq.h"

#include <cblas.h>
#include <stdlib.h>

#include "base/thread.h"
#include "quant/gptq_factor.h"
#include "quant/gptq_grid.h"

enum { BLOCK = 128, ROWS = 64 };

const nib_gptq_options nib_gptq_defaults = { .damp_percent = .05, .damp_auto_increment = .01 };

typedef struct job {
    const nib_hessian *h;
    const nib_weight *from;
    const nib_gptq_options *options;
    nib_grouped_options o;
    nib_grouped_sizes sizes;
    uint32_t *order;   /* [in] the input of each column */
    float *u;          /* [in, in] */
    int32_t *group_of; /* [in] */
    float *scales;     /* [groups, out] */
    uint8_t *zeros, *codes; /* [groups, out], [out, in] */
    float *rooms;      /* a room for each worker */
    size_t room;       /* floats of one */
    uint8_t *bad;      /* [tiles] values that are not finite were met */
} job;

/* A worker's rows. */
typedef struct rows {
    const job *j;
    size_t r0, n;
    float *w;          /* [ROWS, in] as the weight has it; then without dead inputs */
    float *moved;      /* [ROWS, in] columns in their order, updated block by block */
    float *block;      /* [ROWS, BLOCK] the block at hand, updated column by column */
    float *errors;     /* [ROWS, BLOCK] */
} rows;

/* --- grids --- */

static double distance(const job *j, nib_grid g, const float *w, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++) {
        float q = g.scale * (nib_gptq_code(&j->o, g, w[i]) - g.zero);
        sum += pow(fabs((double)q - (double)w[i]), j->options->mse);
    }
    return sum;
}

/* The range as it is or, by `mse`, the best of those up to .79 smaller. */
static nib_grid grid_of(const job *j, const float *w, size_t n)
{
    float low = w[0], high = w[0];
    nib_grid best;
    double least;

    for (size_t i = 1; i < n; i++) {
        low = fminf(low, w[i]);
        high = fmaxf(high, w[i]);
    }
    best = nib_gptq_grid(&j->o, low, high);
    if (!(j->options->mse > 0)) return best;
    low = fminf(low, 0);
    high = fmaxf(high, 0);
    if (low == 0 && high == 0) return best;
    least = distance(j, best, w, n);
    for (int i = 1; i < 80; i++) {
        float share = 1 - (float)i / 100;
        nib_grid g = nib_gptq_grid(&j->o, share * low, share * high);
        double d = distance(j, g, w, n);
        if (d < least) least = d, best = g;
    }
    return best;
}

static void put_grid(const job *j, size_t group, size_t row, nib_grid g)
{
    j->scales[group * j->from->out + row] = nib_grouped_scale(&j->o, g.scale);
    j->zeros[group * j->from->out + row] = (uint8_t)g.zero;
}

static nib_grid grid_at(const job *j, size_t group, size_t row)
{
    return (nib_grid){ j->scales[group * j->from->out + row],
                       (float)j->zeros[group * j->from->out + row] };
}

/* --- rows --- */

/* Whole rows have their grid from all inputs, static groups without those that are dead. */
static void begin_rows(rows *r, size_t tile)
{
    const job *j = r->j;
    size_t in = j->from->in, group = j->sizes.group;

    nib_weight_decode(j->from, r->r0, r->r0 + r->n, r->w);
    for (size_t i = 0; i < r->n * in; i++)
        if (!isfinite(r->w[i])) j->bad[tile] = 1, r->w[i] = 0;
    for (size_t k = 0; group == in && k < r->n; k++)
        put_grid(j, 0, r->r0 + k, grid_of(j, r->w + k * in, in));
    for (size_t i = 0; i < in; i++)
        for (size_t k = 0; nib_hessian_at(j->h, i, i) == 0 && k < r->n; k++) r->w[k * in + i] = 0;
    for (size_t g = 0; group < in && j->options->static_groups && g < j->sizes.group_count; g++)
        for (size_t k = 0; k < r->n; k++)
            put_grid(j, g, r->r0 + k, grid_of(j, r->w + k * in + g * group,
                                              nib_min(group, in - g * group)));
    for (size_t k = 0; k < r->n; k++)
        for (size_t i = 0; i < in; i++) r->moved[k * in + i] = r->w[k * in + j->order[i]];
}

/* One row of the columns [c0, c0 + count). */
static void encode_block(const rows *r, size_t k, size_t c0, size_t count)
{
    const job *j = r->j;
    size_t in = j->from->in, group = j->sizes.group, row = r->r0 + k;
    bool finds = group < in && !j->options->static_groups;
    float *w = r->block + k * BLOCK;

    memcpy(w, r->moved + k * in + c0, count * sizeof *w);
    for (size_t i = 0; i < count; i++) {
        size_t c = c0 + i, input = j->order[c];
        const float *u = j->u + c * in + c0;
        nib_grid g;
        float code, error;
        if (finds && c % group == 0) /* of columns that carry what blocks before this one lost */
            put_grid(j, (size_t)j->group_of[input], row,
                     grid_of(j, r->moved + k * in + c, nib_min(group, in - c)));
        g = grid_at(j, (size_t)j->group_of[input], row);
        code = nib_gptq_code(&j->o, g, w[i]);
        j->codes[row * in + input] = (uint8_t)code;
        error = (w[i] - g.scale * (code - g.zero)) / u[i];
        for (size_t l = i; l < count; l++) w[l] -= error * u[l];
        r->errors[k * BLOCK + i] = error;
    }
}

static void encode_tile(void *arg, size_t tile, unsigned worker)
{
    const job *j = arg;
    size_t in = j->from->in;
    rows r = { .j = j, .r0 = tile * ROWS, .n = nib_min(j->from->out - tile * ROWS, (size_t)ROWS) };

    r.w = j->rooms + worker * j->room;
    r.moved = r.w + ROWS * in;
    r.block = r.moved + ROWS * in;
    r.errors = r.block + ROWS * BLOCK;
    begin_rows(&r, tile);
    for (size_t c0 = 0; c0 < in; c0 += BLOCK) {
        size_t c1 = nib_min(c0 + BLOCK, in);
        for (size_t k = 0; k < r.n; k++) encode_block(&r, k, c0, c1 - c0);
        if (c1 < in)
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)r.n, (int)(in - c1),
                        (int)(c1 - c0), -1, r.errors, BLOCK, j->u + c0 * in + c1, (int)in, 1,
                        r.moved + c1, (int)in);
    }
}

/* --- the matrix --- */

typedef struct ranked {
    float first, weight; /* first: the greatest of its group; 0 where groups do not count */
    uint32_t group, input;
} ranked;

/* By falling weight, those of a group together; equal ones as they stand. */
static int compare(const void *a, const void *b)
{
    const ranked *x = a, *y = b;

    if (x->first != y->first) return x->first > y->first ? -1 : 1;
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    if (x->weight != y->weight) return x->weight > y->weight ? -1 : 1;
    return x->input < y->input ? -1 : x->input > y->input;
}

/* Whole groups keep their columns together, one after the other by the greatest of each; what is
 * left behind the last whole one stays there. */
static void rank_groups(const job *j, ranked *list)
{
    size_t in = j->from->in, group = j->sizes.group;

    for (size_t i0 = 0; i0 < in; i0 += group) {
        size_t end = nib_min(i0 + group, in);
        float most = -INFINITY;
        for (size_t i = i0; i < end; i++) most = fmaxf(most, list[i].weight);
        if (end - i0 < group) most = -INFINITY;
        for (size_t i = i0; i < end; i++) {
            list[i].first = most;
            list[i].group = (uint32_t)(i0 / group);
            if (end - i0 < group) list[i].weight = 0;
        }
    }
}

static nib_status make_order(job *j, nib_error *err)
{
    size_t in = j->from->in;
    ranked *list = nib_new_array(j->h->ctx, in, sizeof *list);

    if (!list) return nib_fail(err, NIB_E_NOMEM, "an order of %zu inputs: out of memory", in);
    for (size_t i = 0; i < in; i++) {
        float d = nib_hessian_at(j->h, i, i);
        list[i] = (ranked){ .weight = d == 0 ? 1 : d, .input = (uint32_t)i };
    }
    if (j->options->desc_act) qsort(list, in, sizeof *list, compare);
    else if (j->options->act_group_aware && j->sizes.group < in) {
        rank_groups(j, list);
        qsort(list, in, sizeof *list, compare);
    }
    for (size_t c = 0; c < in; c++) {
        size_t place = j->o.act_order ? c : list[c].input;
        j->order[c] = list[c].input;
        j->group_of[list[c].input] = (int32_t)(place / j->sizes.group);
    }
    nib_free(j->h->ctx, list);
    return NIB_OK;
}

static nib_status take(job *j, nib_error *err)
{
    nib_ctx *ctx = j->h->ctx;
    size_t in = j->from->in, out = j->from->out, groups = j->sizes.group_count;

    j->room = 2 * ROWS * in + 2 * ROWS * BLOCK;
    j->order = nib_new_array(ctx, in, sizeof *j->order);
    j->group_of = nib_new_array(ctx, in, sizeof *j->group_of);
    j->u = nib_new_array(ctx, in, in * sizeof *j->u);
    j->scales = nib_new_array(ctx, groups, out * sizeof *j->scales);
    j->zeros = nib_new_array(ctx, groups, out);
    j->codes = nib_new_array(ctx, out, in);
    j->rooms = nib_new_array(ctx, nib_threads(ctx), j->room * sizeof *j->rooms);
    j->bad = nib_new_array(ctx, nib_ceil_div(out, ROWS), 1);
    if (j->order && j->group_of && j->u && j->scales && j->zeros && j->codes && j->rooms && j->bad)
        return NIB_OK;
    return nib_fail(err, NIB_E_NOMEM, "a matrix of %zu x %zu: out of memory", out, in);
}

static void release(job *j)
{
    nib_ctx *ctx = j->h->ctx;

    nib_free(ctx, j->order);
    nib_free(ctx, j->group_of);
    nib_free(ctx, j->u);
    nib_free(ctx, j->scales);
    nib_free(ctx, j->zeros);
    nib_free(ctx, j->codes);
    nib_free(ctx, j->rooms);
    nib_free(ctx, j->bad);
}

static nib_status check(const job *j, const nib_form *form, nib_error *err)
{
    const nib_gptq_options *o = j->options;

    if (form->scheme != &nib_grouped_scheme || j->o.group == NIB_GROUP_TENSOR)
        return nib_fail(err, NIB_E_UNSUPPORTED, "GPTQ encodes to integers of rows and of groups: "
                        "formats gptq, awq and compressed-tensors");
    if (j->o.maker != NIB_GROUPED_GPTQ && o->desc_act && !o->static_groups &&
        j->o.group != NIB_GROUP_ROW)
        return nib_fail(err, NIB_E_UNSUPPORTED, "desc_act: only format gptq says which group an "
                        "input is in; static_groups keeps them in order");
    if (!(o->damp_percent > 0 && o->damp_percent < 1))
        return nib_fail(err, NIB_E_INVALID, "damp_percent: expected more than 0 and less than 1, "
                        "got %g", o->damp_percent);
    if (!(o->damp_auto_increment >= 0 && o->damp_auto_increment < 1))
        return nib_fail(err, NIB_E_INVALID, "damp_auto_increment: expected 0 to 1, got %g",
                        o->damp_auto_increment);
    if (!(o->mse >= 0 && isfinite(o->mse)))
        return nib_fail(err, NIB_E_INVALID, "mse: expected an exponent of 0 or more, got %g",
                        o->mse);
    return NIB_OK;
}

nib_status nib_gptq_check(const nib_form *form, const nib_gptq_options *options, size_t out,
                          size_t in, nib_error *err)
{
    const job j = { .options = options, .o = nib_grouped_form_options(form) };
    nib_status status = check(&j, form, err);

    return status ? status : nib_grouped_check_shape(&j.o, out, in, true, err);
}

uint64_t nib_gptq_bytes(nib_ctx *ctx, size_t out, size_t in)
{
    uint64_t square = (uint64_t)in * in, rooms = 2 * ROWS * in + 2 * ROWS * BLOCK;

    return square * (sizeof(double) + sizeof(float)) + (uint64_t)out * in +
           nib_threads(ctx) * rooms * sizeof(float);
}

static nib_status encode(job *j, const nib_form *form, nib_weight **w, nib_gptq_report *report,
                         nib_error *err)
{
    size_t tiles = nib_ceil_div(j->from->out, ROWS);
    nib_grouped_found found = { j->codes, j->scales, j->zeros, j->group_of };
    nib_grouped made = { 0 };
    nib_status status = make_order(j, err);

    if (!status) status = nib_gptq_factor(j->h, j->order, j->options, j->u, report, err);
    if (status) return status;
    report->dead = 0;
    for (size_t i = 0; i < j->from->in; i++) report->dead += nib_hessian_at(j->h, i, i) == 0;
    nib_parallel_for(j->h->ctx, tiles, encode_tile, j);
    for (size_t t = 0; t < tiles; t++)
        if (j->bad[t])
            return nib_fail(err, NIB_E_NUMERIC, "rows %zu to %zu hold values that are not finite",
                            t * ROWS, nib_min((t + 1) * ROWS, j->from->out) - 1);
    status = nib_grouped_encode_found(j->h->ctx, form, j->from->out, j->from->in, &found, &made,
                                      err);
    if (!status) status = nib_grouped_create(j->h->ctx, &made, w, err);
    if (status) nib_free(j->h->ctx, made.owned);
    return status;
}

nib_form nib_gptq_form(const nib_form *form, const nib_gptq_options *options)
{
    nib_grouped_options o = nib_grouped_form_options(form);

    o.act_order = options->desc_act && !options->static_groups && o.group != NIB_GROUP_ROW;
    return nib_grouped_form(&o);
}

nib_status nib_gptq_encode(const nib_hessian *h, const nib_form *form, const nib_weight *from,
                           const nib_gptq_options *options, nib_weight **w,
                           nib_gptq_report *report, nib_error *err)
{
    job j = { .h = h, .from = from, .options = options, .o = nib_grouped_form_options(form) };
    nib_form made;
    nib_status status = check(&j, form, err);

    assert(from->in == h->in);
    if (status) return status;
    if (!nib_grouped_sizes_of(&j.o, from->out, from->in, &j.sizes))
        return nib_fail(err, NIB_E_FORMAT, "a weight of %zu x %zu values is too large", from->out,
                        from->in);
    j.o.act_order = options->desc_act && !options->static_groups && j.sizes.group < from->in;
    made = nib_grouped_form(&j.o);
    status = take(&j, err);
    if (!status) status = encode(&j, &made, w, report, err);
    release(&j);
    return status;
}
