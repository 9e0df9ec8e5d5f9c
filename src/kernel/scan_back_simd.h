/* scan_back_simd.h - backward of scan.h's delta rule by products of matrices; the body of
 * scan_back_avx2.c and scan_back_avx512.c.  (State spaces have space_back_simd.h.)
 *
 * Within a chunk of C tokens, with F_ij = c_{j+1} ... c_i, f_i = F_i0 and S what the chunk begins
 * with,
 *
 *     r_i = f_i S^T k_i + sum_{j < i} A_ij d_j         A_ij = F_ij k_i . k_j     d_i = beta_i e_i
 *     o_i = f_i S^T q_i + sum_{j <= i} B_ij d_j   B_ij = F_ij q_i . k_j     e_i = v_i - r_i
 *     S after it = F_C S + sum_j F_Cj k_j d_j^T
 *
 * so that S is read once a chunk, and not once a token.  With G the gradient of S after it, token
 * by token from the last,
 *
 *     Dd_j = sum_{i >= j} B_ij Do_i + sum_{i > j} A_ij Dr_i + F_Cj G^T k_j      Dr_j = -beta_j Dd_j
 *
 * and then, with w_ij = Do_i . d_j (j <= i) and u_ij = Dr_i . d_j (j < i, or i and j exchanged),
 *
 *     Dq_i = f_i S Do_i + sum_{j <= i} F_ij w_ij k_j
 *     Dk_j = f_j S Dr_j + F_Cj G d_j + sum_{i >= j} F_ij w_ij q_i + sum_{i != j} F_ij u_ij k_i
 *     G before it = F_C G + sum_i f_i (q_i Do_i^T + k_i Dr_i^T)
 *
 * ln c_t is in all F_ij with j < t <= i: Dln c_t is the sum of the parts that have one, those of
 * Dq and Dk by their products with q and k.  S goes block by block of columns; A and B are made
 * once, w and u are summed over the blocks, and with the last block a chunk is finished.  Derived
 * from scan.h's steps; Yang et al. 2024, arXiv:2412.06464, section 3.2, has the same chunks
 * forward. */
#include <string.h>

#include "kernel/kernels.h"
#include "kernel/scan_columns.h"

enum { MOST = NIB_SCAN_CHUNK, TALL = 6 }; /* TALL: rows of a tile */

/* --- products --- */

typedef struct factor { const float *at; size_t row, column; } factor; /* strides */
typedef struct target { float *to; const float *from; size_t ld; float scale; } target;

/* to = scale from + A B for M rows of A and `vectors` vectors of columns, the last of `last`
 * numbers; from NULL: 0. */
NIB_INLINE void product_tile(size_t M, size_t vectors, size_t last, factor a, size_t depth,
                             const float *b, size_t ld, target c)
{
    V x[TALL][2], scale = v_set(c.scale);

    for (size_t m = 0; m < M; m++)
        for (size_t j = 0; j < vectors; j++)
            x[m][j] = c.from ? v_mul(scale, v_get(NIB_F32, c.from + m * c.ld, j * VN, last))
                             : v_zero();
    for (size_t k = 0; k < depth; k++) {
        V row[2];
        for (size_t j = 0; j < vectors; j++) row[j] = v_get(NIB_F32, b + k * ld, j * VN, last);
#pragma GCC unroll 6
        for (size_t m = 0; m < M; m++) {
            V by = v_set(a.at[m * a.row + k * a.column]);
            for (size_t j = 0; j < vectors; j++) x[m][j] = v_fma(by, row[j], x[m][j]);
        }
    }
    for (size_t m = 0; m < M; m++)
        for (size_t j = 0; j < vectors; j++)
            v_put(NIB_F32, c.to + m * c.ld, j * VN, last, x[m][j]);
}

static target target_at(target c, size_t at)
{
    return (target){ c.to + at, c.from ? c.from + at : NULL, c.ld, c.scale };
}

/* Calls it with M, at most TALL, as a constant. */
#define WITH_ROWS(M, ...)                                                                          \
    do {                                                                                           \
        if ((M) == 6) product_tile(6, __VA_ARGS__);                                                \
        else if ((M) == 5) product_tile(5, __VA_ARGS__);                                           \
        else if ((M) == 4) product_tile(4, __VA_ARGS__);                                           \
        else if ((M) == 3) product_tile(3, __VA_ARGS__);                                           \
        else if ((M) == 2) product_tile(2, __VA_ARGS__);                                           \
        else product_tile(1, __VA_ARGS__);                                                         \
    } while (0)

