/* space_back_simd.h - backward of scan.h's recurrence without the delta rule, for heads that read
 * one q and k; the body of space_back_avx2.c and space_back_avx512.c.
 *
 * Within a chunk of C tokens, with F_ij = c_{j+1} ... c_i, f_i = F_i0, e_j = F_Cj and d_j =
 * beta_j v_j, S what the chunk begins with and G the gradient of S after it,
 *
 *     Dd_j = e_j G^T k_j + sum_{i >= j} F_ij (q_i . k_j) Do_i
 *     Dq_i = f_i S Do_i + sum_{j <= i} W_ij k_j        Dk_j = e_j G d_j + sum_{i >= j} W_ij q_i
 *     G before it = f_C G + sum_i f_i q_i Do_i^T       S after it = f_C S + sum_j e_j k_j d_j^T
 *
 * where W_ij = sum over heads of F_ij (Do_i . d_j): what lies within a chunk comes to q and k once
 * for all heads, and q . k is made once for them.  ln c_t is in all F_ij with j < t <= i, so that
 *
 *     Dln c_t = <G, f_C S> + sum_{j < t} e_j d_j . G^T k_j + sum_{i >= t} f_i q_i . S Do_i
 *             + sum_{j < t <= i} F_ij (q_i . k_j) (Do_i . d_j)
 *
 * of which every sum has parts of that form alone: none is the difference of two.
 *
 * A column of S meets no other, so the blocks of columns of all heads are gone through alike: all
 * forward, for S at the start of each chunk, then chunk by chunk backward.  S and G lie turned,
 * [columns, rows], and every matrix in strips of two vectors: what a product reads in its innermost
 * loop lies in one piece, padded with zeros.  Derived from scan.h's steps; Dao and Gu 2024,
 * arXiv:2405.21060, section 6, has the same chunks forward. */
#include <string.h>

#include "kernel/kernels.h"
#include "kernel/scan_columns.h"

enum { CHUNK = NIB_SPACE_CHUNK, STRIP = 2 * VN, TALL = 6 }; /* TALL: rows of a tile */

/* --- products --- */

/* Its number (m, k) is at[m row + (k / depth) piece + (k % depth) column]. */
typedef struct left { const float *at; size_t row, column, pieces, piece, depth; } left;
/* A strip: to = scale from + what is multiplied; from NULL: 0.  With `by`, to += what is
 * multiplied, of which a row's products with that of `by` are added to its `of`, lane by lane. */
typedef struct target {
    float *to;
    const float *from;
    V scale[2];
    const float *by;
    V *of;
} target;

static left left_of(const float *at, size_t row, size_t column, size_t depth)
{
    return (left){ at, row, column, 1, 0, depth };
}

static target target_of(float *to, const float *from, float scale)
{
    return (target){ to, from, { v_set(scale), v_set(scale) }, NULL, NULL };
}

NIB_INLINE void product_rows(size_t M, left a, const float *b, target c, size_t from_row)
{
    V x[TALL][2];
    size_t at_c = from_row * STRIP;

    for (size_t m = 0; m < M; m++)
        for (size_t j = 0; j < 2; j++)
            x[m][j] = c.from ? v_mul(c.scale[j], v_load(c.from + at_c + m * STRIP + j * VN))
                             : v_zero();
    for (size_t p = 0; p < a.pieces; p++) {
        const float *at = a.at + from_row * a.row + p * a.piece;
        for (size_t k = 0; k < a.depth; k++, at += a.column, b += STRIP) {
            V row[2] = { v_load(b), v_load(b + VN) };
#pragma GCC unroll 6
            for (size_t m = 0; m < M; m++) {
                V by = v_set(at[m * a.row]);
                for (size_t j = 0; j < 2; j++) x[m][j] = v_fma(by, row[j], x[m][j]);
            }
        }
    }
    for (size_t m = 0; c.by && m < M; m++)
        for (size_t j = 0; j < 2; j++) {
            size_t at = at_c + m * STRIP + j * VN;
            c.of[from_row + m] = v_fma(x[m][j], v_load(c.by + at), c.of[from_row + m]);
            x[m][j] = v_add(v_load(c.to + at), x[m][j]);
        }
    for (size_t m = 0; m < M; m++)
        for (size_t j = 0; j < 2; j++) v_store(c.to + at_c + m * STRIP + j * VN, x[m][j]);
}

