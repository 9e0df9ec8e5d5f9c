/* embedder.c - see embedder.h. */
#include "train/embedder.h"

#include <math.h>

#include "graph/readout.h"
#include "graph/rows.h"

/* --- sizes --- */

static size_t chunk_of(const nib_embedder *e, size_t texts)
{
    return e->chunk ? nib_min(e->chunk, texts) : texts;
}

static size_t rows_of(const nib_embedder *e, uint32_t text, size_t *first)
{
    size_t last;

    nib_pooler_rows(&e->pooler, e->texts->lengths[text], 0, first, &last);
    return last - *first;
}

/* Text j of a micro-batch, column after column. */
static uint32_t text_at(const nib_embedder *e, const uint32_t *order, size_t count, size_t j)
{
    return (uint32_t)(order[j % count] * e->texts->columns + j / count);
}

void nib_embedder_widen(const nib_embedder *e, const uint32_t *order, size_t count,
                        nib_embedder_extent *most)
{
    size_t texts = count * e->texts->columns, chunk = chunk_of(e, texts);

    most->records = nib_max(most->records, count);
    most->chunk_texts = nib_max(most->chunk_texts, chunk);
    for (size_t from = 0; from < texts; from += chunk) {
        size_t tokens = 0, rows = 0, first;
        for (size_t j = from; j < nib_min(from + chunk, texts); j++) {
            uint32_t text = text_at(e, order, count, j);
            tokens += e->texts->lengths[text];
            rows += rows_of(e, text, &first);
        }
        most->chunk_tokens = nib_max(most->chunk_tokens, tokens);
        most->chunk_rows = nib_max(most->chunk_rows, rows);
    }
}

static size_t pooled_of(const nib_embedder *e)
{
    return e->graph->values[e->graph->hidden].width * e->pooler.count;
}

static size_t trace_of(const nib_embedder *e)
{
    return nib_dense_trace(e->dense, e->dense_count, pooled_of(e));
}

static size_t widest_of(const nib_embedder *e)
{
    return nib_dense_widest(e->dense, e->dense_count, pooled_of(e));
}

uint64_t nib_embedder_bytes(const nib_embedder *e, nib_embedder_extent most, bool trains)
{
    uint64_t hidden = e->graph->values[e->graph->hidden].width, width = nib_embedder_width(e);
    uint64_t texts = most.records * e->texts->columns;

    return ((e->dense_count ? texts * trace_of(e) + 3 * widest_of(e) : 0) +
            e->texts->longest * hidden + (trains ? most.chunk_rows * hidden : 0) +
            (trains ? 2 : 1) * texts * width + most.records) * sizeof(float) +
           texts * (sizeof(double) + sizeof(uint32_t)) +
           (3 * most.chunk_tokens + most.chunk_rows + 2 * most.chunk_texts + 1) *
               sizeof(uint32_t) +
           nib_similarity_bytes(&e->loss, most.records, e->texts->columns, width);
}

nib_status nib_embedder_allocate(nib_embedder *e, nib_embedder_extent most, bool trains,
                                 nib_error *err)
{
    size_t texts = most.records * e->texts->columns;
    nib_status status;

    e->hidden = e->graph->values[e->graph->hidden].width;
    e->width = nib_embedder_width(e);
    e->most = most;
    e->loss.ctx = e->ctx;
    e->loss.k = &e->graph->kernels;
    status = nib_similarity_init(&e->loss, most.records, e->texts->columns, e->width, err);
    if (status) return status;
    e->numbers = nib_new_array(e->ctx, texts, sizeof *e->numbers);
    e->offsets = nib_new_array(e->ctx, most.chunk_texts + 1, sizeof *e->offsets);
    e->records = nib_new_array(e->ctx, most.chunk_texts, sizeof *e->records);
    e->ids = nib_new_array(e->ctx, most.chunk_tokens, sizeof *e->ids);
    e->positions = nib_new_array(e->ctx, most.chunk_tokens, sizeof *e->positions);
    e->types = nib_new_array(e->ctx, most.chunk_tokens, sizeof *e->types);
    e->picks = nib_new_array(e->ctx, most.chunk_rows, sizeof *e->picks);
    e->rows = nib_new_array(e->ctx, e->texts->longest * e->hidden, sizeof *e->rows);
    e->vectors = nib_new_array(e->ctx, texts * e->width, sizeof *e->vectors);
    e->lengths = nib_new_array(e->ctx, texts, sizeof *e->lengths);
    e->answers = nib_new_array(e->ctx, most.records, sizeof *e->answers);
    if (e->dense_count) {
        e->traces = nib_new_array(e->ctx, texts * trace_of(e), sizeof *e->traces);
        e->d_dense = nib_new_array(e->ctx, 3 * widest_of(e), sizeof *e->d_dense);
    }
    if (trains) {
        e->d_rows = nib_new_array(e->ctx, most.chunk_rows * e->hidden, sizeof *e->d_rows);
        e->d_vectors = nib_new_array(e->ctx, texts * e->width, sizeof *e->d_vectors);
    }
    return e->numbers && e->offsets && e->records && e->ids && e->positions && e->types &&
                   e->picks && e->rows && e->vectors && e->lengths && e->answers &&
                   (!e->dense_count || (e->traces && e->d_dense)) &&
                   (!trains || (e->d_rows && e->d_vectors))
               ? NIB_OK
               : nib_fail(err, NIB_E_NOMEM, "embeddings: out of memory for %zu texts", texts);
}

