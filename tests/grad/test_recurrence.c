/* test_recurrence.c - gradients of what is carried from token to token besides keys and values:
 * convolutions, the delta rule, state spaces. */
#include <math.h>
#include <string.h>

#include "differences.h"
#include "test.h"

/* Of a plain value, of columns and of heads of one; with an activation, a bias, part of the taps;
 * of more taps than a sequence has tokens; with another reader. */
static void build_conv(lab *l)
{
    enum { WIDTH = 12 };
    nib_value x = input(l, "embed", 7), y, z;
    nib_conv_spec conv = { .taps = 3, .channels = WIDTH };

    l->elements = 30;
    l->b.segment++;
    lab_linear(l, "w", 2 * WIDTH, 7, LAB_LORA | LAB_TRAIN);
    lab_linear(l, "v", WIDTH, 7, LAB_LORA);
    z = lab_apply(l, x, "v");
    y = lab_apply(l, x, "w");
    if (l->variant & 1) conv.silu = conv.bias = true, conv.taps = 4;
    if (l->variant & 2) conv.channels = 3 * WIDTH, conv.offset = WIDTH, conv.taps += 10;
    lab_vector(l, "c.weight", conv.taps * conv.channels, 0);
    lab_vector(l, "c.bias", conv.channels, 0);
    if (l->variant < 2) {
        x = nib_columns_of(&l->b, y, 0, WIDTH);
        y = nib_columns_of(&l->b, y, WIDTH, WIDTH);
    } else {
        nib_heads pairs = { .head_stride = 6, .per_group = 4 };
        x = nib_heads_of(&l->b, y, 4, 3, 3, pairs);
        y = nib_heads_of(&l->b, y, 4, 3, 0, pairs);
    }
    x = nib_convolve(&l->b, x, &conv, "c");
    y = nib_add(&l->b, x, nib_gate(&l->b, y, z, NIB_ACT_SILU));
    lab_finish(l, nib_add(&l->b, nib_convolve(&l->b, z, &conv, "c"), y), WIDTH, 0);
}
static void test_conv(void) { check_gradients(build_conv, 4, "convolution"); }

/* Two mixes of one value, which stays as it is too. */
static void build_mix(lab *l)
{
    nib_value x = input(l, "embed", 10), y;

    l->b.segment++;
    lab_vector(l, "m", 20, 0);
    y = nib_mix_before(&l->b, x, "m");
    y = nib_gate(&l->b, y, nib_mix_before(&l->b, x, "m"), NIB_ACT_SILU);
    lab_finish(l, nib_add(&l->b, x, y), 10, 0);
}
static void test_mix(void) { check_gradients(build_mix, 1, "mix with the row before"); }

static const struct scan_case {
    size_t heads, key_heads, rows, columns;
    bool delta, long_one, views;
    float most;
} scans[] = {
    { 2, 2, 5, 4, true, false, false, 0 },
    { 4, 2, 3, 6, true, false, true, 0 },
    { 3, 1, 6, 37, true, true, false, 0 },
    { 2, 2, 5, 4, false, false, false, INFINITY },
    { 4, 2, 3, 6, false, false, true, INFINITY },
    { 3, 1, 6, 37, false, true, false, INFINITY },
    { 2, 1, 5, 4, false, false, false, 3 }, /* the first head's steps are all beyond it */
    { 38, 2, 3, 2, false, false, true, INFINITY }, /* parts of two heads and of one */
};

