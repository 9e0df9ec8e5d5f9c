/* similarity.c - see similarity.h.
 *
 * Gradients, of what is compared (x): RANKING with P the softmax of S's rows
 *     dS = (P - [j = i]) / n     dfirst_i = s sum_j dS_ij other_j     dother_j = s sum_i dS_ij
 *     first_i
 * COSENT with w_ij = exp(c_i - c_j) / (1 + sum):  dc_i += w_ij, dc_j -= w_ij.  Through the length:
 *     x = v / |v|    dv = (dx - x (x . dx)) / |v| */
#include "train/similarity.h"

#include <math.h>
#include <strings.h>

#include "base/thread.h"

static const char *const names[NIB_SIMILARITY_KINDS] = {
    [NIB_SIMILARITY_RANKING] = "MultipleNegativesRankingLoss",
    [NIB_SIMILARITY_COSENT] = "CoSENTLoss",
    [NIB_SIMILARITY_COSINE] = "CosineSimilarityLoss",
    [NIB_SIMILARITY_TRIPLET] = "TripletLoss",
};

const char *nib_similarity_name(nib_similarity_kind kind) { return names[kind]; }

bool nib_similarity_parse(const char *name, nib_similarity_kind *kind)
{
    for (int k = 0; k < NIB_SIMILARITY_KINDS; k++)
        if (strcasecmp(names[k], name) == 0) return *kind = (nib_similarity_kind)k, true;
    return false;
}

static size_t score_count(const nib_similarity *s, size_t records, size_t columns)
{
    return s->kind == NIB_SIMILARITY_RANKING ? records * records * (columns - 1) : records;
}

nib_status nib_similarity_init(nib_similarity *s, size_t records, size_t columns, size_t width,
                               nib_error *err)
{
    s->records = records;
    s->columns = columns;
    s->width = width;
    s->x = nib_new_array(s->ctx, columns * records * width, sizeof *s->x);
    s->dx = nib_new_array(s->ctx, columns * records * width, sizeof *s->dx);
    s->lengths = nib_new_array(s->ctx, columns * records, sizeof *s->lengths);
    s->scores = nib_new_array(s->ctx, score_count(s, records, columns), sizeof *s->scores);
    s->losses = nib_new_array(s->ctx, records, sizeof *s->losses);
    return s->x && s->dx && s->lengths && s->scores && s->losses
               ? NIB_OK
               : nib_fail(err, NIB_E_NOMEM, "loss: out of memory for %zu records", records);
}

void nib_similarity_free(nib_similarity *s)
{
    if (!s->ctx) return;
    nib_free(s->ctx, s->x);
    nib_free(s->ctx, s->dx);
    nib_free(s->ctx, s->lengths);
    nib_free(s->ctx, s->scores);
    nib_free(s->ctx, s->losses);
    s->x = s->dx = s->scores = NULL;
    s->lengths = s->losses = NULL;
}

uint64_t nib_similarity_bytes(const nib_similarity *s, size_t records, size_t columns,
                              size_t width)
{
    return (2 * columns * records * width + score_count(s, records, columns)) * sizeof(float) +
           (columns + 1) * records * sizeof(double);
}

/* --- rows --- */

static double dot(size_t n, const float *a, const float *b)
{
    double sums[8] = { 0 }, sum = 0; /* eight, that do not wait for one another */

    for (size_t i = 0; i < n; i++) sums[i % 8] += (double)a[i] * (double)b[i];
    for (int i = 0; i < 8; i++) sum += sums[i];
    return sum;
}

static float *x_of(const nib_similarity *s, size_t column, size_t i)
{
    return s->x + (column * s->n + i) * s->dim;
}

static float *dx_of(const nib_similarity *s, size_t column, size_t i)
{
    return s->dx + (column * s->n + i) * s->dim;
}

/* --- in-batch negatives --- */

/* The scores of one record with all others' texts become their gradient. */
static void rank_tile(void *arg, size_t i, unsigned worker)
{
    nib_similarity *s = arg;
    size_t others = (s->columns - 1) * s->n;
    float *z = s->scores + i * others, most = -INFINITY;
    double sum = 0;

    (void)worker;
    for (size_t j = 0; j < others; j++) {
        z[j] = (float)(s->scale * dot(s->dim, x_of(s, 0, i), x_of(s, 1, j)));
        most = fmaxf(most, z[j]);
    }
    for (size_t j = 0; j < others; j++) sum += exp((double)(z[j] - most));
    s->losses[i] = (double)most + log(sum) - (double)z[i];
    if (!s->gradient) return;
    for (size_t j = 0; j < others; j++) {
        double p = exp((double)(z[j] - most)) / sum - (j == i ? 1 : 0);
        z[j] = (float)(s->scale * p / (double)s->n);
        s->k->axpy(s->dim, z[j], x_of(s, 1, j), dx_of(s, 0, i));
    }
}

static void rank_back_tile(void *arg, size_t j, unsigned worker)
{
    nib_similarity *s = arg;
    size_t others = (s->columns - 1) * s->n;

    (void)worker;
    for (size_t i = 0; i < s->n; i++)
        s->k->axpy(s->dim, s->scores[i * others + j], x_of(s, 0, i), dx_of(s, 1, j));
}

static double rank(nib_similarity *s)
{
    double loss = 0;

    nib_parallel_for(s->ctx, s->n, rank_tile, s);
    if (s->gradient) nib_parallel_for(s->ctx, (s->columns - 1) * s->n, rank_back_tile, s);
    for (size_t i = 0; i < s->n; i++) loss += s->losses[i];
    return loss / (double)s->n;
}

