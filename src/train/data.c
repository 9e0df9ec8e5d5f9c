/* data.c - records as tokens: kept and counted.  Reading is data_read.c's
 * affair. */
#include <stdlib.h>

#include "train/data_store.h"

static nib_status no_memory(const char *where, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
}

nib_dataset *nib_dataset_create(nib_ctx *ctx)
{
    nib_dataset *d = nib_new(ctx, sizeof *d);

    if (d)
        *d = (nib_dataset){ .ctx = ctx, .special = { .eos = { .id = -1 } },
                            .labels = { .ctx = ctx }, .questions = { .ctx = ctx } };
    return d;
}

void nib_dataset_close(nib_dataset *d)
{
    if (!d) return;
    nib_free(d->ctx, d->ids);
    nib_free(d->ctx, d->trained);
    nib_free(d->ctx, d->boxes);
    nib_free(d->ctx, d->ends);
    nib_free(d->ctx, d->answer_ends);
    nib_labels_free(&d->labels);
    nib_questions_free(&d->questions);
    nib_free(d->ctx, d->template_name);
    nib_free(d->ctx, d->template_hash);
    nib_free(d->ctx, d->template_text);
    for (size_t i = 0; i < d->part_count; i++)
        nib_free(d->ctx, (void *)(uintptr_t)d->parts[i].path);
    nib_free(d->ctx, d->parts);
    nib_free(d->ctx, d->list);
    nib_free(d->ctx, d->drawn);
    nib_free(d->ctx, d);
}

/* --- filling --- */

size_t nib_dataset_begin(const nib_dataset *d) { return d->count ? d->ends[d->count - 1] : 0; }
static size_t answers_begin(const nib_dataset *d)
{
    return d->count && d->answer_ends ? d->answer_ends[d->count - 1] : 0;
}

void nib_dataset_drop(nib_dataset *d)
{
    d->used = nib_dataset_begin(d);
    d->boxed = nib_min(d->boxed, d->used);
    d->labels.used = answers_begin(d);
}

void nib_dataset_cut(nib_dataset *d, size_t count)
{
    d->count = count;
    nib_dataset_drop(d);
}

/* Rows with an answer among the n from `first` on, those of one record of `length` tokens. */
static size_t count_targets(const nib_labels *l, size_t first, size_t n, size_t length)
{
    size_t targets = 0;

    if (l->kind == NIB_LABEL_SPAN) return length; /* each may be the one */
    if (l->kind != NIB_LABEL_TAGS) return 1;
    for (size_t i = 0; i < n; i++) targets += l->answers[first + i] >= 0;
    return targets;
}

size_t nib_dataset_targets(const nib_dataset *d)
{
    size_t begin = answers_begin(d);
    return count_targets(&d->labels, begin, d->labels.used - begin,
                         d->used - nib_dataset_begin(d));
}

nib_status nib_dataset_add(nib_dataset *d, const char *where, uint32_t id, uint8_t mark,
                           nib_error *err)
{
    if (!nib_grow(d->ctx, &d->ids, &d->id_capacity, d->used + 1, sizeof *d->ids) ||
        !nib_grow(d->ctx, &d->trained, &d->trained_capacity, d->used + 1, 1))
        return no_memory(where, err);
    d->ids[d->used] = id;
    d->trained[d->used++] = mark;
    return NIB_OK;
}

/* Room for the boxes of all tokens so far: zeros where there is none yet. */
static nib_status box_all(nib_dataset *d, const char *where, nib_error *err)
{
    if (!nib_grow(d->ctx, &d->boxes, &d->box_capacity, 4 * d->used, sizeof *d->boxes))
        return no_memory(where, err);
    memset(d->boxes + 4 * d->boxed, 0, 4 * (d->used - d->boxed) * sizeof *d->boxes);
    d->boxed = d->used;
    return NIB_OK;
}

nib_status nib_dataset_place(nib_dataset *d, const char *where, const uint16_t box[4],
                             nib_error *err)
{
    nib_status status = box_all(d, where, err);

    if (!status) memcpy(d->boxes + 4 * (d->used - 1), box, 4 * sizeof *box);
    return status;
}

nib_status nib_dataset_end(nib_dataset *d, const char *where, nib_error *err)
{
    nib_status status = d->boxes ? box_all(d, where, err) : NIB_OK;

    if (status) return status;
    /* as randperm */
    if (d->count == UINT32_MAX / 32)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: more than %zu records", where, d->count);
    if (!nib_grow(d->ctx, &d->ends, &d->end_capacity, d->count + 1, sizeof *d->ends))
        return no_memory(where, err);
    if (d->shape >= NIB_SHAPE_LABELLED) {
        if (!nib_grow(d->ctx, &d->answer_ends, &d->answer_end_capacity, d->count + 1,
                      sizeof *d->answer_ends))
            return no_memory(where, err);
        d->answer_ends[d->count] = d->labels.used;
    }
    d->ends[d->count++] = d->used;
    return NIB_OK;
}

/* --- counting --- */

typedef struct digest { uint64_t hash; size_t record; } digest;

