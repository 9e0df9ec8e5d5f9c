/* encode_all.c - many texts at once, on all threads.
 *
 * A tokenizer has scratch, so each thread has a tokenizer of its own that shares what was read with
 * the one it is of.  A text's tokens do not depend on which thread encodes it. */
#include "text/parts.h"

/* Shares all that does not change; scratch is its own. */
static nib_status share(nib_tokenizer *t, nib_tokenizer **out, nib_error *err)
{
    nib_tokenizer *s = nib_new(t->ctx, sizeof *s);
    nib_status status;

    if (!s) return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
    *s = *t;
    s->shared = true;
    s->sharers = NULL;
    s->sharer_count = 0;
    s->pcre = NULL;
    s->match_context = NULL;
    s->match = NULL;
    s->work = s->other = (nib_work){ 0 };
    s->symbols = NULL;
    s->heap = NULL;
    s->lattice = NULL;
    s->lattice_capacity = 0;
    s->symbol_capacity = s->heap_count = s->heap_capacity = 0;
    status = nib_pattern_open(s, err);
    if (status)
        nib_tokenizer_close(s);
    else
        *out = s;
    return status;
}

static nib_status open_sharers(nib_tokenizer *t, nib_error *err)
{
    size_t count = nib_threads(t->ctx);
    nib_status status = NIB_OK;

    if (t->sharer_count == count) return NIB_OK;
    if (!t->sharers) t->sharers = nib_new_array(t->ctx, count, sizeof *t->sharers);
    if (!t->sharers) return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
    for (; t->sharer_count < count && !status; t->sharer_count += !status)
        status = share(t, &t->sharers[t->sharer_count], err);
    return status;
}

typedef struct all {
    nib_tokenizer *t;
    nib_encoding *jobs;
} all;

static void encode_one(void *arg, size_t tile, unsigned worker)
{
    const all *a = arg;
    nib_encoding *e = &a->jobs[tile];

    e->tokens.count = 0;
    e->status = nib_tokenizer_encode(a->t->sharers[worker], e->text, e->bytes, e->special,
                                     &e->tokens, &e->had_bos, &e->err);
}

nib_status nib_tokenizer_encode_all(nib_tokenizer *t, nib_encoding *jobs, size_t count,
                                    nib_error *err)
{
    all a = { t, jobs };
    nib_status status = open_sharers(t, err);

    if (!status) nib_parallel_for(t->ctx, count, encode_one, &a);
    return status;
}