void nib_embedder_free(nib_embedder *e)
{
    if (!e->ctx) return;
    nib_similarity_free(&e->loss);
    nib_free(e->ctx, e->numbers);
    nib_free(e->ctx, e->offsets);
    nib_free(e->ctx, e->records);
    nib_free(e->ctx, e->ids);
    nib_free(e->ctx, e->positions);
    nib_free(e->ctx, e->types);
    nib_free(e->ctx, e->picks);
    nib_free(e->ctx, e->rows);
    nib_free(e->ctx, e->d_rows);
    nib_free(e->ctx, e->vectors);
    nib_free(e->ctx, e->d_vectors);
    nib_free(e->ctx, e->traces);
    nib_free(e->ctx, e->d_dense);
    nib_free(e->ctx, e->lengths);
    nib_free(e->ctx, e->answers);
    *e = (nib_embedder){ 0 };
}

/* --- a chunk --- */

static void make_batch(nib_embedder *e, size_t from, size_t to, uint32_t epoch)
{
    size_t t = 0, picked = 0;

    for (size_t j = from; j < to; j++) {
        uint32_t text = e->numbers[j], length = e->texts->lengths[text];
        size_t first, rows = rows_of(e, text, &first);
        for (size_t k = 0; k < rows; k++) e->picks[picked++] = (uint32_t)(t + first + k);
        memcpy(e->ids + t, e->texts->ids[text], length * sizeof *e->ids);
        nib_graph_place(e->graph, e->ids + t, length, e->positions + t);
        t += length;
        e->records[j - from] = text;
        e->offsets[j - from + 1] = (uint32_t)t;
    }
    e->batch = (nib_batch){ .sequences = to - from, .records = e->records, .epoch = epoch };
    e->batch.axes[NIB_TOKENS] = (nib_axis_rows){ .count = t, .offsets = e->offsets };
    e->batch.axes[NIB_LOGIT_ROWS] = (nib_axis_rows){ .count = picked, .picks = e->picks };
    e->batch.inputs[NIB_IDS] = e->ids;
    e->batch.inputs[NIB_POSITIONS] = e->positions;
    e->batch.inputs[NIB_TYPES] = e->types;
    /* a text by itself stands nowhere: its boxes are zeros, as its types are */
    for (int i = 0; i < NIB_BOX_INPUTS && e->graph->boxes; i++)
        e->batch.inputs[e->graph->boxes + i] = e->types;
}

/* The pooled rows of text j, which begin at `row` of the run's, into e->rows. */
static size_t read_rows(nib_embedder *e, const nib_run *run, size_t j, size_t row, size_t *first)
{
    size_t n = rows_of(e, e->numbers[j], first);

    nib_convert(e->rows, NIB_F32, nib_run_hidden(run, row), e->graph->type, n * e->hidden);
    return n;
}

static double length_of(const float *v, size_t n)
{
    double sum = 0;

    for (size_t c = 0; c < n; c++) sum += (double)v[c] * (double)v[c];
    return fmax(sqrt(sum), 1e-12);
}