static uint64_t hash_record(nib_record r) /* FNV-1a */
{
    uint64_t h = 0xcbf29ce484222325;

    for (uint32_t i = 0; i < r.length; i++)
        h = (h ^ (2 * (uint64_t)r.ids[i] + r.trained[i])) * 0x100000001b3;
    for (uint32_t i = 0; r.boxes && i < 4 * r.length; i++) h = (h ^ r.boxes[i]) * 0x100000001b3;
    for (uint32_t i = 0; i < r.answer_count; i++) {
        uint32_t bits;
        memcpy(&bits, &r.answers[i], sizeof bits);
        h = (h ^ bits) * 0x100000001b3;
    }
    return h;
}

static int by_hash(const void *a, const void *b)
{
    const digest *x = a, *y = b;
    return (x->hash > y->hash) - (x->hash < y->hash);
}

static bool is_same(nib_record a, nib_record b)
{
    return a.length == b.length && memcmp(a.ids, b.ids, a.length * sizeof *a.ids) == 0 &&
           memcmp(a.trained, b.trained, a.length) == 0 &&
           (!a.boxes || memcmp(a.boxes, b.boxes, 4 * a.length * sizeof *a.boxes) == 0) &&
           a.answer_count == b.answer_count &&
           (!a.answer_count ||
            memcmp(a.answers, b.answers, a.answer_count * sizeof *a.answers) == 0);
}

static nib_status count_duplicates(nib_dataset *d, nib_error *err)
{
    digest *all = nib_new_array(d->ctx, nib_max(d->count, 1), sizeof *all);

    if (!all) return no_memory("data", err);
    for (size_t i = 0; i < d->count; i++)
        all[i] = (digest){ hash_record(nib_dataset_record(d, i)), i };
    qsort(all, d->count, sizeof *all, by_hash);
    for (size_t i = 1; i < d->count; i++)
        d->counts.duplicates += all[i].hash == all[i - 1].hash &&
                                is_same(nib_dataset_record(d, all[i].record),
                                        nib_dataset_record(d, all[i - 1].record));
    nib_free(d->ctx, all);
    return NIB_OK;
}

static bool trains_end(const nib_dataset *d, nib_record r)
{
    if (r.types) return false;
    for (uint32_t i = r.length; i-- > 1;)
        if (r.trained[i] && nib_special_ends(&d->special, r.ids[i])) return true;
    return false;
}

nib_status nib_dataset_recount(nib_dataset *d, nib_error *err)
{
    nib_data_counts *c = &d->counts;

    c->tokens = c->targets = c->ends = c->duplicates = c->longest = 0;
    for (size_t i = 0; i < d->count; i++) {
        nib_record r = nib_dataset_record(d, i);
        c->tokens += r.length;
        c->targets += r.targets;
        c->ends += trains_end(d, r);
        if (r.length > c->longest) c->longest = r.length;
    }
    return count_duplicates(d, err);
}

void nib_dataset_warn_ends(const nib_dataset *d)
{
    const nib_special_token *eos = &d->special.eos;

    if (d->shape == NIB_SHAPE_STREAM || d->shape == NIB_SHAPE_TOKENS || d->answer_ends ||
        d->counts.ends)
        return;
    if (eos->id < 0)
        nib_warn_code(d->ctx, "no-end-token",
                         "no end token is named by tokenizer_config.json, special_tokens_map.json, "
                         "generation_config.json or config.json: no record is trained to end; set "
                         "eos_token in tokenizer_config.json");
    else
        nib_warn_code(d->ctx, "no-end-token",
                 "the end token %s (id %" PRId64 ", %s) is trained in 0 of %zu records: generation "
                 "will not end by itself",
                 eos->content ? eos->content : "", eos->id, eos->where, d->count);
}

size_t nib_dataset_count(const nib_dataset *d) { return d->count; }
nib_data_counts nib_dataset_counts(const nib_dataset *d) { return d->counts; }
nib_record_shape nib_dataset_shape(const nib_dataset *d) { return d->shape; }
const char *nib_dataset_second(const nib_dataset *d) { return d->second; }
const nib_labels *nib_dataset_labels(const nib_dataset *d) { return &d->labels; }
const nib_questions *nib_dataset_questions(const nib_dataset *d) { return &d->questions; }
const nib_masking *nib_dataset_masking(const nib_dataset *d) { return &d->masking; }
nib_labels *nib_dataset_labels_mut(nib_dataset *d) { return &d->labels; }
const char *nib_dataset_template(const nib_dataset *d) { return d->template_name; }
const char *nib_dataset_template_hash(const nib_dataset *d) { return d->template_hash; }
const char *nib_dataset_template_text(const nib_dataset *d) { return d->template_text; }

nib_record nib_dataset_record(const nib_dataset *d, size_t i)
{
    size_t begin = i ? d->ends[i - 1] : 0;
    nib_record r = { .ids = d->ids + begin, .trained = d->trained + begin,
                     .boxes = d->boxes ? d->boxes + 4 * begin : NULL,
                     .length = (uint32_t)(d->ends[i] - begin) };

    if (d->answer_ends) {
        size_t first = i ? d->answer_ends[i - 1] : 0;
        r.types = r.trained;
        r.answers = d->labels.answers ? d->labels.answers + first : NULL;
        r.answer_count = (uint32_t)(d->answer_ends[i] - first);
        r.targets = (uint32_t)count_targets(&d->labels, first, r.answer_count, r.length);
        if (d->questions.count) r.ranges = d->questions.ranges + begin;
        return r;
    }
    /* what may be hidden, or is predicted from the token before it */
    for (uint32_t k = d->masking.vocabulary ? 0 : 1; k < r.length; k++) r.targets += r.trained[k];
    return r;
}
