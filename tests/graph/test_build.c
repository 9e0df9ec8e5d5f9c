/* test_build.c - what the builder refuses: views whose gradients would be wrong, attention that is
 * not computed, norms and logits that do not fit; and that only causal graphs generate. */
#include <string.h>

#include "graph/state.h"
#include "lab.h"
#include "test.h"

static nib_value projection(lab *l, const char *name, size_t width)
{
    if (!l->embedding_count) lab_embedding(l, "embed", 6, LAB_FULL);
    lab_linear(l, name, width, 6, 0);
    return lab_apply(l, lab_embed(l, "embed"), name);
}

/* The error holds all that `parts` lists, apart by '|'. */
static void refuses(lab_build *build, int variant, const char *parts)
{
    nib_ctx *ctx = test_ctx_threads(1, "ref");
    char list[256], *part;
    lab l;

    lab_start(&l, ctx, NIB_F32, build, variant);
    CHECK(l.b.status != NIB_OK, "%d: built, expected \"%s\"", variant, parts);
    snprintf(list, sizeof list, "%s", parts);
    for (part = strtok(list, "|"); part; part = strtok(NULL, "|"))
        CHECK(strstr(l.b.error.message, part), "%d: \"%s\", expected \"%s\"", variant,
              l.b.error.message, part);
    lab_close(&l);
    test_ctx_release(ctx);
}

static void build_views(lab *l)
{
    nib_value x = projection(l, "fused", 8), y, z;

    switch (l->variant) {
    case 0: /* read by two nodes */
        y = nib_columns_of(&l->b, x, 0, 4);
        z = nib_columns_of(&l->b, x, 4, 4);
        nib_activate(&l->b, y, NIB_ACT_SILU);
        z = nib_gate(&l->b, z, y, NIB_ACT_SILU);
        break;
    case 1: /* by one node twice */
        y = nib_columns_of(&l->b, x, 0, 4);
        nib_activate(&l->b, nib_columns_of(&l->b, x, 4, 4), NIB_ACT_SILU);
        z = nib_gate(&l->b, y, y, NIB_ACT_SILU);
        break;
    case 2: /* heads of one lie among those of the other */
        y = nib_heads_of(&l->b, x, 2, 2, 0, (nib_heads){ .head_stride = 4, .per_group = 2 });
        z = nib_gate(&l->b, y, nib_columns_of(&l->b, x, 4, 4), NIB_ACT_SILU);
        break;
    case 3: /* a part that nobody sees */
        z = nib_gate(&l->b, nib_columns_of(&l->b, x, 0, 3), nib_columns_of(&l->b, x, 3, 3),
                     NIB_ACT_SILU);
        break;
    case 4: /* a view that nobody reads */
        z = nib_activate(&l->b, nib_columns_of(&l->b, x, 0, 4), NIB_ACT_SILU);
        nib_columns_of(&l->b, x, 4, 4);
        break;
    case 5: /* the whole before its view */
        nib_activate(&l->b, x, NIB_ACT_SILU);
        z = nib_columns_of(&l->b, x, 0, 8);
        break;
    case 6: /* and after it */
        nib_activate(&l->b, nib_columns_of(&l->b, x, 0, 8), NIB_ACT_SILU);
        z = nib_activate(&l->b, x, NIB_ACT_SILU);
        break;
    case 7: z = nib_columns_of(&l->b, x, 5, 4); break;
    case 8: /* two heads read as four */
        y = nib_heads_of(&l->b, x, 2, 2, 0, (nib_heads){ .head_stride = 4, .per_group = 2 });
        l->rope = (nib_rope){ .rot = 1 };
        z = nib_rotate(&l->b, y, 4, 1, &l->rope);
        break;
    case 9: z = nib_apply_rms_norm_heads(&l->b, x, 3, 1e-5f, "n"); break;
    default: z = nib_add(&l->b, x, projection(l, "other", 7));
    }
    lab_finish(l, z, 4, 0);
}

