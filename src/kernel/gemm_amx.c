/* gemm_amx.c - the product of bfloat16 values with float sums on tiles: AMX, 32 k a step.
 *
 * Up to 32 rows times 32 columns are four tiles of sums; a step loads two tiles of rows and two of
 * the panel, whose pairs of terms lie as a tile wants them, for four products. */
#include "kernel/gemm_tile.h"
#include "kernel/kernels.h"
#include "kernel/tiles_amx.h"

#ifdef NIB_EMULATE_AMX
nib_gemm_bf16_fn NIB_TILES_VARIANT(gemm_bf16); /* only the tests know it */
#endif

enum { SIDE = NIB_TILE_ROWS, SQUARE = 2 * SIDE, STEP = NIB_TILE_BYTES / 2 };

/* Rows of a and 32 columns of a panel. */
typedef struct factors {
    const uint16_t *a;
    size_t lda;
    const uint16_t *b, *other; /* the panel's strips */
} factors;

/* Tiles 0 to 3 are sums, 4 and 5 rows of a, 6 and 7 strips of the panel; of at most 16 rows there
 * are no 2, 3 and 5. */
static void set_rows(tile_state *t, size_t rows)
{
    tile_shapes s = { .palette = 1 };

    for (size_t i = 0; i < NIB_TILES; i++) {
        bool below = i == 2 || i == 3 || i == 5;
        size_t of_rows = below ? rows - nib_min(rows, SIDE) : nib_min(rows, SIDE);
        s.rows[i] = (uint8_t)(i < 6 ? of_rows : SIDE);
        s.bytes[i] = s.rows[i] ? NIB_TILE_BYTES : 0;
    }
    TILE_SHAPES(t, &s);
}

NIB_INLINE void zero_sums(tile_state *t, bool below)
{
    TILE_ZERO(t, 0);
    TILE_ZERO(t, 1);
    if (!below) return;
    TILE_ZERO(t, 2);
    TILE_ZERO(t, 3);
}

NIB_INLINE void begin_sums(tile_state *t, bool below, const float *from, size_t ld)
{
    const size_t apart = ld * sizeof *from;

    TILE_LOAD(t, 0, from, apart);
    TILE_LOAD(t, 1, from + SIDE, apart);
    if (!below) return;
    TILE_LOAD(t, 2, from + SIDE * ld, apart);
    TILE_LOAD(t, 3, from + SIDE * ld + SIDE, apart);
}

/* Of 32 terms; below: there are more than 16 rows. */
NIB_INLINE void add_step(tile_state *t, bool below, factors f)
{
    const size_t apart = f.lda * sizeof *f.a;

    TILE_LOAD(t, 6, f.b, NIB_TILE_BYTES);
    TILE_LOAD(t, 7, f.other, NIB_TILE_BYTES);
    TILE_LOAD_ONCE(t, 4, f.a, apart);
    TILE_PRODUCT(t, 0, 4, 6);
    TILE_PRODUCT(t, 1, 4, 7);
    if (!below) return;
    TILE_LOAD_ONCE(t, 5, f.a + SIDE * f.lda, apart);
    TILE_PRODUCT(t, 2, 5, 6);
    TILE_PRODUCT(t, 3, 5, 7);
}

/* The terms behind the last whole step, and zeros behind them. */
typedef struct rest { uint16_t a[SQUARE][STEP], b[2][STEP * NIB_STRIP]; } rest;

static factors copy_rest(rest *r, size_t rows, size_t left, factors f)
{
    memset(r, 0, sizeof *r);
    for (size_t i = 0; i < rows; i++) memcpy(r->a[i], f.a + i * f.lda, left * sizeof *f.a);
    memcpy(r->b[0], f.b, left * NIB_STRIP * sizeof *f.b);
    memcpy(r->b[1], f.other, left * NIB_STRIP * sizeof *f.b);
    return (factors){ r->a[0], STEP, r->b[0], r->b[1] };
}

/* Up to 32 rows times 32 columns; the sums begin with what lies in `from`, or NULL. */
static void square(tile_state *t, size_t rows, size_t K, factors f, const float *from,
                   size_t ld_from, float *to, size_t ld_to)
{
    const size_t whole = K / STEP * STEP, apart = ld_to * sizeof *to;
    const bool below = rows > SIDE;
    rest r;

    if (from) begin_sums(t, below, from, ld_from);
    else zero_sums(t, below);
    for (size_t k = 0; k < whole; k += STEP) {
        add_step(t, below, f);
        f = (factors){ f.a + STEP, f.lda, f.b + STEP * NIB_STRIP, f.other + STEP * NIB_STRIP };
    }
    if (whole < K) add_step(t, below, copy_rest(&r, rows, K - whole, f));
    TILE_STORE(t, 0, to, apart);
    TILE_STORE(t, 1, to + SIDE, apart);
    if (!below) return;
    TILE_STORE(t, 2, to + SIDE * ld_to, apart);
    TILE_STORE(t, 3, to + SIDE * ld_to + SIDE, apart);
}

/* What ends the sums of a square; they lie in to.c. */
static void end_square(size_t rows, terms more, results to)
{
    const terms none = no_terms(more);

    for (size_t i = 0, height; i < rows; i += height) {
        height = tile_height(rows - i);
        tile_rows(height, none, more, to);
        more.a += height * more.lda;
        to.c += height * to.ldc;
        if (to.y) to.y += height * to.ldy;
    }
}

/* A whole product: sums of a [M, K] times a panel into c, and how they end. */
typedef struct product {
    size_t N, K;
    const uint16_t *a;
    size_t lda;
    const uint16_t *panel;
    float *c;
    size_t ldc;
    bool add;
    nib_gemm_end end;
} product;

/* Rows m to `end`, squares of `rows` of them.  A strip of the panel stays in the first cache. */
static void some_rows(tile_state *t, const product *p, size_t m, size_t end, size_t rows)
{
    const nib_gemm_end *last = &p->end;
    const bool ends = last->K || last->gain || last->bias || last->y;
    _Alignas(64) float sums[SQUARE * SQUARE]; /* where they are not to end in c */

    set_rows(t, rows);
    for (size_t n = 0; n < p->N; n += NIB_PANEL) {
        const uint16_t *strip = p->panel + n * p->K;
        for (size_t i = m; i < end; i += rows) {
            factors f = { p->a + i * p->lda, p->lda, strip, strip + p->K * NIB_STRIP };
            results to = results_at(p->c, p->ldc, true, last, i, n);
            const float *from = p->add ? to.c : NULL;

            if (last->y) to.c = sums;
            if (last->y) to.ldc = SQUARE;
            square(t, rows, p->K, f, from, p->ldc, to.c, to.ldc);
            if (ends)
                end_square(rows, terms_at(last->K, last->a + i * last->K, last->K, last->panel, n),
                           to);
        }
    }
}

void NIB_TILES_VARIANT(gemm_bf16)(size_t M, size_t N, size_t K, const uint16_t *a, size_t lda,
                                  const uint16_t *panel, float *c, size_t ldc, bool add,
                                  const nib_gemm_end *end)
{
    /* of 0 terms nothing is read */
    const product p = { N, K, a, lda, panel, c, ldc, add,
                        end ? *end : (nib_gemm_end){ .a = c, .panel = c } };
    const size_t whole = M / SQUARE * SQUARE;
    tile_state t;

    assert(K % 2 == 0);
    if (whole) some_rows(&t, &p, 0, whole, SQUARE);
    if (whole < M) some_rows(&t, &p, whole, M, M - whole);
    TILE_RELEASE(&t);
}
