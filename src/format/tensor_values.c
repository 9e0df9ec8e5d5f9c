/* tensor_values.c - see tensor_values.h. */
#include "format/tensor_values.h"

#include <math.h>

bool nib_tensor_is_plain(const nib_tensor *t)
{
    return !t->rows && !t->columns && t->offset == 0 && !t->rest && !t->decay;
}

/* Where value i of a tensor of two lies: of which, and where there. */
static uint64_t place_in_parts(const nib_tensor *t, uint64_t i, const nib_tensor **part)
{
    uint64_t inner = 1, both = t->shape[t->axis], half = both / 2, outer, index, in;
    bool second;

    for (unsigned d = t->axis + 1; d < t->rank; d++) inner *= t->shape[d];
    in = i % inner;
    index = i / inner % both;
    outer = i / inner / both;
    second = t->turns ? index % 2 : index >= half;
    *part = second ? t->rest : t;
    index = t->turns ? index / 2 : index % half;
    return (outer * half + index) * inner + in;
}

/* The same of a row of a head's keys or values. */
static uint64_t place_in_latent(const nib_tensor *t, uint64_t i, const nib_tensor **part)
{
    uint64_t heads = t->rest->shape[0], values = t->rest->shape[1], in = t->rest->shape[2];
    uint64_t per = t->shape[0] / heads, keys = per - values;
    uint64_t row = i / in, column = i % in, head = row / per, at = row % per;

    *part = at < keys ? t : t->rest;
    return at < keys ? (head * in + column) * keys + at
                     : (head * values + at - keys) * in + column;
}

/* The same where rows or columns are moved. */
static uint64_t place_of_moved(const nib_tensor *t, uint64_t i, const nib_tensor **part)
{
    uint64_t width = t->elements / t->shape[0], row = i / width, column = i % width;
    uint64_t first = t->rest ? t->shape[0] - t->rest->shape[0] : t->shape[0];

    if (t->rows) row = t->rows[row];
    if (t->columns) column = t->columns[column];
    *part = row < first ? t : t->rest;
    return (row < first ? row : row - first) * width + column;
}

void nib_tensor_values(const nib_tensor *t, uint64_t at, size_t count, float *to)
{
    if (!t->rows && !t->columns && !t->rest)
        nib_convert(to, NIB_F32, (const uint8_t *)t->data + at * nib_dtype_bytes(t->dtype),
                    t->dtype, count);
    else
        for (size_t i = 0; i < count; i++) {
            const nib_tensor *part = t;
            uint64_t from = t->latent               ? place_in_latent(t, at + i, &part)
                            : t->rows || t->columns ? place_of_moved(t, at + i, &part)
                                                    : place_in_parts(t, at + i, &part);
            nib_convert(to + i, NIB_F32,
                        (const uint8_t *)part->data + from * nib_dtype_bytes(part->dtype),
                        part->dtype, 1);
        }
    for (size_t i = 0; t->offset != 0 && i < count; i++) to[i] += t->offset;
    for (size_t i = 0; t->decay && i < count; i++) to[i] = logf(-to[i]);
}
