/* epochs.c - laying out a run's epochs, steps and micro-batches. */
#include "train/epochs.h"

#include <math.h>

static uint32_t length_of(const nib_epochs *e, uint32_t record)
{
    return nib_dataset_record(e->data, record).length;
}

/* --- the order of an epoch --- */

/* Falling lengths, equal ones as they stood, as Python's sort does: merging from the bottom up. */
static void sort_by_length(const nib_epochs *e, uint32_t *items, uint32_t *other, size_t n)
{
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t low = 0; low < n; low += 2 * width) {
            size_t middle = nib_min(low + width, n), high = nib_min(low + 2 * width, n), a = low,
                   b = middle;
            for (size_t k = low; k < high; k++) {
                bool left = a < middle &&
                            (b >= high || length_of(e, items[a]) >= length_of(e, items[b]));
                other[k] = left ? items[a++] : items[b++];
            }
        }
        memcpy(items, other, n * sizeof *items);
    }
}

/* transformers 4.57, trainer_pt_utils.get_length_grouped_indices, whose batch is a step. */
static void group_by_length(nib_epochs *e)
{
    enum { MOST_STEPS = 50 };
    size_t n = nib_dataset_epoch(e->data), step = e->batch * e->accumulation, longest = 0;
    size_t piece = nib_max(nib_min(n / (step * 4), MOST_STEPS), 1) * step;
    uint32_t first;

    for (size_t at = 0; at < n; at += piece) {
        sort_by_length(e, e->order + at, e->scratch, nib_min(piece, n - at));
        if (length_of(e, e->order[at]) > length_of(e, e->order[longest])) longest = at;
    }
    first = e->order[0];
    e->order[0] = e->order[longest];
    e->order[longest] = first;
}

static void cut(nib_epochs *e)
{
    size_t n = nib_dataset_epoch(e->data), tokens = 0;

    e->micros = 0;
    for (size_t i = 0; i < n; i++) {
        size_t length = e->budget ? length_of(e, e->order[i]) : 0;
        bool full = e->budget ? i == 0 || tokens + length > e->budget : i % e->batch == 0;
        if (full) e->starts[e->micros++] = (uint32_t)i, tokens = 0;
        tokens += length;
    }
    e->starts[e->micros] = (uint32_t)n;
}

static bool is_there(const nib_epochs *e, uint32_t record, uint32_t micro)
{
    const nib_texts *t = e->embedder->texts;

    for (size_t c = 0; c < t->columns; c++)
        if (e->taken[t->same[record * t->columns + c]] == micro) return true;
    return false;
}

/* Micro-batches of different texts: e->order is arranged anew, by a list of the records that wait
 * (next[i] stands behind place i - 1, 0 is the list's begin). */
static void cut_distinct(nib_epochs *e)
{
    const nib_texts *t = e->embedder->texts;
    uint32_t n = (uint32_t)nib_dataset_epoch(e->data), put = 0;

    for (uint32_t i = 0; i <= n; i++) e->next[i] = i + 1;
    memset(e->taken, 0, t->records * t->columns * sizeof *e->taken);
    for (e->micros = 0; put < n; e->micros++) {
        uint32_t before = 0, begin = put, micro = (uint32_t)e->micros + 1;
        e->starts[e->micros] = begin;
        while (e->next[before] <= n && put - begin < e->batch) {
            uint32_t at = e->next[before], record = e->order[at - 1];
            if (is_there(e, record, micro)) {
                before = at;
                continue;
            }
            for (size_t c = 0; c < t->columns; c++)
                e->taken[t->same[record * t->columns + c]] = micro;
            e->scratch[put++] = record;
            e->next[before] = e->next[at];
        }
    }
    e->starts[e->micros] = n;
    memcpy(e->order, e->scratch, n * sizeof *e->order);
}

static void load(nib_epochs *e, uint64_t epoch)
{
    if (e->at == epoch) return;
    nib_dataset_order(e->data, e->shuffle, e->seed, epoch, e->order);
    if (e->grouped) group_by_length(e);
    if (e->distinct) cut_distinct(e);
    else cut(e);
    e->at = epoch;
}

