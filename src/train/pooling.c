/* pooling.c - see pooling.h. */
#include "train/pooling.h"

#include <math.h>
#include <stdio.h>

static const char *const names[NIB_POOL_MODES] = {
    [NIB_MODE_CLS] = "cls", [NIB_MODE_MAX] = "max", [NIB_MODE_MEAN] = "mean",
    [NIB_MODE_MEAN_SQRT] = "mean_sqrt_len_tokens", [NIB_MODE_WEIGHTED] = "weightedmean",
    [NIB_MODE_LAST] = "lasttoken",
};

const char *nib_pool_name(nib_pool_mode mode) { return names[mode]; }

nib_status nib_pooler_add(nib_pooler *p, const char *name, size_t bytes, const char *where,
                          nib_error *err)
{
    int mode = 0;

    while (mode < NIB_POOL_MODES &&
           (strlen(names[mode]) != bytes || memcmp(names[mode], name, bytes) != 0))
        mode++;
    if (mode == NIB_POOL_MODES)
        return nib_fail(err, NIB_E_INVALID, "%s: pooling '%.*s' is not known, known are cls, max, "
                        "mean, mean_sqrt_len_tokens, weightedmean, lasttoken", where,
                        (int)nib_min(bytes, 60), name);
    for (size_t i = 0; i < p->count; i++)
        if (p->modes[i] == (nib_pool_mode)mode)
            return nib_fail(err, NIB_E_INVALID, "%s: pooling %s is named twice", where,
                            names[mode]);
    p->modes[p->count++] = (nib_pool_mode)mode;
    return NIB_OK;
}

nib_status nib_pooler_read(nib_pooler *p, const char *list, const char *where, nib_error *err)
{
    nib_status status = NIB_OK;

    p->count = 0;
    for (const char *end; list && !status; list = *end ? end + 1 : NULL) {
        end = list + strcspn(list, ",");
        status = nib_pooler_add(p, list, (size_t)(end - list), where, err);
    }
    return status;
}

void nib_pooler_rows(const nib_pooler *p, size_t length, size_t skip, size_t *first, size_t *last)
{
    bool all = p->count > 1;

    for (size_t i = 0; i < p->count; i++)
        all |= p->modes[i] != NIB_MODE_CLS && p->modes[i] != NIB_MODE_LAST;
    *first = skip;
    *last = length;
    if (all || skip == length) return;
    if (p->modes[0] == NIB_MODE_CLS) *last = skip + 1;
    else *first = length - 1;
}

/* Sums in double: their rounding is not seen in what is compared. */
static void weigh(const float *rows, size_t n, size_t width, nib_pool_mode mode, size_t place,
                  float *out)
{
    double total = 0;

    for (size_t r = 0; r < n; r++) total += mode == NIB_MODE_WEIGHTED ? (double)(place + r + 1) : 1;
    if (mode == NIB_MODE_MEAN_SQRT) total = sqrt(total);
    for (size_t c = 0; c < width; c++) {
        double sum = 0;
        for (size_t r = 0; r < n; r++)
            sum += (mode == NIB_MODE_WEIGHTED ? (double)(place + r + 1) : 1) *
                   (double)rows[r * width + c];
        out[c] = (float)(sum / total);
    }
}

static void take_greatest(const float *rows, size_t n, size_t width, float *out)
{
    memcpy(out, rows, width * sizeof *out);
    for (size_t r = 1; r < n; r++)
        for (size_t c = 0; c < width; c++) out[c] = fmaxf(out[c], rows[r * width + c]);
}

void nib_pooler_pool(const nib_pooler *p, const float *rows, size_t n, size_t width, size_t place,
                     float *out)
{
    assert(n > 0);
    for (size_t i = 0; i < p->count; i++, out += width) {
        switch (p->modes[i]) {
        case NIB_MODE_CLS: memcpy(out, rows, width * sizeof *out); break;
        case NIB_MODE_LAST: memcpy(out, rows + (n - 1) * width, width * sizeof *out); break;
        case NIB_MODE_MAX: take_greatest(rows, n, width, out); break;
        default: weigh(rows, n, width, p->modes[i], place, out);
        }
    }
}

static void unweigh(size_t n, size_t width, nib_pool_mode mode, size_t place, const float *d_out,
                    float *d_rows)
{
    double total = 0;

    for (size_t r = 0; r < n; r++) total += mode == NIB_MODE_WEIGHTED ? (double)(place + r + 1) : 1;
    if (mode == NIB_MODE_MEAN_SQRT) total = sqrt(total);
    for (size_t r = 0; r < n; r++) {
        double w = (mode == NIB_MODE_WEIGHTED ? (double)(place + r + 1) : 1) / total;
        for (size_t c = 0; c < width; c++) d_rows[r * width + c] += (float)(w * (double)d_out[c]);
    }
}

/* Each channel's goes to the first row that has the greatest value. */
static void give_greatest(const float *rows, size_t n, size_t width, const float *d_out,
                          float *d_rows)
{
    for (size_t c = 0; c < width; c++) {
        size_t best = 0;
        for (size_t r = 1; r < n; r++)
            if (rows[r * width + c] > rows[best * width + c]) best = r;
        d_rows[best * width + c] += d_out[c];
    }
}

static void add(size_t n, const float *x, float *y)
{
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

void nib_pooler_spread(const nib_pooler *p, const float *rows, size_t n, size_t width, size_t place,
                       const float *d_out, float *d_rows)
{
    memset(d_rows, 0, n * width * sizeof *d_rows);
    for (size_t i = 0; i < p->count; i++, d_out += width) {
        switch (p->modes[i]) {
        case NIB_MODE_CLS: add(width, d_out, d_rows); break;
        case NIB_MODE_LAST: add(width, d_out, d_rows + (n - 1) * width); break;
        case NIB_MODE_MAX: give_greatest(rows, n, width, d_out, d_rows); break;
        default: unweigh(n, width, p->modes[i], place, d_out, d_rows);
        }
    }
}

void nib_unit_length(float *x, size_t n)
{
    double sum = 0, length;

    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    length = fmax(sqrt(sum), 1e-12);
    for (size_t i = 0; i < n; i++) x[i] = (float)((double)x[i] / length);
}