/* `m` rows of a strip, in tiles as alike as can be: a low one waits for its own sums. */
static void product(size_t m, left a, const float *b, target c)
{
    size_t tiles = nib_ceil_div(m, TALL), i = 0;

    for (size_t t = 0; t < tiles; t++) {
        size_t rows = m / tiles + (t < m % tiles);
        switch (rows) {
        case 6: product_rows(6, a, b, c, i); break;
        case 5: product_rows(5, a, b, c, i); break;
        case 4: product_rows(4, a, b, c, i); break;
        case 3: product_rows(3, a, b, c, i); break;
        case 2: product_rows(2, a, b, c, i); break;
        default: product_rows(1, a, b, c, i);
        }
        i += rows;
    }
}

/* [m, n], multiples of 8, as [n, m]. */
static void turn(size_t m, size_t n, const float *from, size_t ld, float *to, size_t to_ld)
{
    for (size_t i = 0; i < m; i += 8)
        for (size_t j = 0; j < n; j += 8) {
            __m256i r[8];
            for (size_t k = 0; k < 8; k++) {
                const void *row = from + (i + k) * ld + j;
                r[k] = _mm256_loadu_si256((const __m256i *)row);
            }
            transpose8(r, (uint32_t *)(void *)(to + j * to_ld + i), to_ld);
        }
}

/* Lane by lane the sums over WIDE rows of x y, of a strip each. */
NIB_INLINE void sum_down(const float *x, const float *y, float *to)
{
    V sum[4] = { v_zero(), v_zero(), v_zero(), v_zero() };

    for (size_t i = 0; i < WIDE * STRIP; i += 4 * VN)
        for (size_t m = 0; m < 4; m++)
            sum[m] = v_fma(v_load(x + i + m * VN), v_load(y + i + m * VN), sum[m]);
    v_store(to, v_add(sum[0], sum[2]));
    v_store(to + VN, v_add(sum[1], sum[3]));
}

/* n: a multiple of 4 VN. */
NIB_INLINE float dot(size_t n, const float *x, const float *y)
{
    V sum[4] = { v_zero(), v_zero(), v_zero(), v_zero() };

    for (size_t i = 0; i < n; i += 4 * VN)
        for (size_t m = 0; m < 4; m++)
            sum[m] = v_fma(v_load(x + i + m * VN), v_load(y + i + m * VN), sum[m]);
    return v_sum(v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3])));
}

/* --- a call --- */

typedef struct space {
    const nib_scan_args *heads;
    size_t count, blocks, chunks; /* heads; blocks of columns of a head */
    size_t strips, state;         /* of a row of q; numbers of a block's S */
    float *starts, *g;            /* [heads, blocks, chunks] S; [heads, blocks] G */
    float *q, *k, *dq, *dk;       /* of the chunk, strips [CHUNK, STRIP] */
    float *turned_k;              /* strips [rows, STRIP] */
    float *qk, *w;                /* strips [CHUNK, STRIP]: of tokens, as all that follow */
    float *f, *near;              /* of a head: F_ij beta_j; F_ij q_i . k_j */
    float *v, *out, *dd;          /* of a block: [CHUNK, WIDE] */
    float *turned_v, *turned_dd;  /* strips [WIDE, STRIP] */
    float *pairs;                 /* Do_i . v_j */
} space;

/* A chunk's tokens; a head's numbers in it. */
typedef struct span { size_t t0, n; bool first, last; } span;
typedef struct gates {
    float beta[CHUNK], from[CHUNK], end[CHUNK]; /* f_i, e_j */
    float all;                                  /* f_C */
} gates;

