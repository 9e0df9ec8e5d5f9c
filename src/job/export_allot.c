/* export_allot.c - see export_allot.h. */
#include "job/export_allot.h"

#include <math.h>

#include "base/cpu.h"
#include "base/thread.h"
#include "job/allot.h"
#include "job/merge_rows.h"
#include "quant/block_encode.h"

enum { ALIGNMENT = 32, FILE_TYPE_BYTES = 8 + 17 + 4 + 4 }; /* of the key general.file_type */

/* What a matrix may become, and which file it makes when most of it is so. */
static const struct { const char *name; unsigned file_type; } known[] = {
    { "IQ4_NL", 25 }, { "Q4_K", 14 }, { "Q5_0", 8 }, { "Q5_K", 16 }, { "Q6_K", 18 }, { "Q8_0", 7 },
};

typedef struct job {
    nib_ctx *ctx;
    const nib_export_options *o;
    nib_export_plan *plan;
    size_t *items;          /* [count] of the parts, in the plan */
    nib_allot_part *parts;
    const nib_gguf_type *(*types)[NIB_ALLOT_CHOICES];
    size_t count;
    uint64_t fixed;         /* header, and tensors that have no choice */
    uint64_t weights, fixed_bytes; /* of all matrices; what those without a choice take */
} job;

/* --- the error of one matrix in one type --- */

typedef struct measure {
    const nib_export_plan *plan;
    const nib_export_item *item;
    const nib_weight *weight;
    const nib_branch *branch;
    const float *importance, *counts; /* blocks are made with; errors are weighed by */
    const nib_gguf_type *type;
    nib_block_kind kind;
    nib_kernels k;
    float *rooms;           /* [threads][3][in]: values, what an adapter adds, decoded */
    uint8_t *blocks;        /* [threads][row bytes] */
    double *lost, *whole;   /* [rows] */
} measure;

static void measure_row(void *arg, size_t at, unsigned worker)
{
    const measure *m = arg;
    size_t in = m->weight->in, count = in / m->type->elements;
    float *values = m->rooms + worker * 3 * in, *delta = values + in, *back = delta + in;
    uint8_t *blocks = m->blocks + worker * count * m->type->bytes;
    size_t row = nib_export_row_of(m->plan, m->item, at);
    bool finite = true;

    nib_weight_decode(m->weight, row, row + 1, values);
    if (m->branch) nib_merge_add_row(m->branch, m->item->columns, row, delta, values, in);
    if (nib_gguf_reorders_columns(&m->plan->heads, m->item->held)) { /* blocks, importances too */
        for (size_t i = 0; i < in; i++)
            delta[nib_gguf_place(&m->plan->heads, m->item->held, i)] = values[i];
        values = delta;
    }
    m->lost[at] = m->whole[at] = 0;
    for (size_t i = 0; i < in; i++) finite &= isfinite(values[i]) != 0;
    if (!finite) {
        m->lost[at] = NAN;
        return;
    }
    nib_block_encode(&m->k, m->kind, count, values, m->importance, blocks);
    m->k.blocks_decode(m->kind, count, blocks, back);
    for (size_t i = 0; i < in; i++) {
        double d = (double)values[i] - (double)back[i], v = values[i];
        double counts = m->counts ? (double)m->counts[i] : 1;
        m->lost[at] += counts * d * d;
        m->whole[at] += counts * v * v;
    }
}

static nib_status measure_type(const job *j, measure *m, size_t rows, double sums[2],
                               nib_error *err)
{
    size_t in = m->weight->in, threads = nib_threads(j->ctx);
    nib_status status = NIB_OK;

    m->rooms = nib_new_array(j->ctx, threads * 3, in * sizeof *m->rooms);
    m->blocks = nib_new_array(j->ctx, threads, in / m->type->elements * m->type->bytes);
    m->lost = nib_new_array(j->ctx, rows, sizeof *m->lost);
    m->whole = nib_new_array(j->ctx, rows, sizeof *m->whole);
    if (!m->rooms || !m->blocks || !m->lost || !m->whole)
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", m->item->name);
    else nib_parallel_for(j->ctx, rows, measure_row, m);
    for (size_t r = 0; r < rows && !status; r++) sums[0] += m->lost[r], sums[1] += m->whole[r];
    nib_free(j->ctx, m->rooms);
    nib_free(j->ctx, m->blocks);
    nib_free(j->ctx, m->lost);
    nib_free(j->ctx, m->whole);
    return status;
}

