/* test_mlx_experts.c - stacks of experts in MLX's files: their names, the pieces they are taken
 * apart into, and what is none; families with convolutions (formats-quant.md 8.1). */
#include <string.h>

#include "model/mlx_experts.h"
#include "model/mlx_layout.h"
#include "quant/mlx_names.h"
#include "test.h"

static void test_names(void)
{
    static const struct { const char *tensor, *expert, *module, *stack; } cases[] = {
        { "model.layers.1.mlp.switch_mlp.up_proj.scales",
          "model.layers.1.mlp.experts.%d.up_proj.scales", "model.layers.1.mlp.experts.12.up_proj",
          "model.layers.1.mlp.switch_mlp.up_proj" },
        { "model.layers.0.block_sparse_moe.switch_mlp.up_proj.weight",
          "model.layers.0.block_sparse_moe.experts.%d.w3.weight",
          "model.layers.0.block_sparse_moe.experts.0.w3",
          "model.layers.0.block_sparse_moe.switch_mlp.up_proj" },
        { "m.block_sparse_moe.switch_mlp.down_proj.biases",
          "m.block_sparse_moe.experts.%d.w2.biases", "m.block_sparse_moe.experts.3.w2",
          "m.block_sparse_moe.switch_mlp.down_proj" },
        { "m.mlp.switch_mlp.w1.weight", NULL, "m.mlp.experts.3.w1", NULL },
        { "m.attn.switch_mlp.up_proj.weight", NULL, "m.attn.experts.3.up_proj", NULL },
        { "m.mlp.switch_mlp.up_proj", NULL, "m.mlp.experts.up_proj", NULL },
        { "%d.mlp.switch_mlp.up_proj.weight", NULL, "m.mlp.experts.3", NULL },
        { "switch_mlp.up_proj.weight", NULL, "experts.3.up_proj", NULL },
    };
    char name[NIB_MLX_NAME_ROOM];

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        bool is = nib_mlx_experts_of(cases[i].tensor, name);
        CHECK(is == (cases[i].expert != NULL) && (!is || strcmp(name, cases[i].expert) == 0),
              "%s: %s", cases[i].tensor, is ? name : "none");
        is = nib_mlx_stack_of(cases[i].module, name);
        CHECK(is == (cases[i].stack != NULL) && (!is || strcmp(name, cases[i].stack) == 0),
              "%s: %s", cases[i].module, is ? name : "none");
    }
}

/* Of families whose own files have stacks. */
static void test_stacked_names(void)
{
    static const struct { const char *tensor, *to, *rest; bool second, turns; } cases[] = {
        { "m.0.block_sparse_moe.switch_mlp.gate_proj.weight",
          "m.0.block_sparse_moe.input_linear.weight",
          "m.0.block_sparse_moe.switch_mlp.up_proj.weight", false, false },
        { "m.0.block_sparse_moe.switch_mlp.up_proj.scales",
          "m.0.block_sparse_moe.input_linear.scales", "", true, false },
        { "m.0.block_sparse_moe.switch_mlp.down_proj.biases",
          "m.0.block_sparse_moe.output_linear.biases", "", false, false },
        { "m.0.mlp.experts.gate_proj.weight", "m.0.mlp.experts.gate_up_proj",
          "m.0.mlp.experts.up_proj.weight", false, true },
        { "m.0.mlp.experts.gate_proj.bias", "m.0.mlp.experts.gate_up_proj_bias",
          "m.0.mlp.experts.up_proj.bias", false, true },
        { "m.0.mlp.experts.down_proj.scales", "m.0.mlp.experts.down_proj.scales", "", false,
          false },
        { "m.0.experts.switch_glu.gate_proj.biases", "m.0.experts.gate_up_proj.biases",
          "m.0.experts.switch_glu.up_proj.biases", false, false },
        { "m.0.experts.switch_glu.down_proj.weight", "m.0.experts.down_proj", "", false, false },
        { "m.0.mlp.experts.gate_proj.lora", NULL, NULL, false, false },
        { "m.0.mlp.experts.3.gate_proj.weight", NULL, NULL, false, false },
        { "m.0.mlp.gate_proj.weight", NULL, NULL, false, false },
        { "gate_proj", NULL, NULL, false, false },
    };
    nib_mlx_place to;
    nib_mlx_halves h;

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        bool is = nib_mlx_stacked(cases[i].tensor, &to);
        CHECK(is == (cases[i].to != NULL), "%s: %s", cases[i].tensor, is ? to.name : "none");
        CHECK(!is || (strcmp(to.name, cases[i].to) == 0 && strcmp(to.rest, cases[i].rest) == 0 &&
                      to.second == cases[i].second && to.turns == cases[i].turns),
              "%s: %s and %s", cases[i].tensor, to.name, to.rest);
    }
    CHECK(nib_mlx_halves_of("m.mlp.experts.gate_up_proj", &h) && h.turns &&
              strcmp(h.first, "m.mlp.experts.gate_proj") == 0 &&
              strcmp(h.second, "m.mlp.experts.up_proj") == 0, "%s, %s", h.first, h.second);
    CHECK(nib_mlx_halves_of("m.experts.down_proj", &h) && !*h.second &&
              strcmp(h.first, "m.experts.switch_glu.down_proj") == 0, "%s", h.first);
    CHECK(!nib_mlx_halves_of("m.experts.up_proj", &h), "up_proj alone is none");
}

