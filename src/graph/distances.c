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
