/* attention_amx.c - attention of bfloat16 with the products of a tile on AMX's tiles; what lies
 * between them is attention_tile.h, in float.  Probabilities and slopes are rounded to bfloat16
 * where they are multiplied, as flash attention does in that type.
 *
 *     scores [key][query]  = keys, as rows           x queries, as columns of pairs of channels
 *     o, dq [query][...]  += probabilities, turned   x keys or values, as pairs of keys
 *     dk, dv [key][...]   += probabilities, as rows  x queries or do, as pairs of queries
 *
 * A row that is not finite takes part as zeros where it would meet the zeros of those that do not
 * see it; who sees it gets NaN. */
#include "kernel/squares_amx.h"

#include "kernel/attention_tile.h"

#ifdef NIB_EMULATE_AMX
nib_attention_forward_fn NIB_TILES_VARIANT(attention_forward); /* only the tests know them */
nib_attention_backward_fn NIB_TILES_VARIANT(attention_backward);
#endif

enum { PAIRS = KEYS / 2, TERMS = 64 /* of a panel of keys or of queries */ };

typedef struct half_rows { const uint16_t *at; size_t ld; } half_rows;

typedef struct work {
    tile t;
    tile_state tiles;
    bool finite;                        /* all that this call reads is */
    bool bad_keys[KEYS], bad_queries[QUERIES];
    size_t queries;                     /* of the tile, in whole squares */
    uint16_t *k_space, *v_space, *rows; /* [64, wide] rows that do not lie so */
    uint16_t *k_pairs, *v_pairs;        /* panels whose terms are keys */
    uint16_t *q_columns, *o_columns;    /* panels whose terms are channels, of q and do */
    uint16_t *q_pairs, *o_pairs;        /* panels whose terms are queries */
    uint16_t *p;                        /* [KEYS, QUERIES] */
    uint32_t *pairs;                    /* [PAIRS, QUERIES] */
    uint16_t *turned;                   /* [2][QUERIES][32]: the first 32 keys of each, others */
} work;

/* The float spaces of a tile hold twice as many values of bfloat16. */
static work divide_halves(const nib_attention_args *a, void *scratch)
{
    work w = { .t = divide(a, NIB_PANEL, scratch) };
    const tile *t = &w.t;

    w.k_space = (uint16_t *)(void *)t->k_space;
    w.k_pairs = w.k_space + KEYS * t->wide;
    w.v_space = (uint16_t *)(void *)t->v_space;
    w.v_pairs = w.v_space + KEYS * t->v_wide;
    w.q_columns = (uint16_t *)(void *)t->qt;
    w.q_pairs = w.q_columns + QUERIES * t->wide;
    w.o_columns = (uint16_t *)(void *)t->dot;
    w.o_pairs = w.o_columns + QUERIES * t->v_wide;
    w.rows = (uint16_t *)(void *)t->o; /* before it holds sums */
    w.p = (uint16_t *)(void *)t->rest;
    w.turned = w.p + KEYS * QUERIES;
    w.pairs = (uint32_t *)(void *)(w.turned + KEYS * QUERIES);
    return w;
}

/* --- rows --- */

static bool is_finite(const uint16_t *x, size_t n)
{
    uint16_t any = 0;

    for (size_t i = 0; i < n; i++) any |= (uint16_t)((x[i] & 0x7f80) == 0x7f80);
    return !any;
}

static bool all_finite(const void *x, nib_heads layout, size_t row, size_t count, size_t head,
                       size_t d)
{
    for (size_t r = 0; r < count; r++)
        if (!is_finite((const uint16_t *)x + nib_head_at(layout, row + r, head), d)) return false;
    return true;
}

static bool keys_finite(const nib_attention_args *a)
{
    size_t head = nib_kv_head(a);

    return all_finite(a->k, a->kv_heads_k, a->kv0, a->kv_len, head, a->head_dim) &&
           all_finite(a->v, a->kv_heads_v, a->kv0, a->kv_len, head, a->v_dim);
}

static bool queries_finite(const nib_attention_args *a)
{
    return all_finite(a->q, a->q_heads, a->q0, a->q_len, a->head, a->head_dim) &&
           all_finite(a->d_o, plain_heads(a), a->q0, a->q_len, a->head, a->v_dim);
}

/* 64 rows of a head, of which there are `count`: where they lie, or with zeros behind channels and
 * rows, and in place of what is not finite. */
static half_rows load_rows(const work *w, const void *x, nib_heads layout, size_t row, size_t count,
                           size_t head, size_t d, size_t wide, uint16_t *space, bool bad[64])
{
    if (w->finite && count == KEYS && d == wide)
        return (half_rows){ (const uint16_t *)x + nib_head_at(layout, row, head),
                            layout.row_stride };
    memset(space, 0, KEYS * wide * sizeof *space);
    for (size_t r = 0; r < count; r++) {
        const uint16_t *from = (const uint16_t *)x + nib_head_at(layout, row + r, head);
        if (w->finite || is_finite(from, d)) memcpy(space + r * wide, from, d * sizeof *from);
        else bad[r] = true;
    }
    return (half_rows){ space, wide };
}

