/* bench_step.c - a whole QLoRA step (r = 16 on all linears) of published shapes with random
 * weights.
 *
 *     bench_step [smollm2|tinyllama|7b|gemma3|qwen3|qwen3_5|lfm2|granite_h] [THREADS]
 *                [float32|bfloat16] [ragged]         one of them, with where the time goes
 *
 * Work is fixed, not counted by the program: 4 P_linear + 7 S d L + 8 P_lora floating-point
 * operations a token and 4 V d a supervised token, S tokens a sequence.  What is computed again
 * does not count; what is not computed does: behind the last layer's attention only supervised
 * tokens are (1.4 % of the ragged batch). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "job/lora_options.h"
#include "job/memory.h"
#include "adapter/adapter.h"
#include "graph/operations.h"
#include "shapes.h"
#include "train/trainer.h"

typedef struct batch_shape {
    const char *name;
    size_t records, shortest, longest, trained;
} batch_shape;
static const batch_shape whole = { "1 x 512 tokens", 1, 512, 512, 512 };
static const batch_shape ragged = { "8 x 20 to 60, loss on 20", 8, 20, 60, 20 };

/* One record a line: input_ids, and labels for the last `trained` tokens. */
static void write_data(const char *dir, const batch_shape *b, size_t *tokens, size_t *targets,
                       double *pairs)
{
    size_t room = 1 << 16, at = 0;
    char *text = malloc(room);

    if (!text) abort();
    *tokens = *targets = 0;
    *pairs = 0;
    for (size_t i = 0; i < b->records; i++) {
        size_t length = b->records > 1
                            ? b->shortest + i * (b->longest - b->shortest) / (b->records - 1)
                            : b->longest;
        size_t trained = b->trained < length ? b->trained : length;
        at += (size_t)snprintf(text + at, room - at, "{\"input_ids\": [1");
        for (size_t t = 1; t < length; t++)
            at += (size_t)snprintf(text + at, room - at, ",%zu", 3 + (t * 37 + i * 11) % 1000);
        at += (size_t)snprintf(text + at, room - at, "], \"labels\": [%s",
                               trained == length ? "1" : "-100");
        for (size_t t = 1; t < length; t++) {
            if (t < length - trained) at += (size_t)snprintf(text + at, room - at, ",-100");
            else at += (size_t)snprintf(text + at, room - at, ",%zu", 3 + (t * 37 + i * 11) % 1000);
        }
        at += (size_t)snprintf(text + at, room - at, "]}\n");
        *tokens += length;
        *targets += trained == length ? length - 1 : trained;
        *pairs += (double)length * (double)length;
    }
    bench_write(dir, "data.jsonl", text);
    free(text);
}

/* The least time of each operation over all steps: a neighbour on the machine disturbs some, seldom
 * the same. */
enum { MOST_STEPS = 1 << 14 };
typedef struct stage { const nib_node *node; bool backward; double seconds; } stage;
typedef struct watcher { double last; size_t at, count; stage stages[MOST_STEPS]; } watcher;

static void watch(void *user, const nib_node *node, const nib_io *io, bool backward)
{
    watcher *w = user;
    double now = nib_clock_seconds();
    stage *s = &w->stages[w->at < MOST_STEPS ? w->at++ : MOST_STEPS - 1];

    (void)io;
    if (w->at > w->count) *s = (stage){ node, backward, now - w->last };
    else s->seconds = fmin(s->seconds, now - w->last);
    w->count = w->count > w->at ? w->count : w->at;
    w->last = now;
}

static double print_stages(const watcher *w)
{
    double total = 0, sum;

    for (size_t i = 0; i < w->count; i++) total += w->stages[i].seconds;
    printf("  where the time goes (the least time of each operation; together %.3f s):\n", total);
    for (size_t i = 0; i < w->count; i++) {
        const stage *s = &w->stages[i];
        size_t j = 0;
        while (j < i &&
               (w->stages[j].node->op != s->node->op || w->stages[j].backward != s->backward))
            j++;
        if (j < i) continue; /* printed with the first of its kind */
        sum = 0;
        for (j = i; j < w->count; j++)
            if (w->stages[j].node->op == s->node->op && w->stages[j].backward == s->backward)
                sum += w->stages[j].seconds;
        printf("    %-12s %-9s %9.2f ms  %5.1f %%\n", s->node->op->name,
               s->backward ? "backward" : "forward", sum * 1e3, 100 * sum / total);
    }
    return total;
}

typedef struct setup {
    nib_model *model;
    nib_adapter *adapter;
    nib_dataset *data;
    nib_trainer *trainer;
} setup;

static setup open_setup(nib_ctx *ctx, const char *dir, nib_dtype type, const batch_shape *b,
                        uint64_t memory)
{
    nib_finetune_options o;
    nib_peft_config config = nib_peft_config_default();
    nib_dataset_source source;
    char path[512];
    setup s = { 0 };
    nib_error err;

    nib_finetune_defaults(&o);
    nib_finetune_peft_defaults(&o);
    o.lora.r = 16;
    o.lora.lora_alpha = 32;
    o.lora.target_modules.all_linear = true;
    o.train.per_device_train_batch_size = (int)b->records;
    o.train.learning_rate = 2e-4;
    o.train.max_steps = 1000000;
    snprintf(path, sizeof path, "%s/data.jsonl", dir);
    o.data.data = path;
    s.model = bench_model(ctx, dir, type);
    source = (nib_dataset_source){ .options = &o.data,
                                   .vocabulary = (uint32_t)s.model->head->weight->out };
    bench_demand(nib_lora_config(ctx, &o.lora, &config, &err), &err);
    bench_demand(nib_adapter_create(s.model, &config, 0, 42, &s.adapter, &err), &err);
    bench_demand(nib_dataset_open(ctx, &source, &s.data, &err), &err);
    bench_demand(nib_trainer_create(ctx, s.model->graph, &s.adapter->params, s.data, &o.train,
                                    memory, NULL, &s.trainer, &err),
                 &err);
    nib_peft_config_free(ctx, &config);
    return s;
}