/* kv_b_proj and its two. */
static void test_latent_names(void)
{
    char a[NIB_MLX_NAME_ROOM], b[NIB_MLX_NAME_ROOM];

    CHECK(nib_mlx_latent_of("m.0.self_attn.embed_q.scales", a) &&
              strcmp(a, "m.0.self_attn.kv_b_proj.scales") == 0, "%s", a);
    CHECK(!nib_mlx_latent_of("m.0.self_attn.unembed_out.scales", a) &&
              !nib_mlx_latent_of("embed_q", a) && !nib_mlx_latent_of("m.mlp.embed_q.weight", a),
          "%s", a);
    CHECK(nib_mlx_latent_parts("m.self_attn.kv_b_proj", a, b) &&
              strcmp(a, "m.self_attn.embed_q") == 0 && strcmp(b, "m.self_attn.unembed_out") == 0,
          "%s, %s", a, b);
    CHECK(!nib_mlx_latent_parts("m.self_attn.kv_a_proj", a, b), "%s, %s", a, b);
}

/* Two tensors of bytes 0, 1, 2, ..., written and opened. */
static nib_tensors *written(nib_ctx *ctx, const nib_tensor_plan plans[2])
{
    nib_tensor_writer *w = NULL;
    nib_tensors *t = NULL;
    nib_error err = { 0 };
    nib_status status = nib_tensor_writer_create(ctx, test_tmpdir(), "model", plans, 2, 0, &w,
                                                 &err);

    for (size_t i = 0; i < 2 && !status; i++) {
        size_t bytes = nib_dtype_bytes(plans[i].dtype);
        uint8_t *data;
        for (unsigned k = 0; k < plans[i].rank; k++) bytes *= (size_t)plans[i].shape[k];
        data = test_guarded(bytes);
        for (size_t k = 0; k < bytes; k++) data[k] = (uint8_t)k;
        status = nib_tensor_writer_put(w, data, bytes, &err);
    }
    if (!status) status = nib_tensor_writer_commit(w, &err);
    if (!status) status = nib_tensors_open(ctx, test_tmpdir(), &t, &err);
    CHECK(!status, "%s", err.message);
    return t;
}

#define STACK "m.mlp.switch_mlp.up_proj.weight"

static void test_taken_apart(void)
{
    static const nib_tensor_plan plans[2] = {
        { STACK, NIB_U32, 3, { 3, 2, 8 } }, { "m.norm.weight", NIB_F32, 1, { 4 } } };
    nib_ctx *ctx = test_ctx();
    nib_tensors *t = written(ctx, plans);
    nib_error err;

    REQUIRE(t);
    REQUIRE_OK(nib_mlx_take_experts(t, &err), err);
    CHECK(nib_tensors_count(t) == 4 && !nib_tensors_find(t, STACK) &&
          nib_tensors_find(t, "m.norm.weight"), "%zu tensors", nib_tensors_count(t));
    for (unsigned i = 0; i < 3; i++) {
        char name[60];
        const nib_tensor *e;
        snprintf(name, sizeof name, "m.mlp.experts.%u.up_proj.weight", i);
        e = nib_tensors_find(t, name);
        CHECK(e && e->rank == 2 && e->shape[0] == 2 && e->shape[1] == 8 && e->bytes == 64 &&
                  *(const uint8_t *)e->data == 64 * i, "%s", name);
    }
    nib_tensors_close(t);
}

#define GATE "m.mlp.experts.gate_proj.weight"
#define UP "m.mlp.experts.up_proj.weight"

/* Gate and up as one: its shape is that of both, the other is there for it alone. */
static void test_halves(void)
{
    static const nib_tensor_plan plans[2] = { { GATE, NIB_U32, 3, { 3, 2, 8 } },
                                              { UP, NIB_U32, 3, { 3, 2, 8 } } };
    nib_ctx *ctx = test_ctx();
    nib_tensors *t = written(ctx, plans);
    const nib_tensor *both, *up;
    nib_error err;

    REQUIRE(t);
    REQUIRE_OK(nib_mlx_take_experts(t, &err), err);
    both = nib_tensors_find(t, "m.mlp.experts.gate_up_proj");
    up = nib_tensors_find(t, UP);
    CHECK(both && both->shape[0] == 3 && both->shape[1] == 4 && both->shape[2] == 8 &&
              both->elements == 96 && both->turns && both->axis == 1 && both->rest &&
              up && up->is_rest && both->rest->data == up->data,
          "gate and up are not one");
    nib_tensors_close(t);
}

