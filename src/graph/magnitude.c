/* magnitude.c - see magnitude.h.  Sums of squares are made in double and in one order: the same
 * norms for any number of threads. */
#include "graph/magnitude.h"

#include <math.h>

#include "base/thread.h"

enum { ROWS = 8, COLUMNS = 512 }; /* decoded at a time */

bool nib_magnitude_attach(nib_ctx *ctx, nib_branch *b, nib_param *p)
{
    size_t n = nib_param_count(p);

    b->norms = nib_new_array(ctx, n, 3 * sizeof *b->norms);
    if (!b->norms) return false;
    b->magnitude = p;
    for (size_t i = 0; i < 3 * n; i++) b->norms[i] = i < 2 * n;
    return true;
}

void nib_magnitude_gain(nib_branch *b)
{
    size_t n = nib_param_count(b->magnitude);
    float *norms = b->norms, *gains = norms + n, *excess = gains + n;

    for (size_t i = 0; i < n; i++) {
        gains[i] = norms[i] > 0 ? b->magnitude->value[i] / norms[i] : 1;
        excess[i] = gains[i] - 1;
    }
}

typedef struct measure {
    const nib_kernels *k;
    const nib_weight *w;
    nib_branch *b;
} measure;

/* --- a linear: a norm for each row --- */

static void add_squares(size_t n, const float *x, double *sum)
{
    for (size_t i = 0; i < n; i++) *sum += (double)x[i] * (double)x[i];
}

static void measure_rows(void *arg, size_t tile, unsigned worker)
{
    const measure *m = arg;
    const nib_branch *b = m->b;
    size_t first = tile * ROWS, count = nib_min(ROWS, m->w->out - first), in = m->w->in,
           rank = b->a->rows;
    float piece[ROWS * COLUMNS];
    double sums[ROWS] = { 0 };

    (void)worker;
    for (size_t k0 = 0, some; k0 < in; k0 += some) {
        some = nib_min(COLUMNS, in - k0);
        m->w->scheme->decode_tile(m->w, first, first + count, k0, k0 + some, piece, some);
        for (size_t i = 0; i < count; i++) {
            for (size_t r = 0; r < rank; r++)
                m->k->axpy(some, b->scale * b->b->value[(first + i) * rank + r],
                           b->a->value + r * in + k0, piece + i * some);
            add_squares(some, piece + i * some, &sums[i]);
        }
    }
    for (size_t i = 0; i < count; i++) b->norms[first + i] = (float)sqrt(sums[i]);
}

/* --- an embedding: a norm for each column, over the words --- */

static void measure_columns(void *arg, size_t tile, unsigned worker)
{
    enum { WIDE = 64, WORDS = 64 };
    const measure *m = arg;
    const nib_branch *b = m->b;
    size_t first = tile * WIDE, count = nib_min(WIDE, m->w->in - first), words = m->w->out,
           rank = b->a->rows;
    float piece[WORDS * WIDE];
    double sums[WIDE] = { 0 };

    (void)worker;
    for (size_t v0 = 0, some; v0 < words; v0 += some) {
        some = nib_min(WORDS, words - v0);
        m->w->scheme->decode_tile(m->w, v0, v0 + some, first, first + count, piece, count);
        for (size_t v = 0; v < some; v++)
            for (size_t d = 0; d < count; d++) {
                float sum = 0, value;
                for (size_t r = 0; r < rank; r++)
                    sum += b->a->value[r * words + v0 + v] * b->b->value[(first + d) * rank + r];
                value = piece[v * count + d] + b->scale * sum;
                sums[d] += (double)value * (double)value;
            }
    }
    for (size_t d = 0; d < count; d++) b->norms[first + d] = (float)sqrt(sums[d]);
}

void nib_magnitude_measure(nib_ctx *ctx, const nib_kernels *k, const nib_weight *w, bool columns,
                           nib_branch *b, bool begin)
{
    measure m = { k, w, b };

    assert(nib_param_count(b->magnitude) == (columns ? w->in : w->out));
    if (nib_weight_is_blank(w)) return;
    if (columns) nib_parallel_for(ctx, nib_ceil_div(w->in, 64), measure_columns, &m);
    else nib_parallel_for(ctx, nib_ceil_div(w->out, ROWS), measure_rows, &m);
    if (begin)
        memcpy(b->magnitude->value, b->norms, nib_param_count(b->magnitude) * sizeof *b->norms);
    nib_magnitude_gain(b);
}

/* --- all of a graph --- */

static void measure_branches(const nib_graph *g, const nib_weight *w, const nib_branches *table,
                             bool columns)
{
    for (unsigned i = 0; i < table->count; i++) {
        nib_branch *b = table->slots[i];
        if (b && nib_param_wants(b->magnitude))
            nib_magnitude_measure(g->ctx, &g->kernels, w, columns, b, false);
    }
}

void nib_magnitudes_measure(const nib_graph *g)
{
    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        if (n->linear && n->use == 0) /* layers may share it */
            measure_branches(g, n->linear->weight, &n->linear->branches, false);
        if (n->embedding) measure_branches(g, n->embedding->weight, &n->embedding->branches, true);
        for (size_t e = 0; n->experts && e < n->route.experts; e++)
            measure_branches(g, n->experts[e]->weight, &n->experts[e]->branches, false);
    }
}
