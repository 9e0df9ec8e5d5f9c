/* finetune_options.c - the defaults of the libraries that own the names (conventions.md). */
#include "nibble/finetune.h"

#include <math.h>

double nib_default_learning_rate(nib_task task, bool full, bool train_head_only)
{
    bool words = task == NIB_TASK_CAUSAL_LM;

    if (train_head_only) return 1e-3;
    if (!full) return words ? 2e-4 : 1e-3;
    return words ? 2e-5 : 1e-4;
}

void nib_finetune_defaults(nib_finetune_options *o)
{
    *o = (nib_finetune_options){
        .lora = { .r = 8, .lora_alpha = 8, .bias = "none", .init_lora_weights = "true" },
        .model = { .base_dropout = true },
        .data = { .max_seq_length = 1024 },
        .train = { .per_device_train_batch_size = -1, .gradient_accumulation_steps = 1,
                   .num_train_epochs = 3, .max_steps = -1, .optim = "adamw_torch",
                   .loraplus_lr_embedding = NIB_LORAPLUS_LR_EMBEDDING, .learning_rate = NAN,
                   .adam_beta1 = 0.9, .adam_beta2 = 0.999, .adam_epsilon = 1e-8,
                   .max_grad_norm = 1, .lr_scheduler_type = "linear", .seed = 42, .data_seed = -1,
                   .logging_strategy = "steps", .logging_steps = 1, .save_strategy = "steps",
                   .save_steps = 500, .eval_strategy = "no", .per_device_eval_batch_size = 8,
                   .greater_is_better = -1, .report_to = "none", .shuffle = true,
                   .gradient_checkpointing = -1 },
    };
}
