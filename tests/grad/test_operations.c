/* test_operations.c - the gradient of every operation against finite differences of the loss
 * (support/differences.h).
 *
 * Each case builds a graph of a trained embedding, the operation, and a head with the loss; so the
 * embedding's gradient is that of the operation's input, and its own parameters have theirs. */
#include <math.h>
#include <string.h>

#include "differences.h"
#include "test.h"

static const int linears[] = { LAB_LORA | LAB_TRAIN,   LAB_FULL, LAB_NF4 | LAB_LORA | LAB_BIAS,
                               LAB_LORA | LAB_DROPOUT, LAB_BIAS, LAB_FULL | LAB_TRAIN | LAB_LORA,
                               /* norms are constants: they stay as they were measured */
                               LAB_LORA | LAB_DORA | LAB_TRAIN,
                               LAB_NF4 | LAB_LORA | LAB_DORA | LAB_DROPOUT | LAB_BIAS };

static void build_linear(lab *l)
{
    nib_value x = input(l, "embed", 22), y;

    l->b.segment++;
    lab_linear(l, "w", 11, 22, linears[l->variant]);
    y = lab_apply(l, x, "w");
    lab_finish(l, y, 11, 0);
}
static void test_linear(void) { check_gradients(build_linear, NIB_COUNT(linears), "linear"); }

/* Three of one input, which the second and the third find ready; with room for other ranks each. */
static void build_neighbours(lab *l)
{
    nib_value x = input(l, "embed", 22), q, k, v;

    l->b.segment++;
    lab_linear(l, "q", 11, 22, LAB_NF4 | LAB_LORA);
    lab_linear(l, "k", 11, 22, LAB_BIAS);
    lab_linear(l, "v", 11, 22, LAB_LORA | LAB_DROPOUT);
    q = lab_apply(l, x, "q");
    k = lab_apply(l, x, "k");
    v = lab_apply(l, x, "v");
    lab_finish(l, nib_add(&l->b, q, nib_add(&l->b, k, v)), 11, 0);
}
static void test_neighbours(void) { check_gradients(build_neighbours, 1, "neighbours"); }

/* Nothing below is trained: no gradient of the input is wanted. */
static void build_first_linear(lab *l)
{
    nib_value y;

    lab_embedding(l, "embed", 9, 0);
    lab_linear(l, "w", 6, 9, LAB_LORA);
    lab_linear(l, "x", 5, 6, LAB_NF4 | LAB_LORA | LAB_DROPOUT);
    y = lab_apply(l, lab_embed(l, "embed"), "w");
    l->b.segment++;
    lab_finish(l, lab_apply(l, y, "x"), 5, 0);
}
static void test_first_linear(void) { check_gradients(build_first_linear, 1, "first linear"); }

static void build_norm(lab *l)
{
    bool layer = l->variant & 1;
    nib_value x = input(l, "embed", 13), y;

    l->b.segment++;
    lab_norm(l, "n", 13, layer, l->variant & 2 ? LAB_TRAIN : 0);
    y = !layer            ? nib_apply_rms_norm(&l->b, x, 1e-2f, "n")
        : l->variant & 4 ? nib_apply_layer_norm_one_plus(&l->b, x, 1e-2f, "n")
                         : nib_apply_layer_norm(&l->b, x, 1e-2f, "n");
    lab_finish(l, y, 13, 0);
}
static void test_norm(void) { check_gradients(build_norm, 8, "norm"); }

/* Each head of a value, or of a view of one, whose other half stays as it is; all forms. */
static void build_norm_heads(lab *l)
{
    enum { HEADS = 3, D = 6, WIDTH = HEADS * D };
    nib_rms_form form = (nib_rms_form)(l->variant % 3);
    bool view = l->variant >= 3, apart = l->variant >= 6;
    nib_heads places = { .head_stride = 2 * D, .per_group = HEADS };
    nib_value x = input(l, "embed", view ? 2 * WIDTH : WIDTH), rest = x, y;

    l->b.segment++;
    if (view) {
        lab_linear(l, "w", 2 * WIDTH, 2 * WIDTH, LAB_LORA);
        y = lab_apply(l, x, "w");
        x = apart ? nib_heads_of(&l->b, y, HEADS, D, 0, places) : nib_columns_of(&l->b, y, 0,
                                                                                 WIDTH);
        rest = apart ? nib_heads_of(&l->b, y, HEADS, D, D, places)
                     : nib_columns_of(&l->b, y, WIDTH, WIDTH);
    }
    lab_norm(l, "n", D, false, l->variant % 2 ? LAB_TRAIN : 0);
    l->elements = 30;
    y = nib_apply_rms_norm_form(&l->b, x, HEADS, form, 1e-2f, "n");
    lab_finish(l, nib_add(&l->b, y, rest), WIDTH, 0);
}
static void test_norm_heads(void) { check_gradients(build_norm_heads, 9, "norm of heads"); }

/* Layer norms of heads, with one weight and a bias for all, or a weight for each. */
static void build_layer_norm_heads(lab *l)
{
    enum { HEADS = 3, D = 6, WIDTH = HEADS * D };
    bool rows = l->variant & 1, view = l->variant & 2;
    nib_value x = input(l, "embed", view ? 2 * WIDTH : WIDTH), rest = x, y;

    l->b.segment++;
    if (view) {
        lab_linear(l, "w", 2 * WIDTH, 2 * WIDTH, LAB_LORA);
        y = lab_apply(l, x, "w");
        x = nib_columns_of(&l->b, y, 0, WIDTH);
        rest = nib_columns_of(&l->b, y, WIDTH, WIDTH);
    }
    lab_norm(l, "n", rows ? WIDTH : D, !rows, LAB_TRAIN);
    if (rows) lab_norm_rows(l, HEADS);
    l->elements = 30;
    y = nib_apply_layer_norm_heads(&l->b, x, HEADS, rows ? NIB_NORM_ROWS : NIB_NORM_SHARED, !rows,
                                   1e-2f, "n");
    lab_finish(l, nib_add(&l->b, y, rest), WIDTH, 0);
}
static void test_layer_norm_heads(void)
{
    check_gradients(build_layer_norm_heads, 4, "layer norm of heads");
}

