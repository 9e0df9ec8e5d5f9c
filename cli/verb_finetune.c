/* verb_finetune.c - nibble finetune. */
#include <stdlib.h>
#include <string.h>

#include "session.h"

typedef struct finetune {
    session s;
    nib_finetune_options o;
    const char *compute;
    option_list targets, excluded, saved, layers, layers_pattern, ranks, alphas;
    nib_pattern rank_pattern[OPTION_LIST_ROOM], alpha_pattern[OPTION_LIST_ROOM];
    int layer_numbers[OPTION_LIST_ROOM];
} finetune;

static void print_number(FILE *to, unsigned long long n) /* 3670016 as 3,670,016 */
{
    if (n >= 1000) {
        print_number(to, n / 1000);
        fprintf(to, ",%03llu", n % 1000);
    } else {
        fprintf(to, "%llu", n);
    }
}

static double mib(uint64_t bytes) { return (double)bytes / 1048576; }

static void print_plan_json(const nib_run_report *r)
{
    const nib_memory_plan *p = &r->plan;
    printf("{\"planned_memory_bytes\": %llu, \"weights\": %llu, \"adapters\": %llu, \"optimizer\": %llu, \"activations\": %llu, "
           "\"scratch\": %llu, \"baseline\": %llu, \"steps\": %llu, \"trainable_parameters\": %llu, \"all_parameters\": %llu, "
           "\"gradient_checkpointing\": %s, \"seconds_total\": ", (unsigned long long)p->total, (unsigned long long)p->weights,
           (unsigned long long)p->adapters, (unsigned long long)p->optimizer, (unsigned long long)p->activations,
           (unsigned long long)p->scratch, (unsigned long long)p->baseline, (unsigned long long)r->steps,
           (unsigned long long)r->trainable_parameters, (unsigned long long)r->all_parameters,
           p->checkpointing ? "true" : "false");
    print_json_number(stdout, r->seconds_total);
    printf("}\n");
}

static void print_time(char text[32], double seconds)
{
    if (seconds < 100) snprintf(text, 32, "%.0f s", seconds);
    else if (seconds < 6000) snprintf(text, 32, "%.0f min", seconds / 60);
    else snprintf(text, 32, "%.1f h", seconds / 3600);
}

static void on_start(void *user, const nib_run_report *r)
{
    finetune *f = user;
    const nib_memory_plan *p = &r->plan;
    char time[32];

    session_line(&f->s, "%s", r->settings);
    if (f->s.line_open) fprintf(stderr, "\n");
    fprintf(stderr, "trainable params: ");
    print_number(stderr, r->trainable_parameters);
    fprintf(stderr, " || all params: ");
    print_number(stderr, r->all_parameters);
    fprintf(stderr, " || trainable%%: %.4f\n", 100 * (double)r->trainable_parameters / (double)r->all_parameters);
    session_line(&f->s, "data: %llu records, %llu tokens an epoch, %llu of them supervised; %llu truncated, %llu empty, "
                 "%llu without a supervised token, %llu that began with BOS already", (unsigned long long)r->records,
                 (unsigned long long)r->tokens_per_epoch, (unsigned long long)r->supervised_per_epoch,
                 (unsigned long long)r->truncated, (unsigned long long)r->empty, (unsigned long long)r->masked_out,
                 (unsigned long long)r->duplicate_bos);
    session_line(&f->s, "memory plan (%s, %s): %.1f MiB of %.0f MiB free\n  weights      %9.1f MiB\n  adapters     %9.1f MiB, with "
                 "gradients\n  optimizer    %9.1f MiB\n  activations  %9.1f MiB, %s\n  scratch      %9.1f MiB\n  program      %9.1f MiB",
                 r->isa, r->compute_dtype, mib(p->total), mib(p->available), mib(p->weights), mib(p->adapters),
                 mib(p->optimizer), mib(p->activations),
                 p->checkpointing ? "layers are run again in backward" : "products are kept", mib(p->scratch), mib(p->baseline));
    print_time(time, r->seconds_total);
    session_line(&f->s, "%llu steps, about %s", (unsigned long long)r->steps, time);
    if (f->o.dry_run && f->s.json) print_plan_json(r);
}