static void test_views(void)
{
    refuses(build_views, 0, "view of 4 channels of fused|from channel 0|read twice");
    refuses(build_views, 1, "view of 4 channels of fused|read twice");
    refuses(build_views, 2, "views of fused overlap|from channel 0|from 4");
    refuses(build_views, 3, "fused: views cover 6 of its 8 channels");
    refuses(build_views, 4, "view of 4 channels of fused|from channel 4|read by nothing");
    refuses(build_views, 5, "fused is read whole|8 channels of it are a view");
    refuses(build_views, 6, "fused is read whole|8 of its 8 channels");
    refuses(build_views, 7, "reach channel 9 of 8");
    refuses(build_views, 8, "rotation|view of 2 heads of 2|expected 4 of 1");
    refuses(build_views, 9, "n: 8 channels|expected 3 heads of 2");
    refuses(build_views, 10, "add of 8 channels of tokens and 7 of tokens");
}

static void build_attention(lab *l)
{
    nib_attention_desc d = { .heads = 4, .kv_heads = 2, .head_dim = 2, .scale = 1 };
    nib_value q = projection(l, "q", 8), k = projection(l, "k", 4), v = projection(l, "v", 4);
    nib_value other;

    lab_linear(l, "other", 4, 6, 0);
    other = lab_apply(l, lab_source(l, "embed"), "other");
    switch (l->variant) {
    case 0: break;
    case 1: k = v = other; break;
    case 2:
        k = v = other;
        d.full = true;
        d.window = 3;
        break;
    case 3: k = other; break;
    case 4:
        d.kv_heads = 3;
        d.v_dim = 2;
        k = v = projection(l, "three", 6);
        break;
    case 5: d.sinks = lab_vector(l, "sinks", 3, 0); break;
    default: q = nib_to_logit_rows(&l->b, q);
    }
    if (l->variant == 0) d.head_dim = 3;
    lab_finish(l, nib_attend(&l->b, q, k, v, &d), 8, 0);
}

static void test_attention(void)
{
    refuses(build_attention, 0, "attention: q: 8 channels of tokens|4 heads of 3");
    refuses(build_attention, 1, "attention from tokens to source tokens|sees all");
    refuses(build_attention, 2, "attention from tokens to source tokens|without a window");
    refuses(build_attention, 3, "keys of source tokens, but values of tokens");
    refuses(build_attention, 4, "4 heads of q for 3 of k and v");
    refuses(build_attention, 5, "sinks: [3]|each of 4 heads");
    refuses(build_attention, 6, "attention from logit rows to tokens");
}

static void build_logits(lab *l)
{
    nib_set_logits(&l->b, l->variant ? 1 : -1, l->variant ? -2 : 0);
    lab_finish(l, projection(l, "w", 4), 4, 0);
}

static void test_logits(void)
{
    refuses(build_logits, 0, "scale -1 and cap 0");
    refuses(build_logits, 1, "scale 1 and cap -2");
}

static void build_layer(lab *l)
{
    nib_attention_desc d = { .heads = 2, .kv_heads = 2, .head_dim = 2, .scale = 1,
                             .full = l->variant };
    nib_value x = projection(l, "w", 4);

    l->b.segment++;
    lab_finish(l, nib_attend(&l->b, x, x, x, &d), 4, 0);
}

static void test_generates(void)
{
    nib_ctx *ctx = test_ctx_threads(1, "ref");

    for (int full = 0; full < 2; full++) {
        nib_state *state = NULL;
        nib_error err = { 0 };
        nib_status status;
        lab l;

        if (!lab_open(&l, ctx, NIB_F32, build_layer, full)) continue;
        status = nib_state_create(ctx, l.b.graph, 16, &state, &err);
        CHECK(status == (full ? NIB_E_UNSUPPORTED : NIB_OK), "full %d: status %d", full, status);
        CHECK(!full || strstr(err.message, "attention of layer 0 sees later tokens"), "%s",
              err.message);
        nib_state_destroy(state);
        lab_close(&l);
    }
    test_ctx_release(ctx);
}

int main(void)
{
    static const test_case cases[] = {
        { "views", test_views },
        { "attention", test_attention },
        { "logits", test_logits },
        { "generates", test_generates },
    };
    return test_main("build", cases, NIB_COUNT(cases));
}