static space space_of(const nib_scan_args *heads, size_t count, float *scratch)
{
    size_t wide = nib_round_up(heads->rows, STRIP);
    space p = { .heads = heads, .count = count, .blocks = nib_ceil_div(heads->columns, WIDE),
                .chunks = nib_ceil_div(heads->tokens, CHUNK), .strips = wide / STRIP,
                .state = wide * WIDE };
    float **const rows[] = { &p.q, &p.k, &p.dq, &p.dk, &p.turned_k };
    float **const small[] = { &p.qk, &p.w, &p.f, &p.near, &p.pairs };
    float **const blocks[] = { &p.v, &p.out, &p.dd, &p.turned_v, &p.turned_dd };

    p.starts = scratch;
    p.g = p.starts + count * p.blocks * p.chunks * p.state;
    scratch = p.g + count * p.blocks * p.state;
    for (size_t i = 0; i < NIB_COUNT(rows); i++, scratch += CHUNK * wide) *rows[i] = scratch;
    for (size_t i = 0; i < NIB_COUNT(small); i++, scratch += CHUNK * CHUNK) *small[i] = scratch;
    for (size_t i = 0; i < NIB_COUNT(blocks); i++, scratch += CHUNK * WIDE) *blocks[i] = scratch;
    return p;
}

static span span_of(const space *p, size_t chunk)
{
    size_t t0 = chunk * CHUNK;
    return (span){ t0, nib_min(CHUNK, p->heads->tokens - t0), chunk == 0, chunk + 1 == p->chunks };
}

static float *start_of(const space *p, size_t block, size_t t0)
{
    return p->starts + (block * p->chunks + t0 / CHUNK) * p->state;
}

/* The chunk's rows of q or k in strips, the last rows and columns filled up with zeros. */
static void pack_rows(const space *p, const span *s, const float *x, float *to)
{
    const nib_scan_args *a = p->heads;

    memset(to, 0, p->strips * CHUNK * STRIP * sizeof *to);
    for (size_t i = 0; i < s->n; i++)
        for (size_t c = 0; c < a->rows; c += VN)
            v_store(to + c / STRIP * CHUNK * STRIP + i * STRIP + c % STRIP,
                    v_get(NIB_F32, x + (s->t0 + i) * a->qk_stride, c, nib_min(VN, a->rows - c)));
}

/* q, k and q . k of a chunk. */
static void pack(const space *p, const span *s)
{
    size_t square = CHUNK * STRIP;

    pack_rows(p, s, p->heads->q, p->q);
    pack_rows(p, s, p->heads->k, p->k);
    for (size_t j = 0; j * STRIP < s->n; j++) {
        float *turned = p->turned_k + j * p->strips * STRIP * STRIP;
        left q = { p->q + j * STRIP * STRIP, STRIP, 1, p->strips, square, STRIP };
        for (size_t i = 0; i < p->strips; i++)
            turn(STRIP, STRIP, p->k + i * square + j * STRIP * STRIP, STRIP,
                 turned + i * STRIP * STRIP, STRIP);
        product(s->n - j * STRIP, q, turned,
                target_of(p->qk + j * square + j * STRIP * STRIP, NULL, 0));
    }
}

/* What a head's tokens fade by from the chunk's start and to its end. */
static gates gates_of(const nib_scan_args *a, const span *s)
{
    gates g = { .all = 1 };
    float end = 1;

    for (size_t i = 0; i < s->n; i++) {
        size_t j = s->n - 1 - i;
        g.beta[i] = a->beta[(s->t0 + i) * a->gate_stride];
        g.from[i] = g.all *= a->fade[(s->t0 + i) * a->gate_stride];
        g.end[j] = end;
        end *= a->fade[(s->t0 + j) * a->gate_stride];
    }
    return g;
}