static void on_step(void *user, const nib_step_report *r)
{
    finetune *f = user;
    char time[32];

    if (f->s.json) {
        printf("{\"step\": %llu, \"epoch\": ", (unsigned long long)r->step);
        print_json_number(stdout, r->epoch);
        printf(", \"loss\": ");
        print_json_number(stdout, r->loss);
        printf(", \"grad_norm\": ");
        print_json_number(stdout, r->grad_norm);
        printf(", \"learning_rate\": ");
        print_json_number(stdout, r->learning_rate);
        printf(", \"tokens_per_second\": ");
        print_json_number(stdout, r->tokens_per_second);
        printf("}\n");
        fflush(stdout);
    }
    print_time(time, r->seconds_left);
    if (f->s.live) {
        f->s.line_open = true;
        fprintf(stderr, "\r\033[K");
    }
    fprintf(stderr, "step %llu/%llu  epoch %.2f  loss %.4f  grad_norm %.3f  learning_rate %.3g  %.0f tokens/s  %s left%s",
            (unsigned long long)r->step, (unsigned long long)r->steps, r->epoch, r->loss, r->grad_norm, r->learning_rate,
            r->tokens_per_second, time, f->s.live ? "" : "\n");
}

static void on_evaluate(void *user, const nib_eval_report *r)
{
    finetune *f = user;

    if (f->s.json) {
        printf("{\"step\": %llu, \"epoch\": ", (unsigned long long)r->step);
        print_json_number(stdout, r->epoch);
        printf(", \"eval_loss\": ");
        print_json_number(stdout, r->eval_loss);
        printf(", \"eval_perplexity\": ");
        print_json_number(stdout, r->perplexity);
        printf(", \"eval_runtime\": ");
        print_json_number(stdout, r->eval_runtime);
        printf("}\n");
        fflush(stdout);
    }
    session_line(&f->s, "step %llu  eval_loss %.4f  perplexity %.4g%s", (unsigned long long)r->step, r->eval_loss, r->perplexity,
                 r->best ? "  the best so far" : "");
}

static void on_end(void *user, const nib_end_report *r)
{
    finetune *f = user;

    if (f->s.json) {
        printf("{\"train_runtime\": ");
        print_json_number(stdout, r->train_runtime);
        printf(", \"train_loss\": ");
        print_json_number(stdout, r->train_loss);
        printf(", \"peak_memory_bytes\": %llu, \"planned_memory_bytes\": %llu}\n", (unsigned long long)r->peak_memory_bytes,
               (unsigned long long)r->planned_memory_bytes);
    }
    if (f->s.line_open) fprintf(stderr, "\n");
    f->s.line_open = false;
    session_line(&f->s, "%llu steps in %.1f s, train_loss %.4f; peak memory %.1f MiB, planned %.1f MiB\n  arenas       %9.1f MiB\n"
                 "  weights      %9.1f MiB\n  program      %9.1f MiB\nadapter written to %s", (unsigned long long)r->steps,
                 r->train_runtime, r->train_loss, mib(r->peak_memory_bytes), mib(r->planned_memory_bytes), mib(r->arenas),
                 mib(r->weights_resident), mib(r->baseline), f->o.output_dir);
}

/* A comma list, or regex:..., or all-linear. */
static void names_of(const option_list *list, nib_names *out)
{
    static const char *expressions[8]; /* their texts without the prefix, one an option */
    static size_t used;

    out->items = list->items;
    out->count = list->count;
    if (list->count == 1 && strncmp(list->items[0], "regex:", 6) == 0 && used < 8) {
        expressions[used] = list->items[0] + 6;
        *out = (nib_names){ .items = &expressions[used++], .count = 1, .regex = true };
        return;
    }
    if (list->count == 1 && strcmp(list->items[0], "all-linear") == 0) *out = (nib_names){ .all_linear = true };
}

static bool patterns_of(const option_list *list, nib_pattern *out)
{
    for (size_t i = 0; i < list->count; i++) {
        char *equals = strrchr(list->items[i], '='), *end;
        if (!equals) return false;
        *equals = 0;
        out[i] = (nib_pattern){ list->items[i], strtod(equals + 1, &end) };
        if (!equals[1] || *end) return false;
    }
    return true;
}

static int settle(finetune *f, verb *v)
{
    nib_lora_options *l = &f->o.lora;
    int code = 0;

    if (!f->o.data.data) return options_misuse(v, "--data is missing");
    if (!f->o.output_dir && !f->o.dry_run) return options_misuse(v, "--output-dir is missing");
    f->o.model.compute_dtype = compute_of(v, f->compute, &code);
    if (code) return code;
    names_of(&f->targets, &l->target_modules);
    names_of(&f->excluded, &l->exclude_modules);
    names_of(&f->saved, &l->modules_to_save);
    names_of(&f->layers_pattern, &l->layers_pattern);
    if (!patterns_of(&f->ranks, f->rank_pattern) || !patterns_of(&f->alphas, f->alpha_pattern))
        return options_misuse(v, "--rank-pattern and --alpha-pattern take name=number");
    l->rank_pattern = f->rank_pattern;
    l->rank_patterns = f->ranks.count;
    l->alpha_pattern = f->alpha_pattern;
    l->alpha_patterns = f->alphas.count;
    for (size_t i = 0; i < f->layers.count; i++) {
        char *end;
        f->layer_numbers[i] = (int)strtol(f->layers.items[i], &end, 10);
        if (*end || f->layer_numbers[i] < 0)
            return options_misuse(v, "--layers-to-transform: '%s' is not the number of a layer", f->layers.items[i]);
    }
    l->layers_to_transform = f->layer_numbers;
    l->layers_to_transform_count = f->layers.count;
    f->o.model.model = v->positional[0];
    return 0;
}

