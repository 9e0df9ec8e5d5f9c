/* finetune_options.c - what finetune takes for values that nobody gave.
 *
 * There are two sets.  "peft" has the values of the libraries that own the names (conventions.md).
 * "nibble" has values that teach, of adapters of models that write text: measured, with answers
 * (docs/defaults.md); of everything else it has the libraries' too. */
#include <math.h>

#include "job/finetune_job.h"

static int or_int(int given, int else_) { return given == NIB_OPEN ? else_ : given; }
static double or_double(double given, double else_) { return isnan(given) ? else_ : given; }

double nib_default_learning_rate(nib_task task, bool full, bool train_head_only)
{
    bool words = task == NIB_TASK_CAUSAL_LM;

    if (train_head_only) return 1e-3;
    if (!full) return words ? 2e-4 : 1e-3;
    return words ? 2e-5 : 1e-4;
}

/* Measured on 3 and on 135 million (docs/defaults.md); above a billion QLoRA's, and a step between
 * them. */
double nib_teaching_rate(uint64_t parameters)
{
    if (parameters < 10000000) return 5e-3;
    if (parameters < 300000000) return 2e-3;
    return parameters < 1000000000 ? 1e-3 : 2e-4;
}

void nib_finetune_defaults(nib_finetune_options *o)
{
    *o = (nib_finetune_options){
        .lora = { .r = NIB_OPEN, .lora_alpha = NAN, .bias = "none", .init_lora_weights = "true" },
        .model = { .base_dropout = true },
        .data = { .max_seq_length = NIB_OPEN, .doc_stride = 128 },
        .train = { .per_device_train_batch_size = -1, .gradient_accumulation_steps = 1,
                   .num_train_epochs = 3, .max_steps = -1, .optim = "adamw_torch",
                   .loraplus_lr_embedding = NIB_LORAPLUS_LR_EMBEDDING, .learning_rate = NAN,
                   .adam_beta1 = 0.9, .adam_beta2 = 0.999, .adam_epsilon = 1e-8,
                   .max_grad_norm = 1, .warmup_steps = NIB_OPEN, .warmup_ratio = NAN, .seed = 42,
                   .data_seed = -1, .logging_strategy = "steps", .logging_steps = 1,
                   .save_strategy = "steps", .save_steps = 500, .save_total_limit = NIB_OPEN,
                   .eval_strategy = "no", .per_device_eval_batch_size = 8,
                   .greater_is_better = -1, .report_to = "none", .shuffle = true,
                   .gradient_checkpointing = -1 },
    };
}

/* The libraries' values, but for what depends on the task or the data. */
static void fill(nib_finetune_options *o)
{
    nib_train_options *t = &o->train;

    o->lora.r = or_int(o->lora.r, 8);
    o->lora.lora_alpha = or_double(o->lora.lora_alpha, 8);
    if (!o->data.long_records) o->data.long_records = "cut";
    if (!t->lr_scheduler_type) t->lr_scheduler_type = "linear";
    t->warmup_steps = or_int(t->warmup_steps, 0);
    t->warmup_ratio = or_double(t->warmup_ratio, 0);
    t->save_total_limit = or_int(t->save_total_limit, 0);
}

void nib_finetune_peft_defaults(nib_finetune_options *o)
{
    o->defaults = "peft";
    o->data.max_seq_length = or_int(o->data.max_seq_length, 1024);
    fill(o);
}

bool nib_finetune_asks_peft(const nib_finetune_options *o)
{
    return o->defaults && strcmp(o->defaults, "peft") == 0;
}

bool nib_finetune_teaches(const nib_finetune_options *o, nib_task task)
{
    return !nib_finetune_asks_peft(o) && task == NIB_TASK_CAUSAL_LM && !nib_finetune_is_whole(o);
}

/* An adapter that is trained further keeps its own.  Layers, and tensors of experts, are chosen
 * beside a list of names, as PEFT has it. */
static void teach_lora(nib_lora_options *l)
{
    bool chosen = l->target_modules.count || l->target_modules.all_linear ||
                  l->target_parameters.count || l->layers_to_transform_count;

    l->r = or_int(l->r, 16);
    l->lora_alpha = or_double(l->lora_alpha, 2.0 * l->r);
    if (!chosen) l->target_modules.all_linear = true;
}

/* A warm-up suits the schedules that have one. */
static bool warms(const char *schedule)
{
    return strcmp(schedule, "constant") != 0 && strcmp(schedule, "reduce_lr_on_plateau") != 0;
}

void nib_finetune_settle_defaults(nib_finetune_options *o, nib_task task)
{
    nib_train_options *t = &o->train;
    bool teaches = nib_finetune_teaches(o, task);

    if (teaches) {
        if (!o->adapter) teach_lora(&o->lora);
        if (!o->data.long_records) o->data.long_records = "drop";
        if (!t->lr_scheduler_type) t->lr_scheduler_type = "cosine";
        if (t->warmup_steps == NIB_OPEN && warms(t->lr_scheduler_type))
            t->warmup_ratio = or_double(t->warmup_ratio, 0.05);
        if (t->per_device_train_batch_size < 0) t->per_device_train_batch_size = 4;
    }
    if (!nib_finetune_asks_peft(o)) t->save_total_limit = or_int(t->save_total_limit, 2);
    if (!teaches) {
        o->data.max_seq_length = or_int(o->data.max_seq_length, 1024);
        t->learning_rate = or_double(t->learning_rate,
                                     nib_default_learning_rate(task, o->full, o->train_head_only));
    }
    if (t->per_device_train_batch_size < 0)
        t->per_device_train_batch_size = task == NIB_TASK_FEATURE_EXTRACTION ? 64 : 8;
    fill(o);
}
