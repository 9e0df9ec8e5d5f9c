/* divergence.c - see divergence.h. */
#include "job/divergence.h"

#include <math.h>

typedef struct rows {
    const float *logits, *reference;
    const uint32_t *tokens;
    size_t width;
    nib_divergence *out;
} rows;

/* log of the sum of exponentials; *best: the first greatest. */
static double log_sum(const float *z, size_t n, size_t *best)
{
    double sum = 0;

    *best = 0;
    for (size_t i = 1; i < n; i++)
        if (z[i] > z[*best]) *best = i;
    for (size_t i = 0; i < n; i++) sum += exp((double)z[i] - (double)z[*best]);
    return (double)z[*best] + log(sum);
}

static void one_row(void *arg, size_t row, unsigned worker)
{
    const rows *r = arg;
    const float *z = r->logits + row * r->width;
    const float *q = r->reference ? r->reference + row * r->width : NULL;
    size_t best, best_reference;
    double sum = log_sum(z, r->width, &best), sum_reference, divergence = 0;
    nib_divergence *out = &r->out[row];

    (void)worker;
    *out = (nib_divergence){ .loss = sum - (double)z[r->tokens[row]] };
    if (!q) return;
    sum_reference = log_sum(q, r->width, &best_reference);
    for (size_t i = 0; i < r->width; i++) {
        double log_q = (double)q[i] - sum_reference, p = exp(log_q);
        /* what the reference excludes (a logit of -infinity) counts nothing */
        if (p > 0) divergence += p * (log_q - ((double)z[i] - sum));
    }
    out->reference_loss = sum_reference - (double)q[r->tokens[row]];
    out->divergence = divergence;
    out->agrees = best == best_reference;
}

void nib_divergence_of(nib_ctx *ctx, const float *logits, const float *reference,
                       const uint32_t *tokens, size_t rows_count, size_t width,
                       nib_divergence *out)
{
    rows r = { logits, reference, tokens, width, out };

    nib_parallel_for(ctx, rows_count, one_row, &r);
}

void nib_mean_add(nib_mean *m, double x)
{
    m->sum += x;
    m->squares += x * x;
    m->count++;
}

double nib_mean_of(const nib_mean *m) { return m->count ? m->sum / (double)m->count : (double)NAN; }

double nib_mean_error(const nib_mean *m)
{
    double n = (double)m->count, mean = nib_mean_of(m);

    return m->count < 2 ? (double)NAN : sqrt(fmax(m->squares / n - mean * mean, 0) / (n - 1));
}
