/* test_transformers.c - attention with sinks and with a soft cap, and the forms of RMS norm,
 * against transformers' own functions (tests/golden/make/operations_golden.py);
 * the reference too. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"
#include "variants.h"

enum { T = 11, HEADS = 4, KV_HEADS = 2, GROUP = HEADS / KV_HEADS, D = 8, NORM_ROWS = 5,
       WIDTH = 40 };

static nib_tensors *golden;

static const void *numbers(nib_dtype type, size_t n, const char *part, const char *name)
{
    char full[64];
    const nib_tensor *t;
    void *copy = test_guarded(n * nib_dtype_bytes(type));

    snprintf(full, sizeof full, "%s.%s", part, name);
    t = nib_tensors_find(golden, full);
    CHECK(t && t->dtype == type && t->elements == n,
          "%s is not in the golden file like this", full);
    if (t && t->bytes == n * nib_dtype_bytes(type)) memcpy(copy, t->data, t->bytes);
    return copy;
}

static void check(const char *isa, const char *part, const char *name, const float *got, size_t n)
{
    float worst = test_worst(NIB_F32, got, numbers(NIB_F32, n, part, name), n);
    CHECK(worst < 2e-6f, "%s: %s.%s is off by %g", isa, part, name, (double)worst);
}

/* Of one head in [T, D], which is the reference's form, to a key's row. */
static void add_head(const float *head, size_t h, float *rows)
{
    for (size_t t = 0; t < T; t++)
        for (size_t c = 0; c < D; c++)
            rows[(t * KV_HEADS + h / GROUP) * D + c] += head[t * D + c];
}

static void check_attention(const nib_kernels *k, const char *isa, const char *part, size_t window,
                            float cap, bool sinks)
{
    size_t wide = HEADS * D, narrow = KV_HEADS * D;
    nib_attention_args a = {
        .type = NIB_F32, .heads = HEADS, .kv_heads = KV_HEADS, .head_dim = D, .v_dim = D,
        .scale = 0.45f, .cap = cap, .window = window, .lse_stride = T, .q_len = T, .kv_len = T,
        .q_heads = { wide, D, HEADS, 0 }, .kv_heads_k = { narrow, D, KV_HEADS, 0 },
        .kv_heads_v = { narrow, D, KV_HEADS, 0 }
    };
    float *o = test_floats(T * wide, 0), *dq = test_floats(T * wide, 0),
          *dk = test_floats(T * narrow, 0), *dv = test_floats(T * narrow, 0),
          *d_sinks = test_floats(HEADS, 0);
    void *scratch = test_guarded(nib_round_up(nib_attention_scratch_bytes(D, T), 64));

    a.q = numbers(NIB_F32, T * wide, part, "q");
    a.k = numbers(NIB_F32, T * narrow, part, "k");
    a.v = numbers(NIB_F32, T * narrow, part, "v");
    a.d_o = numbers(NIB_F32, T * wide, part, "d_o");
    if (sinks) a.sinks = numbers(NIB_F32, HEADS, part, "sinks");
    a.o = o;
    a.dq = dq;
    a.lse = test_floats(HEADS * T, 0);
    for (a.head = 0; a.head < HEADS; a.head++) k->attention_forward(&a, scratch);
    check(isa, part, "o", o, T * wide);
    for (a.head = 0; a.head < HEADS; a.head++) {
        a.dk = test_floats(T * D, 0);
        a.dv = test_floats(T * D, 0);
        a.d_sink = sinks ? d_sinks + a.head : NULL;
        k->attention_backward(&a, scratch);
        add_head(a.dk, a.head, dk);
        add_head(a.dv, a.head, dv);
    }
    check(isa, part, "dq", dq, T * wide);
    check(isa, part, "dk", dk, T * narrow);
    check(isa, part, "dv", dv, T * narrow);
    if (sinks) check(isa, part, "d_sinks", d_sinks, HEADS);
}

/* Bit for bit, but for sums of squares in another order: a rounding to the other side is rare. */
static void check_norms(const nib_kernels *k, const char *isa)
{
    static const char *const names[] = { "first", "last", "one_plus" };
    size_t n = NORM_ROWS * WIDTH;
    const void *x = numbers(NIB_BF16, n, "norm", "x");
    const float *w = numbers(NIB_F32, WIDTH, "norm", "w");
    uint16_t *y = test_values(NIB_BF16, n, 0);

    for (int form = NIB_RMS_ROUND_FIRST; form <= NIB_RMS_ONE_PLUS; form++) {
        const uint16_t *want = numbers(NIB_BF16, n, "norm", names[form]);
        size_t other = 0;
        k->rms_norm(NIB_BF16, (nib_rms_form)form, NORM_ROWS, WIDTH, x, w, 1e-6f, y, NULL);
        for (size_t i = 0; i < n; i++) other += y[i] != want[i];
        CHECK(other <= 2, "%s: norm.%s: %zu of %zu values are not the reference's", isa,
              names[form], other, n);
        CHECK(test_worst(NIB_BF16, y, want, n) < 0x1p-7f, "%s: norm.%s", isa, names[form]);
    }
}

static void check_all(const nib_kernels *k, const char *isa)
{
    check_attention(k, isa, "sinks", 0, 0, true);
    check_attention(k, isa, "window", 4, 0, true);
    check_attention(k, isa, "cap", 0, 1.5f, false);
    check_norms(k, isa);
}

static void test_transformers(void)
{
    nib_kernels k = nib_kernels_for(0);
    const char *name;
    nib_error err;

    REQUIRE_OK(nib_tensors_open(test_ctx(), test_data("tests/golden/kernel/operations.safetensors"),
                                &golden, &err),
               err);
    check_all(&k, "ref");
    for (size_t level = 0; (name = test_next_variant(&level, &k));) check_all(&k, name);
    nib_tensors_close(golden);
}

int main(void)
{
    static const test_case cases[] = { { "transformers", test_transformers } };
    return test_main("kernel", cases, NIB_COUNT(cases));
}
