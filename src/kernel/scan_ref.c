/* scan_ref.c - the recurrence plainly; what the vector forms are held to. */
#include <math.h>
#include <string.h>

#include "kernel/kernels.h"

enum { WIDE = NIB_SCAN_COLUMNS };

/* From S to the state after token t, which may lie in the same place; r and d of its columns. */
static void step(const nib_scan_args *a, size_t t, const float *from, float *to, float *r, float *d)
{
    const float *k = a->k + t * a->qk_stride;
    float fade = a->fade[t * a->gate_stride], beta = a->beta[t * a->gate_stride];

    for (size_t j = 0; j < WIDE; j++) {
        float v = j < a->columns ? nib_get(a->type, a->v, t * a->v_stride + j) : 0;
        r[j] = 0;
        for (size_t i = 0; a->delta && i < a->rows; i++) r[j] += from[i * WIDE + j] * k[i];
        r[j] *= fade;
        d[j] = beta * (v - r[j]);
        for (size_t i = 0; i < a->rows; i++)
            to[i * WIDE + j] = fade * from[i * WIDE + j] + k[i] * d[j];
    }
}

void nib_scan_ref(const nib_scan_args *a, float *state)
{
    float r[WIDE], d[WIDE];

    for (size_t t = 0; t < a->tokens; t++) {
        const float *q = a->q + t * a->qk_stride;
        step(a, t, state, state, r, d);
        for (size_t j = 0; j < a->columns; j++) {
            float o = a->skip * nib_get(a->type, a->v, t * a->v_stride + j);
            for (size_t i = 0; i < a->rows; i++) o += state[i * WIDE + j] * q[i];
            nib_put(a->type, a->o, t * a->o_stride + j, o);
        }
    }
}

/* Token t: G from after it to before it; S before it, and its r and d. */
static void step_back(const nib_scan_args *a, size_t t, const float *s, const float *r,
                      const float *d, float *g)
{
    const float *q = a->q + t * a->qk_stride, *k = a->k + t * a->qk_stride;
    float *dq = a->dq + t * a->dqk_stride, *dk = a->dk + t * a->dqk_stride;
    float fade = a->fade[t * a->gate_stride], beta = a->beta[t * a->gate_stride];

    for (size_t j = 0; j < a->columns; j++) {
        float out = nib_get(a->type, a->d_o, t * a->o_stride + j), dd = 0, dr, dv;
        float v = nib_get(a->type, a->v, t * a->v_stride + j);
        for (size_t i = 0; i < a->rows; i++) {
            g[i * WIDE + j] += q[i] * out;
            dd += g[i * WIDE + j] * k[i];
            dq[i] += (fade * s[i * WIDE + j] + k[i] * d[j]) * out;
        }
        dr = a->delta ? -beta * dd : 0;
        dv = beta * dd + a->skip * out;
        a->d_beta[t * a->gate_stride] += dd * (v - r[j]);
        for (size_t i = 0; i < a->rows; i++) {
            float faded = fade * s[i * WIDE + j];
            dk[i] += g[i * WIDE + j] * d[j] + faded * dr;
            g[i * WIDE + j] += k[i] * dr;
            a->d_log_fade[t * a->gate_stride] += g[i * WIDE + j] * faded;
            g[i * WIDE + j] *= fade;
        }
        if (a->dv && a->add_dv) dv += nib_get(a->type, a->dv, t * a->v_stride + j);
        if (a->dv) nib_put(a->type, a->dv, t * a->v_stride + j, dv);
    }
}

static void back_of_block(const nib_scan_args *a, float *scratch)
{
    size_t block = a->rows * WIDE, chunks = nib_ceil_div(a->tokens, NIB_SCAN_CHUNK);
    float *starts = scratch, *inside = starts + chunks * block;
    float *g = inside + NIB_SCAN_CHUNK * block, *r = g + block, *d = r + NIB_SCAN_CHUNK * WIDE;

    memset(starts, 0, block * sizeof *starts);
    memset(g, 0, block * sizeof *g);
    for (size_t t = 0; t + NIB_SCAN_CHUNK < chunks * NIB_SCAN_CHUNK; t++) {
        size_t c = t / NIB_SCAN_CHUNK;
        const float *from = starts + (t % NIB_SCAN_CHUNK ? c + 1 : c) * block;
        step(a, t, from, starts + (c + 1) * block, r, d);
    }
    for (size_t c = chunks; c-- > 0;) {
        size_t t0 = c * NIB_SCAN_CHUNK, n = nib_min(NIB_SCAN_CHUNK, a->tokens - t0);
        for (size_t i = 0; i < n; i++)
            step(a, t0 + i, i ? inside + (i - 1) * block : starts + c * block, inside + i * block,
                 r + i * WIDE, d + i * WIDE);
        for (size_t i = n; i-- > 0;)
            step_back(a, t0 + i, i ? inside + (i - 1) * block : starts + c * block, r + i * WIDE,
                      d + i * WIDE, g);
    }
}

void nib_scan_back_ref(const nib_scan_args *a, float *scratch)
{
    size_t each = nib_dtype_bytes(a->type);

    for (size_t t = 0; t < a->tokens; t++) {
        if (!a->add_dqk) memset(a->dq + t * a->dqk_stride, 0, a->rows * sizeof *a->dq);
        if (!a->add_dqk) memset(a->dk + t * a->dqk_stride, 0, a->rows * sizeof *a->dk);
        a->d_log_fade[t * a->gate_stride] = a->d_beta[t * a->gate_stride] = 0;
    }
    for (size_t c = 0; c < a->columns; c += WIDE) {
        nib_scan_args b = *a;
        b.columns = nib_min(a->columns - c, WIDE);
        b.v = (const char *)a->v + c * each;
        b.d_o = (const char *)a->d_o + c * each;
        if (a->dv) b.dv = (char *)a->dv + c * each;
        back_of_block(&b, scratch);
    }
}

void nib_space_back_ref(const nib_scan_args *heads, size_t count, float *scratch)
{
    for (size_t h = 0; h < count; h++) {
        nib_scan_args a = heads[h];
        a.dq = heads->dq, a.dk = heads->dk;
        a.add_dqk = h > 0;
        nib_scan_back_ref(&a, scratch);
    }
}

static float inverse_length(nib_dtype type, size_t n, const void *x)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)nib_get(type, x, i) * (double)nib_get(type, x, i);
    return 1 / sqrtf((float)sum + 1e-6f);
}

void nib_unit_ref(nib_dtype type, size_t n, const void *x, float scale, float *y)
{
    float by = scale * inverse_length(type, n, x);
    for (size_t i = 0; i < n; i++) y[i] = by * nib_get(type, x, i);
}

void nib_unit_back_ref(nib_dtype type, size_t n, const void *x, float scale, const float *dy,
                       void *dx, bool accumulate)
{
    float by = inverse_length(type, n, x);
    double along = 0;

    for (size_t i = 0; i < n; i++) along += (double)(by * nib_get(type, x, i)) * (double)dy[i];
    for (size_t i = 0; i < n; i++) {
        float d = scale * by * (dy[i] - by * nib_get(type, x, i) * (float)along);
        nib_put(type, dx, i, accumulate ? nib_get(type, dx, i) + d : d);
    }
}
