/* test_scan.c - the recurrence of the delta rule and of state spaces: every variant against the
 * reference, at sizes around the vectors' width, the block and the chunk, in guarded buffers; a
 * text in pieces has the bits of one at once; and a few numbers made by hand. */
#include <math.h>
#include <string.h>

#include "variants.h"

typedef struct scan_case {
    nib_dtype type;
    bool delta, add;
    size_t tokens, rows, columns;
} scan_case;

/* What backward gives. */
typedef struct scan_results { float *dq, *dk, *d_log, *d_beta; void *dv; } scan_results;

static size_t round16(size_t n) { return nib_round_up(n, 16); }

static nib_scan_args random_args(scan_case c)
{
    size_t t = c.tokens, gate = 3;
    nib_scan_args a = { .type = c.type, .delta = c.delta, .tokens = t, .rows = c.rows,
                        .columns = c.columns, .qk_stride = c.rows + 5, .gate_stride = gate,
                        .skip = c.delta ? 0 : 0.7f, .v_stride = c.columns + 3,
                        .o_stride = c.columns + 1, .dqk_stride = c.rows + 2 };
    float *q = test_floats((t - 1) * a.qk_stride + c.rows, 0.4f),
          *k = test_floats((t - 1) * a.qk_stride + c.rows, 0.4f),
          *fade = test_floats((t - 1) * gate + 1, 1), *beta = test_floats((t - 1) * gate + 1, 1);

    for (size_t i = 0; i < t; i++) {
        fade[i * gate] = 0.75f + 0.25f * fade[i * gate];
        beta[i * gate] = 0.5f + 0.5f * beta[i * gate];
    }
    a.q = q, a.k = k, a.fade = fade, a.beta = beta;
    a.v = test_values(c.type, (t - 1) * a.v_stride + c.columns, 1);
    a.d_o = test_values(c.type, (t - 1) * a.o_stride + c.columns, 1);
    a.add_dv = a.add_dqk = c.add;
    return a;
}

static void *run_forward(const nib_kernels *k, nib_scan_args a, size_t pieces, float *state)
{
    void *o = test_values(a.type, (a.tokens - 1) * a.o_stride + a.columns, 0);
    size_t each = a.type == NIB_F32 ? 4 : 2, piece = nib_ceil_div(a.tokens, pieces);

    for (size_t t = 0; t < a.tokens; t += piece) {
        nib_scan_args p = a;
        p.tokens = nib_min(piece, a.tokens - t);
        p.q += t * a.qk_stride, p.k += t * a.qk_stride;
        p.fade += t * a.gate_stride, p.beta += t * a.gate_stride;
        p.v = (const char *)a.v + t * a.v_stride * each;
        p.o = (char *)o + t * a.o_stride * each;
        k->scan(&p, state);
    }
    return o;
}

static float *scratch_of(const nib_scan_args *a, size_t heads)
{
    size_t count = a->delta ? nib_scan_scratch(a->rows, a->tokens)
                            : nib_space_scratch(a->rows, a->columns, a->tokens, heads);
    return test_floats(round16(count), 3);
}

/* A state space is one of one: its dq and dk are never added to. */
static scan_results run_backward(const nib_kernels *k, nib_scan_args a)
{
    size_t last = a.tokens - 1, dqk = last * a.dqk_stride + a.rows;
    size_t dv = last * a.v_stride + a.columns, gate = last * a.gate_stride + 1;
    scan_results r = { test_floats(dqk, 0), test_floats(dqk, 0), test_floats(gate, 0),
                       test_floats(gate, 0), test_values(a.type, dv, 0) };
    float *scratch = scratch_of(&a, 1);

    for (size_t t = 0; t < a.tokens; t++) /* overwritten, or added to */
        for (size_t i = 0; i < a.rows; i++) {
            r.dq[t * a.dqk_stride + i] = 0.25f;
            r.dk[t * a.dqk_stride + i] = -0.5f;
        }
    if (a.add_dv) memcpy(r.dv, a.v, dv * nib_dtype_bytes(a.type));
    a.dq = r.dq, a.dk = r.dk, a.d_log_fade = r.d_log, a.d_beta = r.d_beta, a.dv = r.dv;
    if (a.delta) k->scan_back(&a, scratch);
    else k->space_back(&a, 1, scratch);
    return r;
}

/* Against the greatest value, or what a sum of many of order 1 may come near to 0. */
static float off(const float *x, const float *want, size_t n)
{
    float most = 0.25f, worst = 0;

    for (size_t i = 0; i < n; i++) {
        float d = fabsf(x[i] - want[i]);
        most = fmaxf(most, fabsf(want[i]));
        if (!(d <= worst)) worst = d;
    }
    return worst / most;
}

