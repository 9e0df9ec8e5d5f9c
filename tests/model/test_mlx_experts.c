/* test_mlx_experts.c - stacks of experts in MLX's files: their names, the pieces they are taken
 * apart into, and what is none (formats-quant.md 8.1). */
#include <string.h>

#include "model/mlx_experts.h"
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

static void test_refused(void)
{
    static const struct { nib_tensor_plan plans[2]; const char *says; } cases[] = {
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
        CHECK(nib_mlx_take_experts(t, &err) == NIB_E_FORMAT && strstr(err.message, cases[i].says),
              "%zu: '%s', expected '%s'", i, err.message, cases[i].says);
        nib_tensors_close(t);
    }
}

int main(void)
{
    static const test_case cases[] = { { "names", test_names }, { "taken apart", test_taken_apart },
                                       { "refused", test_refused } };
    return test_main("mlx_experts", cases, NIB_COUNT(cases));
}