/* A panel whose terms are the rows. */
static void make_pairs(half_rows x, size_t wide, uint16_t *panel)
{
    for (size_t r = 0; r < PAIRS; r++)
        for (size_t c = 0; c < wide; c += NIB_STRIP) {
            const uint16_t *low = x.at + 2 * r * x.ld + c, *high = low + x.ld;
            __m512i a = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)low));
            __m512i b = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)high));
            _mm512_storeu_si512(panel + c * TERMS + r * 2 * NIB_STRIP,
                                _mm512_or_si512(a, _mm512_slli_epi32(b, 16)));
        }
}

/* Panels of the tile's queries, or of do: whose terms are channels, and where `pairs` is not NULL,
 * queries. */
static void load_queries(work *w, const void *x, nib_heads layout, size_t d, size_t wide,
                         uint16_t *columns, uint16_t *pairs)
{
    const tile *t = &w->t;
    half_rows q = load_rows(w, x, layout, t->a->q0 + t->i0, t->count, t->a->head, d, wide, w->rows,
                            w->bad_queries);

    if (q.ld % 2) { /* no whole words */
        for (size_t r = 0; r < QUERIES; r++)
            memcpy(w->rows + r * wide, q.at + r * q.ld, wide * sizeof *q.at);
        q = (half_rows){ w->rows, wide };
    }
    for (size_t n = 0; n < QUERIES; n += NIB_PANEL)
        NIB_VARIANT(pack_transposed)(wide / 2, (const uint32_t *)(const void *)(q.at + n * q.ld),
                                     q.ld / 2, (uint32_t *)(void *)(columns + n * wide),
                                     wide / 2 * NIB_STRIP);
    if (pairs) make_pairs(q, wide, pairs);
}

/* --- products --- */

/* c [M, N] = or += rows of a times a panel of K terms. */
static void multiply(work *w, size_t M, size_t N, size_t K, operands a, const uint16_t *panel,
                     float *c, size_t ldc, bool add)
{
    for (size_t n = 0; n < N; n += NIB_PANEL)
        for (size_t m = 0; m < M; m += SQUARE) {
            float *to = c + m * ldc + n;
            operands f = { a.a + m * a.lda, a.lda, a.next, panel + n * K,
                          panel + (n + NIB_STRIP) * K };
            begin_sums(&w->tiles, true, add ? to : NULL, ldc);
            add_steps(&w->tiles, true, K, f);
            end_sums(&w->tiles, true, to, ldc);
        }
}

/* s[key][query] = keys (or values) . queries (or do). */
static void dots(work *w, half_rows keys, size_t wide, const uint16_t *columns, float *s)
{
    multiply(w, KEYS, w->queries, wide, (operands){ .a = keys.at, .lda = keys.ld, .next = STEP },
             columns, s, QUERIES, false);
}

/* out[query] += sum of s[key][query] times a key's row. */
static void gather_keys(work *w, const float *s, const uint16_t *pairs, size_t wide, float *out)
{
    for (size_t r = 0; r < PAIRS; r++)
        NIB_VARIANT(pack_pairs)(w->queries, s + 2 * r * QUERIES, s + (2 * r + 1) * QUERIES,
                                w->pairs + r * QUERIES);
    NIB_VARIANT(pack_transposed)(w->queries, w->pairs, QUERIES, (uint32_t *)(void *)w->turned,
                                 QUERIES * NIB_STRIP);
    multiply(w, w->queries, wide, KEYS,
             (operands){ .a = w->turned, .lda = STEP, .next = QUERIES * STEP }, pairs, out, wide,
             true);
}

/* out[key] += sum of s[key][query] times a query's row. */
static void gather_queries(work *w, const float *s, const uint16_t *pairs, size_t wide, float *out)
{
    for (size_t k = 0; k < KEYS; k++) {
        NIB_VARIANT(to_bf16)(w->queries, s + k * QUERIES, w->p + k * QUERIES);
        memset(w->p + k * QUERIES + w->queries, 0, (QUERIES - w->queries) * sizeof *w->p);
    }
    multiply(w, KEYS, wide, QUERIES, (operands){ .a = w->p, .lda = QUERIES, .next = STEP }, pairs,
             out, wide, true);
}

/* Scores of rows that were replaced by zeros. */
static void spoil(const work *w)
{
    const tile *t = &w->t;

    for (size_t k = 0; k < KEYS && !w->finite; k++)
        for (size_t i = 0; i < t->count; i++)
            if (w->bad_keys[k] || w->bad_queries[i]) t->s[k * QUERIES + i] = NAN;
}

/* --- tiles --- */

