/* texts.c - see texts.h. */
#include "train/texts.h"

#include <stdlib.h>

#include "base/hash.h"

typedef struct digest { uint32_t hash, text; } digest;

static int by_hash(const void *a, const void *b)
{
    const digest *x = a, *y = b;

    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return x->text < y->text ? -1 : x->text > y->text;
}

static bool is_same(const nib_texts *t, uint32_t a, uint32_t b)
{
    return t->lengths[a] == t->lengths[b] &&
           memcmp(t->ids[a], t->ids[b], t->lengths[a] * sizeof **t->ids) == 0;
}

/* Within a run of equal hashes a text is compared with those that are the first of their kind. */
static void find_same(nib_texts *t, const digest *all, size_t n)
{
    for (size_t begin = 0, end; begin < n; begin = end) {
        for (end = begin + 1; end < n && all[end].hash == all[begin].hash;) end++;
        for (size_t i = begin; i < end; i++) {
            uint32_t own = all[i].text;
            t->same[own] = own;
            for (size_t k = begin; k < i && t->same[own] == own; k++)
                if (t->same[all[k].text] == all[k].text && is_same(t, own, all[k].text))
                    t->same[own] = all[k].text;
        }
    }
}

/* Of a record the marks are the numbers of its texts. */
static void cut(nib_texts *t, size_t i)
{
    nib_record r = nib_dataset_record(t->data, i);

    for (uint32_t k = 0; k < r.length; k++) {
        size_t text = i * t->columns + (t->columns > 1 ? r.types[k] : 0);
        if (!t->lengths[text]++) t->ids[text] = r.ids + k;
        t->longest = nib_max(t->longest, t->lengths[text]);
    }
}

nib_status nib_texts_init(nib_ctx *ctx, const nib_dataset *data, nib_texts *out, nib_error *err)
{
    nib_texts t = { .ctx = ctx, .data = data, .records = nib_dataset_count(data) };
    nib_record first = nib_dataset_record(data, 0);
    digest *all;
    size_t n;

    /* of other records the marks are types of tokens */
    t.columns = nib_dataset_shape(data) >= NIB_SHAPE_COMPARED
                    ? (size_t)first.types[first.length - 1] + 1
                    : 1;
    n = t.records * t.columns;
    t.ids = nib_new_array(ctx, n, sizeof *t.ids);
    t.lengths = nib_new_array(ctx, n, sizeof *t.lengths);
    t.same = nib_new_array(ctx, n, sizeof *t.same);
    all = nib_new_array(ctx, n, sizeof *all);
    if (!t.ids || !t.lengths || !t.same || !all) {
        nib_free(ctx, all);
        nib_texts_free(&t);
        return nib_fail(err, NIB_E_NOMEM, "data: out of memory for %zu texts", n);
    }
    for (size_t i = 0; i < t.records; i++) cut(&t, i);
    for (size_t i = 0; i < n; i++)
        all[i] = (digest){ nib_fnv1a((const char *)t.ids[i], t.lengths[i] * sizeof **t.ids),
                           (uint32_t)i };
    qsort(all, n, sizeof *all, by_hash);
    find_same(&t, all, n);
    nib_free(ctx, all);
    *out = t;
    return NIB_OK;
}

void nib_texts_free(nib_texts *t)
{
    if (!t->ctx) return;
    nib_free(t->ctx, t->ids);
    nib_free(t->ctx, t->lengths);
    nib_free(t->ctx, t->same);
    *t = (nib_texts){ 0 };
}
