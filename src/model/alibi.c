/* alibi.c - see alibi.h. */
#include "model/alibi.h"

#include <math.h>

float *nib_alibi_slopes(nib_reader *r, size_t heads, double scale)
{
    float *slopes = nib_read_alloc(r, heads, sizeof *slopes);
    size_t power = 1, count = 0;
    double base, between;

    if (!slopes) return NULL;
    while (power * 2 <= heads) power *= 2;
    base = exp2(-exp2(-(log2((double)power) - 3)));
    between = exp2(-exp2(-(log2((double)(2 * power)) - 3)));
    for (size_t i = 1; i <= power; i++) slopes[count++] = (float)(pow(base, (double)i) / scale);
    for (size_t i = 1; count < heads; i += 2)
        slopes[count++] = (float)(pow(between, (double)i) / scale);
    return slopes;
}
