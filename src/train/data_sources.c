/* data_sources.c - which records of which source an epoch has.
 *
 * A source with weight w and n records gives round(w n) of them: each as often as w's whole part
 * says, and of the rest those that are first in a permutation by (seed, epoch, source).  What all
 * sources give is then put in order as the records of a single file are.  So an epoch is a function
 * of the seed and its number, whatever came before it. */
#include <math.h>

#include "base/random.h"
#include "train/data_store.h"

nib_status nib_dataset_end_part(nib_dataset *d, const nib_data_source *s, nib_error *err)
{
    size_t before = 0;
    char *path;

    if (!nib_grow(d->ctx, &d->parts, &d->part_capacity, d->part_count + 1, sizeof *d->parts) ||
        !(path = nib_strdup(d->ctx, s->path)))
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", s->path);
    for (size_t i = 0; i < d->part_count; i++) before += d->parts[i].records;
    d->parts[d->part_count++] = (nib_source_report){ .path = path, .weight = s->weight,
                                                     .records = d->count - before };
    return NIB_OK;
}

void nib_dataset_shrink_parts(nib_dataset *d, const uint8_t *gone)
{
    for (size_t p = 0, first = 0; p < d->part_count; p++) {
        size_t end = first + d->parts[p].records;
        for (; first < end; first++) d->parts[p].records -= gone[first];
    }
}

nib_status nib_dataset_settle_parts(nib_dataset *d, nib_error *err)
{
    d->epoch = 0;
    for (size_t i = 0; i < d->part_count; i++) {
        nib_source_report *r = &d->parts[i];
        double wanted = round(r->weight * (double)r->records);
        if (!(wanted >= 1))
            return nib_fail(err, NIB_E_INVALID, "data: %s: the weight %g takes none of its %" PRIu64
                            " records", r->path, r->weight, r->records);
        if (wanted + (double)d->epoch > UINT32_MAX / 32) /* as randperm */
            return nib_fail(err, NIB_E_INVALID, "data: %s: with the weight %g an epoch has more "
                            "than %u records", r->path, r->weight, UINT32_MAX / 32);
        r->per_epoch = (uint64_t)wanted;
        d->epoch += (size_t)wanted;
    }
    if (!d->part_count) return NIB_OK;
    nib_free(d->ctx, d->list);
    nib_free(d->ctx, d->drawn);
    d->list = nib_new_array(d->ctx, d->epoch, sizeof *d->list);
    d->drawn = nib_new_array(d->ctx, d->count, sizeof *d->drawn);
    return d->list && d->drawn
               ? NIB_OK
               : nib_fail(err, NIB_E_NOMEM, "data: out of memory for the order of %zu records",
                          d->epoch);
}

/* --- what an epoch is --- */

const nib_source_report *nib_dataset_sources(const nib_dataset *d, size_t *count)
{
    *count = d->part_count;
    return d->part_count ? d->parts : NULL;
}

size_t nib_dataset_epoch(const nib_dataset *d) { return d->part_count ? d->epoch : d->count; }

void nib_dataset_epoch_tokens(const nib_dataset *d, uint64_t *tokens, uint64_t *targets)
{
    double all_tokens = 0, all_targets = 0;

    *tokens = d->counts.tokens;
    *targets = d->counts.targets;
    for (size_t p = 0, i = 0; p < d->part_count; p++) {
        const nib_source_report *r = &d->parts[p];
        double times = (double)r->per_epoch / (double)r->records;
        for (size_t end = i + r->records; i < end; i++) {
            nib_record record = nib_dataset_record(d, i);
            all_tokens += times * record.length;
            all_targets += times * record.targets;
        }
    }
    if (!d->part_count) return;
    *tokens = (uint64_t)llround(all_tokens);
    *targets = (uint64_t)llround(all_targets);
}

bool nib_dataset_draws(const nib_dataset *d)
{
    for (size_t i = 0; i < d->part_count; i++)
        if (d->parts[i].per_epoch % d->parts[i].records) return true;
    return false;
}

/* Marks `wanted` of the n records that begin at `first`; drawn[first..] is 1 for these. */
static void draw(const nib_dataset *d, size_t first, size_t n, size_t wanted, size_t part,
                 uint64_t seed, uint64_t epoch)
{
    const uint32_t key[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) };
    const uint32_t counter[4] = { (uint32_t)epoch, (uint32_t)(epoch >> 32), (uint32_t)part,
                                  0x64726177 /* "draw" */ };
    uint32_t random[4], *to = d->drawn + first;

    nib_philox(key, counter, random);
    nib_torch_randperm(to, (uint32_t)n, random[0] | (uint64_t)random[1] << 32);
    for (size_t i = 0; i < n; i++) to[i] = to[i] < wanted;
}

/* What the sources give, a source after the other; as many copies of a source one after the
 * other. */
static void list_epoch(const nib_dataset *d, uint64_t seed, uint64_t epoch)
{
    size_t used = 0, first = 0, n;

    for (size_t p = 0; p < d->part_count; p++, first += n) {
        uint64_t whole = d->parts[p].per_epoch / d->parts[p].records,
                 rest = d->parts[p].per_epoch % d->parts[p].records;
        n = d->parts[p].records;
        for (uint64_t k = 0; k < whole; k++)
            for (size_t i = 0; i < n; i++) d->list[used++] = (uint32_t)(first + i);
        if (!rest) continue;
        draw(d, first, n, rest, p, seed, epoch);
        for (size_t i = first; i < first + n; i++)
            if (d->drawn[i]) d->list[used++] = (uint32_t)i;
    }
    assert(used == d->epoch);
}

void nib_dataset_order(const nib_dataset *d, bool shuffle, uint64_t seed, uint64_t epoch,
                       uint32_t *order)
{
    size_t n = nib_dataset_epoch(d);

    if (d->part_count) list_epoch(d, seed, epoch);
    if (shuffle) nib_torch_randperm(order, (uint32_t)n, seed + epoch);
    for (size_t i = 0; i < n; i++) {
        size_t at = shuffle ? order[i] : i;
        order[i] = d->part_count ? d->list[at] : (uint32_t)at;
    }
}