static void check(const nib_kernels *k, const char *name, scan_case c)
{
    nib_kernels ref = nib_kernels_for(0);
    size_t kept = test_guarded_count();
    nib_scan_args a = random_args(c);
    size_t block = c.rows * NIB_SCAN_COLUMNS, dqk = (c.tokens - 1) * a.dqk_stride + c.rows;
    size_t gate = (c.tokens - 1) * a.gate_stride + 1;
    float *state = test_floats(block, 0), *want_state = test_floats(block, 0),
          near = c.type == NIB_F32 ? 2e-5f : 0x1p-6f;
    void *want = run_forward(&ref, a, 1, want_state), *o = run_forward(k, a, 1, state), *pieces;
    scan_results r = run_backward(k, a), w = run_backward(&ref, a);
    size_t outs = (c.tokens - 1) * a.o_stride + c.columns;

    CHECK(off(state, want_state, block) < 2e-5f, "%s: state of %zu tokens, [%zu, %zu]", name,
          c.tokens, c.rows, c.columns);
    CHECK(test_worst(c.type, o, want, outs) < near, "%s: %zu tokens, [%zu, %zu], type %d, delta %d",
          name, c.tokens, c.rows, c.columns, (int)c.type, c.delta);
    memset(state, 0, block * sizeof *state);
    pieces = run_forward(k, a, 3, state);
    CHECK(memcmp(o, pieces, outs * nib_dtype_bytes(c.type)) == 0,
          "%s: %zu tokens in pieces have other bits", name, c.tokens);
    CHECK(off(r.dq, w.dq, dqk) < 2e-5f && off(r.dk, w.dk, dqk) < 2e-5f &&
              off(r.d_log, w.d_log, gate) < 4e-5f && off(r.d_beta, w.d_beta, gate) < 4e-5f,
          "%s: backward of %zu tokens, [%zu, %zu], delta %d: %g %g %g %g", name, c.tokens, c.rows,
          c.columns, c.delta, (double)off(r.dq, w.dq, dqk), (double)off(r.dk, w.dk, dqk),
          (double)off(r.d_log, w.d_log, gate), (double)off(r.d_beta, w.d_beta, gate));
    CHECK(test_worst(c.type, r.dv, w.dv, (c.tokens - 1) * a.v_stride + c.columns) < near,
          "%s: dv of %zu tokens, [%zu, %zu], type %d", name, c.tokens, c.rows, c.columns,
          (int)c.type);
    test_free_guarded(kept);
}

static void test_variants(void)
{
    static const size_t tokens[] = { 1, 3, 32, 33, 70 }, rows[] = { 1, 6, 16, 33 },
                        columns[] = { 1, 8, 13, 16, 31, 32 };
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (size_t t = 0; t < NIB_COUNT(tokens); t++)
            for (size_t r = 0; r < NIB_COUNT(rows); r++)
                for (size_t c = 0; c < NIB_COUNT(columns); c++)
                    for (int how = 0; how < 4; how++)
                        check(&k, name, (scan_case){ (t + r + c) % 3 ? NIB_F32 : NIB_BF16, how & 1,
                                                     how & 2, tokens[t], rows[r], columns[c] });
}

/* Backward over several blocks of columns, the last one not whole. */
static void check_blocks(const nib_kernels *k, const char *name, scan_case c)
{
    nib_kernels ref = nib_kernels_for(0);
    size_t kept = test_guarded_count();
    nib_scan_args a = random_args(c);
    scan_results r = run_backward(k, a), w = run_backward(&ref, a);
    size_t dqk = (c.tokens - 1) * a.dqk_stride + c.rows, gate = (c.tokens - 1) * a.gate_stride + 1;

    CHECK(off(r.dq, w.dq, dqk) < 2e-5f && off(r.dk, w.dk, dqk) < 2e-5f &&
              off(r.d_log, w.d_log, gate) < 4e-5f && off(r.d_beta, w.d_beta, gate) < 4e-5f &&
              test_worst(c.type, r.dv, w.dv, (c.tokens - 1) * a.v_stride + c.columns) < 2e-5f,
          "%s: backward of %zu tokens, [%zu, %zu], delta %d: %g %g %g %g", name, c.tokens, c.rows,
          c.columns, c.delta, (double)off(r.dq, w.dq, dqk), (double)off(r.dk, w.dk, dqk),
          (double)off(r.d_log, w.d_log, gate), (double)off(r.d_beta, w.d_beta, gate));
    test_free_guarded(kept);
}

