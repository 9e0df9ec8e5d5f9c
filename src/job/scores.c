/* scores.c - see scores.h.
 *
 * F1 of a class is 2 hits / (predicted + right), 0 where both are; macro is the mean over the
 * classes predicted or right at least once, as scikit-learn's.  Matthews' is Gorodkin's for several
 * classes (2004).  Spearman's is Pearson's of ranks, equal values sharing their mean. */
#include "job/scores.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void nib_scorer_free(nib_scorer *s)
{
    if (!s->ctx) return;
    nib_free(s->ctx, s->confusion);
    nib_free(s->ctx, s->hits);
    nib_free(s->ctx, s->said);
    nib_free(s->ctx, s->support);
    nib_free(s->ctx, s->predicted);
    nib_free(s->ctx, s->right);
    nib_free(s->ctx, s->ranks);
    nib_free(s->ctx, s->classes);
    nib_free(s->ctx, s->plain);
    nib_spans_free(&s->spans);
    *s = (nib_scorer){ 0 };
}

static bool has_matrix(const nib_scorer *s)
{
    return s->kind == NIB_LABEL_CLASS || s->kind == NIB_LABEL_TAGS;
}

/* The matrix of more labels would be for nobody to read. */
enum { MOST_MATRIX = 1000 };

static bool allocate(nib_scorer *s)
{
    size_t c = s->labels;

    if (s->kind == NIB_LABEL_NUMBERS) {
        s->predicted = nib_new_array(s->ctx, c * s->room, sizeof *s->predicted);
        s->right = nib_new_array(s->ctx, c * s->room, sizeof *s->right);
        s->ranks = nib_new_array(s->ctx, 2 * s->room, sizeof *s->ranks);
        return s->predicted && s->right && s->ranks;
    }
    s->hits = nib_new_array(s->ctx, c, sizeof *s->hits);
    s->said = nib_new_array(s->ctx, c, sizeof *s->said);
    s->support = nib_new_array(s->ctx, c, sizeof *s->support);
    s->classes = nib_new_array(s->ctx, c, sizeof *s->classes);
    s->plain = nib_new_array(s->ctx, c, sizeof *s->plain);
    if (has_matrix(s) && c <= MOST_MATRIX) {
        s->confusion = nib_new_array(s->ctx, c * c, sizeof *s->confusion);
        if (!s->confusion) return false;
    }
    return s->hits && s->said && s->support && s->classes && s->plain;
}

nib_status nib_scorer_create(nib_ctx *ctx, const nib_labels *labels, size_t count, size_t rows,
                             nib_scorer *out, nib_error *err)
{
    nib_scorer s = { .ctx = ctx, .kind = labels->kind, .labels = count,
                     .room = nib_max(rows, 1) };
    nib_status status = allocate(&s) ? NIB_OK
                                     : nib_fail(err, NIB_E_NOMEM,
                                                "scores: out of memory for %zu rows", rows);

    if (!status) status = nib_spans_create(ctx, labels, count, &s.spans, err);
    if (status) {
        nib_scorer_free(&s);
        return status;
    }
    for (size_t i = 0; s.classes && i < count; i++)
        s.classes[i].name = nib_label_name(labels, i, s.plain[i]);
    *out = s;
    return NIB_OK;
}

uint64_t nib_scorer_bytes(const nib_scorer *s)
{
    return s->predicted ? (2 * s->labels + 2) * s->room * sizeof(double) : 0;
}

void nib_scorer_clear(nib_scorer *s)
{
    s->rows = 0;
    s->exact = 0;
    nib_spans_clear(&s->spans);
    if (s->hits) {
        memset(s->hits, 0, s->labels * sizeof *s->hits);
        memset(s->said, 0, s->labels * sizeof *s->said);
        memset(s->support, 0, s->labels * sizeof *s->support);
    }
    if (s->confusion) memset(s->confusion, 0, s->labels * s->labels * sizeof *s->confusion);
}

void nib_scorer_add_class(nib_scorer *s, const float *logits, uint32_t right)
{
    size_t best = 0;

    for (size_t i = 1; i < s->labels; i++)
        if (logits[i] > logits[best]) best = i;
    s->rows++;
    nib_spans_add(&s->spans, best, right);
    s->said[best]++;
    s->support[right]++;
    if (best == right) s->hits[best]++, s->exact++;
    if (s->confusion) s->confusion[right * s->labels + best]++;
}

void nib_scorer_add_each(nib_scorer *s, const float *logits, const float *right)
{
    bool exact = true;

    assert(s->kind != NIB_LABEL_NUMBERS || s->rows < s->room);
    for (size_t i = 0; i < s->labels; i++) {
        bool said = logits[i] > 0, is = right[i] > 0.5f;
        if (s->kind == NIB_LABEL_NUMBERS) {
            s->predicted[i * s->room + s->rows] = (double)logits[i];
            s->right[i * s->room + s->rows] = (double)right[i];
            continue;
        }
        s->said[i] += said;
        s->support[i] += is;
        s->hits[i] += said && is;
        exact &= said == is;
    }
    s->exact += exact;
    s->rows++;
}

/* --- numbers --- */

