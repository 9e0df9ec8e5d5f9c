/* scan_simd.h - the vector forms of scan.h; the body of scan_avx2.c and scan_avx512.c.  A lane is a
 * column of S; sums over columns (of backward) are made lane by lane, then over the lanes. */
#include <math.h>
#include <string.h>

#include "kernel/kernels.h"
#include "kernel/simd.h"

enum { WIDE = NIB_SCAN_COLUMNS, NV = WIDE / VN }; /* a row of S is so many vectors */

/* The columns of a token's v or o. */
NIB_INLINE void load_columns(nib_dtype type, const void *x, size_t at, size_t columns, V to[NV])
{
    for (size_t j = 0; j < NV; j++) {
        size_t n = columns > j * VN ? nib_min(VN, columns - j * VN) : 0;
        to[j] = n ? v_get(type, x, at + j * VN, n) : v_zero();
    }
}
NIB_INLINE void store_columns(nib_dtype type, void *x, size_t at, size_t columns, const V from[NV])
{
    for (size_t j = 0; j < NV; j++)
        if (columns > j * VN)
            v_put(type, x, at + j * VN, nib_min(VN, columns - j * VN), from[j]);
}

NIB_INLINE float sum_columns(const V x[NV])
{
    V sum = x[0];
    for (size_t j = 1; j < NV; j++) sum = v_add(sum, x[j]);
    return v_sum(sum);
}

/* S^T k: two rows side by side, for each sum waits for the one before. */
NIB_INLINE void read_rows(size_t rows, const float *s, const float *k, V r[NV])
{
    V odd[NV];
    size_t i = 0;

    for (size_t j = 0; j < NV; j++) r[j] = odd[j] = v_zero();
    for (; i + 2 <= rows; i += 2) {
        V first = v_set(k[i]), second = v_set(k[i + 1]);
        for (size_t j = 0; j < NV; j++) r[j] = v_fma(v_load(s + i * WIDE + j * VN), first, r[j]);
        for (size_t j = 0; j < NV; j++)
            odd[j] = v_fma(v_load(s + (i + 1) * WIDE + j * VN), second, odd[j]);
    }
    for (; i < rows; i++)
        for (size_t j = 0; j < NV; j++)
            r[j] = v_fma(v_load(s + i * WIDE + j * VN), v_set(k[i]), r[j]);
    for (size_t j = 0; j < NV; j++) r[j] = v_add(r[j], odd[j]);
}

/* r and d of a token. */
NIB_INLINE void make_difference(const nib_scan_args *a, size_t t, const float *s, const V v[NV],
                                V r[NV], V d[NV])
{
    V fade = v_set(a->fade[t * a->gate_stride]), beta = v_set(a->beta[t * a->gate_stride]);

    if (a->delta) read_rows(a->rows, s, a->k + t * a->qk_stride, r);
    for (size_t j = 0; j < NV; j++) {
        r[j] = a->delta ? v_mul(fade, r[j]) : v_zero();
        d[j] = v_mul(beta, v_sub(v[j], r[j]));
    }
}

/* From S to the state after token t, which may lie in the same place. */
NIB_INLINE void step(const nib_scan_args *a, size_t t, const float *from, float *to, V r[NV],
                     V d[NV])
{
    const float *k = a->k + t * a->qk_stride;
    V v[NV], fade = v_set(a->fade[t * a->gate_stride]);

    load_columns(a->type, a->v, t * a->v_stride, a->columns, v);
    make_difference(a, t, from, v, r, d);
    for (size_t i = 0; i < a->rows; i++) {
        V by = v_set(k[i]);
        for (size_t j = 0; j < NV; j++) {
            size_t at = i * WIDE + j * VN;
            v_store(to + at, v_fma(by, d[j], v_mul(fade, v_load(from + at))));
        }
    }
}

NIB_INLINE void step_out(const nib_scan_args *a, size_t t, float *s)
{
    const float *q = a->q + t * a->qk_stride, *k = a->k + t * a->qk_stride;
    V v[NV], r[NV], d[NV], o[NV], fade = v_set(a->fade[t * a->gate_stride]);

    load_columns(a->type, a->v, t * a->v_stride, a->columns, v);
    make_difference(a, t, s, v, r, d);
    for (size_t j = 0; j < NV; j++) o[j] = v_mul(v_set(a->skip), v[j]);
    for (size_t i = 0; i < a->rows; i++) {
        V by = v_set(k[i]), read = v_set(q[i]);
        for (size_t j = 0; j < NV; j++) {
            size_t at = i * WIDE + j * VN;
            V x = v_fma(by, d[j], v_mul(fade, v_load(s + at)));
            v_store(s + at, x);
            o[j] = v_fma(read, x, o[j]);
        }
    }
    store_columns(a->type, a->o, t * a->o_stride, a->columns, o);
}