/* Columns from c0 on, each row times its number; zeros behind them in the last strip. */
static void load_rows(const nib_scan_args *a, const span *s, const void *x, size_t stride,
                      size_t c0, float *to)
{
    size_t columns = nib_min(WIDE, a->columns - c0);

    for (size_t i = 0; i < s->n; i++) {
        size_t at = (s->t0 + i) * stride + c0;
        V row[NV];
        if (columns == WIDE) load_columns(a->type, x, at, WIDE, row);
        else load_columns(a->type, x, at, columns, row);
        for (size_t m = 0; m < NV; m++) v_store(to + i * WIDE + m * VN, row[m]);
    }
    memset(to + s->n * WIDE, 0, (nib_round_up(s->n, STRIP) - s->n) * WIDE * sizeof *to);
}

static void scale_rows(size_t n, float *x, const float *by)
{
    for (size_t i = 0; i < n; i++)
        for (size_t m = 0; m < NV; m++)
            v_store(x + i * WIDE + m * VN, v_mul(v_set(by[i]), v_load(x + i * WIDE + m * VN)));
}

/* v becomes e_j d_j. */
static void scale_values(const gates *g, size_t n, float *v)
{
    float by[CHUNK];

    for (size_t i = 0; i < n; i++) by[i] = g->beta[i] * g->end[i];
    scale_rows(n, v, by);
}

/* --- forward: S at the start of every chunk but the first, where it is 0 --- */

static void go_forward(const space *p, size_t chunk)
{
    span s = span_of(p, chunk);

    pack_rows(p, &s, p->heads->k, p->k);
    for (size_t h = 0; h < p->count; h++) {
        const nib_scan_args *a = &p->heads[h];
        gates g = gates_of(a, &s);
        for (size_t b = 0; b < p->blocks; b++) {
            float *from = start_of(p, h * p->blocks + b, s.t0), *to = from + p->state;
            load_rows(a, &s, a->v, a->v_stride, b * WIDE, p->v);
            scale_values(&g, s.n, p->v);
            for (size_t i = 0; i < p->state; i += WIDE * STRIP)
                product(WIDE, left_of(p->v, 1, WIDE, s.n), p->k + i / WIDE * CHUNK,
                        target_of(to + i, s.first ? NULL : from + i, g.all));
        }
    }
}

/* --- and backward --- */

/* F beta and F q . k of a head; a row at a time, of the strips that reach it. */
static void make_pairs(const space *p, const span *s, const nib_scan_args *a, const gates *g)
{
    static const float one[2 * CHUNK] = { [CHUNK] = 1 };
    V row[CHUNK / VN];

    for (size_t m = 0; m < CHUNK / VN; m++) row[m] = v_zero();
    for (size_t i = 0; i < s->n; i++) {
        V fade = v_set(a->fade[(s->t0 + i) * a->gate_stride]);
        for (size_t m = 0; m < 2 * (i / STRIP + 1); m++) {
            size_t at = m / 2 * CHUNK * STRIP + i * STRIP + m % 2 * VN;
            row[m] = v_fma(row[m], fade, v_load(one + CHUNK + m * VN - i));
            v_store(p->f + at, v_mul(row[m], v_load(g->beta + m * VN)));
            v_store(p->near + at, v_mul(row[m], v_load(p->qk + at)));
        }
    }
}

/* Dd, turned; own[j] = v_j . G^T k_j, sum[j] = v_j . Dd_j. */
static void make_dd(const space *p, const span *s, const gates *g, const float *grad, float *own,
                    float *sum)
{
    size_t block = WIDE * STRIP;

    for (size_t j = 0; j * STRIP < s->n; j++) {
        size_t i0 = j * STRIP;
        float *to = p->turned_dd + j * block, *v = p->turned_v + j * block;
        target c = { to, to, { v_load(g->end + i0), v_load(g->end + i0 + VN) }, NULL, NULL };
        turn(STRIP, WIDE, p->v + i0 * WIDE, WIDE, v, STRIP);
        if (s->last) {
            c.from = NULL; /* G is 0 */
        } else {
            product(WIDE, (left){ grad, STRIP, 1, p->strips, block, STRIP },
                    p->turned_k + j * p->strips * STRIP * STRIP, target_of(to, NULL, 0));
            sum_down(to, v, own + i0);
        }
        product(WIDE, left_of(p->out + i0 * WIDE, 1, WIDE, s->n - i0),
                p->near + j * CHUNK * STRIP + i0 * STRIP, c);
        sum_down(to, v, sum + i0);
        turn(WIDE, STRIP, to, STRIP, p->dd + i0 * WIDE, WIDE);
    }
}

