/* retrieval.c - see retrieval.h.  recall@k is the fraction of a query's right documents among the k
 * nearest, mrr@10 the reciprocal rank of the first right one, 0 from rank 11 on; both are means
 * over the queries, as in sentence-transformers' InformationRetrievalEvaluator. */
#include "job/retrieval.h"

#include "base/hash.h"
#include "base/thread.h"
#include "graph/rows.h"

/* A document's number is its text's; those of the corpus follow on the data's. */
static const uint32_t *tokens_of(const nib_retrieval *r, uint32_t document, uint32_t *length)
{
    uint32_t own = (uint32_t)(r->texts->records * r->texts->columns);
    const nib_texts *t = document < own ? r->texts : r->corpus;
    uint32_t text = document < own ? document : document - own;

    *length = t->lengths[text];
    return t->ids[text];
}

static const float *vector_of(const nib_retrieval *r, uint32_t document)
{
    uint32_t own = (uint32_t)(r->texts->records * r->texts->columns);

    return document < own ? r->vectors + document * r->width
                          : r->more + (document - own) * r->width;
}

/* The place in the table of a document with these tokens, or a free one. */
static uint32_t *find(const nib_retrieval *r, uint32_t document)
{
    uint32_t length, other, n;
    const uint32_t *ids = tokens_of(r, document, &length), *there;
    size_t at = nib_fnv1a((const char *)ids, length * sizeof *ids);

    for (;; at++) {
        uint32_t *place = &r->table[at & (r->table_size - 1)];
        if (!*place) return place;
        other = *place - 1;
        there = tokens_of(r, other, &n);
        if (n == length && memcmp(there, ids, n * sizeof *ids) == 0) return place;
    }
}

static void add(nib_retrieval *r, uint32_t document)
{
    uint32_t *place = find(r, document);

    if (*place) return;
    *place = document + 1;
    r->documents[r->document_count++] = document;
}

static void link_records(nib_retrieval *r)
{
    const nib_texts *t = r->texts;

    for (uint32_t i = (uint32_t)t->records; i-- > 0;) {
        uint32_t *head = &r->head[t->same[i * t->columns]];
        r->answers[i] = *find(r, (uint32_t)(i * t->columns + 1)) - 1;
        r->next[i] = *head;
        *head = i + 1;
    }
}

nib_status nib_retrieval_init(nib_ctx *ctx, const nib_texts *texts, const nib_texts *corpus,
                              nib_retrieval *out, nib_error *err)
{
    size_t own = texts->records * texts->columns, all = own + (corpus ? corpus->records : 0);
    nib_retrieval r = { .ctx = ctx, .texts = texts, .corpus = corpus, .table_size = 16 };

    while (r.table_size < 2 * all) r.table_size *= 2;
    r.documents = nib_new_array(ctx, all, sizeof *r.documents);
    r.table = nib_new_array(ctx, r.table_size, sizeof *r.table);
    r.head = nib_new_array(ctx, own, sizeof *r.head);
    r.next = nib_new_array(ctx, texts->records, sizeof *r.next);
    r.answers = nib_new_array(ctx, texts->records, sizeof *r.answers);
    r.ranks = nib_new_array(ctx, texts->records, sizeof *r.ranks);
    *out = r;
    if (!r.documents || !r.table || !r.head || !r.next || !r.answers || !r.ranks) {
        nib_retrieval_free(out);
        return nib_fail(err, NIB_E_NOMEM, "evaluation: out of memory for %zu documents", all);
    }
    for (size_t d = 0; d < own; d++)
        if (d % texts->columns) add(out, (uint32_t)d);
    for (size_t d = own; d < all; d++) add(out, (uint32_t)d);
    link_records(out);
    return NIB_OK;
}

void nib_retrieval_free(nib_retrieval *r)
{
    if (!r->ctx) return;
    nib_free(r->ctx, r->documents);
    nib_free(r->ctx, r->table);
    nib_free(r->ctx, r->head);
    nib_free(r->ctx, r->next);
    nib_free(r->ctx, r->answers);
    nib_free(r->ctx, r->ranks);
    *r = (nib_retrieval){ 0 };
}

/* --- ranks --- */

/* The ranks of one query's right documents; `text` is its first one. */
static void rank_tile(void *arg, size_t text, unsigned worker)
{
    nib_retrieval *r = arg;
    const float *q = r->vectors + text * r->width;

    (void)worker;
    for (uint32_t i = r->head[text]; i; i = r->next[i - 1]) {
        uint32_t answer = r->answers[i - 1], k = r->head[text];
        float score = nib_row_dot(r->width, q, vector_of(r, answer));
        while (k != i && r->answers[k - 1] != answer) k = r->next[k - 1];
        r->ranks[i - 1] = k == i;
        for (size_t d = 0; k == i && d < r->document_count; d++)
            if (r->documents[d] != answer &&
                nib_row_dot(r->width, q, vector_of(r, r->documents[d])) > score)
                r->ranks[i - 1]++;
    }
}

void nib_retrieval_measure(nib_retrieval *r, const float *vectors, const float *more, size_t width,
                           nib_scores *scores)
{
    static const uint32_t at[] = { 1, 3, 5, 10 };
    size_t texts = r->texts->records * r->texts->columns, queries = 0;
    double recall[NIB_COUNT(at)] = { 0 }, mrr = 0;

    r->vectors = vectors;
    r->more = more;
    r->width = width;
    nib_parallel_for(r->ctx, texts, rank_tile, r);
    for (size_t t = 0; t < texts; t++) {
        uint32_t first = UINT32_MAX, right = 0, found[NIB_COUNT(at)] = { 0 };
        for (uint32_t i = r->head[t]; i; i = r->next[i - 1]) {
            uint32_t rank = r->ranks[i - 1];
            if (!rank) continue;
            right++;
            if (rank < first) first = rank;
            for (size_t k = 0; k < NIB_COUNT(at); k++) found[k] += rank <= at[k];
        }
        if (!right) continue;
        queries++;
        if (first <= 10) mrr += 1 / (double)first;
        for (size_t k = 0; k < NIB_COUNT(at); k++) recall[k] += (double)found[k] / right;
    }
    for (size_t k = 0; k < NIB_COUNT(at); k++) scores->recall[k] = recall[k] / (double)queries;
    scores->mrr = mrr / (double)queries;
    scores->queries = queries;
    scores->documents = r->document_count;
}