/* Scores, and the panels and rows of the tile's keys. */
static void score_tile(work *w, half_rows *k, half_rows *v)
{
    tile *t = &w->t;
    const nib_attention_args *a = t->a;
    size_t row = a->kv0 + t->j0, count = nib_min(KEYS, a->kv_len - t->j0), head = nib_kv_head(a);

    see(t);
    memset(w->bad_keys, 0, sizeof w->bad_keys);
    *k = load_rows(w, a->k, a->kv_heads_k, row, count, head, t->d, t->wide, w->k_space,
                   w->bad_keys);
    *v = load_rows(w, a->v, a->kv_heads_v, row, count, head, t->v_d, t->v_wide, w->v_space,
                   w->bad_keys);
    dots(w, *k, t->wide, w->q_columns, t->s);
    spoil(w);
}

static void forward_tile(work *w)
{
    tile *t = &w->t;
    half_rows k, v;

    score_tile(w, &k, &v);
    soften_forward(t);
    make_pairs(v, t->v_wide, w->v_pairs);
    gather_keys(w, t->s, w->v_pairs, t->v_wide, t->o);
}

static void begin_queries(work *w, bool backward)
{
    w->queries = nib_round_up(w->t.count, SQUARE);
    memset(w->bad_queries, 0, sizeof w->bad_queries);
    load_queries(w, w->t.a->q, w->t.a->q_heads, w->t.d, w->t.wide, w->q_columns,
                 backward ? w->q_pairs : NULL);
}

static void forward_queries(work *w)
{
    tile *t = &w->t;
    size_t first, end;

    begin_queries(w, false);
    memset(t->o, 0, QUERIES * t->v_wide * sizeof(float));
    begin_softmax(t);
    for (t->j0 = first_tile(t, &first, &end); t->j0 < end; t->j0 = next_tile(t, first))
        forward_tile(w);
    end_forward(t);
}

static void backward_tile(work *w)
{
    tile *t = &w->t;
    const nib_attention_args *a = t->a;
    size_t count = nib_min(KEYS, a->kv_len - t->j0);
    bool dk_there = t->d == t->wide && count == KEYS, dv_there = t->v_d == t->v_wide &&
                                                                 count == KEYS;
    float *dk = sums_of(t, dk_there, a->dk, t->d, t->wide, t->dk),
          *dv = sums_of(t, dv_there, a->dv, t->v_d, t->v_wide, t->dv);
    half_rows k, v;

    score_tile(w, &k, &v);
    dots(w, v, t->v_wide, w->o_columns, t->ds);
    soften_backward(t);
    gather_queries(w, t->s, w->o_pairs, t->v_wide, dv);
    gather_queries(w, t->ds, w->q_pairs, t->wide, dk);
    make_pairs(k, t->wide, w->k_pairs);
    gather_keys(w, t->ds, w->k_pairs, t->wide, t->o);
    if (!dk_there) add_sums(t, dk, count, t->d, t->wide, a->dk);
    if (!dv_there) add_sums(t, dv, count, t->v_d, t->v_wide, a->dv);
}

static void backward_queries(work *w)
{
    tile *t = &w->t;
    const nib_attention_args *a = t->a;
    const nib_heads plain = plain_heads(a);
    size_t first, end;

    begin_queries(w, true);
    load_queries(w, a->d_o, plain, t->v_d, t->v_wide, w->o_columns, w->o_pairs);
    widen(a->type, a->d_o, plain, a->q0 + t->i0, t->count, a->head, t->v_d, t->v_wide, t->d_o);
    load_sums(t);
    memset(t->o, 0, QUERIES * t->wide * sizeof(float));
    for (t->j0 = first_tile(t, &first, &end); t->j0 < end; t->j0 = next_tile(t, first))
        backward_tile(w);
    end_backward(t);
}

/* --- calls --- */

/* Not of floats; and a few queries are computed one by one (attention_one.h). */
static bool takes(const nib_attention_args *a)
{
    return a->type == NIB_BF16 && (a->q_len > NIB_DOT_ROWS || a->drop_p != 0 || a->prefix);
}

void NIB_TILES_VARIANT(attention_forward)(const nib_attention_args *a, void *scratch)
{
    work w;

    if (!takes(a)) {
        NIB_VARIANT(attention_forward)(a, scratch);
        return;
    }
    w = divide_halves(a, scratch);
    w.finite = keys_finite(a);
    set_rows(&w.tiles, SQUARE);
    for (w.t.i0 = 0; w.t.i0 < a->q_len; w.t.i0 += QUERIES) {
        w.t.count = nib_min(QUERIES, a->q_len - w.t.i0);
        forward_queries(&w);
    }
    TILE_RELEASE(&w.tiles);
}

void NIB_TILES_VARIANT(attention_backward)(const nib_attention_args *a, void *scratch)
{
    work w;

    if (a->type != NIB_BF16) {
        NIB_VARIANT(attention_backward)(a, scratch);
        return;
    }
    w = divide_halves(a, scratch);
    w.finite = keys_finite(a) && queries_finite(a);
    set_rows(&w.tiles, SQUARE);
    begin_backward(a);
    for (w.t.i0 = 0; w.t.i0 < a->q_len; w.t.i0 += QUERIES) {
        w.t.count = nib_min(QUERIES, a->q_len - w.t.i0);
        backward_queries(&w);
    }
    TILE_RELEASE(&w.tiles);
}