/* [m, n] of A [m, depth] and B [depth, n]. */
static void product(size_t m, size_t n, size_t depth, factor a, const float *b, size_t ld, target c)
{
    for (size_t i = 0; i < m; i += TALL) {
        size_t rows = nib_min(TALL, m - i), j = 0;
        factor at = { a.at + i * a.row, a.row, a.column };
        target row = target_at(c, i * c.ld);

        for (; j + 2 * VN <= n; j += 2 * VN)
            WITH_ROWS(rows, 2, VN, at, depth, b + j, ld, target_at(row, j));
        for (; j + VN <= n; j += VN)
            WITH_ROWS(rows, 1, VN, at, depth, b + j, ld, target_at(row, j));
        if (j < n)
            WITH_ROWS(rows, 1, n - j, at, depth, b + j, ld, target_at(row, j));
    }
}

NIB_INLINE float dot(size_t n, const float *x, const float *y)
{
    V sum[4] = { v_zero(), v_zero(), v_zero(), v_zero() }; /* chains that do not wait for another */
    size_t i = 0;

    for (; i + 4 * VN <= n; i += 4 * VN)
        for (size_t m = 0; m < 4; m++)
            sum[m] = v_fma(v_load(x + i + m * VN), v_load(y + i + m * VN), sum[m]);
    for (; i < n; i += VN) {
        size_t left = nib_min(VN, n - i);
        sum[0] = v_fma(v_get(NIB_F32, x, i, left), v_get(NIB_F32, y, i, left), sum[0]);
    }
    return v_sum(v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3])));
}

/* x . y + z . w */
NIB_INLINE float two_dots(size_t n, const float *x, const float *y, const float *z, const float *w)
{
    V sum[4] = { v_zero(), v_zero(), v_zero(), v_zero() };
    size_t i = 0;

    for (; i + 2 * VN <= n; i += 2 * VN)
        for (size_t m = 0; m < 2; m++) {
            size_t at = i + m * VN;
            sum[m] = v_fma(v_load(x + at), v_load(y + at), sum[m]);
            sum[2 + m] = v_fma(v_load(z + at), v_load(w + at), sum[2 + m]);
        }
    for (; i < n; i += VN) {
        size_t left = nib_min(VN, n - i);
        sum[0] = v_fma(v_get(NIB_F32, x, i, left), v_get(NIB_F32, y, i, left), sum[0]);
        sum[2] = v_fma(v_get(NIB_F32, z, i, left), v_get(NIB_F32, w, i, left), sum[2]);
    }
    return v_sum(v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3])));
}

/* x_m . y_j for two rows of x and four of y, which may be one row. */
NIB_INLINE void dots_tile(size_t n, const float *const x[2], const float *const y[4], float to[8])
{
    V sum[8];

    for (size_t m = 0; m < 8; m++) sum[m] = v_zero();
    for (size_t i = 0; i < n; i += VN) {
        size_t left = nib_min(VN, n - i);
        V a = v_get(NIB_F32, x[0], i, left), b = v_get(NIB_F32, x[1], i, left);
        for (size_t m = 0; m < 4; m++) {
            V row = v_get(NIB_F32, y[m], i, left);
            sum[m] = v_fma(a, row, sum[m]);
            sum[4 + m] = v_fma(b, row, sum[4 + m]);
        }
    }
    v_sum4(sum, to);
    v_sum4(sum + 4, to + 4);
}

/* to[i][j] = x_i . y_j for j < i + more, of n rows of x and y each, more 0 or 1.  Above this
 * triangle some numbers of `to` [MOST, MOST] are written that mean nothing. */
NIB_INLINE void dots_below(size_t width, size_t n, const float *x, size_t x_ld, const float *y,
                           size_t y_ld, size_t more, float *to)
{
    for (size_t i = 0; i < n; i += 2) {
        const float *rows[2] = { x + i * x_ld, x + nib_min(i + 1, n - 1) * x_ld };
        for (size_t j = 0; j < i + 1 + more; j += 4) {
            const float *by[4];
            float eight[8];

            for (size_t m = 0; m < 4; m++) by[m] = y + nib_min(j + m, n - 1) * y_ld;
            dots_tile(width, rows, by, eight);
            memcpy(to + i * MOST + j, eight, 4 * sizeof *to);
            if (i + 1 < n) memcpy(to + (i + 1) * MOST + j, eight + 4, 4 * sizeof *to);
        }
    }
}