/* --- the run --- */

static void widen_compared(nib_epochs *e)
{
    for (size_t m = 0; m < e->micros; m++)
        nib_embedder_widen(e->embedder, e->order + e->starts[m], e->starts[m + 1] - e->starts[m],
                           &e->extent);
    e->sequences = e->extent.chunk_texts;
    e->tokens = e->extent.chunk_tokens;
    e->targets = e->extent.chunk_rows;
}

static void widen(nib_epochs *e)
{
    if (e->embedder) {
        widen_compared(e);
        return;
    }
    for (size_t m = 0; m < e->micros; m++) {
        size_t tokens = 0, targets = 0;
        for (size_t i = e->starts[m]; i < e->starts[m + 1]; i++) {
            nib_record r = nib_dataset_record(e->data, e->order[i]);
            tokens += r.length;
            targets += r.targets;
        }
        e->sequences = nib_max(e->sequences, e->starts[m + 1] - e->starts[m]);
        e->tokens = nib_max(e->tokens, tokens);
        e->targets = nib_max(e->targets, targets);
    }
}

static nib_status count_steps(nib_epochs *e, const nib_train_options *o, nib_error *err)
{
    double steps;

    e->steps = o->max_steps > 0 ? (uint64_t)o->max_steps : 0;
    if (e->steps) {
        e->count = nib_ceil_div(e->steps, e->per_epoch);
        return NIB_OK;
    }
    /* as the Trainer counts them (formats.md 14.4) */
    steps = ceil(o->num_train_epochs * (double)e->per_epoch);
    if (!(steps >= 1 && steps < 1e15))
        return nib_fail(err, NIB_E_INVALID, "num_train_epochs: %g gives no steps",
                        o->num_train_epochs);
    e->steps = (uint64_t)steps;
    e->count = (uint64_t)ceil(o->num_train_epochs);
    return NIB_OK;
}

/* Epochs of the same records in another order fill another number of micro-batches. */
static nib_status count_varying(nib_epochs *e, const nib_train_options *o, nib_error *err)
{
    size_t room = 0;
    double epochs = o->num_train_epochs;
    uint64_t limit = o->max_steps > 0 ? (uint64_t)o->max_steps : UINT64_MAX;

    if (!nib_grow(e->ctx, &e->first_step, &room, 1, sizeof *e->first_step)) goto no_memory;
    e->first_step[0] = 0;
    for (e->count = 0; e->steps < limit && (o->max_steps > 0 || (double)e->count < epochs);
         e->count++) {
        uint64_t here, all;
        load(e, e->count);
        widen(e);
        all = here = nib_ceil_div(e->micros, e->accumulation);
        if (o->max_steps <= 0 && (double)e->count + 1 > epochs)
            here = (uint64_t)ceil((epochs - (double)e->count) * (double)all);
        if (!nib_grow(e->ctx, &e->first_step, &room, e->count + 2, sizeof *e->first_step))
            goto no_memory;
        e->first_step[e->count + 1] = e->first_step[e->count] + all;
        e->steps += here;
        if (e->count == 0) e->per_epoch = all;
    }
    if (e->steps > limit) e->steps = limit;
    return e->steps ? NIB_OK
                    : nib_fail(err, NIB_E_INVALID, "num_train_epochs: %g gives no steps", epochs);
no_memory:
    return nib_fail(err, NIB_E_NOMEM, "trainer: out of memory for the steps of %" PRIu64 " epochs",
                    e->count);
}

static nib_status lay_out(nib_epochs *e, const nib_train_options *o, nib_error *err)
{
    bool same_order = !e->shuffle && !nib_dataset_draws(e->data);
    nib_status status;

    if ((e->budget || e->distinct) && !same_order) return count_varying(e, o, err);
    load(e, 0);
    e->per_epoch = nib_ceil_div(e->micros, e->accumulation);
    status = count_steps(e, o, err);
    for (uint64_t i = 0; i < (same_order ? 1 : e->count) && !status; i++) {
        load(e, i);
        widen(e);
    }
    return status;
}

