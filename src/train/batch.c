/* batch.c - from records to the arrays of a batch. */
#include "train/batch.h"

nib_status nib_batch_maker_init(nib_ctx *ctx, size_t sequences, size_t tokens, size_t logit_rows,
                                nib_batch_maker *out, nib_error *err)
{
    nib_batch_maker b = { .ctx = ctx, .sequences = sequences, .tokens = tokens,
                          .logit_rows = logit_rows };

    b.offsets = nib_new_array(ctx, sequences + 1, sizeof *b.offsets);
    b.records = nib_new_array(ctx, sequences, sizeof *b.records);
    b.ids = nib_new_array(ctx, tokens, sizeof *b.ids);
    b.positions = nib_new_array(ctx, tokens, sizeof *b.positions);
    b.logit_index = nib_new_array(ctx, logit_rows, sizeof *b.logit_index);
    b.targets = nib_new_array(ctx, logit_rows, sizeof *b.targets);
    *out = b;
    if (b.offsets && b.records && b.ids && b.positions && b.logit_index && b.targets) return NIB_OK;
    nib_batch_maker_free(out);
    return nib_fail(err, NIB_E_NOMEM, "batch: out of memory for %zu tokens", tokens);
}

void nib_batch_maker_free(nib_batch_maker *b)
{
    if (!b->ctx) return;
    nib_free(b->ctx, b->offsets);
    nib_free(b->ctx, b->records);
    nib_free(b->ctx, b->ids);
    nib_free(b->ctx, b->positions);
    nib_free(b->ctx, b->logit_index);
    nib_free(b->ctx, b->targets);
    *b = (nib_batch_maker){ 0 };
}

static void add_record(nib_batch_maker *b, nib_record r)
{
    nib_axis_rows *tokens = &b->batch.axes[NIB_TOKENS], *logits = &b->batch.axes[NIB_LOGIT_ROWS];

    assert(tokens->count + r.length <= b->tokens && logits->count + r.targets <= b->logit_rows);
    for (uint32_t i = 0; i < r.length; i++) {
        size_t t = tokens->count + i;
        b->ids[t] = r.ids[i];
        b->positions[t] = i;
        if (i > 0 && r.trained[i]) {
            b->logit_index[logits->count] = (uint32_t)t - 1;
            b->targets[logits->count++] = r.ids[i];
        }
    }
    tokens->count += r.length;
    b->offsets[++b->batch.sequences] = (uint32_t)tokens->count;
}

const nib_batch *nib_batch_make(nib_batch_maker *b, const nib_dataset *d, const uint32_t *order,
                                size_t count, uint32_t epoch)
{
    assert(count <= b->sequences);
    b->batch = (nib_batch){ .targets = b->targets, .records = b->records, .epoch = epoch };
    b->batch.axes[NIB_TOKENS].offsets = b->offsets;
    b->batch.axes[NIB_LOGIT_ROWS].picks = b->logit_index;
    b->batch.inputs[NIB_IDS] = b->ids;
    b->batch.inputs[NIB_POSITIONS] = b->positions;
    b->offsets[0] = 0;
    for (size_t i = 0; i < count; i++) {
        b->records[i] = order[i];
        add_record(b, nib_dataset_record(d, order[i]));
    }
    return &b->batch;
}

void nib_batch_extent(const nib_dataset *d, size_t batch_size, bool shuffle, uint64_t seed,
                      uint64_t epochs, uint32_t *order, size_t *tokens, size_t *targets)
{
    size_t n = nib_dataset_count(d);

    *tokens = *targets = 0;
    for (uint64_t e = 0; e < (shuffle ? epochs : 1); e++) {
        nib_dataset_order(d, shuffle, seed, e, order);
        for (size_t first = 0; first < n; first += batch_size) {
            size_t t = 0, s = 0;
            for (size_t i = first; i < nib_min(first + batch_size, n); i++) {
                t += nib_dataset_record(d, order[i]).length;
                s += nib_dataset_record(d, order[i]).targets;
            }
            *tokens = nib_max(*tokens, t);
            *targets = nib_max(*targets, s);
        }
    }
}