/* Of all experts of the item's, where it is theirs. */
static nib_status measure_item(const job *j, const nib_export_item *item,
                               const nib_gguf_type *type, double *error, nib_error *err)
{
    size_t matrices = item->experts ? (size_t)item->shape[0] : 1;
    double sums[2] = { 0, 0 };
    nib_status status = NIB_OK;

    for (size_t e = 0; e < matrices && !status; e++) {
        const nib_linear *l = item->experts ? item->experts[e] : NULL;
        measure m = { .plan = j->plan, .item = item, .type = type,
                      .weight = l ? l->weight : item->weight,
                      .branch = l ? nib_branch_at(&l->branches, 0) : item->branch,
                      .k = nib_kernels_for(nib_ctx_cpu(j->ctx)) };
        bool encodes = nib_block_encodes(type->name, &m.kind);
        assert(encodes);
        (void)encodes;
        if (item->importance) m.counts = item->importance + e * m.weight->in;
        if (strcmp(type->name, "Q8_0") != 0) m.importance = m.counts;
        status = measure_type(j, &m, (size_t)item->shape[item->rank - 2], sums, err);
    }
    *error = sums[1] > 0 ? sums[0] / sums[1] : 0;
    if (!status && !isfinite(*error))
        status = nib_fail(err, NIB_E_NUMERIC, "%s: a value that is not finite", item->name);
    return status;
}

/* --- the choices --- */

static uint64_t elements_of(const nib_export_item *item)
{
    uint64_t n = 1;

    for (unsigned i = 0; i < item->rank; i++) n *= item->shape[i];
    return n;
}

static uint64_t bytes_in(const nib_export_item *item, const nib_gguf_type *type)
{
    return elements_of(item) / type->elements * type->bytes;
}

static void add_choices(job *j, size_t i)
{
    const nib_export_item *item = &j->plan->items[i];
    nib_allot_part *part = &j->parts[j->count];

    part->weight = (double)elements_of(item);
    for (size_t k = 0; k < NIB_COUNT(known); k++) {
        const nib_gguf_type *type = nib_gguf_type_named(known[k].name);
        if (item->weight->in % type->elements) continue;
        j->types[j->count][part->count] = type;
        part->choices[part->count++].bytes = nib_round_up(bytes_in(item, type), ALIGNMENT);
    }
    j->items[j->count++] = i;
}

/* What each choice takes; measure_all has their errors. */
static nib_status list(job *j, const nib_gguf_writer *w, nib_error *err)
{
    uint64_t header = nib_gguf_writer_header_bytes(w) + FILE_TYPE_BYTES;

    for (size_t i = 0; i < j->plan->count; i++) {
        const nib_export_item *item = &j->plan->items[i];
        header += 8 + strlen(item->name) + 4 + 8 * item->rank + 4 + 8;
        if (item->rank >= 2) j->weights += elements_of(item);
        if (!item->open) {
            j->fixed += nib_round_up(bytes_in(item, item->type), ALIGNMENT);
            if (item->rank >= 2) j->fixed_bytes += bytes_in(item, item->type);
            continue;
        }
        add_choices(j, i);
    }
    j->fixed += nib_round_up(header, ALIGNMENT);
    if (!j->count)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: no matrix has a choice of types", j->o->model);
    return NIB_OK;
}

static nib_status measure_all(job *j, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < j->count && !status; i++) {
        const nib_export_item *item = &j->plan->items[j->items[i]];
        nib_allot_part *part = &j->parts[i];
        for (size_t k = 0; k < part->count && !status; k++)
            status = measure_item(j, item, j->types[i][k], &part->choices[k].error, err);
        if (j->o->on_progress)
            j->o->on_progress(j->o->user, item->name,
                              (double)j->items[i] / (double)j->plan->count);
        if (!status && nib_should_stop(j->ctx))
            status = nib_fail(err, NIB_E_INTERRUPTED, "stopped; nothing is written");
    }
    return status;
}

/* --- the target --- */