static void test_blocks(void)
{
    static const size_t columns[] = { 33, 64, 100 };
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (size_t c = 0; c < NIB_COUNT(columns); c++)
            for (int how = 0; how < 4; how++)
                check_blocks(&k, name, (scan_case){ NIB_F32, how & 1, how & 2,
                                                    how < 2 ? 50 : 16, 24, columns[c] });
}

/* State spaces that read one q and k: each has the gradients it has alone, dq and dk are sums. */
static void check_heads(const nib_kernels *k, const char *name, size_t count, scan_case c)
{
    nib_kernels ref = nib_kernels_for(0);
    size_t kept = test_guarded_count(), last = c.tokens - 1;
    nib_scan_args a[NIB_SPACE_HEADS];
    scan_results r[NIB_SPACE_HEADS], w = { 0 };

    for (size_t h = 0; h < count; h++) {
        a[h] = random_args(c);
        a[h].q = a->q, a[h].k = a->k;
        a[h].skip = (float)h;
        r[h] = (scan_results){ test_floats(last * a->dqk_stride + c.rows, 3),
                               test_floats(last * a->dqk_stride + c.rows, 3),
                               test_floats(last * a->gate_stride + 1, 3),
                               test_floats(last * a->gate_stride + 1, 3),
                               test_values(c.type, last * a->v_stride + c.columns, 0) };
        a[h].dq = r[h].dq, a[h].dk = r[h].dk, a[h].d_log_fade = r[h].d_log;
        a[h].d_beta = r[h].d_beta, a[h].dv = r[h].dv;
        a[h].add_dv = false;
    }
    k->space_back(a, count, scratch_of(a, count));
    for (size_t h = 0; h < count; h++) {
        a[h].dq = h ? w.dq : test_floats(last * a->dqk_stride + c.rows, 0);
        a[h].dk = h ? w.dk : test_floats(last * a->dqk_stride + c.rows, 0);
        w = (scan_results){ a[h].dq, a[h].dk, test_floats(last * a->gate_stride + 1, 0),
                            test_floats(last * a->gate_stride + 1, 0),
                            test_values(c.type, last * a->v_stride + c.columns, 0) };
        a[h].d_log_fade = w.d_log, a[h].d_beta = w.d_beta, a[h].dv = w.dv;
        a[h].add_dqk = h > 0;
        ref.scan_back(&a[h], scratch_of(a, count));
        for (size_t t = 0; t < c.tokens; t++) {
            size_t at = t * a->gate_stride;
            CHECK(fabsf(r[h].d_log[at] - w.d_log[at]) < 4e-5f * (4 + fabsf(w.d_log[at])) &&
                      fabsf(r[h].d_beta[at] - w.d_beta[at]) < 4e-5f * (4 + fabsf(w.d_beta[at])),
                  "%s: head %zu of %zu, token %zu of %zu: %g %g, not %g %g", name, h, count, t,
                  c.tokens, (double)r[h].d_log[at], (double)r[h].d_beta[at], (double)w.d_log[at],
                  (double)w.d_beta[at]);
        }
        CHECK(test_worst(c.type, r[h].dv, w.dv, last * a->v_stride + c.columns) <
                  (c.type == NIB_F32 ? 4e-5f : 0x1p-6f),
              "%s: dv of head %zu of %zu", name, h, count);
    }
    for (size_t t = 0; t < c.tokens; t++)
        CHECK(off(r->dq + t * a->dqk_stride, w.dq + t * a->dqk_stride, c.rows) < 4e-5f &&
                  off(r->dk + t * a->dqk_stride, w.dk + t * a->dqk_stride, c.rows) < 4e-5f,
              "%s: dq and dk of token %zu of %zu, %zu heads of [%zu, %zu]", name, t, c.tokens,
              count, c.rows, c.columns);
    test_free_guarded(kept);
}

static void test_heads(void)
{
    static const size_t tokens[] = { 1, 15, 32, 49, 97 }, rows[] = { 5, 32, 70 },
                        columns[] = { 9, 32, 70 };
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (size_t t = 0; t < NIB_COUNT(tokens); t++)
            for (size_t r = 0; r < NIB_COUNT(rows); r++)
                for (size_t c = 0; c < NIB_COUNT(columns); c++)
                    check_heads(&k, name, (t + r + c) % 3 ? 2 : NIB_SPACE_HEADS,
                                (scan_case){ (t + r + c) % 4 ? NIB_F32 : NIB_BF16, false, false,
                                             tokens[t], rows[r], columns[c] });
}