/* Positions that are added, on what something else reads too or nothing does. */
static void build_sinusoid(lab *l)
{
    static const float frequencies[] = { 1, 0.3f, 0.1f, 0.02f };
    nib_value x = input(l, "embed", 9), y;

    l->b.segment++;
    y = nib_add_sinusoid(&l->b, x, 2, frequencies);
    if (l->variant) y = nib_add(&l->b, nib_activate(&l->b, y, NIB_ACT_SILU), x);
    lab_finish(l, y, 9, 0);
}
static void test_sinusoid(void) { check_gradients(build_sinusoid, 2, "sinusoid"); }

/* One of the words masks; what reads the rest may read the whole too. */
static void build_mask_words(lab *l)
{
    nib_value x = input(l, "embed", 9), y;

    l->b.segment++;
    y = nib_mask_words(&l->b, x, 1, 0.88f);
    if (l->variant) y = nib_add(&l->b, nib_activate(&l->b, y, NIB_ACT_SILU), x);
    lab_finish(l, y, 9, 0);
}
static void test_mask_words(void) { check_gradients(build_mask_words, 2, "masked words"); }

/* Only the norm is trained, its input is not. */
static void build_first_norm(lab *l)
{
    nib_value x, y;

    lab_embedding(l, "embed", 13, 0);
    x = lab_embed(l, "embed");
    lab_norm(l, "n", 13, l->variant, LAB_TRAIN);
    y = l->variant ? nib_apply_layer_norm(&l->b, x, 1e-2f, "n")
                   : nib_apply_rms_norm(&l->b, x, 1e-2f, "n");
    lab_finish(l, y, 13, 0);
}
static void test_first_norm(void) { check_gradients(build_first_norm, 2, "first norm"); }

/* Keeps all values of an embedding as far from 0, where ReLU has its corner, as two steps reach. */
static void avoid_zero(nib_embedding *e)
{
    for (size_t i = 0; i < nib_param_count(e->full); i++) {
        float x = e->full->value[i];
        if (fabsf(x) < 0.1f) e->full->value[i] = x < 0 ? -0.1f : 0.1f;
    }
}

static void build_activation(lab *l)
{
    nib_embedding *e = lab_embedding(l, "embed", 10, LAB_FULL);
    nib_value x;

    avoid_zero(e);
    x = lab_embed(l, "embed");
    l->b.segment++;
    lab_finish(l, nib_activate(&l->b, x, (nib_activation)l->variant), 10, 0);
}
static void test_activation(void)
{
    check_gradients(build_activation, NIB_ACT_COUNT, "activation");
}

/* Of a value, and of a view of one whose other half stays as it is. */
static void build_xielu(lab *l)
{
    nib_embedding *e = lab_embedding(l, "embed", 10, LAB_FULL);
    nib_value x, y;

    avoid_zero(e);
    lab_vector(l, "act.alpha_p", 1, 0);
    lab_vector(l, "act.alpha_n", 1, 0);
    lab_vector(l, "act.beta", 1, 0);
    lab_vector(l, "act.eps", 1, 0)->value[0] = -1e-3f;
    x = lab_embed(l, "embed");
    l->b.segment++;
    if (l->variant == 0) {
        lab_finish(l, nib_apply_xielu(&l->b, x, "act"), 10, 0);
        return;
    }
    y = nib_apply_xielu(&l->b, nib_columns_of(&l->b, x, 0, 5), "act");
    lab_finish(l, nib_add(&l->b, y, nib_columns_of(&l->b, x, 5, 5)), 5, 0);
}
static void test_xielu(void) { check_gradients(build_xielu, 2, "xielu"); }

static void build_gate(lab *l)
{
    nib_value gate, up;

    avoid_zero(lab_embedding(l, "gate", 10, LAB_FULL));
    lab_embedding(l, "up", 10, LAB_FULL);
    gate = lab_embed(l, "gate");
    up = lab_embed(l, "up");
    l->b.segment++;
    lab_finish(l, nib_gate(&l->b, gate, up, (nib_activation)l->variant), 10, 0);
}
static void test_gate(void) { check_gradients(build_gate, NIB_ACT_COUNT, "gate"); }

/* phi3's gate and up: halves of one projection; heads of a projection in between; one value twice;
 * and a value that others read too, whose gradient is added to. */