/* --- pairs with a score --- */

/* d: the gradient of each record's cosine. */
static void spread_cosines(nib_similarity *s, const double *d)
{
    for (size_t i = 0; s->gradient && i < s->n; i++) {
        s->k->axpy(s->dim, (float)d[i], x_of(s, 1, i), dx_of(s, 0, i));
        s->k->axpy(s->dim, (float)d[i], x_of(s, 0, i), dx_of(s, 1, i));
    }
}

static void cosines(nib_similarity *s)
{
    for (size_t i = 0; i < s->n; i++)
        s->scores[i] = (float)dot(s->dim, x_of(s, 0, i), x_of(s, 1, i));
}

static double cosent(nib_similarity *s)
{
    double most = 0, sum, *d = s->losses;

    cosines(s);
    for (size_t i = 0; i < s->n; i++) d[i] = 0;
    for (size_t i = 0; i < s->n; i++)
        for (size_t j = 0; j < s->n; j++)
            if (s->answers[i] < s->answers[j])
                most = fmax(most, s->scale * (double)(s->scores[i] - s->scores[j]));
    sum = exp(-most);
    for (size_t i = 0; i < s->n; i++)
        for (size_t j = 0; j < s->n; j++)
            if (s->answers[i] < s->answers[j]) {
                double w = exp(s->scale * (double)(s->scores[i] - s->scores[j]) - most);
                sum += w;
                d[i] += w;
                d[j] -= w;
            }
    for (size_t i = 0; i < s->n; i++) d[i] *= s->scale / sum;
    spread_cosines(s, d);
    return most + log(sum);
}

static double cosine(nib_similarity *s)
{
    double loss = 0;

    cosines(s);
    for (size_t i = 0; i < s->n; i++) {
        double e = (double)s->scores[i] - (double)s->answers[i];
        loss += e * e;
        s->losses[i] = 2 * e / (double)s->n;
    }
    spread_cosines(s, s->losses);
    return loss / (double)s->n;
}

/* --- triplets --- */

/* torch's pairwise_distance adds 1e-6 to each difference. */
static double distance(size_t n, const float *a, const float *b)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i] + 1e-6;
        sum += d * d;
    }
    return sqrt(sum);
}

static void spread_distance(const nib_similarity *s, size_t column, size_t i, double length,
                            double by)
{
    const float *a = x_of(s, 0, i), *b = x_of(s, column, i);
    float *da = dx_of(s, 0, i), *db = dx_of(s, column, i);

    for (size_t c = 0; c < s->dim && length > 0; c++) {
        float d = (float)(by * ((double)a[c] - (double)b[c] + 1e-6) / length);
        da[c] += d;
        db[c] -= d;
    }
}

static double triplet(nib_similarity *s)
{
    double loss = 0;

    for (size_t i = 0; i < s->n; i++) {
        double near = distance(s->dim, x_of(s, 0, i), x_of(s, 1, i));
        double far = distance(s->dim, x_of(s, 0, i), x_of(s, 2, i)), e = near - far + s->margin;
        if (!(e > 0)) continue;
        loss += e;
        if (!s->gradient) continue;
        spread_distance(s, 1, i, near, 1 / (double)s->n);
        spread_distance(s, 2, i, far, -1 / (double)s->n);
    }
    return loss / (double)s->n;
}

/* --- what is compared --- */

/* The first `dim` numbers of each vector, at length 1 where `unit`. */
static void take(nib_similarity *s, const float *vectors, bool unit)
{
    size_t rows = s->columns * s->n;

    for (size_t r = 0; r < rows; r++) {
        const float *v = vectors + r * s->width;
        float *x = s->x + r * s->dim;
        s->lengths[r] = unit ? fmax(sqrt(dot(s->dim, v, v)), 1e-12) : 1;
        for (size_t c = 0; c < s->dim; c++) x[c] = (float)((double)v[c] / s->lengths[r]);
    }
    if (s->gradient) memset(s->dx, 0, rows * s->dim * sizeof *s->dx);
}

static void give(const nib_similarity *s, bool unit, float *d_vectors)
{
    for (size_t r = 0; r < s->columns * s->n; r++) {
        const float *x = s->x + r * s->dim, *dx = s->dx + r * s->dim;
        double along = unit ? dot(s->dim, x, dx) : 0;
        for (size_t c = 0; c < s->dim; c++)
            d_vectors[r * s->width + c] += (float)(((double)dx[c] - (double)x[c] * along) /
                                                   s->lengths[r]);
    }
}

double nib_similarity_loss(nib_similarity *s, size_t n, const float *vectors, const float *answers,
                           float *d_vectors)
{
    static double (*const losses[NIB_SIMILARITY_KINDS])(nib_similarity *) = {
        [NIB_SIMILARITY_RANKING] = rank, [NIB_SIMILARITY_COSENT] = cosent,
        [NIB_SIMILARITY_COSINE] = cosine, [NIB_SIMILARITY_TRIPLET] = triplet,
    };
    bool unit = s->kind != NIB_SIMILARITY_TRIPLET || s->dim_count;
    double loss = 0;

    assert(n && n <= s->records);
    assert(s->columns > (s->kind == NIB_SIMILARITY_TRIPLET ? 2 : 1));
    s->n = n;
    s->answers = answers;
    s->gradient = d_vectors != NULL;
    for (size_t d = 0; d < nib_max(s->dim_count, 1); d++) {
        s->dim = s->dim_count ? (size_t)s->dims[d] : s->width;
        take(s, vectors, unit);
        loss += losses[s->kind](s);
        if (d_vectors) give(s, unit, d_vectors);
    }
    return loss;
}