/* Keys, queries and values from one projection, of which they may be views; gates of their own. */
static void build_scan(lab *l)
{
    struct scan_case c = scans[l->variant];
    nib_scan_spec spec = { c.heads, c.key_heads, c.rows, c.columns, 0, c.most };
    size_t qk = c.key_heads * c.rows, width = c.heads * c.columns;
    nib_value x = input(l, "embed", 7), y, q, k, v, a, b;
    nib_vector *bias;

    l->elements = c.long_one ? 8 : 25;
    if (c.long_one) memcpy(l->lengths, (uint32_t[4]){ 3, 70, 2, 0 }, sizeof l->lengths);
    l->b.segment++;
    lab_linear(l, "qkv", 2 * qk + width, 7, LAB_LORA | LAB_TRAIN);
    lab_linear(l, "ba", 2 * c.heads, 7, LAB_LORA | LAB_FULL);
    lab_vector(l, "s.A_log", c.heads, 0);
    bias = lab_vector(l, "s.dt_bias", c.heads, 0);
    lab_vector(l, "s.D", c.heads, 0);
    if (l->variant == 6) bias->value[0] = 9;
    y = lab_apply(l, x, "qkv");
    if (c.views) { /* per key head: q, k, then the heads of v */
        size_t group = c.heads / c.key_heads, all = 2 * c.rows + group * c.columns;
        nib_heads one = { .head_stride = c.rows, .per_group = 1, .group_stride = all };
        nib_heads many = { .head_stride = c.columns, .per_group = group, .group_stride = all };
        q = nib_heads_of(&l->b, y, c.key_heads, c.rows, 0, one);
        k = nib_heads_of(&l->b, y, c.key_heads, c.rows, c.rows, one);
        v = nib_heads_of(&l->b, y, c.heads, c.columns, 2 * c.rows, many);
    } else {
        q = nib_columns_of(&l->b, y, 0, qk);
        k = nib_columns_of(&l->b, y, qk, qk);
        v = nib_columns_of(&l->b, y, 2 * qk, width);
    }
    y = lab_apply(l, x, "ba");
    b = nib_columns_of(&l->b, y, 0, c.heads);
    a = nib_columns_of(&l->b, y, c.heads, c.heads);
    if (c.delta) {
        y = nib_apply_delta_rule(&l->b, q, k, v, b, a, &spec, "s");
    } else {
        a = nib_scale(&l->b, nib_gate(&l->b, b, a, NIB_ACT_SILU), 0.5f);
        y = nib_apply_state_space(&l->b, q, k, v, a, &spec, "s");
    }
    if (c.long_one && !c.delta) y = nib_scale(&l->b, y, 0.125f); /* small, for differences */
    lab_finish(l, y, width, 0);
}
static void test_scan(void) { check_gradients(build_scan, NIB_COUNT(scans), "recurrence"); }

/* One block of channels and two; keys far apart, so that the maximum changes. */
static void build_wkv(lab *l)
{
    size_t width = l->variant ? 70 : 11;
    nib_value x = input(l, "embed", 7), k, v;
    nib_vector *decay;

    l->elements = l->variant ? 8 : 30;
    if (l->variant) memcpy(l->lengths, (uint32_t[4]){ 3, 50, 2, 0 }, sizeof l->lengths);
    l->b.segment++;
    lab_linear(l, "k", width, 7, LAB_LORA | LAB_FULL);
    lab_linear(l, "v", width, 7, LAB_LORA | LAB_TRAIN);
    decay = lab_vector(l, "a.time_decay", width, 0);
    for (size_t i = 0; i < width; i++) decay->value[i] = -0.5f * fabsf(decay->value[i]);
    lab_vector(l, "a.time_first", width, 0);
    k = lab_apply(l, x, "k");
    v = lab_apply(l, x, "v");
    lab_finish(l, nib_add(&l->b, nib_average_before(&l->b, k, v, "a"), v), width, 0);
}
static void test_wkv(void) { check_gradients(build_wkv, 2, "averages over time"); }