static void build_gate_of(lab *l)
{
    enum { WIDTH = 12 };
    nib_heads pairs = { .head_stride = 6, .per_group = 4 };
    nib_value x = input(l, "embed", 7), y, gate, up;

    l->elements = 30;
    l->b.segment++;
    lab_linear(l, "gate_up", 2 * WIDTH, 7, LAB_LORA | LAB_TRAIN);
    lab_linear(l, "w", WIDTH, 7, LAB_LORA);
    y = lab_apply(l, x, "gate_up");
    x = lab_apply(l, x, "w");
    switch (l->variant) {
    case 0:
        gate = nib_columns_of(&l->b, y, 0, WIDTH);
        up = nib_columns_of(&l->b, y, WIDTH, WIDTH);
        break;
    case 1:
        gate = nib_heads_of(&l->b, y, 4, 3, 3, pairs);
        up = nib_heads_of(&l->b, y, 4, 3, 0, pairs);
        break;
    case 2: /* a view and a plain value that is read again */
        gate = nib_heads_of(&l->b, y, 4, 3, 3, pairs);
        up = nib_add(&l->b, x, nib_heads_of(&l->b, y, 4, 3, 0, pairs));
        up = nib_gate(&l->b, x, up, NIB_ACT_SILU);
        break;
    default:
        gate = nib_activate(&l->b, nib_columns_of(&l->b, y, 0, WIDTH), NIB_ACT_GELU);
        up = nib_scale(&l->b, nib_columns_of(&l->b, y, WIDTH, WIDTH), -0.7f);
        up = nib_gate(&l->b, nib_gate(&l->b, x, x, NIB_ACT_GELU_TANH), up, NIB_ACT_SILU);
    }
    y = nib_gate(&l->b, gate, up, NIB_ACT_GELU_TANH);
    lab_finish(l, nib_add(&l->b, nib_gate(&l->b, y, x, NIB_ACT_SILU), y), WIDTH, 0);
}
static void test_gate_of(void) { check_gradients(build_gate_of, 4, "gate of views"); }

/* Of a value that others read too, before and after. */
static void build_scale(lab *l)
{
    nib_value x = input(l, "embed", 10), y;

    l->b.segment++;
    y = l->variant ? nib_scale(&l->b, x, 1.75f) : nib_activate(&l->b, x, NIB_ACT_SILU);
    x = l->variant ? nib_activate(&l->b, x, NIB_ACT_SILU) : nib_scale(&l->b, x, -1.25f);
    lab_finish(l, nib_add(&l->b, x, y), 10, 0);
}
static void test_scale(void) { check_gradients(build_scale, 2, "scale"); }

/* Values that several operations read: gradients are added up, in every order of add's inputs. */
static void build_add(lab *l)
{
    nib_value x = input(l, "embed", 8), y, z, n;

    l->b.segment++;
    lab_norm(l, "n", 8, false, LAB_TRAIN);
    lab_linear(l, "w", 8, 8, LAB_LORA);
    lab_linear(l, "v", 8, 8, LAB_LORA);
    n = nib_apply_rms_norm(&l->b, x, 1e-3f, "n");
    y = lab_apply(l, n, "w");
    y = l->variant & 1 ? nib_add(&l->b, x, y) : nib_add(&l->b, y, x);
    l->b.segment++;
    z = lab_apply(l, l->variant & 2 ? n : y, "v");
    z = nib_activate(&l->b, l->variant & 1 ? nib_add(&l->b, y, z) : nib_add(&l->b, z, y),
                     NIB_ACT_SILU);
    lab_finish(l, nib_add(&l->b, nib_activate(&l->b, y, NIB_ACT_GELU), z), 8, 0);
}
static void test_add(void) { check_gradients(build_add, 4, "add"); }

/* Two branches of one stream, added together before they join it: the gradient of the stream is
 * added to while its first place still waits for the other branch.
 * Or a branch of one operation. */
static void build_parallel(lab *l)
{
    nib_value x = input(l, "embed", 8), a, h;

    l->b.segment++;
    lab_norm(l, "n", 8, false, LAB_TRAIN);
    lab_norm(l, "m", 8, false, LAB_TRAIN);
    lab_linear(l, "w", 8, 8, LAB_LORA);
    lab_linear(l, "v", 8, 8, LAB_LORA | LAB_TRAIN);
    a = lab_apply(l, nib_apply_rms_norm(&l->b, x, 1e-3f, "n"), "w");
    h = l->variant ? x : nib_apply_rms_norm(&l->b, x, 1e-3f, "m");
    h = lab_apply(l, h, "v");
    x = nib_add(&l->b, x, l->variant & 2 ? h : nib_add(&l->b, a, h));
    if (l->variant & 2) x = nib_add(&l->b, a, x);
    if (l->variant) x = nib_add(&l->b, x, nib_apply_rms_norm(&l->b, x, 1e-3f, "m"));
    lab_finish(l, x, 8, 0);
}
static void test_parallel(void) { check_gradients(build_parallel, 3, "parallel branches"); }

/* The gather's input has another reader, before it or after it: its gradient comes first or is
 * added; and what follows works on the supervised rows. */
static void build_gather(lab *l)
{
    nib_value x = input(l, "embed", 8), y, z;

    if (l->variant) {
        z = nib_to_logit_rows(&l->b, x);
        y = nib_activate(&l->b, x, NIB_ACT_SILU);
    } else {
        y = nib_activate(&l->b, x, NIB_ACT_SILU);
        z = nib_to_logit_rows(&l->b, x);
    }
    y = nib_to_logit_rows(&l->b, y);
    l->b.segment++;
    lab_linear(l, "w", 8, 8, LAB_LORA | LAB_TRAIN);
    y = nib_add(&l->b, y, lab_apply(l, z, "w"));
    lab_linear(l, "head", l->targets, 8, 0);
    lab_head(l, y);
}
static void test_gather(void) { check_gradients(build_gather, 2, "gather"); }

/* One row a sequence: a trained linear on that axis, and the loss of one target a sequence. */
static void build_pool(lab *l)
{
    nib_value x = input(l, "embed", 9), y;

    l->b.segment++;
    y = nib_pool_rows(&l->b, x, (nib_pooling)l->variant);
    lab_linear(l, "w", 8, 9, LAB_LORA | LAB_TRAIN);
    y = nib_activate(&l->b, lab_apply(l, y, "w"), NIB_ACT_GELU);
    l->b.segment++;
    lab_linear(l, "head", l->targets, 8, 0);
    lab_head(l, y);
}
static void test_pool(void) { check_gradients(build_pool, NIB_POOL_MEAN + 1, "pool"); }