static void give_dv(const space *p, const span *s, const nib_scan_args *a, const gates *g,
                    size_t c0)
{
    size_t columns = nib_min(WIDE, a->columns - c0);

    for (size_t i = 0; a->dv && i < s->n; i++) {
        size_t at = (s->t0 + i) * a->v_stride + c0;
        V x[NV];
        load_columns(a->type, a->dv, at, a->add_dv ? columns : 0, x);
        for (size_t m = 0; m < NV; m++) {
            x[m] = v_fma(v_set(a->skip), v_load(p->out + i * WIDE + m * VN), x[m]);
            x[m] = v_fma(v_set(g->beta[i]), v_load(p->dd + i * WIDE + m * VN), x[m]);
        }
        store_columns(a->type, a->dv, at, columns, x);
    }
}

/* W, and of each t the sum over j < t <= i. */
static void add_pairs(const space *p, const span *s, float within[CHUNK])
{
    static const float lane[] = { 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                  16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31 };
    V later[CHUNK / VN], of[CHUNK];

    for (size_t j = 0; j * STRIP < s->n; j++) {
        size_t i0 = j * STRIP, at = j * CHUNK * STRIP + i0 * STRIP;
        product(s->n - i0, left_of(p->out + i0 * WIDE, WIDE, 1, WIDE),
                p->turned_v + j * WIDE * STRIP, target_of(p->pairs + at, NULL, 0));
    }
    for (size_t m = 0; m < CHUNK / VN; m++) later[m] = v_zero();
    for (size_t i = 0; i < CHUNK; i++) of[i] = v_zero();
    for (size_t i = s->n; i-- > 0;)
        for (size_t m = 0; m < 2 * (i / STRIP + 1); m++) {
            size_t at = m / 2 * CHUNK * STRIP + i * STRIP + m % 2 * VN;
            V x = v_mul(v_load(p->pairs + at), v_load(p->f + at));
            v_store(p->w + at, v_add(v_load(p->w + at), x));
            x = v_fma(x, v_load(p->qk + at), later[m]);
            later[m] = v_if_less(v_load(lane + m * VN), v_set((float)i), x, v_zero());
            of[i] = v_add(of[i], later[m]);
        }
    for (size_t i = 0; i < CHUNK; i += 4) v_sum4(of + i, within + i);
}

/* Dq of the rows before the chunk, and its products with q. */
static void add_dq(const space *p, const span *s, const float *start, float of_start[CHUNK])
{
    V of[CHUNK];

    for (size_t i = 0; i < CHUNK; i++) of[i] = v_zero();
    for (size_t r = 0; r < p->strips; r++) {
        target c = target_of(p->dq + r * CHUNK * STRIP, NULL, 0);
        c.by = p->q + r * CHUNK * STRIP;
        c.of = of;
        product(s->n, left_of(p->out, WIDE, 1, WIDE), start + r * WIDE * STRIP, c);
    }
    for (size_t i = 0; i < CHUNK; i += 4) v_sum4(of + i, of_start + i);
}

/* What a chunk's rows have of S and G; G before the chunk.  v is e_j d_j, out is f_i Do_i. */
static void add_ends(const space *p, const span *s, const gates *g, const float *start, float *grad,
                     float of_start[CHUNK])
{
    if (!s->first) add_dq(p, s, start, of_start);
    for (size_t r = 0; r < p->strips; r++) {
        float *dk = p->dk + r * CHUNK * STRIP, *to = grad + r * WIDE * STRIP;
        if (!s->last) product(s->n, left_of(p->v, WIDE, 1, WIDE), to, target_of(dk, dk, 1));
        if (!s->first)
            product(WIDE, left_of(p->out, 1, WIDE, s->n), p->q + r * CHUNK * STRIP,
                    target_of(to, s->last ? NULL : to, g->all));
    }
}