/* What a convolution tells of its family, of two tensors; `to`: what the second is called then. */
static void test_layout(void)
{
    static const struct {
        const char *conv;
        uint64_t taps, last;
        const char *second, *to;
        bool turned;
        float offset;
    } cases[] = {
        { "m.0.conv.conv.weight", 3, 1, "m.0.input_layernorm.weight", NULL, true, 0 },
        { "m.0.linear_attn.conv1d.weight", 4, 1, "m.0.input_layernorm.weight", NULL, true, -1 },
        { "m.0.linear_attn.conv1d.weight", 4, 1, "m.0.linear_attn.norm.weight", NULL, true, 0 },
        { "m.0.linear_attn.conv1d.weight", 1, 4, "m.0.input_layernorm.weight", NULL, false, 0 },
        { "m.0.mamba.conv1d.weight", 4, 1, "m.0.shared_mlp.output_linear.weight", NULL, true, 0 },
        { "m.0.mamba.conv1d.weight", 4, 1, "m.0.mlp.down_proj.weight",
          "m.0.shared_mlp.output_linear.weight", true, 0 },
        { "m.0.mamba.conv1d.weight", 4, 1, "m.0.feed_forward.down_proj.weight", NULL, false, 0 },
        { "m.0.mamba.conv1d.weight", 1, 4, "m.0.mlp.down_proj.weight", NULL, false, 0 },
        { "m.0.temporal.conv1d.weight", 4, 1, "m.0.q_norm.weight", NULL, false, 0 },
    };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        const nib_tensor_plan plans[2] = {
            { cases[i].conv, NIB_F32, 3, { 3, cases[i].taps, cases[i].last } },
            { cases[i].second, NIB_F32, 1, { 4 } } };
        nib_tensors *t = written(ctx, plans);
        const nib_tensor *conv, *second;
        nib_error err;

        REQUIRE(t);
        REQUIRE_OK(nib_mlx_take_layout(t, &err), err);
        conv = nib_tensors_find(t, cases[i].conv);
        second = nib_tensors_find(t, cases[i].to ? cases[i].to : cases[i].second);
        REQUIRE(conv && second, "%zu", i);
        CHECK(conv->shape[1] == (cases[i].turned ? cases[i].last : cases[i].taps) &&
                  conv->shape[2] == (cases[i].turned ? cases[i].taps : cases[i].last),
              "%zu: [3, %zu, %zu]", i, (size_t)conv->shape[1], (size_t)conv->shape[2]);
        CHECK(second->offset == cases[i].offset, "%zu: %g added", i, (double)second->offset);
        nib_tensors_close(t);
    }
}

static void test_refused(void)
{
    static const struct { nib_tensor_plan plans[2]; const char *says; } cases[] = {
        { { { GATE, NIB_U32, 3, { 3, 2, 8 } }, { "x", NIB_F32, 1, { 4 } } },
          "beside it 0 of type none, expected the same shape" },
        { { { GATE, NIB_U32, 3, { 3, 2, 8 } }, { UP, NIB_U32, 3, { 3, 2, 12 } } },
          GATE " has 48 elements of type uint32, and " UP " beside it 72 of type uint32" },
        { { { GATE, NIB_U32, 1, { 8 } }, { UP, NIB_U32, 1, { 8 } } }, "expected the same shape" },
        { { { STACK, NIB_U32, 2, { 3, 8 } }, { "x", NIB_F32, 1, { 4 } } }, "has rank 2, 3 expert" },
        { { { STACK, NIB_U8, 3, { 3, 1, 8 } }, { "x", NIB_F32, 1, { 4 } } }, "3 experts and 24 " },
        { { { STACK, NIB_U8, 3, { 70000, 1, 32 } }, { "x", NIB_F32, 1, { 4 } } }, "70000 experts" },
        { { { STACK, NIB_U32, 3, { 3, 2, 8 } },
            { "m.mlp.experts.1.up_proj.weight", NIB_F32, 1, { 4 } } }, "is there twice" },
    };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_tensors *t = written(ctx, cases[i].plans);
        nib_error err = { 0 };
        REQUIRE(t);
        CHECK(nib_mlx_take_experts(t, &err) == (i < 3 ? NIB_E_MISMATCH : NIB_E_FORMAT) &&
                  strstr(err.message, cases[i].says),
              "%zu: '%s', expected '%s'", i, err.message, cases[i].says);
        nib_tensors_close(t);
    }
}

int main(void)
{
    static const test_case cases[] = { { "names", test_names },
                                       { "stacked names", test_stacked_names },
                                       { "halves", test_halves },
                                       { "latent names", test_latent_names },
                                       { "taken apart", test_taken_apart },
                                       { "layout", test_layout },
                                       { "refused", test_refused } };
    return test_main("mlx_experts", cases, NIB_COUNT(cases));
}