/* [rows, WIDE] as [WIDE, ld]. */
static void transpose(size_t rows, const float *from, float *to, size_t ld)
{
    size_t i = 0;

    for (; i + 8 <= rows; i += 8)
        for (size_t j = 0; j < WIDE; j += 8) {
            __m256i r[8];
            for (size_t m = 0; m < 8; m++) {
                const void *row = from + (i + m) * WIDE + j;
                r[m] = _mm256_loadu_si256((const __m256i *)row);
            }
            transpose8(r, (uint32_t *)(void *)(to + j * ld + i), ld);
        }
    for (; i < rows; i++)
        for (size_t j = 0; j < WIDE; j++) to[j * ld + i] = from[i * WIDE + j];
}

/* --- a call --- */

typedef struct back {
    const nib_scan_args *a;
    size_t rows, wide, chunks, block; /* wide: of a transposed block; block: its numbers */
    float *starts;               /* [chunks] S of the block of columns */
    float *g, *g_rows, *s_rows;  /* G; G and S transposed */
    float *e;                    /* [tokens, WIDE] */
    float *d, *out, *dr, *dd;    /* [MOST, WIDE] */
    float *near_k, *near_q;      /* [tokens, MOST] A and B */
    float *out_d, *read_d;       /* [tokens, MOST] w and u */
    float *later;                /* [tokens] the parts of Dk with G, times k */
    float *dq, *dk;              /* the call's, or of this head alone, from token */
    size_t d_ld, d_token;        /* t * d_token on: d_token is 0 where a chunk's are enough */
} back;

static back back_of(const nib_scan_args *a, float *scratch)
{
    size_t chunks = nib_ceil_div(a->tokens, MOST), all = chunks * MOST;
    back b = { .a = a, .rows = a->rows, .wide = nib_round_up(a->rows, 32), .chunks = chunks,
               .block = a->rows * WIDE, .starts = scratch };

    b.g = b.starts + chunks * b.block;
    b.g_rows = b.g + b.wide * WIDE;
    b.s_rows = b.g_rows + b.wide * WIDE;
    b.e = b.s_rows + b.wide * WIDE;
    b.d = b.e + all * WIDE;
    b.out = b.d + MOST * WIDE;
    b.dr = b.out + MOST * WIDE;
    b.dd = b.dr + MOST * WIDE;
    b.near_k = b.dd + MOST * WIDE;
    b.near_q = b.near_k + all * MOST;
    b.out_d = b.near_q + all * MOST;
    b.read_d = b.out_d + all * MOST;
    b.later = b.read_d + all * MOST;
    b.dq = a->add_dqk ? b.later + all : a->dq;
    b.dk = a->add_dqk ? b.dq + a->tokens * b.rows : a->dk;
    b.d_ld = a->add_dqk ? b.rows : a->dqk_stride;
    b.d_token = a->add_dqk && a->columns <= WIDE ? 0 : b.d_ld;
    return b;
}

/* A chunk's tokens, and how S fades within it: f[i][j] = F_ij, 0 where j > i, from[i] = f_i. */
typedef struct span {
    size_t t0, n;
    float f[MOST][MOST], from[MOST];
} span;

static span span_of(const back *b, size_t chunk)
{
    span s = { .t0 = chunk * MOST, .n = nib_min(MOST, b->a->tokens - chunk * MOST) };
    float all = 1, before[MOST] = { 0 };
    V row[MOST / VN];

    for (size_t i = 0; i < s.n; i++) {
        float fade = b->a->fade[(s.t0 + i) * b->a->gate_stride];
        s.from[i] = all *= fade;
        for (size_t m = 0; m < MOST / VN; m++) {
            row[m] = v_mul(v_load((i ? s.f[i - 1] : before) + m * VN), v_set(fade));
            v_store(s.f[i] + m * VN, row[m]);
        }
        s.f[i][i] = 1;
    }
    return s;
}

static float to_end(const span *s, size_t j) { return s->f[s->n - 1][j]; }
static const float *key(const back *b, size_t t) { return b->a->k + t * b->a->qk_stride; }
static const float *query(const back *b, size_t t) { return b->a->q + t * b->a->qk_stride; }
static float beta_of(const back *b, size_t t) { return b->a->beta[t * b->a->gate_stride]; }