/* A state that is gone within a chunk, and one that a token wipes out: no quotient of fades. */
static void test_fades(void)
{
    nib_kernels k, ref = nib_kernels_for(0);
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (int delta = 0; delta < 2; delta++) {
            nib_scan_args a = random_args((scan_case){ NIB_F32, delta, false, 40, 8, 32 });
            float *fade = (float *)(uintptr_t)a.fade;
            scan_results r, w;

            for (size_t t = 0; t < 40; t++) fade[t * a.gate_stride] = t % 5 ? 1e-12f : t % 2;
            r = run_backward(&k, a);
            w = run_backward(&ref, a);
            CHECK(off(r.d_log, w.d_log, 39 * a.gate_stride + 1) < 2e-5f &&
                      off(r.dk, w.dk, 39 * a.dqk_stride + 8) < 2e-5f &&
                      off(r.dv, w.dv, 39 * a.v_stride + 32) < 2e-5f,
                  "%s, delta %d", name, delta);
        }
}

/* Two tokens of a matrix [2, 1]; worked out on paper. */
static void test_numbers(void)
{
    static const float q[] = { 1, 2, -1, 1 }, kk[] = { 1, 0, 0.5f, 0.5f }, fade[] = { 0.25f, 0.5f },
                       beta[] = { 0.5f, 1 }, v[] = { 4, 3 };
    for (int delta = 0; delta < 2; delta++) {
        nib_kernels k = nib_kernels_for(delta ? 0 : nib_cpu_detect());
        float state[2 * NIB_SCAN_COLUMNS] = { 0 }, o[2];
        nib_scan_args a = { .type = NIB_F32, .delta = delta, .tokens = 2, .rows = 2, .columns = 1,
                            .q = q, .k = kk, .qk_stride = 2, .fade = fade, .beta = beta,
                            .gate_stride = 1, .skip = delta ? 0 : 10, .v = v, .o = o,
                            .v_stride = 1, .o_stride = 1 };
        /* S = (2, 0), o = 2;  S' = (1, 0), r = 0.5, d = 2.5 or 3, S = (1 + d/2, d/2), o = -1 */
        k.scan(&a, state);
        CHECK(o[0] == (delta ? 2 : 42) && o[1] == (delta ? -1 : 29), "%g %g", (double)o[0],
              (double)o[1]);
        CHECK(state[0] == (delta ? 2.25f : 2.5f) &&
                  state[NIB_SCAN_COLUMNS] == (delta ? 1.25f : 1.5f),
              "%g %g", (double)state[0], (double)state[NIB_SCAN_COLUMNS]);
    }
}

static void check_unit(const nib_kernels *k, const char *name, nib_dtype type, size_t n)
{
    nib_kernels ref = nib_kernels_for(0);
    void *x = test_values(type, n, 1), *dx = test_values(type, n, 1),
         *want_dx = test_values(type, n, 0);
    float *y = test_floats(n, 0), *want = test_floats(n, 0), *dy = test_floats(n, 1), length = 0;

    k->unit(type, n, x, 1, y);
    for (size_t i = 0; i < n; i++) length += y[i] * y[i];
    CHECK(fabsf(length - 1) < 1e-3f, "%s: length %g of %zu", name, (double)length, n);
    k->unit(type, n, x, 0.3f, y);
    ref.unit(type, n, x, 0.3f, want);
    CHECK(test_worst(NIB_F32, y, want, n) < 1e-6f, "%s: unit of %zu", name, n);
    memcpy(want_dx, dx, n * nib_dtype_bytes(type));
    for (int add = 1; add >= 0; add--) {
        k->unit_back(type, n, x, 0.3f, dy, dx, add);
        ref.unit_back(type, n, x, 0.3f, dy, want_dx, add);
        CHECK(test_worst(type, dx, want_dx, n) < (type == NIB_F32 ? 1e-5f : 0x1p-7f),
              "%s: unit back of %zu, add %d", name, n, add);
    }
}

static void test_unit(void)
{
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = test_next_variant(&level, &k));)
        for (size_t n = 3; n <= 40; n++) {
            check_unit(&k, name, NIB_F32, n);
            check_unit(&k, name, NIB_BF16, n);
        }
}

int main(void)
{
    static const test_case cases[] = { { "variants", test_variants }, { "blocks", test_blocks },
                                       { "heads", test_heads }, { "fades", test_fades },
                                       { "numbers", test_numbers }, { "unit", test_unit } };
    return test_main("scan", cases, NIB_COUNT(cases));
}