static void close_setup(setup *s)
{
    nib_trainer_destroy(s->trainer);
    nib_adapter_close(s->adapter);
    nib_dataset_close(s->data);
    nib_model_close(s->model);
}

/* The least time of `steps` steps. */
static double run_steps(nib_trainer *trainer, int steps, watcher *w)
{
    double best = INFINITY;
    nib_trainer_step out;
    nib_error err;

    for (int i = 0; i < steps; i++) {
        double start = nib_clock_seconds();
        if (w) w->at = 0, w->last = start;
        bench_demand(nib_trainer_run_step(trainer, &out, &err), &err);
        best = fmin(best, nib_clock_seconds() - start);
    }
    return best;
}

/* What a benchmark of a step prints besides: where its time goes; its speed beside a busy
 * process. */
typedef struct extras { bool stages, neighbour; } extras;

/* Seconds of a step. */
static double bench(const bench_shape *s, const batch_shape *b, int threads, nib_dtype type,
                    int steps, extras extra)
{
    nib_ctx *ctx = bench_ctx(threads);
    double peak = bench_peak(ctx, type), best, work, pairs;
    char *dir = bench_shape_dir(s);
    size_t tokens, targets;
    setup set;
    watcher *w = calloc(1, sizeof *w);

    if (!w) abort();
    write_data(dir, b, &tokens, &targets, &pairs);
    set = open_setup(ctx, dir, type, b, nib_memory_free());
    work = (double)tokens * (4 * s->linear + 8 * (double)nib_adapter_trainable(set.adapter)) +
           4 * s->head * (double)targets + 7 * pairs * (double)(s->width * s->layers);
    /* touches pages: counted only when it is the only one */
    best = run_steps(set.trainer, 1, NULL);
    if (extra.stages) set.trainer->run->tap = watch, set.trainer->run->tap_user = w;
    if (steps > 1) best = run_steps(set.trainer, steps - 1, extra.stages ? w : NULL);
    set.trainer->run->tap = NULL;
    peak = fmax(peak, bench_peak(ctx, type)); /* both: a disturbed one would flatter the fraction */
    bench_title(ctx, "%s, %s, %s, peak %.0f GF/s", s->name, b->name, nib_dtype_name(type),
                peak * 1e-9);
    printf(
        "  %.3f s a step, %.0f tokens/s, %.1f records/s, %.1f GF of work, %.1f GF/s, %.2f of peak; "
        "resident at most %llu MiB, %s\n",
        best, (double)tokens / best, (double)b->records / best, work * 1e-9, work / best * 1e-9,
        work / best / peak, (unsigned long long)(nib_memory_peak() >> 20),
        set.trainer->plan->kind == NIB_PLAN_KEEP ? "products kept" : "layers run again");
    if (extra.stages)
        printf("  %.2f of peak without disturbances\n", work / print_stages(w) / peak);
    if (extra.neighbour) {
        pid_t neighbour = bench_neighbour_start();
        double busy = run_steps(set.trainer, 3, NULL);
        bench_neighbour_stop(neighbour);
        printf("  beside a busy process on one processor: %.3f s a step, %.2f of the speed\n", busy,
               best / busy);
    }
    free(w);
    fflush(stdout);
    close_setup(&set);
    bench_remove_dir(dir);
    nib_ctx_destroy(ctx);
    return best;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        const bench_shape *s = bench_shape_named(argv[1]);
        int threads = argc > 2 ? atoi(argv[2]) : 2;
        nib_dtype type = argc > 3 && strcmp(argv[3], "bfloat16") == 0 ? NIB_BF16 : NIB_F32;
        if (!s) {
            fprintf(stderr, "bench_step: no shape is called %s\n", argv[1]);
            return 2;
        }
        bench(s, argc > 4 ? &ragged : &whole, threads, type,
              s == &bench_smollm2     ? 6
              : s == &bench_llama2_7b ? 1
                                      : 3,
              (extras){ .stages = s != &bench_llama2_7b });
        return 0;
    }
    for (int t = 0; t < 2; t++) {
        nib_dtype type = t ? NIB_BF16 : NIB_F32;
        double one = bench(&bench_smollm2, &whole, 1, type, 4, (extras){ 0 });
        double two = bench(&bench_smollm2, &whole, 2, type, 4,
                           (extras){ .stages = true, .neighbour = true });
        printf("  %.2f times as fast on 2 threads as on 1\n", one / two);
        bench(&bench_smollm2, &ragged, 2, type, 8, (extras){ 0 });
    }
    bench(&bench_tinyllama, &whole, 2, NIB_F32, 2, (extras){ 0 });
    bench(&bench_llama2_7b, &whole, 2, NIB_F32, 1, (extras){ 0 }); /* minutes a step */
    return 0;
}