/* A and B of a chunk. */
static void make_pairs(const back *b, const span *s)
{
    size_t ld = b->a->qk_stride;
    float *kk = b->near_k + s->t0 * MOST, *qk = b->near_q + s->t0 * MOST;

    dots_below(b->rows, s->n, key(b, s->t0), ld, key(b, s->t0), ld, 0, kk);
    dots_below(b->rows, s->n, query(b, s->t0), ld, key(b, s->t0), ld, 1, qk);
    for (size_t i = 0; i < s->n * MOST; i += VN) {
        V f = v_load(&s->f[0][0] + i);
        v_store(kk + i, v_mul(v_load(kk + i), f));
        v_store(qk + i, v_mul(v_load(qk + i), f));
    }
}

/* --- a block of columns, forward: e of every token, S at the start of every chunk --- */

static void make_e(const back *b, const span *s, size_t c0, size_t columns)
{
    const nib_scan_args *a = b->a;

    for (size_t i = 0; i < s->n; i++) {
        size_t t = s->t0 + i;
        const float *near = b->near_k + t * MOST, *read = b->dd + i * WIDE;
        V e[NV], beta = v_set(beta_of(b, t)), from = v_set(s->from[i]);

        load_columns(a->type, a->v, t * a->v_stride + c0, columns, e);
        for (size_t m = 0; m < NV; m++) {
            V r = v_mul(from, v_load(read + m * VN));
            for (size_t j = 0; j < i; j++)
                r = v_fma(v_set(near[j]), v_load(b->d + j * WIDE + m * VN), r);
            e[m] = v_sub(e[m], r);
        }
        for (size_t m = 0; m < NV; m++) {
            v_store(b->e + t * WIDE + m * VN, e[m]);
            v_store(b->d + i * WIDE + m * VN, v_mul(beta, e[m]));
        }
    }
}

/* x[i] *= by[i] for rows of WIDE numbers. */
NIB_INLINE void scale_row(float *x, float by)
{
    for (size_t m = 0; m < NV; m++) v_store(x + m * VN, v_mul(v_set(by), v_load(x + m * VN)));
}

static void go_forward(const back *b, size_t c0, size_t columns)
{
    memset(b->starts, 0, b->block * sizeof *b->starts);
    for (size_t c = 0; c < b->chunks; c++) {
        span s = span_of(b, c);
        float *from = b->starts + c * b->block;

        product(s.n, WIDE, b->rows, (factor){ key(b, s.t0), b->a->qk_stride, 1 }, from, WIDE,
                (target){ b->dd, NULL, WIDE, 0 });
        make_e(b, &s, c0, columns);
        if (c + 1 == b->chunks) break;
        for (size_t j = 0; j < s.n; j++) scale_row(b->d + j * WIDE, to_end(&s, j));
        product(b->rows, WIDE, s.n, (factor){ key(b, s.t0), 1, b->a->qk_stride }, b->d, WIDE,
                (target){ from + b->block, from, WIDE, s.from[s.n - 1] });
    }
}

/* --- and backward --- */

static void load_chunk(const back *b, const span *s, size_t c0, size_t columns)
{
    const nib_scan_args *a = b->a;

    for (size_t i = 0; i < s->n; i++) {
        size_t t = s->t0 + i;
        V out[NV], beta = v_set(beta_of(b, t));

        load_columns(a->type, a->d_o, t * a->o_stride + c0, columns, out);
        for (size_t m = 0; m < NV; m++) {
            v_store(b->out + i * WIDE + m * VN, out[m]);
            v_store(b->d + i * WIDE + m * VN, v_mul(beta, v_load(b->e + t * WIDE + m * VN)));
        }
    }
}

/* dd holds G^T k: the parts of ln c that have G. */
static void fade_of_end(const back *b, const span *s, const float *start)
{
    float before = s->from[s->n - 1] * dot(b->block, b->g, start);

    for (size_t i = 0; i < s->n; i++) {
        size_t t = s->t0 + i;
        float own = to_end(s, i) * dot(WIDE, b->dd + i * WIDE, b->d + i * WIDE);

        b->a->d_log_fade[t * b->a->gate_stride] += before;
        b->later[t] += own;
        before += own;
    }
}

