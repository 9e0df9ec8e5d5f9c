/* bench_experts.c - a layer of experts beside a dense one of the same active width: 2,048 tokens of
 * a Qwen3-MoE-shaped layer, 4 of 64 experts of 768 channels against one of 3,072.
 *
 * Times are those of the operations between the layer's second norm and its stream, forward and
 * backward, taken between the taps of a training step; adapters are on q and v alone.  The two
 * models take turns, and the least of all rounds counts. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapter/adapter.h"
#include "bench.h"
#include "graph/operations.h"
#include "graph/run.h"
#include "shapes.h"

enum { TOKENS = 2048, WORDS = 512, ROUNDS = 4 };

static const bench_shape shapes[] = {
    { .name = "dense, 3072 channels",
      .config = "{\"model_type\": \"qwen3\", \"vocab_size\": 512, \"hidden_size\": 2048, "
                "\"num_hidden_layers\": 1, \"num_attention_heads\": 32, "
                "\"num_key_value_heads\": 4, \"head_dim\": 128, \"intermediate_size\": 3072, "
                "\"max_position_embeddings\": 4096}" },
    { .name = "4 of 64 experts of 768",
      .config = "{\"model_type\": \"qwen3_moe\", \"vocab_size\": 512, \"hidden_size\": 2048, "
                "\"num_hidden_layers\": 1, \"num_attention_heads\": 32, "
                "\"num_key_value_heads\": 4, \"head_dim\": 128, \"intermediate_size\": 3072, "
                "\"moe_intermediate_size\": 768, \"num_experts\": 64, "
                "\"num_experts_per_tok\": 4, \"norm_topk_prob\": true, "
                "\"max_position_embeddings\": 4096}" },
};

typedef struct layer {
    char *dir;
    nib_model *model;
    nib_adapter *adapter;
    nib_plan *plan;
    nib_run *run;
    double before;            /* the tap before was then */
    double forward, backward; /* seconds of this step */
    double best[2];
} layer;

static bool is_mlp(const nib_node *n)
{
    static const int ids[] = { NIB_OP_GATE, NIB_OP_CHOOSE, NIB_OP_WEIGH, NIB_OP_DISPATCH,
                               NIB_OP_EXPERTS, NIB_OP_COMBINE };

    for (size_t i = 0; i < NIB_COUNT(ids); i++)
        if (n->op->id == ids[i]) return true;
    return n->linear && strstr(n->linear->name, ".mlp.");
}

static void take_time(void *user, const nib_node *n, const nib_io *io, bool backward)
{
    layer *l = user;
    double now = nib_clock_seconds();

    (void)io;
    if (is_mlp(n)) *(backward ? &l->backward : &l->forward) += now - l->before;
    l->before = nib_clock_seconds();
}

static void open_layer(nib_ctx *ctx, const bench_shape *shape, nib_dtype type, layer *l)
{
    const char *const targets[] = { "q_proj", "v_proj" };
    nib_peft_config config = nib_peft_config_default();
    nib_error err;

    *l = (layer){ .dir = bench_shape_dir(shape), .best = { INFINITY, INFINITY } };
    l->model = bench_model(ctx, l->dir, type);
    bench_demand(nib_peft_names_set(ctx, &config.target_modules, NIB_PEFT_LIST, targets, 2, &err),
                 &err);
    bench_demand(nib_adapter_create(l->model, &config, 0, 1, &l->adapter, &err), &err);
    bench_demand(nib_plan_create(l->model->graph, NIB_PLAN_KEEP, TOKENS, TOKENS, &l->plan, &err),
                 &err);
    bench_demand(nib_run_create(ctx, l->model->graph, l->plan, TOKENS, &l->run, &err), &err);
    l->run->tap = take_time;
    l->run->tap_user = l;
}

static void close_layer(nib_ctx *ctx, layer *l)
{
    nib_run_destroy(l->run);
    nib_plan_destroy(ctx, l->plan);
    nib_adapter_close(l->adapter);
    nib_model_close(l->model);
    bench_remove_dir(l->dir);
}

static void step(layer *l)
{
    static uint32_t ids[TOKENS], positions[TOKENS], rows[TOKENS], targets[TOKENS];
    static const uint32_t offsets[] = { 0, TOKENS };
    nib_batch b = { .sequences = 1, .targets = targets };

    for (uint32_t t = 0; t < TOKENS; t++) {
        ids[t] = t * 37 % WORDS;
        targets[t] = t * 11 % WORDS;
        positions[t] = rows[t] = t;
    }
    b.axes[NIB_TOKENS] = (nib_axis_rows){ .count = TOKENS, .offsets = offsets };
    b.axes[NIB_LOGIT_ROWS] = (nib_axis_rows){ .count = TOKENS, .picks = rows };
    b.inputs[NIB_IDS] = ids;
    b.inputs[NIB_POSITIONS] = positions;
    l->forward = l->backward = 0;
    l->before = nib_clock_seconds();
    nib_run_step(l->run, &b);
    l->best[0] = fmin(l->best[0], l->forward);
    l->best[1] = fmin(l->best[1], l->backward);
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    nib_ctx *ctx = bench_ctx(threads);
    nib_dtype type = argc > 2 && argv[2][0] == 'b' ? NIB_BF16 : NIB_F32;
    double peak = bench_peak(ctx, type), work = 2.0 * TOKENS * 3 * 2048 * 3072;
    layer l[2];

    bench_title(ctx, "layer of experts, %s, %d tokens, NF4, peak %.0f GF/s", nib_dtype_name(type),
                TOKENS, peak * 1e-9);
    for (int i = 0; i < 2; i++) open_layer(ctx, &shapes[i], type, &l[i]);
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < 2; i++) step(&l[i]);
    for (int i = 0; i < 2; i++) {
        char name[80];
        for (int back = 0; back < 2; back++) {
            snprintf(name, sizeof name, "%s %s", shapes[i].name, back ? "backward" : "forward");
            bench_line(name, work, l[i].best[back], peak);
        }
    }
    printf("  experts take %.2f x the dense layer, forward and backward\n",
           (l[1].best[0] + l[1].best[1]) / (l[0].best[0] + l[0].best[1]));
    for (int i = 0; i < 2; i++) close_layer(ctx, &l[i]);
    nib_ctx_destroy(ctx);
    return 0;
}