static double pearson(const double *x, const double *y, size_t n)
{
    double mx = 0, my = 0, xy = 0, xx = 0, yy = 0;

    for (size_t i = 0; i < n; i++) mx += x[i] / (double)n, my += y[i] / (double)n;
    for (size_t i = 0; i < n; i++) {
        xy += (x[i] - mx) * (y[i] - my);
        xx += (x[i] - mx) * (x[i] - mx);
        yy += (y[i] - my) * (y[i] - my);
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : (double)NAN; /* a constant has none */
}

typedef struct placed { double value; size_t at; } placed;

static int by_value(const void *a, const void *b)
{
    const placed *x = a, *y = b;
    return (x->value > y->value) - (x->value < y->value);
}

/* NULL memory: ranks stay 0, and the correlation is NaN. */
static void rank(nib_ctx *ctx, const double *x, size_t n, double *ranks)
{
    placed *order = nib_new_array(ctx, nib_max(n, 1), sizeof *order);

    memset(ranks, 0, n * sizeof *ranks);
    if (!order) return;
    for (size_t i = 0; i < n; i++) order[i] = (placed){ x[i], i };
    qsort(order, n, sizeof *order, by_value);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && order[end].value == order[i].value;) end++;
        for (size_t k = i; k < end; k++)
            ranks[order[k].at] = ((double)i + (double)end + 1) / 2;
    }
    nib_free(ctx, order);
}

/* Means over the numbers of a row. */
static void score_numbers(nib_scorer *s, nib_scores *out)
{
    double *other = s->ranks + s->room;

    out->mse = out->pearson = out->spearmanr = 0;
    for (size_t c = 0; c < s->labels; c++) {
        const double *x = s->predicted + c * s->room, *y = s->right + c * s->room;
        double sum = 0;

        for (size_t i = 0; i < s->rows; i++) sum += (x[i] - y[i]) * (x[i] - y[i]);
        out->mse += sum / (double)s->rows / (double)s->labels;
        out->pearson += pearson(x, y, s->rows) / (double)s->labels;
        rank(s->ctx, x, s->rows, s->ranks);
        rank(s->ctx, y, s->rows, other);
        out->spearmanr += pearson(s->ranks, other, s->rows) / (double)s->labels;
    }
}

/* --- classes --- */

static double ratio(uint64_t a, uint64_t b) { return b ? (double)a / (double)b : 0; }

static double matthews(const nib_scorer *s)
{
    double n = (double)s->rows, both = 0, said = 0, right = 0, below;

    for (size_t i = 0; i < s->labels; i++) {
        both += (double)s->said[i] * (double)s->support[i];
        said += (double)s->said[i] * (double)s->said[i];
        right += (double)s->support[i] * (double)s->support[i];
    }
    below = sqrt(n * n - said) * sqrt(n * n - right);
    return below > 0 ? ((double)s->exact * n - both) / below : 0;
}

nib_scores nib_scores_none(void)
{
    const double none = (double)NAN;

    return (nib_scores){ .exact_match = none, .has_answer_exact = none, .has_answer_f1 = none,
                         .no_answer_exact = none, .no_answer_f1 = none, .accuracy = none,
                         .f1 = none, .matthews_correlation = none, .mse = none,
                         .pearson = none, .spearmanr = none, .overall_precision = none,
                         .overall_recall = none, .overall_f1 = none,
                         .recall = { none, none, none, none }, .mrr = none };
}

nib_scores nib_scorer_scores(nib_scorer *s)
{
    nib_scores out = nib_scores_none();
    size_t met = 0;

    out.rows = s->rows;
    out.labels = s->labels;
    out.classes = s->classes;
    out.confusion = s->confusion;
    if (!s->rows) return out;
    if (s->kind == NIB_LABEL_NUMBERS) {
        score_numbers(s, &out);
        return out;
    }
    out.accuracy = ratio(s->exact, s->rows);
    out.f1 = 0;
    for (size_t i = 0; i < s->labels; i++) {
        nib_class_scores *c = &s->classes[i];
        c->support = s->support[i];
        c->precision = ratio(s->hits[i], s->said[i]);
        c->recall = ratio(s->hits[i], s->support[i]);
        c->f1 = ratio(2 * s->hits[i], s->said[i] + s->support[i]);
        out.f1 += c->f1;
        met += s->kind == NIB_LABEL_SET || s->said[i] || s->support[i];
    }
    out.f1 /= (double)met;
    nib_spans_scores(&s->spans, &out);
    if (has_matrix(s)) out.matthews_correlation = matthews(s);
    return out;
}

const char *nib_score_names(void)
{
    return "accuracy, f1, exact_match, matthews_correlation, mse, pearson, spearmanr, recall@1, "
           "recall@3, recall@5, recall@10, mrr@10, overall_f1, overall_precision, overall_recall";
}

bool nib_score_named(const char *name, const nib_scores *s, double *value, bool *greater)
{
    const struct { const char *name; double value; bool greater; } all[] = {
        { "accuracy", s->accuracy, true }, { "f1", s->f1, true }, { "mse", s->mse, false },
        { "matthews_correlation", s->matthews_correlation, true },
        { "exact_match", s->exact_match, true },
        { "pearson", s->pearson, true }, { "spearmanr", s->spearmanr, true },
        { "recall@1", s->recall[0], true }, { "recall@3", s->recall[1], true },
        { "recall@5", s->recall[2], true }, { "recall@10", s->recall[3], true },
        { "mrr@10", s->mrr, true }, { "overall_f1", s->overall_f1, true },
        { "overall_precision", s->overall_precision, true },
        { "overall_recall", s->overall_recall, true },
    };
    const char *bare = strncmp(name, "eval_", 5) == 0 ? name + 5 : name;

    for (size_t i = 0; i < NIB_COUNT(all); i++)
        if (strcmp(all[i].name, bare) == 0)
            return *value = all[i].value, *greater = all[i].greater, true;
    return false;
}