/* Dd and what follows from it, from the last token to the first. */
static void make_dd(const back *b, const span *s, size_t c0, size_t columns)
{
    const nib_scan_args *a = b->a;

    for (size_t j = s->n; j-- > 0;) {
        size_t t = s->t0 + j;
        V x[NV], dv[NV], old[NV], sum = v_zero(), beta = v_set(beta_of(b, t)),
          end = v_set(to_end(s, j));

        for (size_t m = 0; m < NV; m++) x[m] = v_mul(end, v_load(b->dd + j * WIDE + m * VN));
        for (size_t i = j; i < s->n; i++) {
            V by = v_set(b->near_q[(s->t0 + i) * MOST + j]);
            for (size_t m = 0; m < NV; m++)
                x[m] = v_fma(by, v_load(b->out + i * WIDE + m * VN), x[m]);
        }
        for (size_t i = j + 1; i < s->n; i++) {
            V by = v_set(b->near_k[(s->t0 + i) * MOST + j]);
            for (size_t m = 0; m < NV; m++)
                x[m] = v_fma(by, v_load(b->dr + i * WIDE + m * VN), x[m]);
        }
        for (size_t m = 0; m < NV; m++) {
            dv[m] = v_mul(beta, x[m]);
            v_store(b->dr + j * WIDE + m * VN, v_sub(v_zero(), dv[m]));
            sum = v_fma(x[m], v_load(b->e + t * WIDE + m * VN), sum);
        }
        a->d_beta[t * a->gate_stride] += v_sum(sum);
        if (!a->dv) continue;
        load_columns(a->type, a->dv, t * a->v_stride + c0, a->add_dv ? columns : 0, old);
        for (size_t m = 0; m < NV; m++) dv[m] = v_add(old[m], dv[m]);
        store_columns(a->type, a->dv, t * a->v_stride + c0, columns, dv);
    }
}

/* w and u of this block, added to those of the others. */
static void add_pairs(const back *b, const span *s)
{
    float *w = b->out_d + s->t0 * MOST, *u = b->read_d + s->t0 * MOST, more[MOST * MOST] = { 0 };

    dots_below(WIDE, s->n, b->out, WIDE, b->d, WIDE, 1, more);
    for (size_t i = 0; i < s->n * MOST; i += VN)
        v_store(w + i, v_add(v_load(w + i), v_load(more + i)));
    dots_below(WIDE, s->n, b->dr, WIDE, b->d, WIDE, 0, more);
    for (size_t i = 0; i < s->n * MOST; i += VN)
        v_store(u + i, v_add(v_load(u + i), v_load(more + i)));
}

/* The parts of Dq and Dk that have S or G, and G before the chunk. */
static void add_ends(const back *b, const span *s, const float *start, bool first_block)
{
    const nib_scan_args *a = b->a;
    float *dq = b->dq + s->t0 * b->d_token, *dk = b->dk + s->t0 * b->d_token;

    for (size_t i = 0; i < s->n; i++) {
        scale_row(b->out + i * WIDE, s->from[i]);
        scale_row(b->dr + i * WIDE, s->from[i]);
        scale_row(b->d + i * WIDE, to_end(s, i));
    }
    transpose(b->rows, start, b->s_rows, b->wide);
    transpose(b->rows, b->g, b->g_rows, b->wide);
    product(s->n, b->rows, WIDE, (factor){ b->out, WIDE, 1 }, b->s_rows, b->wide,
            (target){ dq, first_block ? NULL : dq, b->d_ld, 1 });
    product(s->n, b->rows, WIDE, (factor){ b->d, WIDE, 1 }, b->g_rows, b->wide,
            (target){ dk, first_block ? NULL : dk, b->d_ld, 1 });
    product(s->n, b->rows, WIDE, (factor){ b->dr, WIDE, 1 }, b->s_rows, b->wide,
            (target){ dk, dk, b->d_ld, 1 });
    if (s->t0 == 0) return; /* nothing is before it */
    product(b->rows, WIDE, s->n, (factor){ query(b, s->t0), 1, a->qk_stride }, b->out, WIDE,
            (target){ b->g, b->g, WIDE, s->from[s->n - 1] });
    product(b->rows, WIDE, s->n, (factor){ key(b, s->t0), 1, a->qk_stride }, b->dr, WIDE,
            (target){ b->g, b->g, WIDE, 1 });
}

/* --- what all blocks have summed --- */

