/* answer_interval.c - see answer_interval.h. */
#include "job/answer_interval.h"

#include <math.h>
#include <stdlib.h>

#include "base/random.h"

typedef struct resampling {
    const nib_answer_scores *scores; /* [contestants, records] */
    size_t contestants, records;
    uint32_t *drawn;  /* [records] */
    double *samples;  /* [contestants, NIB_ANSWER_SCORES, NIB_RESAMPLES] */
    double *sorted;   /* [NIB_RESAMPLES] */
} resampling;

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of the first n of sorted numbers, between neighbours in proportion (numpy's default). */
static double percentile(const double *sorted, size_t n, double share)
{
    double place = share * (double)(n - 1);
    size_t below = (size_t)place;

    return below + 1 < n ? sorted[below] + (place - (double)below) *
                               (sorted[below + 1] - sorted[below])
                         : sorted[below];
}

static double *samples_of(const resampling *r, size_t contestant, size_t score)
{
    return r->samples + (contestant * NIB_ANSWER_SCORES + score) * NIB_RESAMPLES;
}

/* Draws on which a score applies to no record are left out. */
static nib_interval interval_of(const resampling *r, double score, const double *samples,
                                const double *minus)
{
    nib_interval out = { score, (double)NAN, (double)NAN };
    size_t n = 0;

    for (size_t i = 0; i < NIB_RESAMPLES; i++) {
        double x = minus ? samples[i] - minus[i] : samples[i];
        if (!isnan(x)) r->sorted[n++] = x;
    }
    if (!n || isnan(score)) return out;
    qsort(r->sorted, n, sizeof *r->sorted, compare_numbers);
    out.low = percentile(r->sorted, n, .025);
    out.high = percentile(r->sorted, n, .975);
    return out;
}

static void draw(const resampling *r, uint64_t seed, uint32_t number)
{
    const uint32_t key[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) };

    for (size_t i = 0; i < r->records; i++) {
        uint32_t out[4];
        nib_philox(key, (uint32_t[4]){ (uint32_t)i, number, 0, 0x626f6f74u }, out);
        r->drawn[i] = (uint32_t)((uint64_t)out[0] * r->records >> 32);
    }
}

static void summarise(const resampling *r, size_t against, nib_answer_summary *out)
{
    for (size_t c = 0; c < r->contestants; c++) {
        double score[NIB_ANSWER_SCORES], other[NIB_ANSWER_SCORES];
        nib_answer_score_means(r->scores + c * r->records, r->records, NULL, score);
        nib_answer_score_means(r->scores + against * r->records, r->records, NULL, other);
        for (size_t s = 0; s < NIB_ANSWER_SCORES; s++) {
            const double *mine = samples_of(r, c, s), *others = samples_of(r, against, s);
            out[c].score[s] = interval_of(r, score[s], mine, NULL);
            out[c].difference[s] = interval_of(r, score[s] - other[s], mine, others);
        }
    }
}

nib_status nib_answer_intervals(nib_ctx *ctx, const nib_answer_scores *scores, size_t contestants,
                                size_t records, size_t against, uint64_t seed,
                                nib_answer_summary *out, nib_error *err)
{
    resampling r = { .scores = scores, .contestants = contestants, .records = records };
    nib_status status = NIB_OK;

    assert(records && contestants && against < contestants);
    r.drawn = nib_new_array(ctx, records, sizeof *r.drawn);
    r.samples = nib_new_array(ctx, contestants * NIB_ANSWER_SCORES * NIB_RESAMPLES,
                              sizeof *r.samples);
    r.sorted = nib_new_array(ctx, NIB_RESAMPLES, sizeof *r.sorted);
    if (!r.drawn || !r.samples || !r.sorted) {
        status = nib_fail(err, NIB_E_NOMEM, "scores of %zu records: out of memory", records);
        goto done;
    }
    for (uint32_t i = 0; i < NIB_RESAMPLES; i++) {
        draw(&r, seed, i);
        for (size_t c = 0; c < contestants; c++) {
            double score[NIB_ANSWER_SCORES];
            nib_answer_score_means(scores + c * records, records, r.drawn, score);
            for (size_t s = 0; s < NIB_ANSWER_SCORES; s++) samples_of(&r, c, s)[i] = score[s];
        }
    }
    summarise(&r, against, out);
done:
    nib_free(ctx, r.drawn);
    nib_free(ctx, r.samples);
    nib_free(ctx, r.sorted);
    return status;
}