void NIB_VARIANT(scan)(const nib_scan_args *a, float *state)
{
    for (size_t t = 0; t < a->tokens; t++) step_out(a, t, state);
}

/* --- backward --- */

/* What a token's rows are combined with: columns of Do, d and Dr. */
typedef struct back_columns { V out[NV], d[NV], dr[NV], fade; } back_columns;

/* `count` rows, at most four, whose sums over columns are made together: G becomes that before the
 * token; the parts of Dq and Dk; log += <G, c S>, which has a vector for each of the four. */
NIB_INLINE void rows_some(const back_columns *c, size_t count, const float *k, const float *s,
                          float *g, float dq[4], float dk[4], V log[4])
{
    V q[4], kk[4];

    for (size_t m = 0; m < 4; m++) q[m] = kk[m] = v_zero();
#pragma GCC unroll 4
    for (size_t m = 0; m < count; m++) {
        V by = v_set(k[m]);
#pragma GCC unroll 4
        for (size_t j = 0; j < NV; j++) {
            size_t at = m * WIDE + j * VN;
            V x = v_mul(c->fade, v_load(s + at)), y = v_load(g + at);
            q[m] = v_fma(x, c->out[j], q[m]);
            kk[m] = v_fma(y, c->d[j], kk[m]);
            kk[m] = v_fma(x, c->dr[j], kk[m]);
            y = v_fma(by, c->dr[j], y);
            log[m] = v_fma(y, x, log[m]);
            v_store(g + at, v_mul(c->fade, y));
        }
    }
    v_sum4(q, dq);
    v_sum4(kk, dk);
}

NIB_INLINE void rows_back(const nib_scan_args *a, size_t t, const back_columns *c, const float *s,
                          float *g)
{
    const float *k = a->k + t * a->qk_stride;
    float *dq = a->dq + t * a->dqk_stride, *dk = a->dk + t * a->dqk_stride;
    float along, sums[2][4];
    V log[4] = { v_zero(), v_zero(), v_zero(), v_zero() }, both[NV];

    for (size_t j = 0; j < NV; j++) both[j] = v_mul(c->out[j], c->d[j]);
    along = sum_columns(both); /* <d, Do>: what the token itself added to S */
    for (size_t i = 0; i < a->rows; i += 4) {
        size_t n = nib_min(4, a->rows - i);
        if (n == 4) rows_some(c, 4, k + i, s + i * WIDE, g + i * WIDE, sums[0], sums[1], log);
        else rows_some(c, n, k + i, s + i * WIDE, g + i * WIDE, sums[0], sums[1], log);
        for (size_t m = 0; m < n; m++) {
            dq[i + m] += sums[0][m] + k[i + m] * along;
            dk[i + m] += sums[1][m];
        }
    }
    a->d_log_fade[t * a->gate_stride] +=
        v_sum(v_add(v_add(log[0], log[1]), v_add(log[2], log[3])));
}

/* G += q Do^T, and Dd = G^T k. */
NIB_INLINE void add_out(const nib_scan_args *a, size_t t, const V out[NV], float *g, V dd[NV])
{
    const float *q = a->q + t * a->qk_stride, *k = a->k + t * a->qk_stride;

    for (size_t j = 0; j < NV; j++) dd[j] = v_zero();
    for (size_t i = 0; i < a->rows; i++) {
        V read = v_set(q[i]), by = v_set(k[i]);
        for (size_t j = 0; j < NV; j++) {
            size_t at = i * WIDE + j * VN;
            V y = v_fma(read, out[j], v_load(g + at));
            v_store(g + at, y);
            dd[j] = v_fma(y, by, dd[j]);
        }
    }
}