/* Of a chunk: its own fades' part of ln c. */
static void fade_within(const back *b, const span *s)
{
    const nib_scan_args *a = b->a;
    float of[MOST]; /* of token i: the parts with F_ij, j before t, or with f_i */

    for (size_t i = 0; i < s->n; i++) {
        size_t t = s->t0 + i;
        size_t at = s->t0 * b->d_token + i * b->d_ld;
        of[i] = two_dots(b->rows, query(b, t), b->dq + at, key(b, t), b->dk + at) - b->later[t];
    }
    for (size_t t = 0; t < s->n; t++) {
        float sum = 0;
        for (size_t i = t; i < s->n; i++) {
            size_t at = (s->t0 + i) * MOST + t - 1;
            if (t) of[i] += b->near_q[at] * b->out_d[at] + b->near_k[at] * b->read_d[at];
            sum += of[i];
        }
        a->d_log_fade[(s->t0 + t) * a->gate_stride] += sum;
    }
}

NIB_INLINE void add_row(size_t n, const float *x, float *y)
{
    for (size_t i = 0; i < n; i += VN) {
        size_t left = nib_min(VN, n - i);
        v_put(NIB_F32, y, i, left, v_add(v_get(NIB_F32, y, i, left), v_get(NIB_F32, x, i, left)));
    }
}

static void finish(const back *b, const span *s)
{
    const nib_scan_args *a = b->a;
    float *w = b->out_d + s->t0 * MOST, *u = b->read_d + s->t0 * MOST;
    float *dq = b->dq + s->t0 * b->d_token, *dk = b->dk + s->t0 * b->d_token;
    const float *q = query(b, s->t0), *k = key(b, s->t0);
    target to_q = { dq, dq, b->d_ld, 1 }, to_k = { dk, dk, b->d_ld, 1 };

    fade_within(b, s);
    for (size_t i = 0; i < s->n * MOST; i += VN) /* w, which is 0 above its diagonal then */
        v_store(w + i, v_mul(v_load(w + i), v_load(&s->f[0][0] + i)));
    for (size_t i = 0; i < s->n; i++) {
        for (size_t j = 0; j < i; j++)
            u[j * MOST + i] = u[i * MOST + j] *= s->f[i][j];
        u[i * MOST + i] = 0;
    }
    for (size_t i = 0; i < s->n; i += TALL) {
        size_t m = nib_min(TALL, s->n - i), at = i * b->d_ld;
        product(m, b->rows, i + m, (factor){ w + i * MOST, MOST, 1 }, k, a->qk_stride,
                target_at(to_q, at));
        product(m, b->rows, s->n - i, (factor){ w + i * (MOST + 1), 1, MOST },
                q + i * a->qk_stride, a->qk_stride, target_at(to_k, at));
    }
    product(s->n, b->rows, s->n, (factor){ u, MOST, 1 }, k, a->qk_stride, to_k);
    for (size_t i = 0; a->add_dqk && i < s->n; i++) {
        add_row(b->rows, dq + i * b->d_ld, a->dq + (s->t0 + i) * a->dqk_stride);
        add_row(b->rows, dk + i * b->d_ld, a->dk + (s->t0 + i) * a->dqk_stride);
    }
}

/* A chunk is finished as soon as its last block has gone by, while its numbers are near. */
static void go_back(const back *b, size_t c0, size_t columns)
{
    memset(b->g, 0, b->block * sizeof *b->g);
    for (size_t c = b->chunks; c-- > 0;) {
        span s = span_of(b, c);
        const float *start = b->starts + c * b->block;

        load_chunk(b, &s, c0, columns);
        product(s.n, WIDE, b->rows, (factor){ key(b, s.t0), b->a->qk_stride, 1 }, b->g, WIDE,
                (target){ b->dd, NULL, WIDE, 0 });
        fade_of_end(b, &s, start);
        make_dd(b, &s, c0, columns);
        add_pairs(b, &s);
        add_ends(b, &s, start, c0 == 0);
        if (c0 + columns == b->a->columns) finish(b, &s);
    }
}

void NIB_VARIANT(scan_back)(const nib_scan_args *a, float *scratch)
{
    back b = back_of(a, scratch);
    size_t all = b.chunks * MOST;

    assert(a->delta && a->skip == 0);
    memset(b.near_k, 0, (4 * all * MOST + all) * sizeof *b.near_k); /* later is behind them */
    for (size_t t = 0; t < a->tokens; t++)
        a->d_log_fade[t * a->gate_stride] = a->d_beta[t * a->gate_stride] = 0;
    for (size_t c = 0; c < b.chunks; c++) {
        span s = span_of(&b, c);
        make_pairs(&b, &s);
    }
    for (size_t c0 = 0; c0 < a->columns; c0 += WIDE) {
        go_forward(&b, c0, nib_min(WIDE, a->columns - c0));
        go_back(&b, c0, nib_min(WIDE, a->columns - c0));
    }
}
