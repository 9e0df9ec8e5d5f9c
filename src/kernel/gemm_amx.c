/* gemm_amx.c - the product of bfloat16 values with float sums on AMX's tiles, for which a panel's
 * pairs of terms lie as they are. */
#include "kernel/gemm_tile.h"
#include "kernel/kernels.h"
#include "kernel/squares_amx.h"

#ifdef NIB_EMULATE_AMX
nib_gemm_bf16_fn NIB_TILES_VARIANT(gemm_bf16); /* only the tests know it */
#endif

/* The terms behind the last whole step, and zeros behind them. */
typedef struct rest { uint16_t a[SQUARE][STEP], b[2][STEP * NIB_STRIP]; } rest;

static operands copy_rest(rest *r, size_t rows, size_t left, operands f)
{
    memset(r, 0, sizeof *r);
    for (size_t i = 0; i < rows; i++) memcpy(r->a[i], f.a + i * f.lda, left * sizeof *f.a);
    memcpy(r->b[0], f.b, left * NIB_STRIP * sizeof *f.b);
    memcpy(r->b[1], f.other, left * NIB_STRIP * sizeof *f.b);
    return (operands){ r->a[0], STEP, 0, r->b[0], r->b[1] };
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
    const size_t left = p->K % STEP;
    _Alignas(64) float sums[SQUARE * SQUARE]; /* where they are not to end in c */
    const bool below = rows > SIDE;
    rest r;

    set_rows(t, rows);
    for (size_t n = 0; n < p->N; n += NIB_PANEL) {
        const uint16_t *strip = p->panel + n * p->K;
        for (size_t i = m; i < end; i += rows) {
            operands f = { p->a + i * p->lda, p->lda, STEP, strip, strip + p->K * NIB_STRIP };
            results to = results_at(p->c, p->ldc, true, last, i, n);
            const float *from = p->add ? to.c : NULL;

            if (last->y) to.c = sums;
            if (last->y) to.ldc = SQUARE;
            begin_sums(t, below, from, p->ldc);
            f = add_steps(t, below, p->K, f);
            if (left) add_step(t, below, copy_rest(&r, rows, left, f));
            end_sums(t, below, to.c, to.ldc);
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