NIB_INLINE void step_back(const nib_scan_args *a, size_t t, const float *s, const float *r,
                          const float *d, float *g)
{
    V v[NV], dd[NV], dv[NV], difference[NV], beta = v_set(a->beta[t * a->gate_stride]);
    back_columns c = { .fade = v_set(a->fade[t * a->gate_stride]) };

    load_columns(a->type, a->v, t * a->v_stride, a->columns, v);
    load_columns(a->type, a->d_o, t * a->o_stride, a->columns, c.out);
    add_out(a, t, c.out, g, dd);
    for (size_t j = 0; j < NV; j++) {
        c.d[j] = v_load(d + j * VN);
        c.dr[j] = a->delta ? v_sub(v_zero(), v_mul(beta, dd[j])) : v_zero();
        difference[j] = v_mul(dd[j], v_sub(v[j], v_load(r + j * VN)));
        dv[j] = v_fma(beta, dd[j], v_mul(v_set(a->skip), c.out[j]));
    }
    a->d_beta[t * a->gate_stride] += sum_columns(difference);
    rows_back(a, t, &c, s, g);
    if (!a->dv) return;
    if (a->add_dv) {
        load_columns(a->type, a->dv, t * a->v_stride, a->columns, v);
        for (size_t j = 0; j < NV; j++) dv[j] = v_add(v[j], dv[j]);
    }
    store_columns(a->type, a->dv, t * a->v_stride, a->columns, dv);
}

/* One token more of a chunk, with its r and d kept. */
NIB_INLINE void step_again(const nib_scan_args *a, size_t t, const float *from, float *to,
                           float *r_to, float *d_to)
{
    V r[NV], d[NV];

    step(a, t, from, to, r, d);
    for (size_t j = 0; j < NV; j++) v_store(r_to + j * VN, r[j]), v_store(d_to + j * VN, d[j]);
}

void NIB_VARIANT(scan_back)(const nib_scan_args *a, float *scratch)
{
    size_t block = a->rows * WIDE, chunks = nib_ceil_div(a->tokens, NIB_SCAN_CHUNK);
    float *starts = scratch, *inside = starts + chunks * block;
    float *g = inside + NIB_SCAN_CHUNK * block, *r = g + block, *d = r + NIB_SCAN_CHUNK * WIDE;

    memset(starts, 0, block * sizeof *starts);
    memset(g, 0, block * sizeof *g);
    for (size_t t = 0; t + NIB_SCAN_CHUNK < chunks * NIB_SCAN_CHUNK; t++) {
        size_t c = t / NIB_SCAN_CHUNK;
        const float *from = starts + (t % NIB_SCAN_CHUNK ? c + 1 : c) * block;
        step_again(a, t, from, starts + (c + 1) * block, r, d);
    }
    for (size_t c = chunks; c-- > 0;) {
        size_t t0 = c * NIB_SCAN_CHUNK, n = nib_min(NIB_SCAN_CHUNK, a->tokens - t0);
        for (size_t i = 0; i < n; i++) /* the first from the chunk's start */
            step_again(a, t0 + i, i ? inside + (i - 1) * block : starts + c * block,
                       inside + i * block, r + i * WIDE, d + i * WIDE);
        for (size_t i = n; i-- > 0;)
            step_back(a, t0 + i, i ? inside + (i - 1) * block : starts + c * block, r + i * WIDE,
                      d + i * WIDE, g);
    }
}

/* --- vectors of length 1 --- */

NIB_INLINE float inverse_length(nib_dtype type, size_t count, const void *x)
{
    V sum = v_zero();

    for (size_t i = 0; i < count; i += VN) {
        V a = v_get(type, x, i, nib_min(VN, count - i));
        sum = v_fma(a, a, sum);
    }
    return 1 / sqrtf(v_sum(sum) + 1e-6f);
}

void NIB_VARIANT(unit)(nib_dtype type, size_t count, const void *x, float scale, float *y)
{
    V by = v_set(scale * inverse_length(type, count, x));

    for (size_t i = 0; i < count; i += VN) {
        size_t n = nib_min(VN, count - i);
        v_put(NIB_F32, y, i, n, v_mul(by, v_get(type, x, i, n)));
    }
}

void NIB_VARIANT(unit_back)(nib_dtype type, size_t count, const void *x, float scale,
                            const float *dy, void *dx, bool accumulate)
{
    float length = inverse_length(type, count, x);
    V by = v_set(length), sum = v_zero(), along, factor = v_set(scale * length);

    for (size_t i = 0; i < count; i += VN) {
        size_t n = nib_min(VN, count - i);
        sum = v_fma(v_mul(by, v_get(type, x, i, n)), v_get(NIB_F32, dy, i, n), sum);
    }
    along = v_set(v_sum(sum));
    for (size_t i = 0; i < count; i += VN) {
        size_t n = nib_min(VN, count - i);
        V u = v_mul(by, v_get(type, x, i, n));
        V d = v_mul(factor, v_sub(v_get(NIB_F32, dy, i, n), v_mul(u, along)));
        v_put(type, dx, i, n, accumulate ? v_add(v_get(type, dx, i, n), d) : d);
    }
}
