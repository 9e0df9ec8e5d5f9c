/* wkv_simd.h - the vector forms of wkv.h; the body of wkv_avx2.c and wkv_avx512.c.  A lane is a
 * channel.  v_exp() gives e^-87 for what is smaller, which beside the greatest term, e^0, is
 * nothing; where no token came before, what it is multiplied with is 0. */
#include "kernel/kernels.h"
#include "kernel/simd.h"

enum { WIDE = NIB_WKV_CHANNELS };

typedef struct sums { V num, den, m; } sums;
typedef struct average { V y, q, own, den; } average;

NIB_INLINE sums load_sums(const float *s)
{
    return (sums){ v_load(s), v_load(s + WIDE), v_load(s + 2 * WIDE) };
}
NIB_INLINE void store_sums(float *s, sums x)
{
    v_store(s, x.num);
    v_store(s + WIDE, x.den);
    v_store(s + 2 * WIDE, x.m);
}
NIB_INLINE sums no_sums(void) { return (sums){ v_zero(), v_zero(), v_set(NIB_WKV_NONE) }; }

NIB_INLINE average average_of(sums s, V u, V k, V v)
{
    V with = v_add(k, u), q = v_max(s.m, with);
    V e[2] = { v_sub(s.m, q), v_sub(with, q) }, den;

    v_exp_each(e, 2);
    den = v_fma(e[0], s.den, e[1]);
    return (average){ v_div(v_fma(e[0], s.num, v_mul(e[1], v)), den), q, e[1], den };
}

NIB_INLINE sums step(sums s, V w, V k, V v)
{
    V faded = v_add(s.m, w), m = v_max(faded, k);
    V e[2] = { v_sub(faded, m), v_sub(k, m) };

    v_exp_each(e, 2);
    return (sums){ v_fma(e[0], s.num, v_mul(e[1], v)), v_fma(e[0], s.den, e[1]), m };
}

void NIB_VARIANT(wkv)(const nib_wkv_args *a, float *state)
{
    for (size_t c = 0; c < a->channels; c += VN) {
        size_t n = nib_min(VN, a->channels - c);
        V w = v_get(NIB_F32, a->decay, c, n), u = v_get(NIB_F32, a->first, c, n);
        sums s = load_sums(state + c);
        for (size_t t = 0; t < a->tokens; t++) {
            V k = v_get(a->type, a->k, t * a->k_stride + c, n),
              v = v_get(a->type, a->v, t * a->v_stride + c, n);
            v_put(a->type, a->y, t * a->y_stride + c, n, average_of(s, u, k, v).y);
            s = step(s, w, k, v);
        }
        store_sums(state + c, s);
    }
}

NIB_INLINE void give(nib_dtype type, void *x, size_t at, size_t n, V value, bool add)
{
    v_put(type, x, at, n, add ? v_add(v_get(type, x, at, n), value) : value);
}

/* The gradients of both sums: A, B and n. */
typedef struct later { V a, b, n; } later;

/* Channels c .. c + n of tokens t0 .. t1; s: their sums before each of them. */
NIB_INLINE later chunk_back(const nib_wkv_args *a, size_t c, size_t n, size_t t0, size_t t1,
                            const float *s, later g)
{
    V w = v_get(NIB_F32, a->decay, c, n), u = v_get(NIB_F32, a->first, c, n);

    for (size_t t = t1; t-- > t0;) {
        V k = v_get(a->type, a->k, t * a->k_stride + c, n),
          v = v_get(a->type, a->v, t * a->v_stride + c, n);
        average m = average_of(load_sums(s + (t - t0) * 3 * WIDE), u, k, v);
        V d = v_div(v_get(a->type, a->dy, t * a->y_stride + c, n), m.den), p = v_mul(m.own, d);
        V of = v_exp(v_add(k, g.n)), faded = v_add(w, g.n), q = v_sub(v_zero(), m.q);
        V to = v_max(q, faded), e[2] = { v_sub(q, to), v_sub(faded, to) };
        if (a->dv) give(a->type, a->dv, t * a->v_stride + c, n, v_fma(of, g.a, p), a->add_dv);
        if (a->dk)
            give(a->type, a->dk, t * a->k_stride + c, n,
                 v_fma(p, v_sub(v, m.y), v_mul(of, v_fma(g.a, v, g.b))), a->add_dk);
        v_exp_each(e, 2);
        d = v_mul(d, e[0]);
        g = (later){ v_fma(e[1], g.a, d), v_sub(v_mul(e[1], g.b), v_mul(d, m.y)), to };
    }
    return g;
}

/* Sums s before token t0 -> before token t1; to: before each, `every` apart, from t0 on. */
NIB_INLINE sums sums_ahead(const nib_wkv_args *a, size_t c, size_t n, size_t t0, size_t t1,
                           size_t every, sums s, float *to)
{
    V w = v_get(NIB_F32, a->decay, c, n);

    for (size_t t = t0; t < t1; t++) {
        if ((t - t0) % every == 0) store_sums(to + (t - t0) / every * 3 * WIDE, s);
        s = step(s, w, v_get(a->type, a->k, t * a->k_stride + c, n),
                 v_get(a->type, a->v, t * a->v_stride + c, n));
    }
    return s;
}

void NIB_VARIANT(wkv_back)(const nib_wkv_args *a, float *scratch)
{
    size_t chunks = nib_ceil_div(a->tokens, NIB_WKV_CHUNK);
    float *inside = scratch + chunks * 3 * WIDE;

    for (size_t c = 0; c < a->channels; c += VN) {
        size_t n = nib_min(VN, a->channels - c);
        later g = { v_zero(), v_zero(), v_set(NIB_WKV_NONE) };
        (void)sums_ahead(a, c, n, 0, a->tokens, NIB_WKV_CHUNK, no_sums(), scratch + c);
        for (size_t i = chunks; i-- > 0;) {
            size_t t0 = i * NIB_WKV_CHUNK, t1 = nib_min(t0 + NIB_WKV_CHUNK, a->tokens);
            (void)sums_ahead(a, c, n, t0, t1, 1, load_sums(scratch + i * 3 * WIDE + c),
                             inside + c);
            g = chunk_back(a, c, n, t0, t1, inside + c, g);
        }
    }
}