/* --- rotation and attention --- */

static const float angles[] = { 1, 0.31f, 0.1f, 0.031f };

static void build_rotate(lab *l)
{
    static const size_t rotated[] = { 8, 4 };
    nib_value x = input(l, "embed", 24), y;

    l->rope = (nib_rope){ .rot = rotated[l->variant & 1], .interleaved = l->variant & 2,
                          .inv = angles, .attention_factor = 1.25f };
    l->b.segment++;
    y = nib_rotate(&l->b, x, 3, 8, &l->rope);
    lab_finish(l, y, 24, 0);
}
static void test_rotate(void) { check_gradients(build_rotate, 4, "rotation"); }

/* Heads of two parts: views of one value, or plain and read again; a part of one head for all. */
static void build_join(lab *l)
{
    enum { HEADS = 3, A = 4, B = 2 };
    bool views = l->variant & 1, shared = l->variant & 2;
    size_t second = shared ? B : HEADS * B, width = HEADS * A + second;
    nib_value x = input(l, "embed", width), y = x, a, b;

    l->b.segment++;
    l->elements = 30;
    lab_linear(l, "w", HEADS * (A + B), width, LAB_LORA);
    if (views) {
        lab_linear(l, "v", width, width, LAB_LORA);
        y = lab_apply(l, x, "v");
        b = nib_heads_of(&l->b, y, shared ? 1 : HEADS, B, HEADS * A,
                         nib_plain_heads(shared ? 1 : HEADS, B));
        a = nib_heads_of(&l->b, y, HEADS, A, 0, nib_plain_heads(HEADS, A));
        y = nib_join_heads(&l->b, a, b, HEADS, shared);
        y = nib_add(&l->b, y, lab_apply(l, x, "w"));
    } else {
        lab_linear(l, "a", HEADS * A, width, LAB_LORA);
        lab_linear(l, "b", second, width, LAB_LORA);
        lab_linear(l, "again", HEADS * (A + B), second, LAB_LORA);
        a = lab_apply(l, x, "a");
        b = lab_apply(l, x, "b");
        y = nib_add(&l->b, nib_join_heads(&l->b, a, b, HEADS, shared), lab_apply(l, x, "w"));
        y = nib_add(&l->b, y, lab_apply(l, b, "again"));
    }
    lab_finish(l, y, HEADS * (A + B), 0);
}
static void test_join(void) { check_gradients(build_join, 4, "join of heads"); }

static const float slopes[] = { 0.5f, 0.25f, 0.0625f, 0.0078125f, 0.703125f, 0.125f };

static const struct attention_case {
    size_t heads, kv_heads, head_dim, window;
    bool alibi, long_one;
    bool full;
    int sinks; /* 1: frozen, 2: trained */
    size_t chunk, v_dim;
    float cap, drop;
    size_t globals;
    bool of_globals;
} attentions[] = {
    { .heads = 3, .kv_heads = 3, .head_dim = 5 },
    { .heads = 4, .kv_heads = 2, .head_dim = 6 },
    { .heads = 6, .kv_heads = 1, .head_dim = 4, .window = 3 },
    { .heads = 3, .kv_heads = 3, .head_dim = 8, .alibi = true },
    { .heads = 6, .kv_heads = 2, .head_dim = 4, .window = 4, .alibi = true },
    { .heads = 2, .kv_heads = 1, .head_dim = 8, .long_one = true },
    { .heads = 3, .kv_heads = 1, .head_dim = 4, .window = 57, .alibi = true, .long_one = true },
    { .heads = 4, .kv_heads = 2, .head_dim = 5, .cap = 0.8f },
    { .heads = 2, .kv_heads = 2, .head_dim = 8, .cap = 0.5f, .long_one = true, .window = 70 },
    { .heads = 3, .kv_heads = 3, .head_dim = 4, .full = true },
    { .heads = 4, .kv_heads = 1, .head_dim = 4, .full = true, .window = 3 },
    { .heads = 2, .kv_heads = 1, .head_dim = 4, .full = true, .window = 30, .long_one = true },
    { .heads = 4, .kv_heads = 2, .head_dim = 4, .chunk = 5 },
    { .heads = 4, .kv_heads = 2, .head_dim = 7, .v_dim = 3 },
    { .heads = 2, .kv_heads = 1, .head_dim = 4, .v_dim = 18, .long_one = true },
    { .heads = 3, .kv_heads = 3, .head_dim = 4, .sinks = 1 },
    { .heads = 4, .kv_heads = 2, .head_dim = 5, .sinks = 2, .window = 4 },
    { .heads = 2, .kv_heads = 2, .head_dim = 6, .sinks = 2, .long_one = true, .window = 9 },
    { .heads = 2, .kv_heads = 2, .head_dim = 6, .sinks = 1, .cap = 1, .v_dim = 4, .full = true },
    { .heads = 4, .kv_heads = 2, .head_dim = 5, .drop = 0.2f, .full = true },
    { .heads = 2, .kv_heads = 2, .head_dim = 6, .drop = 0.4f, .long_one = true, .window = 9 },
    { .heads = 2, .kv_heads = 2, .head_dim = 4, .full = true, .window = 3, .globals = 1 },
    { .heads = 3, .kv_heads = 3, .head_dim = 4, .full = true, .window = 9, .globals = 3,
      .long_one = true, .drop = 0.3f },
    { .heads = 4, .kv_heads = 2, .head_dim = 4, .full = true, .globals = 3, .of_globals = true,
      .drop = 0.2f },
};

