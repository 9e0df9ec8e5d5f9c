/* distances.c - see distances.h. */
#include "graph/distances.h"

#include <math.h>
#include <stdlib.h>

/* T5's bucket: near ones have one each, far ones share them by their logarithm. */
static size_t bucket_of(const nib_attention_desc *d, int64_t distance)
{
    size_t half = d->bucket_count / 2, near = half / 2, n = (size_t)llabs(distance), far;
    size_t first = distance > 0 ? half : 0;

    if (n < near) return first + n;
    far = near + (size_t)(logf((float)n / (float)near) /
                          logf((float)d->bucket_reach / (float)near) * (float)(half - near));
    return first + nib_min(far, half - 1);
}

/* Halves of a and b as complex numbers, a turned by the query's place and b by the key's: with
 * angles w_t = 10000^(-t / n) the product is sum_t Re(a_t conj(b_t) e^(-i w_t distance)). */
static float turned_product(const nib_attention_desc *d, int64_t distance)
{
    const float *a = d->turned->value, *b = d->turned_key->value;
    size_t n = d->turned->width / 2;
    double sum = 0;

    for (size_t t = 0; t < n; t++) {
        double angle = exp(-log(10000) * (double)t / (double)n) * -(double)distance;
        double same = (double)a[t] * (double)b[t] + (double)a[n + t] * (double)b[n + t];
        double across = (double)a[n + t] * (double)b[t] - (double)a[t] * (double)b[n + t];
        sum += same * cos(angle) - across * sin(angle);
    }
    return (float)sum;
}

float nib_distance_number(const nib_attention_desc *d, size_t head, int64_t distance)
{
    if (d->buckets) return d->buckets->value[bucket_of(d, distance) * d->heads + head];
    if (d->turned) return turned_product(d, distance);
    return d->by_distance->value[(int64_t)d->distance_zero + distance];
}

/* --- tables of distances --- */

int64_t nib_span_bucket(const nib_span *span, int64_t distance)
{
    size_t middle = span->buckets / 2, n = (size_t)llabs(distance);
    float far;

    if (!span->buckets || n <= middle) return distance;
    far = ceilf(logf((float)n / (float)middle) /
                logf((float)(span->most - 1) / (float)middle) * (float)(middle - 1));
    return (distance < 0 ? -1 : 1) * ((int64_t)middle + (int64_t)far);
}

size_t nib_span_reach(const nib_span *span, size_t length)
{
    int64_t last = nib_span_bucket(span, length ? (int64_t)length - 1 : 0);

    return nib_min((size_t)last + 1, span->half);
}

size_t nib_batch_span_rows(const nib_graph *g, const nib_batch *b, nib_axis axis)
{
    const uint32_t *offsets = b->axes[NIB_TOKENS].offsets;
    size_t longest = 1;

    for (size_t s = 0; s < b->sequences; s++)
        longest = nib_max(longest, offsets[s + 1] - offsets[s]);
    return 2 * nib_span_reach(&g->axes[axis].span, longest);
}