/* Moving averages of both sides, of one, and cut short; more channels than a block. */
static void build_average(lab *l)
{
    size_t width = l->variant == 1 ? 20 : 7, states = 3, n;
    nib_average_spec spec = { .states = states, .both = l->variant != 1,
                              .truncation = l->variant == 2 ? 3 : 0 };
    nib_value x = input(l, "embed", width), y;

    n = width * states * (spec.both ? 2 : 1);
    l->elements = 20;
    l->b.segment++;
    lab_vector(l, "a.damping_factor", n, 0);
    lab_vector(l, "a.decay_factor", n, 0);
    lab_vector(l, "a.ema_expansion_matrix", n, 0);
    lab_vector(l, "a.kernel_projection_matrix", n, 0);
    lab_vector(l, "a.residual_weight", width, 0);
    y = nib_average_around(&l->b, x, &spec, "a");
    lab_finish(l, nib_add(&l->b, nib_activate(&l->b, y, NIB_ACT_SILU), x), width, 0);
}
static void test_average(void) { check_gradients(build_average, 3, "moving average"); }

/* Neighbours mixed, all channels or groups of them, of sequences shorter than the taps and longer
 * than a block. */
static void build_mix_near(lab *l)
{
    size_t groups = l->variant ? 2 : 1, taps = l->variant ? 5 : 3, width = 10;
    nib_value x = input(l, "embed", width), y;

    if (l->variant) memcpy(l->lengths, (uint32_t[4]){ 3, 70, 1, 0 }, sizeof l->lengths);
    l->elements = l->variant ? 10 : 30;
    l->b.segment++;
    lab_vector(l, "c.weight", width * width / groups * taps, 0);
    lab_vector(l, "c.bias", width, 0);
    y = nib_mix_near(&l->b, x, groups, taps, "c");
    lab_finish(l, nib_add(&l->b, nib_activate(&l->b, y, NIB_ACT_TANH), x), width, 0);
}
static void test_mix_near(void) { check_gradients(build_mix_near, 2, "mix of neighbours"); }

/* A row of tables, and weights alone, of one value. */
static void build_affine(lab *l)
{
    nib_value x = input(l, "embed", 9), y;

    l->b.segment++;
    lab_vector(l, "qk_weight", 18, 0);
    lab_vector(l, "qk_bias", 18, 0);
    lab_vector(l, "n.weight", 9, 0);
    y = nib_apply_affine(&l->b, x, 2, 1, "qk");
    y = nib_gate(&l->b, y, nib_apply_affine(&l->b, x, 0, 0, "n"), NIB_ACT_SILU);
    lab_finish(l, nib_add(&l->b, x, y), 9, 0);
}
static void test_affine(void) { check_gradients(build_affine, 1, "affine"); }

/* Attention without a softmax, with numbers by distance of either kind; and with a softmax. */
static void build_weigh(lab *l)
{
    nib_attention_desc d = { .heads = 1, .kv_heads = 1, .head_dim = 6, .v_dim = 5, .full = true,
                             .scale = 0.4f, .drop = { .p = l->variant == 1 ? 0.3f : 0 },
                             .weighing = l->variant & 1 ? NIB_WEIGH_RELU2 : NIB_WEIGH_LAPLACE };
    nib_value q = input(l, "q", 6), k = input(l, "k", 6), v = input(l, "v", 5);

    l->b.drops = true;
    l->elements = 25;
    l->b.segment++;
    if (l->variant & 2) {
        d.turned = lab_vector(l, "alpha", 6, 0);
        d.turned_key = lab_vector(l, "beta", 6, 0);
    } else {
        d.by_distance = lab_vector(l, "numbers", 321, 0);
        d.distance_zero = 160;
    }
    if (l->variant < 4) v = nib_weigh_keys(&l->b, q, k, v, &d);
    else v = nib_attend(&l->b, q, k, v, &d);
    lab_finish(l, v, 5, 0);
}
static void test_weigh(void) { check_gradients(build_weigh, 7, "attention without softmax"); }

int main(void)
{
    static const test_case cases[] = { { "conv", test_conv }, { "mix", test_mix },
                                       { "scan", test_scan }, { "wkv", test_wkv },
                                       { "average", test_average },
                                       { "mix_near", test_mix_near }, { "affine", test_affine },
                                       { "weigh", test_weigh } };
    return test_main("recurrence", cases, NIB_COUNT(cases));
}