static void build_attention(lab *l)
{
    struct attention_case c = attentions[l->variant];
    size_t v_dim = c.v_dim ? c.v_dim : c.head_dim;
    nib_attention_desc d = { .heads = c.heads, .kv_heads = c.kv_heads, .head_dim = c.head_dim,
                             .v_dim = c.v_dim, .window = c.window, .chunk = c.chunk,
                             .globals = c.globals, .of_globals = c.of_globals,
                             .full = c.full, .cap = c.cap, .scale = 0.6f, .drop = { .p = c.drop },
                             .alibi_slopes = c.alibi ? slopes : NULL };
    nib_value q = input(l, "q", c.heads * c.head_dim), k = input(l, "k", c.kv_heads * c.head_dim);
    nib_value v = input(l, "v", c.kv_heads * v_dim);

    l->b.drops = true;
    if (c.sinks) d.sinks = lab_vector(l, "sinks", c.heads, c.sinks == 2 ? LAB_TRAIN : 0);
    l->elements = c.long_one ? 15 : 30;
    if (c.long_one) memcpy(l->lengths, (uint32_t[4]){ 3, 115, 2, 0 }, sizeof l->lengths);
    l->b.segment++;
    lab_finish(l, nib_attend(&l->b, q, k, v, &d), c.heads * v_dim, 0);
}
static void test_attention(void)
{
    check_gradients(build_attention, NIB_COUNT(attentions), "attention");
}

/* Scores for what stands where: of queries, of keys, of both, of sequences longer than a block. */
static void build_disentangled(lab *l)
{
    enum { HEADS = 2, D = 5, WIDTH = HEADS * D };
    int how = l->variant % 3;
    nib_span span = { .half = l->variant < 3 ? 4 : 6, .buckets = l->variant < 3 ? 4 : 6,
                      .most = 40 };
    nib_attention_desc d = { .heads = HEADS, .kv_heads = HEADS, .head_dim = D, .full = true,
                             .scale = 0.5f,
                             .drop = { .p = l->variant == 2 ? 0.3f : 0 } };
    nib_value q = input(l, "q", WIDTH), k = input(l, "k", WIDTH), v = input(l, "v", WIDTH);
    nib_value keys = { NIB_NONE }, queries = { NIB_NONE }, table;

    l->b.drops = true;
    l->elements = l->variant < 3 ? 25 : 8;
    if (l->variant >= 3) memcpy(l->lengths, (uint32_t[4]){ 3, 70, 2, 0 }, sizeof l->lengths);
    lab_embedding(l, "table", WIDTH, LAB_FULL);
    if (!l->b.status) l->embeddings[l->embedding_count - 1].weight->out = 2 * span.half;
    table = nib_embed_span(&l->b, &span, WIDTH, "table");
    l->b.segment++;
    if (how != 1) lab_linear(l, "w", WIDTH, WIDTH, LAB_LORA | (how == 2 ? LAB_DROPOUT : 0));
    if (how != 1) keys = lab_apply(l, table, "w");
    if (how != 0) queries = nib_activate(&l->b, table, NIB_ACT_TANH);
    lab_finish(l, nib_attend_apart(&l->b, q, k, v, keys, queries, &d), WIDTH, 0);
}
static void test_disentangled(void)
{
    check_gradients(build_disentangled, 6, "disentangled attention");
}

/* Fused projections as views: grouped as in Falcon's new form, thirds, and a shared last pair. */
static void build_fused(lab *l)
{
    enum { D = 6 };
    size_t heads = l->variant == 1 ? 3 : 4,
           kv = l->variant == 0   ? 2
                : l->variant == 1 ? 3
                                  : 1,
           per = heads / kv;
    nib_attention_desc d = { .heads = heads, .kv_heads = kv, .head_dim = D, .scale = 0.5f };
    nib_value x = input(l, "embed", 7), qkv, q, k, v;

    l->rope = (nib_rope){ .rot = D - 2, .inv = angles, .attention_factor = 1 };
    l->b.segment++;
    lab_linear(l, "qkv", (heads + 2 * kv) * D, 7, LAB_LORA | LAB_TRAIN);
    qkv = lab_apply(l, x, "qkv");
    if (l->variant == 0) { /* groups of q, q, k, v */
        nib_heads many = { .head_stride = D, .per_group = per, .group_stride = (per + 2) * D };
        nib_heads one = { .head_stride = D, .per_group = 1, .group_stride = (per + 2) * D };
        q = nib_heads_of(&l->b, qkv, heads, D, 0, many);
        k = nib_heads_of(&l->b, qkv, kv, D, per * D, one);
        v = nib_heads_of(&l->b, qkv, kv, D, (per + 1) * D, one);
    } else if (l->variant == 1) { /* head by head q, k, v */
        nib_heads third = { .head_stride = 3 * D, .per_group = heads };
        q = nib_heads_of(&l->b, qkv, heads, D, 0, third);
        k = nib_heads_of(&l->b, qkv, heads, D, D, third);
        v = nib_heads_of(&l->b, qkv, heads, D, 2 * D, third);
    } else { /* all of q, then one k and one v */
        q = nib_heads_of(&l->b, qkv, heads, D, 0, nib_plain_heads(heads, D));
        k = nib_heads_of(&l->b, qkv, 1, D, heads * D, nib_plain_heads(1, D));
        v = nib_heads_of(&l->b, qkv, 1, D, (heads + 1) * D, nib_plain_heads(1, D));
    }
    q = nib_rotate(&l->b, q, heads, D, &l->rope);
    k = nib_rotate(&l->b, k, kv, D, &l->rope);
    lab_finish(l, nib_attend(&l->b, q, k, v, &d), heads * D, 0);
}
static void test_fused(void) { check_gradients(build_fused, 3, "fused attention"); }