static void embed_chunk(nib_embedder *e, nib_run *run, size_t from, size_t to, uint32_t epoch)
{
    make_batch(e, from, to, epoch);
    nib_run_forward(run, &e->batch);
    for (size_t j = from, row = 0, first, n; j < to; j++, row += n) {
        float *v = e->vectors + j * e->width;
        n = read_rows(e, run, j, row, &first);
        nib_pooler_pool(&e->pooler, e->rows, n, e->hidden, first,
                        e->traces ? e->traces + j * trace_of(e) : v);
        if (e->traces)
            memcpy(v, nib_dense_forward(e->dense, e->dense_count, pooled_of(e),
                                        e->traces + j * trace_of(e)),
                   e->width * sizeof *v);
        if (!e->normalize) continue;
        e->lengths[j] = length_of(v, e->width);
        nib_unit_length(v, e->width);
    }
}

/* In place: from the gradient of v = x / |x| to that of x. */
static void unnormalize(const nib_embedder *e, size_t j)
{
    const float *v = e->vectors + j * e->width;
    float *d = e->d_vectors + j * e->width;
    double along = 0;

    for (size_t c = 0; c < e->width; c++) along += (double)v[c] * (double)d[c];
    for (size_t c = 0; c < e->width; c++)
        d[c] = (float)(((double)d[c] - (double)v[c] * along) / e->lengths[j]);
}

/* The gradient of what was pooled of text j. */
static const float *back_dense(nib_embedder *e, size_t j)
{
    float *d = e->d_vectors + j * e->width, *dx;

    if (!e->traces) return d;
    dx = e->d_dense + 2 * widest_of(e);
    memcpy(e->d_dense, d, e->width * sizeof *d);
    nib_dense_backward(e->dense, e->dense_count, pooled_of(e), e->traces + j * trace_of(e),
                       e->d_dense, e->d_dense + widest_of(e), dx);
    return dx;
}

static void back_chunk(nib_embedder *e, nib_run *run, size_t from, size_t to)
{
    for (size_t j = from, row = 0, first, n; j < to; j++, row += n) {
        n = read_rows(e, run, j, row, &first);
        if (e->normalize) unnormalize(e, j);
        nib_pooler_spread(&e->pooler, e->rows, n, e->hidden, first, back_dense(e, j),
                          e->d_rows + row * e->hidden);
    }
    run->given = e->d_rows;
    nib_run_backward(run);
    run->given = NULL;
}

/* --- a batch --- */

static void begin(nib_embedder *e, const uint32_t *order, size_t count)
{
    size_t texts = count * e->texts->columns;

    assert(count <= e->most.records);
    for (size_t j = 0; j < texts; j++) e->numbers[j] = text_at(e, order, count, j);
    for (size_t i = 0; i < count; i++) {
        nib_record r = nib_dataset_record(e->texts->data, order[i]);
        e->answers[i] = r.answer_count ? r.answers[0] : 0;
    }
}

static void embed_all(nib_embedder *e, nib_run *run, size_t texts, uint32_t epoch)
{
    size_t chunk = chunk_of(e, texts);

    for (size_t from = 0; from < texts; from += chunk)
        embed_chunk(e, run, from, nib_min(from + chunk, texts), epoch);
}

void nib_embedder_forward(nib_embedder *e, nib_run *run, const uint32_t *order, size_t count)
{
    begin(e, order, count);
    embed_all(e, run, count * e->texts->columns, 0);
}

double nib_embedder_loss(nib_embedder *e, size_t count)
{
    return nib_similarity_loss(&e->loss, count, e->vectors, e->answers, NULL);
}

void nib_embedder_step(nib_embedder *e, nib_run *run, const uint32_t *order, size_t count,
                       uint32_t epoch)
{
    size_t texts = count * e->texts->columns, chunk = chunk_of(e, texts);
    double loss;

    begin(e, order, count);
    embed_all(e, run, texts, epoch);
    memset(e->d_vectors, 0, texts * e->width * sizeof *e->d_vectors);
    loss = nib_similarity_loss(&e->loss, count, e->vectors, e->answers, e->d_vectors);
    run->abandoned = false;
    for (size_t from = 0; from < texts && !run->abandoned && isfinite(loss); from += chunk) {
        size_t to = nib_min(from + chunk, texts);
        if (chunk < texts) embed_chunk(e, run, from, to, epoch);
        back_chunk(e, run, from, to);
    }
    run->loss_sum = loss;
    run->loss_weight = 1;
}