static double bits(const job *j, nib_allot_which which)
{
    uint64_t bytes = j->fixed_bytes;

    for (size_t i = 0; i < j->count; i++) {
        const nib_export_item *item = &j->plan->items[j->items[i]];
        bytes += bytes_in(item, j->types[i][nib_allot_choice_of(&j->parts[i], which)]);
    }
    return 8 * (double)bytes / (double)j->weights;
}

static nib_status find_room(const job *j, uint64_t *room, nib_error *err)
{
    const nib_export_options *o = j->o;
    uint64_t least = nib_allot_bytes(j->parts, j->count, NIB_ALLOT_LEAST),
             most = nib_allot_bytes(j->parts, j->count, NIB_ALLOT_MOST);
    double low = bits(j, NIB_ALLOT_LEAST), high = bits(j, NIB_ALLOT_MOST);

    if (o->target_size && (o->target_size < j->fixed + least || o->target_size > j->fixed + most))
        return nib_fail(err, NIB_E_INVALID, "target_size: %.6g MB are asked for, and a file of %s "
                        "takes %.6g MB with the matrices of its layers in their smallest types "
                        "and %.6g MB in Q8_0", (double)o->target_size / 1e6, o->model,
                        (double)(j->fixed + least) / 1e6, (double)(j->fixed + most) / 1e6);
    if (!o->target_size && (o->target_bpw < low || o->target_bpw > high))
        return nib_fail(err, NIB_E_INVALID, "target_bpw: %g bits a weight are asked for, scales "
                        "counted; the matrices of %s take %.4f in their smallest types and %.4f "
                        "in Q8_0", o->target_bpw, o->model, low, high);
    if (o->target_size) {
        *room = o->target_size - j->fixed;
        return NIB_OK;
    }
    *room = (uint64_t)(o->target_bpw * (double)j->weights / 8);
    *room = *room > j->fixed_bytes ? *room - j->fixed_bytes : 0;
    *room = nib_max(*room, least);
    return NIB_OK;
}

/* Puts the types into the plan. */
static void take(job *j, nib_export_allotted *out)
{
    uint64_t bytes[NIB_COUNT(known)] = { 0 }, most = 0;

    for (size_t i = 0; i < j->count; i++) {
        nib_export_item *item = &j->plan->items[j->items[i]];
        const nib_allot_choice *c = &j->parts[i].choices[j->parts[i].chosen];
        item->type = j->types[i][j->parts[i].chosen];
        if (strcmp(item->type->name, "Q8_0") == 0) item->importance = NULL; /* is not weighed */
        for (size_t k = 0; k < NIB_COUNT(known); k++)
            if (strcmp(known[k].name, item->type->name) == 0) bytes[k] += c->bytes;
        if (j->o->on_matrix)
            j->o->on_matrix(j->o->user, item->name, item->type->name, c->error);
    }
    for (size_t k = 0; k < NIB_COUNT(known); k++)
        if (bytes[k] > most) most = bytes[k], out->file_type = known[k].file_type;
    out->file_bytes = j->fixed + nib_allot_bytes(j->parts, j->count, NIB_ALLOT_CHOSEN);
    out->bits_per_weight = bits(j, NIB_ALLOT_CHOSEN);
    nib_note(j->ctx, "types allotted by measured error to %zu matrices: %.6g MB, %.4f bits a "
             "weight of all matrices", j->count, (double)out->file_bytes / 1e6,
             out->bits_per_weight);
}

nib_status nib_export_allot(nib_ctx *ctx, const nib_export_options *o, nib_export_plan *plan,
                            const nib_gguf_writer *w, nib_export_allotted *out, nib_error *err)
{
    job j = { .ctx = ctx, .o = o, .plan = plan };
    uint64_t room = 0;
    nib_status status = NIB_OK;

    j.items = nib_new_array(ctx, plan->count, sizeof *j.items);
    j.parts = nib_new_array(ctx, plan->count, sizeof *j.parts);
    j.types = nib_new_array(ctx, plan->count, sizeof *j.types);
    if (!j.items || !j.parts || !j.types)
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", o->model);
    if (!status) status = list(&j, w, err);
    if (!status) status = find_room(&j, &room, err); /* a target of no use is refused at once */
    if (!status) status = measure_all(&j, err);
    if (!status) status = nib_allot(ctx, j.parts, j.count, room, err);
    if (!status) take(&j, out);
    nib_free(ctx, j.items);
    nib_free(ctx, j.parts);
    nib_free(ctx, j.types);
    return status;
}