/* Queries, keys and values that more than one operation reads: k is v, both are another layer's, a
 * rotated value stays as it is too. */
static void build_shared(lab *l)
{
    enum { HEADS = 4, KV = 2, D = 4 };
    nib_attention_desc d = { .heads = HEADS, .kv_heads = KV, .head_dim = D, .scale = 0.6f };
    nib_value q = input(l, "q", HEADS * D), k = input(l, "k", KV * D), v = k, a, turned;

    l->rope = (nib_rope){ .rot = D, .interleaved = l->variant & 1, .inv = angles,
                          .attention_factor = 1 };
    if (l->variant & 2) v = input(l, "v", KV * D);
    l->elements = 20;
    l->b.segment++;
    turned = nib_rotate(&l->b, k, KV, D, &l->rope);
    a = nib_attend(&l->b, nib_rotate(&l->b, q, HEADS, D, &l->rope), turned, v, &d);
    l->b.segment++;
    lab_linear(l, "w", HEADS * D, HEADS * D, LAB_LORA);
    a = nib_add(&l->b, q, lab_apply(l, a, "w"));
    a = nib_add(&l->b, a, nib_attend(&l->b, a, turned, v, &d));
    lab_finish(l, nib_add(&l->b, a, nib_attend(&l->b, q, k, k, &d)), HEADS * D, 0);
}
static void test_shared(void) { check_gradients(build_shared, 4, "shared keys and values"); }

/* A linear and a norm that two layers use: their gradients add up, and each use has a dropout of
 * its own. */
static void build_used_twice(lab *l)
{
    enum { D = 8 };
    nib_value x = input(l, "embed", D);
    nib_linear *w;
    nib_norm *n;

    lab_linear(l, "w", D, D, l->variant ? LAB_FULL : LAB_LORA | LAB_TRAIN | LAB_DROPOUT);
    lab_norm(l, "n", D, true, LAB_TRAIN);
    w = nib_bind_linear(&l->b, D, D, l->linears[0].bias != NULL, "w");
    n = nib_bind_layer_norm(&l->b, D, "n");
    for (int i = 0; i < 2; i++) {
        l->b.segment++;
        x = nib_add(&l->b, x, nib_apply_bound_linear(&l->b, x, w));
        x = nib_apply_bound_norm(&l->b, x, n, 1e-2f);
    }
    CHECK(l->b.status || (l->b.graph->nodes[1].use == 0 && l->b.graph->nodes[4].use == 1),
          "uses are counted");
    lab_finish(l, x, D, 0);
}
static void test_used_twice(void) { check_gradients(build_used_twice, 2, "used twice"); }

/* A second text, longer here, shorter there and once empty; its values have two readers. */
static void build_cross(lab *l)
{
    enum { HEADS = 4, KV = 2, D = 5 };
    nib_attention_desc d = { .heads = HEADS, .kv_heads = KV, .head_dim = D, .scale = 0.7f,
                             .full = true };
    nib_value q = input(l, "q", HEADS * D), source, k, v;

    l->elements = 20;
    memcpy(l->source_lengths, l->variant ? (uint32_t[4]){ 90, 0, 5 } : (uint32_t[4]){ 3, 4, 9 },
           sizeof l->source_lengths);
    lab_embedding(l, "source", 6, LAB_FULL);
    source = lab_source(l, "source");
    l->b.segment++;
    lab_linear(l, "k", KV * D, 6, LAB_LORA);
    lab_linear(l, "v", KV * D, 6, LAB_LORA | LAB_TRAIN);
    k = lab_apply(l, source, "k");
    v = lab_apply(l, source, "v");
    q = nib_add(&l->b, q, nib_attend(&l->b, q, k, v, &d));
    l->b.segment++;
    lab_finish(l, nib_add(&l->b, q, nib_attend(&l->b, q, k, v, &d)), HEADS * D, 0);
}
static void test_cross(void) { check_gradients(build_cross, 2, "cross attention"); }

/* Only v's projection is trained: gradients of q and k are not wanted. */
static void build_values_only(lab *l)
{
    nib_attention_desc d = { .heads = 2, .kv_heads = 2, .head_dim = 4, .scale = 0.6f };
    nib_value q, k, v;

    lab_embedding(l, "q", 8, 0);
    lab_embedding(l, "k", 8, 0);
    q = lab_embed(l, "q");
    k = l->variant ? input(l, "kt", 8) : lab_embed(l, "k");
    v = input(l, "v", 8);
    lab_finish(l, nib_attend(&l->b, q, k, v, &d), 8, 0);
}
static void test_values_only(void)
{
    check_gradients(build_values_only, 2, "attention, part trained");
}

/* --- both ends --- */

static const int embeddings[] = { LAB_FULL, LAB_LORA, LAB_NF4 | LAB_LORA, LAB_FULL | LAB_LORA,
                                  LAB_NF4 | LAB_LORA | LAB_DORA };

static void build_embedding(lab *l)
{
    lab_embedding(l, "embed", 10, embeddings[l->variant]);
    lab_finish(l, lab_embed(l, "embed"), 10, 0);
}
static void test_embedding(void)
{
    check_gradients(build_embedding, NIB_COUNT(embeddings), "embedding");
}

static const int heads[] = { 0, LAB_BIAS, LAB_LORA | LAB_TRAIN, LAB_FULL,
                             LAB_NF4 | LAB_LORA | LAB_DROPOUT, LAB_LORA | LAB_DORA | LAB_TRAIN,
                             LAB_LORA | LAB_DORA | LAB_DROPOUT };

