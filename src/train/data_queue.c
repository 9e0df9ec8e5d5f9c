/* data_queue.c - examples that wait to be encoded: some hundred of them at once, on all threads. */
#include "train/data_reader.h"

enum { MOST_BYTES = 4 << 20 }; /* of texts that wait */

bool nib_data_queue_full(const nib_data_reader *r)
{
    return r->queue.count == NIB_MOST_WAITING || r->queue.bytes >= MOST_BYTES;
}

/* The shaper gets the example that lay here before: buffers are kept. */
static void take_example(nib_shaper *s, nib_example *to)
{
    nib_example old = *to;

    *to = s->example;
    s->example = old;
}

nib_status nib_data_queue_add(nib_data_reader *r, const char *where, nib_error *err)
{
    nib_data_queue *q = &r->queue;
    nib_waiting *w;

    assert(!nib_data_queue_full(r));
    if (!q->items) q->items = nib_new_array(r->ctx, NIB_MOST_WAITING, sizeof *q->items);
    if (!q->jobs) q->jobs = nib_new_array(r->ctx, 2 * NIB_MOST_WAITING, sizeof *q->jobs);
    if (!q->items || !q->jobs) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    w = &q->items[q->count];
    nib_free(r->ctx, w->where);
    w->where = nib_strdup(r->ctx, where);
    if (!w->where) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    take_example(&r->shaper, &w->example);
    w->text = &q->jobs[2 * q->count];
    w->prompt = w->text + 1;
    q->bytes += w->example.text.bytes;
    q->count++;
    return NIB_OK;
}

/* The job keeps its room for tokens. */
static void set_job(nib_encoding *job, const char *text, size_t bytes, bool special)
{
    job->text = text ? text : "";
    job->bytes = bytes;
    job->special = special;
    job->had_bos = false;
}

nib_status nib_data_queue_encode(nib_data_reader *r, nib_error *err)
{
    nib_data_queue *q = &r->queue;

    for (size_t i = 0; i < q->count; i++) {
        const nib_example *x = &q->items[i].example;
        size_t prompt = nib_data_prompt_bytes(x);

        set_job(q->items[i].text, x->text.data, x->empty ? 0 : x->text.bytes,
                !x->empty && !x->rendered);
        set_job(q->items[i].prompt, x->text.data, prompt, prompt > 0);
    }
    if (!q->count || !r->in->tokenizer) return NIB_OK; /* who needs one says that it is missing */
    return nib_tokenizer_encode_all(r->in->tokenizer, q->jobs, 2 * q->count, err);
}

void nib_data_queue_free(nib_data_reader *r)
{
    nib_data_queue *q = &r->queue;

    for (size_t i = 0; q->items && i < NIB_MOST_WAITING; i++) {
        nib_free(r->ctx, q->items[i].where);
        nib_free(r->ctx, q->items[i].example.text.data);
        nib_free(r->ctx, q->items[i].example.spans);
    }
    for (size_t i = 0; q->jobs && i < 2 * NIB_MOST_WAITING; i++)
        nib_tokens_free(r->ctx, &q->jobs[i].tokens);
    nib_free(r->ctx, q->items);
    nib_free(r->ctx, q->jobs);
}