static void block_back(const space *p, const span *s, size_t h, const gates *g, size_t b)
{
    const nib_scan_args *a = &p->heads[h];
    float *start = start_of(p, h * p->blocks + b, s->t0),
          *grad = p->g + (h * p->blocks + b) * p->state;
    float own[CHUNK] = { 0 }, sum[CHUNK], within[CHUNK], of_start[CHUNK] = { 0 }, later = 0,
          before = s->first || s->last ? 0 : g->all * dot(p->state, start, grad);

    load_rows(a, s, a->v, a->v_stride, b * WIDE, p->v);
    load_rows(a, s, a->d_o, a->o_stride, b * WIDE, p->out);
    make_dd(p, s, g, grad, own, sum);
    give_dv(p, s, a, g, b * WIDE);
    add_pairs(p, s, within);
    scale_rows(s->n, p->out, g->from);
    scale_values(g, s->n, p->v);
    add_ends(p, s, g, start, grad, of_start);
    for (size_t i = 0; i < s->n; i++) {
        size_t at = (s->t0 + i) * a->gate_stride;
        a->d_beta[at] += sum[i];
        a->d_log_fade[at] += before + within[i];
        before += own[i] * g->beta[i] * g->end[i];
    }
    for (size_t i = s->n; i-- > 0;)
        a->d_log_fade[(s->t0 + i) * a->gate_stride] += later += of_start[i];
}

static void give_rows(const space *p, const span *s, const float *from, float *to)
{
    const nib_scan_args *a = p->heads;

    for (size_t i = 0; i < s->n; i++)
        for (size_t c = 0; c < a->rows; c += VN)
            v_put(NIB_F32, to + (s->t0 + i) * a->dqk_stride, c, nib_min(VN, a->rows - c),
                  v_load(from + c / STRIP * CHUNK * STRIP + i * STRIP + c % STRIP));
}

/* W times k and q; W is 0 above its diagonal. */
static void finish(const space *p, const span *s)
{
    size_t square = CHUNK * STRIP;

    for (size_t r = 0; r < p->strips; r++)
        for (size_t j = 0; j * STRIP < s->n; j++) {
            size_t i0 = j * STRIP, at = r * square + i0 * STRIP, m = nib_min(STRIP, s->n - i0);
            left w = { p->w + i0 * STRIP, STRIP, 1, j + 1, square, STRIP };
            product(m, w, p->k + r * square, target_of(p->dq + at, p->dq + at, 1));
            product(m, left_of(p->w + j * square + i0 * STRIP, 1, STRIP, s->n - i0), p->q + at,
                    target_of(p->dk + at, p->dk + at, 1));
        }
    give_rows(p, s, p->dq, p->heads->dq);
    give_rows(p, s, p->dk, p->heads->dk);
}

static void go_back(const space *p, size_t chunk)
{
    span s = span_of(p, chunk);

    pack(p, &s);
    memset(p->w, 0, CHUNK * CHUNK * sizeof *p->w);
    memset(p->dq, 0, p->strips * CHUNK * STRIP * sizeof *p->dq);
    memset(p->dk, 0, p->strips * CHUNK * STRIP * sizeof *p->dk);
    for (size_t h = 0; h < p->count; h++) {
        gates g = gates_of(&p->heads[h], &s);
        make_pairs(p, &s, &p->heads[h], &g);
        for (size_t b = 0; b < p->blocks; b++) block_back(p, &s, h, &g, b);
    }
    finish(p, &s);
}

void NIB_VARIANT(space_back)(const nib_scan_args *heads, size_t count, float *scratch)
{
    space p = space_of(heads, count, scratch);

    for (size_t h = 0; h < count; h++)
        for (size_t t = 0; t < heads->tokens; t++)
            heads[h].d_log_fade[t * heads[h].gate_stride] =
                heads[h].d_beta[t * heads[h].gate_stride] = 0;
    for (size_t c = 0; c + 1 < p.chunks; c++) go_forward(&p, c);
    for (size_t c = p.chunks; c-- > 0;) go_back(&p, c);
}
