/* data_divide.c - records moved from a set into another: those that are held out. */
#include <math.h>

#include "base/random.h"
#include "train/data_store.h"

static nib_status copy_record(nib_dataset *to, nib_record r, nib_error *err)
{
    nib_status status = NIB_OK;

    for (uint32_t k = 0; k < r.length && !status; k++) {
        status = nib_dataset_add(to, "val_size", r.ids[k], r.trained[k], err);
        if (!status && r.boxes) status = nib_dataset_place(to, "val_size", r.boxes + 4 * k, err);
        if (!status && r.ranges) status = nib_questions_place(&to->questions, r.ranges[k], err);
    }
    for (uint32_t k = 0; k < r.answer_count && !status; k++)
        status = nib_labels_put(&to->labels, r.answers[k], "val_size", err);
    return status ? status : nib_dataset_end(to, "val_size", err);
}

/* Keeps the records that are not marked, in place. */
static void compact(nib_dataset *d, const uint8_t *marked)
{
    size_t kept = 0, used = 0, begin = 0, answers = 0, first = 0;

    for (size_t i = 0; i < d->count; i++) {
        size_t end = d->ends[i], n = end - begin, last = d->answer_ends ? d->answer_ends[i] : 0;
        if (!marked[i] && d->answer_ends) {
            if (last > first)
                memmove(d->labels.answers + answers, d->labels.answers + first,
                        (last - first) * sizeof *d->labels.answers);
            answers += last - first;
            d->answer_ends[kept] = answers;
        }
        first = last;
        if (!marked[i]) {
            memmove(d->ids + used, d->ids + begin, n * sizeof *d->ids);
            memmove(d->trained + used, d->trained + begin, n);
            if (d->boxes)
                memmove(d->boxes + 4 * used, d->boxes + 4 * begin, 4 * n * sizeof *d->boxes);
            if (d->questions.count)
                memmove(d->questions.ranges + used, d->questions.ranges + begin,
                        n * sizeof *d->questions.ranges);
            used += n;
            d->ends[kept++] = used;
        }
        begin = end;
    }
    d->count = kept;
    d->used = used;
    d->boxed = nib_min(d->boxed, used);
    d->questions.placed = nib_min(d->questions.placed, used);
    d->labels.used = answers;
}

/* What is held out by the seed, marked: `wanted` of the records, or of the questions all windows of
 * each.  units: how many there are. */
static void mark(const nib_dataset *d, size_t wanted, uint64_t seed, uint32_t *order, size_t units,
                 uint8_t *marked)
{
    const nib_questions *q = &d->questions;
    size_t end = d->count;

    nib_torch_randperm(order, (uint32_t)units, seed);
    for (size_t i = 0; i < wanted; i++) marked[order[i]] = 1;
    for (size_t i = units; q->count && i-- > 0;) { /* from questions to their windows, in place */
        end -= q->items[i].windows;
        memset(marked + end, marked[i], q->items[i].windows);
    }
}

/* The marked questions are copied, the others move together. */
static nib_status divide_questions(nib_questions *q, const uint8_t *marked, nib_questions *held,
                                   nib_error *err)
{
    size_t kept = 0, first = 0;
    nib_status status = NIB_OK;

    for (size_t i = 0; i < q->count && !status; i++) {
        bool moves = marked[first];
        first += q->items[i].windows;
        if (moves) status = nib_questions_copy(q, i, held, err);
        else q->items[kept++] = q->items[i];
    }
    if (!status) q->count = kept;
    return status;
}

nib_status nib_dataset_hold_out(nib_dataset *d, double size, uint64_t seed, nib_dataset **held,
                                nib_error *err)
{
    size_t units = d->questions.count ? d->questions.count : d->count;
    double wanted = size < 1 ? ceil(size * (double)units) : size;
    nib_dataset *h = NULL;
    uint32_t *order = NULL;
    uint8_t *marked = NULL;
    nib_status status = NIB_OK;

    if (!(size > 0) || wanted != floor(wanted) || wanted >= (double)units)
        return nib_fail(
            err, NIB_E_INVALID,
            "val_size: %g of %zu records is neither a fraction below 1 nor a number of them that "
            "leaves some",
            size, units);
    h = nib_dataset_create(d->ctx);
    order = nib_new_array(d->ctx, d->count, sizeof *order);
    marked = nib_new_array(d->ctx, d->count, 1);
    if (!h || !order || !marked) {
        status = nib_fail(err, NIB_E_NOMEM, "val_size: out of memory");
        goto done;
    }
    h->shape = d->shape;
    h->special = d->special;
    h->masking = d->masking;
    h->questions.rules = d->questions.rules;
    status = nib_labels_copy_names(&d->labels, &h->labels, err);
    if (status) goto done;
    mark(d, (size_t)wanted, seed, order, units, marked);
    for (size_t i = 0; i < d->count && !status; i++)
        if (marked[i]) status = copy_record(h, nib_dataset_record(d, i), err);
    if (!status) status = divide_questions(&d->questions, marked, &h->questions, err);
    if (status) goto done;
    nib_dataset_shrink_parts(d, marked);
    compact(d, marked);
    h->counts.records = h->count;
    status = nib_dataset_settle_parts(d, err);
    if (!status) status = nib_dataset_recount(d, err);
    if (!status) status = nib_dataset_recount(h, err);
    if (status) goto done;
    *held = h;
    h = NULL; /* handed over */
done:
    nib_free(d->ctx, order);
    nib_free(d->ctx, marked);
    nib_dataset_close(h);
    return status;
}