static void build_loss(lab *l)
{
    lab_finish(l, input(l, "embed", 10), 10, heads[l->variant]);
}
static void test_loss(void) { check_gradients(build_loss, NIB_COUNT(heads), "loss"); }

/* Logits with a scale and a soft cap, as they are small and as they fill it. */
static void build_capped_loss(lab *l)
{
    static const float caps[] = { 0, 1.5f, 30 };

    nib_set_logits(&l->b, l->variant == 1 ? 0.7f : 1.4f, caps[l->variant]);
    lab_finish(l, input(l, "embed", 10), 10, l->variant == 1 ? LAB_FULL | LAB_TRAIN : LAB_LORA);
}
static void test_capped_loss(void) { check_gradients(build_capped_loss, 3, "capped loss"); }

/* Several labels, and numbers; and rows with weights, which words have too. */
static void build_objective(lab *l)
{
    static const nib_loss_kind kinds[] = { NIB_LOSS_BINARY, NIB_LOSS_SQUARED,
                                           NIB_LOSS_CROSS_ENTROPY };

    l->loss = kinds[l->variant % 3];
    l->weighted = l->variant >= 2;
    if (l->variant == 5) l->label_smoothing = 0.2;
    lab_finish(l, input(l, "embed", 10), 10, l->variant % 2 ? LAB_LORA : LAB_FULL | LAB_TRAIN);
}

/* The divisor of the mean: the weights of the rows, times the answers that each has. */
static void test_objective(void)
{
    check_gradients(build_objective, 6, "objective");
    for (int variant = 0; variant < 6; variant++) {
        lab l;
        if (lab_open(&l, test_ctx(), NIB_F32, build_objective, variant)) {
            double want = 0;
            size_t each = l.loss == NIB_LOSS_CROSS_ENTROPY ? 1 : l.targets;
            for (size_t r = 0; r < l.batch.axes[NIB_LOGIT_ROWS].count; r++)
                want += (double)each * (l.weighted ? (double)l.weights[r] : 1);
            lab_step(&l);
            CHECK(fabs(l.run->loss_weight - want) < 1e-9, "objective %d: divisor %g, expected %g",
                  variant, l.run->loss_weight, want);
        }
        lab_close(&l);
    }
}

/* Rows of each sequence where something begins or ends; the last sequence lacks one. */
static void build_span_loss(lab *l)
{
    l->loss = NIB_LOSS_SPAN;
    /* a bias has no gradient */
    lab_finish(l, input(l, "embed", 10), 10, l->variant ? LAB_LORA : LAB_FULL);
}

static void test_span_loss(void)
{
    lab l;

    check_gradients(build_span_loss, 2, "spans");
    if (lab_open(&l, test_ctx(), NIB_F32, build_span_loss, 0)) {
        double marked = 0;
        for (size_t i = 0; i < l.batch.axes[NIB_LOGIT_ROWS].count * l.targets; i++)
            marked += (double)l.wanted[i];
        lab_step(&l);
        CHECK(marked > 0 && fabs(l.run->loss_weight - marked) < 1e-9, "divisor %g of %g marks",
              l.run->loss_weight, marked);
    }
    lab_close(&l);
}

/* Targets of which a part goes to all words, alone and with a scale and a soft cap. */
static void build_smoothed_loss(lab *l)
{
    l->label_smoothing = l->variant == 0 ? 0.1 : 0.45;
    if (l->variant == 2) nib_set_logits(&l->b, 1.4f, 1.5f);
    lab_finish(l, input(l, "embed", 10), 10, l->variant == 1 ? LAB_FULL : LAB_LORA);
}
static void test_smoothed_loss(void) { check_gradients(build_smoothed_loss, 3, "smoothed loss"); }

/* The embedding's noise: a constant of the step. */
static void build_noisy_embedding(lab *l)
{
    l->noise = 3;
    build_embedding(l);
}
static void test_noisy_embedding(void)
{
    check_gradients(build_noisy_embedding, NIB_COUNT(embeddings), "embedding with noise");
}

enum { NOISE_WIDTH = 10, NOISE_ROWS = 20 };

static void keep_embedding(void *user, const nib_node *node, const nib_io *io, bool backward)
{
    if (!backward && node->embedding)
        memcpy(user, io->out, NOISE_ROWS * NOISE_WIDTH * sizeof(float));
}

/* Within alpha / sqrt(L width) of each sequence, evenly, another in each place; none of it when
 * not training. */
static void test_noise(void)
{
    static const size_t ends[] = { 7, 8, NOISE_ROWS }; /* lab_start()'s lengths */
    static float plain[NOISE_ROWS][NOISE_WIDTH], noisy[NOISE_ROWS][NOISE_WIDTH];
    double sum = 0, squares = 0;
    lab l;

    if (lab_open(&l, test_ctx(), NIB_F32, build_embedding, 0)) {
        l.run->tap = keep_embedding;
        l.run->tap_user = plain;
        lab_step(&l);
        l.run->tap_user = noisy;
        l.run->noise = 3;
        lab_step(&l);
    }
    lab_close(&l);
    for (size_t s = 0, r = 0; s < NIB_COUNT(ends); s++) {
        double length = (double)(ends[s] - r), most = 3 / sqrt(length * NOISE_WIDTH);
        for (; r < ends[s]; r++)
            for (size_t c = 0; c < NOISE_WIDTH; c++) {
                double x = ((double)noisy[r][c] - (double)plain[r][c]) / most;
                CHECK(fabs(x) <= 1.00001 && x != 0, "row %zu, column %zu: %g of the most", r, c,
                      x);
                sum += x;
                squares += x * x;
            }
    }
    /* 200 values: the mean is 0 +- 0.04, that of the squares 1/3 +- 0.02 */
    CHECK(fabs(sum / 200) < 0.17 && fabs(squares / 200 - 1. / 3) < 0.09, "%g, %g", sum, squares);
}

