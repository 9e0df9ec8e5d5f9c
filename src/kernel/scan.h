/* scan.h - a matrix that each token of a sequence lets fade, adds to and reads: the gated delta
 * rule and Mamba-2's state space are one recurrence (formats.md 10.47, 10.50).
 *
 *     S' = c S        d = beta (v - S'^T k), or beta v without the delta rule
 *     S  = S' + k d^T        o = S^T q + skip v        S [rows, columns], 0 at the start
 *
 * A column of S never meets another one, so a call takes the NIB_SCAN_COLUMNS columns of one block,
 * which stay in the first cache: S lies block after block, [rows, NIB_SCAN_COLUMNS] each, the last
 * filled up with zeros.  Tokens follow one another in every form, so that a text in pieces has the
 * bits of one at once.
 *
 * Backward makes S again, at the start of every chunk of tokens, and goes from the last chunk to
 * the first by products of a chunk's rows (scan_back_simd.h, space_back_simd.h).  Plainly, with G
 * the gradient of S, from the last token to the first (Do is o's, and so on):
 *
 *     G += q Do^T             Dd = G^T k            Dq = S Do
 *     Dv = beta Dd + skip Do  Dbeta = <Dd, v - r>   Dr = -beta Dd      (r = S'^T k)
 *     Dk = G d + S' Dr        G += k Dr^T           Dln c = <G, S'>    G = c G
 *
 * Without the delta rule r and Dr are 0.  All sums in float. */
#ifndef NIB_KERNEL_SCAN_H
#define NIB_KERNEL_SCAN_H

#include "base/base.h"
#include "base/dtype.h"

enum { NIB_SCAN_COLUMNS = 32, NIB_SCAN_CHUNK = 16 };
/* Of state spaces: their chunks, and how many heads that read one q and k go back together. */
enum { NIB_SPACE_CHUNK = 32, NIB_SPACE_HEADS = 6 };

typedef struct nib_scan_args {
    nib_dtype type;              /* of v, o and their gradients */
    bool delta;
    size_t tokens, rows;
    size_t columns;              /* of this block, at most NIB_SCAN_COLUMNS; backward: all of S */
    const float *q, *k;          /* [tokens, rows] */
    size_t qk_stride;            /* from token to token */
    const float *fade, *beta;    /* [tokens] c and beta */
    size_t gate_stride;
    float skip;
    const void *v;               /* [tokens, columns] */
    void *o;
    size_t v_stride, o_stride;
    /* backward alone */
    const void *d_o;             /* with o's stride */
    void *dv;                    /* with v's stride; NULL: not wanted */
    bool add_dv;
    float *dq, *dk;              /* [tokens, rows], written, or with add_dqk added to */
    bool add_dqk;
    size_t dqk_stride;
    float *d_log_fade, *d_beta;  /* [tokens] with gate_stride, written */
} nib_scan_args;

/* Floats of scratch for backward over `tokens` tokens: S at the start of each chunk; some blocks
 * for what lies within one; a few numbers a token; dq and dk to be added. */
static inline size_t nib_scan_scratch(size_t rows, size_t tokens)
{
    size_t chunks = nib_ceil_div(tokens, NIB_SCAN_CHUNK), wide = nib_round_up(rows, 32);
    size_t blocks = chunks * rows + 3 * wide + (chunks + 4) * NIB_SCAN_CHUNK;
    return nib_max(blocks, (chunks + NIB_SCAN_CHUNK + 1) * rows + 2 * NIB_SCAN_CHUNK) *
               NIB_SCAN_COLUMNS +
           chunks * NIB_SCAN_CHUNK * (4 * NIB_SCAN_CHUNK + 1) + 2 * tokens * rows;
}

/* The same for `heads` state spaces of `columns` each: of every head S at the start of each chunk
 * and its gradient; some blocks for what lies within a chunk. */
static inline size_t nib_space_scratch(size_t rows, size_t columns, size_t tokens, size_t heads)
{
    size_t chunks = nib_ceil_div(tokens, NIB_SPACE_CHUNK), wide = nib_round_up(rows, 32);
    size_t blocks = heads * nib_ceil_div(columns, NIB_SCAN_COLUMNS) * (chunks + 1);
    size_t own = blocks * wide * NIB_SCAN_COLUMNS +
                 (5 * wide + 5 * NIB_SPACE_CHUNK + 5 * NIB_SCAN_COLUMNS) * NIB_SPACE_CHUNK;
    return nib_max(own, nib_scan_scratch(rows, tokens)); /* which the reference has */
}

/* state [rows, NIB_SCAN_COLUMNS]: before the tokens, and after them. */
typedef void nib_scan_fn(const nib_scan_args *a, float *state);
/* Of a sequence from its start, all columns.  The vector forms: of the delta rule alone. */
typedef void nib_scan_back_fn(const nib_scan_args *a, float *scratch);
/* Of `count` state spaces, at most NIB_SPACE_HEADS, that have one shape and read one q and k in a
 * sequence.  The sums over them of dq and dk are written where the first one's are; add_dqk is not
 * looked at. */
typedef void nib_space_back_fn(const nib_scan_args *heads, size_t count, float *scratch);

/* y = scale x / sqrt(sum of x^2 + 1e-6), in float: keys and queries of the delta rule. */
typedef void nib_unit_fn(nib_dtype type, size_t n, const void *x, float scale, float *y);
/* dx (+)= its gradient. */
typedef void nib_unit_back_fn(nib_dtype type, size_t n, const void *x, float scale,
                              const float *dy, void *dx, bool accumulate);

#endif