static nib_status init(nib_ctx *ctx, const nib_dataset *data, const nib_embedder *embedder,
                       bool distinct, const nib_train_options *o, nib_epochs *out, nib_error *err)
{
    size_t n = nib_dataset_epoch(data);
    nib_epochs e = { .ctx = ctx, .data = data, .batch = (size_t)o->per_device_train_batch_size,
                     .budget = (size_t)o->tokens_per_batch,
                     .accumulation = (size_t)o->gradient_accumulation_steps,
                     .shuffle = o->shuffle, .grouped = o->group_by_length,
                     .seed = o->data_seed >= 0 ? (uint64_t)o->data_seed : o->seed,
                     .embedder = embedder, .distinct = distinct, .at = UINT64_MAX };
    nib_status status;

    e.order = nib_new_array(ctx, n, sizeof *e.order);
    e.starts = nib_new_array(ctx, n + 1, sizeof *e.starts);
    e.scratch = e.grouped || distinct ? nib_new_array(ctx, n, sizeof *e.scratch) : NULL;
    if (distinct) {
        e.next = nib_new_array(ctx, n + 1, sizeof *e.next);
        e.taken = nib_new_array(ctx, embedder->texts->records * embedder->texts->columns,
                                sizeof *e.taken);
    }
    if (!e.order || !e.starts || ((e.grouped || distinct) && !e.scratch) ||
        (distinct && (!e.next || !e.taken)))
        status = nib_fail(err, NIB_E_NOMEM, "trainer: out of memory for the order of %zu records",
                          n);
    else
        status = lay_out(&e, o, err);
    if (status) nib_epochs_free(&e);
    else *out = e;
    return status;
}

nib_status nib_epochs_init(nib_ctx *ctx, const nib_dataset *data, const nib_train_options *o,
                           nib_epochs *out, nib_error *err)
{
    return init(ctx, data, NULL, false, o, out, err);
}

nib_status nib_epochs_init_compared(nib_ctx *ctx, const nib_embedder *embedder, bool distinct,
                                    const nib_train_options *o, nib_epochs *out, nib_error *err)
{
    return init(ctx, embedder->texts->data, embedder, distinct, o, out, err);
}

void nib_epochs_free(nib_epochs *e)
{
    if (!e->ctx) return;
    nib_free(e->ctx, e->order);
    nib_free(e->ctx, e->starts);
    nib_free(e->ctx, e->scratch);
    nib_free(e->ctx, e->next);
    nib_free(e->ctx, e->taken);
    nib_free(e->ctx, e->first_step);
    *e = (nib_epochs){ 0 };
}

/* --- steps --- */

uint64_t nib_epochs_of(const nib_epochs *e, uint64_t step, uint64_t *first)
{
    uint64_t low = 0, high = e->count;

    if (!e->first_step) {
        *first = step / e->per_epoch * e->per_epoch;
        return step / e->per_epoch;
    }
    while (low < high) { /* the last epoch that begins at or before the step */
        uint64_t middle = low + (high - low + 1) / 2;
        if (e->first_step[middle] <= step) low = middle;
        else high = middle - 1;
    }
    *first = e->first_step[low];
    return low;
}

uint64_t nib_epochs_steps(const nib_epochs *e, uint64_t epoch)
{
    if (!e->first_step || epoch >= e->count) return e->per_epoch;
    return e->first_step[epoch + 1] - e->first_step[epoch];
}

double nib_epochs_done(const nib_epochs *e, uint64_t steps)
{
    uint64_t first, epoch = nib_epochs_of(e, steps, &first);

    if (!e->first_step) return (double)steps / (double)e->per_epoch;
    return (double)epoch + (double)(steps - first) / (double)nib_epochs_steps(e, epoch);
}

size_t nib_epochs_micro(nib_epochs *e, uint64_t step, uint64_t micro, const uint32_t **order)
{
    uint64_t first, epoch = nib_epochs_of(e, step, &first),
                    index = (step - first) * e->accumulation + micro;

    load(e, epoch);
    if (index >= e->micros) return 0;
    *order = e->order + e->starts[index];
    return e->starts[index + 1] - e->starts[index];
}