/* The row of padding gets no gradient, as torch's padding_idx has it. */
static void build_padded(lab *l)
{
    nib_embedding *e = lab_embedding(l, "embed", 10, LAB_FULL);

    e->has_padding = l->variant;
    e->padding = l->variant ? 3 : 0;
    lab_finish(l, lab_embed(l, "embed"), 10, 0);
}
static void test_padding(void)
{
    for (int padded = 0; padded < 2; padded++) {
        lab l;

        if (lab_open(&l, test_ctx(), NIB_F32, build_padded, padded)) {
            for (size_t i = 0; i < 5; i++) l.ids[i] = (uint32_t)i % 2 + 3;
            lab_step(&l);
            for (size_t row = 3; row < 5; row++) {
                const float *grad = l.embeddings[0].full->grad + row * 10;
                CHECK((grad[0] == 0) == (padded && row == 3), "padding %d: row %zu has %g", padded,
                      row, (double)grad[0]);
            }
        }
        lab_close(&l);
    }
}

/* Dropout of a value that has another reader, of one behind the picking of rows, and of none. */
static void build_dropout(lab *l)
{
    static const float p[] = { 0.3f, 0.6f, 0 };
    nib_value x = input(l, "embed", 10), y;

    l->b.drops = true;
    y = nib_add(&l->b, nib_dropout(&l->b, x, p[l->variant % 3]), x);
    if (l->variant > 2) y = nib_dropout(&l->b, nib_to_logit_rows(&l->b, y), 0.5f);
    lab_finish(l, y, 10, 0);
}
static void test_dropout(void) { check_gradients(build_dropout, 6, "dropout"); }

typedef struct dropped { float in[NOISE_ROWS][NOISE_WIDTH], out[NOISE_ROWS][NOISE_WIDTH]; } dropped;

static void keep_dropped(void *user, const nib_node *node, const nib_io *io, bool backward)
{
    dropped *d = user;

    if (backward || node->drop.p == 0) return;
    memcpy(d->in, io->in[0], sizeof d->in);
    memcpy(d->out, io->out, sizeof d->out);
}

static void build_one_dropout(lab *l)
{
    l->b.drops = true;
    lab_finish(l, nib_dropout(&l->b, input(l, "embed", NOISE_WIDTH), 0.3f), NOISE_WIDTH, 0);
}

/* Values become 0 or x / (1 - p), the former with probability p; others in another epoch. */
static void test_dropout_law(void)
{
    static dropped d[2];
    size_t zeros = 0, other = 0;
    lab l;

    if (lab_open(&l, test_ctx(), NIB_F32, build_one_dropout, 0)) {
        l.run->tap = keep_dropped;
        for (uint32_t epoch = 0; epoch < 2; epoch++) {
            l.batch.epoch = epoch;
            l.run->tap_user = &d[epoch];
            lab_step(&l);
        }
    }
    lab_close(&l);
    for (size_t r = 0; r < NOISE_ROWS; r++)
        for (size_t c = 0; c < NOISE_WIDTH; c++) {
            float x = d[0].in[r][c], y = d[0].out[r][c];
            CHECK(y == 0 || fabsf(y - x / 0.7f) < 1e-5f, "%g of %g", (double)y, (double)x);
            zeros += y == 0;
            other += (y == 0) != (d[1].out[r][c] == 0);
        }
    CHECK(zeros > 37 && zeros < 83 && other > 40, "%zu zeros of 200, %zu others", zeros, other);
}

/* So many words that the rows are taken 64 at a time. */
static void build_loss_in_chunks(lab *l)
{
    l->targets = 131072 + 5;
    l->elements = 3;
    memcpy(l->lengths, (uint32_t[4]){ 50, 60, 0, 0 }, sizeof l->lengths);
    lab_finish(l, input(l, "embed", 3), 3, 0);
}
static void test_loss_in_chunks(void)
{
    check_gradients_on(nib_cpu_name(nib_cpu_detect()), build_loss_in_chunks, 0, "loss in chunks");
}

int main(void)
{
    static const test_case cases[] = {
        { "xielu", test_xielu },
        { "linear", test_linear }, { "neighbours", test_neighbours },
        { "first_linear", test_first_linear }, { "norm", test_norm },
        { "first_norm", test_first_norm },
        { "norm_heads", test_norm_heads },
        { "layer_norm_heads", test_layer_norm_heads }, { "sinusoid", test_sinusoid },
        { "mask_words", test_mask_words },
        { "gate_of", test_gate_of }, { "scale", test_scale }, { "shared", test_shared },
        { "used_twice", test_used_twice },
        { "cross", test_cross }, { "capped_loss", test_capped_loss },
        { "objective", test_objective }, { "span_loss", test_span_loss },
        { "smoothed_loss", test_smoothed_loss }, { "noisy_embedding", test_noisy_embedding },
        { "noise", test_noise },
        { "padding", test_padding },
        { "dropout", test_dropout }, { "dropout_law", test_dropout_law },
        { "activation", test_activation }, { "gate", test_gate }, { "add", test_add },
        { "parallel", test_parallel },
        { "gather", test_gather }, { "pool", test_pool },
        { "rotate", test_rotate }, { "join", test_join },
        { "attention", test_attention }, { "disentangled", test_disentangled },
        { "fused", test_fused },
        { "values_only", test_values_only },
        { "embedding", test_embedding }, { "loss", test_loss },
        { "loss_in_chunks", test_loss_in_chunks },
    };
    return test_main("operations", cases, NIB_COUNT(cases));
}