int verb_finetune(int argc, char **argv)
{
    static finetune f; /* large: not on the stack */
    nib_data_options *d = &f.o.data;
    nib_train_options *t = &f.o.train;
    nib_lora_options *l = &f.o.lora;
    int code;

    nib_finetune_defaults(&f.o);
    f.targets.commas = f.excluded.commas = f.saved.commas = f.layers.commas = f.layers_pattern.commas = true;
    f.ranks.commas = f.alphas.commas = true;
    option options[] = {
        { "data", OPTION_STRING, &d->data, "FILE", ".jsonl, .json or .txt" },
        { "output-dir", OPTION_STRING, &f.o.output_dir, "DIR", "where the adapter goes" },
        { "adapter", OPTION_STRING, &f.o.adapter, "DIR", "start from this adapter" },
        { "dry-run", OPTION_FLAG, &f.o.dry_run, NULL, "print the plan and stop" },
        { "overwrite", OPTION_FLAG, &f.o.overwrite, NULL, "replace what nibble wrote there before" },
        { "base-model-name", OPTION_STRING, &f.o.base_model_name, "org/name", "for adapter_config.json" },
        { "load-in-4bit", OPTION_FLAG, &f.o.model.bnb.load_in_4bit, NULL, "quantize a dense model while loading" },
        { "bnb-4bit-quant-type", OPTION_STRING, &f.o.model.bnb.bnb_4bit_quant_type, "nf4", "nf4 (default) or fp4" },
        { "bnb-4bit-use-double-quant", OPTION_FLAG, &f.o.model.bnb.bnb_4bit_use_double_quant, NULL, "quantize the scales too" },
        { "bnb-4bit-blocksize", OPTION_INT, &f.o.model.bnb.blocksize, "64", "weights that share a scale" },
        { "compute-dtype", OPTION_STRING, &f.compute, "auto", "auto, float32, bfloat16, float16" },
        { "r", OPTION_INT, &l->r, "16", "rank; default 8" },
        { "lora-alpha", OPTION_FLOAT, &l->lora_alpha, "32", "the branch is scaled by alpha / r; default 8" },
        { "lora-dropout", OPTION_FLOAT, &l->lora_dropout, "0.05", "default 0" },
        { "use-rslora", OPTION_FLAG, &l->use_rslora, NULL, "scale by alpha / sqrt(r)" },
        { "target-modules", OPTION_LIST, &f.targets, "q_proj,v_proj", "a comma list, all-linear, or regex:...; default: the family's" },
        { "exclude-modules", OPTION_LIST, &f.excluded, "o_proj", "the same, wins over target-modules" },
        { "modules-to-save", OPTION_LIST, &f.saved, "lm_head", "trained and saved whole" },
        { "bias", OPTION_STRING, &l->bias, "none", "none, all or lora_only" },
        { "init-lora-weights", OPTION_STRING, &l->init_lora_weights, "true", "true, false or gaussian" },
        { "rank-pattern", OPTION_LIST, &f.ranks, "q_proj=4", "ranks of some modules" },
        { "alpha-pattern", OPTION_LIST, &f.alphas, "q_proj=8", "alphas of some modules" },
        { "layers-to-transform", OPTION_LIST, &f.layers, "0,1", "only these layers" },
        { "layers-pattern", OPTION_LIST, &f.layers_pattern, "layers", "the name before a layer's number" },
        { "template", OPTION_STRING, &d->template_text, "'{a} {b}'", "a text record from named fields" },
        { "prompt-template", OPTION_STRING, &d->prompt_template, "'{q}'", "with --completion-template: a masked record" },
        { "completion-template", OPTION_STRING, &d->completion_template, "'{a}'", "what is trained" },
        { "max-seq-length", OPTION_INT, &d->max_seq_length, "1024", "longer records are cut" },
        { "per-device-train-batch-size", OPTION_INT, &t->per_device_train_batch_size, "8", "records of a micro-batch" },
        { "gradient-accumulation-steps", OPTION_INT, &t->gradient_accumulation_steps, "1", "micro-batches of a step" },
        { "num-train-epochs", OPTION_FLOAT, &t->num_train_epochs, "3", "times through the data" },
        { "max-steps", OPTION_INT, &t->max_steps, "100", "wins over epochs" },
        { "learning-rate", OPTION_FLOAT, &t->learning_rate, "2e-4", "default 2e-4" },
        { "weight-decay", OPTION_FLOAT, &t->weight_decay, "0.01", "default 0" },
        { "adam-beta1", OPTION_FLOAT, &t->adam_beta1, "0.9", "of AdamW" },
        { "adam-beta2", OPTION_FLOAT, &t->adam_beta2, "0.999", "of AdamW" },
        { "adam-epsilon", OPTION_FLOAT, &t->adam_epsilon, "1e-8", "of AdamW" },
        { "max-grad-norm", OPTION_FLOAT, &t->max_grad_norm, "1.0", "gradients are clipped to it; 0: never" },
        { "lr-scheduler-type", OPTION_STRING, &t->lr_scheduler_type, "linear", "linear, cosine, constant, constant_with_warmup" },
        { "warmup-steps", OPTION_INT, &t->warmup_steps, "10", "default 0" },
        { "warmup-ratio", OPTION_FLOAT, &t->warmup_ratio, "0.05", "of all steps, when no warmup-steps" },
        { "seed", OPTION_LONG, &t->seed, "42", "of the adapter, the dropout and the order" },
        { "data-seed", OPTION_LONG, &t->data_seed, "42", "of the order alone" },
        { "shuffle", OPTION_FLAG, &t->shuffle, NULL, "--no-shuffle keeps the file's order" },
        { "logging-steps", OPTION_INT, &t->logging_steps, "1", "steps from one line to the next" },
        { "save-steps", OPTION_INT, &t->save_steps, "500", "steps from one checkpoint to the next; 0: none" },
        { "logging-strategy", OPTION_STRING, &t->logging_strategy, "steps", "no, steps or epoch" },
        { "save-strategy", OPTION_STRING, &t->save_strategy, "steps", "no, steps or epoch" },
        { "save-total-limit", OPTION_INT, &t->save_total_limit, "2", "checkpoints kept besides the best; default: all" },
        { "resume-from-checkpoint", OPTION_STRING, &f.o.resume_from_checkpoint, "last", "last, or a checkpoint's directory" },
        { "eval-data", OPTION_STRING, &f.o.eval_data, "FILE", "held-out records, as --data" },
        { "eval-strategy", OPTION_STRING, &t->eval_strategy, "steps", "no (default), steps or epoch" },
        { "eval-steps", OPTION_INT, &t->eval_steps, "100", "default: logging-steps" },
        { "per-device-eval-batch-size", OPTION_INT, &t->per_device_eval_batch_size, "8", "records evaluated at a time" },
        { "load-best-model-at-end", OPTION_FLAG, &t->load_best_model_at_end, NULL, "the best checkpoint is the result" },
        { "metric-for-best-model", OPTION_STRING, &t->metric_for_best_model, "loss", "loss or perplexity" },
        { "greater-is-better", OPTION_CHOICE, &t->greater_is_better, NULL, "of that metric; default: no" },
        { "early-stopping-patience", OPTION_INT, &t->early_stopping_patience, "3", "evaluations without a better one; 0: never" },
        { "early-stopping-threshold", OPTION_FLOAT, &t->early_stopping_threshold, "0.0", "what counts as better" },
        { "report-to", OPTION_STRING, &t->report_to, "none", "none, jsonl, tensorboard, all" },
        { "logging-dir", OPTION_STRING, &t->logging_dir, "DIR", "of event files; default: OUT/runs/..." },
        { "gradient-checkpointing", OPTION_CHOICE, &t->gradient_checkpointing, NULL, "run layers again rather than keep; default: as memory asks" },
        { "max-memory", OPTION_SIZE, &t->max_memory, "6GiB", "default: what the machine has free" },
        SESSION_OPTIONS(&f.s),
    };
    verb v = { .name = "finetune", .arguments = "MODEL --data FILE --output-dir DIR",
               .summary = "Trains a LoRA adapter on the frozen model and writes it as PEFT does.",
               .options = options, .option_count = sizeof options / sizeof *options, .positional_wanted = 1 };

    if ((code = options_parse(&v, argc, argv)) || (code = settle(&f, &v))) return code;
    f.o.on_start = on_start;
    f.o.on_step = on_step;
    f.o.on_evaluate = on_evaluate;
    f.o.on_end = on_end;
    f.o.on_progress = session_progress;
    f.o.user = &f;
    if ((code = session_begin(&f.s))) return code;
    return session_end(&f.s, nib_finetune(f.s.ctx, &f.o, &f.s.err));
}
