/* verb_finetune.c - nibble finetune. */
#include <math.h>
#include <string.h>

#include "finetune_header.h"
#include "recipe_line.h"

typedef struct finetune {
    session s;
    recipe_line line;
    nib_finetune_options o;
    bool list_keys, verbose;
} finetune;

static void print_plan_json(const nib_run_report *r)
{
    const nib_memory_plan *p = &r->plan;
    printf(
        "{\"planned_memory_bytes\": %llu, \"weights\": %llu, \"adapters\": %llu, "
        "\"optimizer\": %llu, \"paged\": %llu, \"activations\": %llu, \"scratch\": %llu, "
        "\"baseline\": %llu, \"steps\": %llu, \"trainable_parameters\": %llu, "
        "\"all_parameters\": %llu, \"gradient_checkpointing\": %s, \"available\": %llu, "
        "\"fits\": %s, \"per_device_train_batch_size\": %d, \"gradient_accumulation_steps\": %d, "
        "\"max_seq_length\": %d, \"max_seq_length_by_memory\": %s, \"weights_missing\": %s, "
        "\"seconds_per_epoch\": ",
        (unsigned long long)p->total, (unsigned long long)p->weights,
        (unsigned long long)p->adapters, (unsigned long long)p->optimizer,
        (unsigned long long)p->paged, (unsigned long long)p->activations,
        (unsigned long long)p->scratch, (unsigned long long)p->baseline,
        (unsigned long long)r->steps, (unsigned long long)r->trainable_parameters,
        (unsigned long long)r->all_parameters, p->checkpointing ? "true" : "false",
        (unsigned long long)p->available, r->fits ? "true" : "false",
        r->per_device_train_batch_size, r->gradient_accumulation_steps, r->max_seq_length,
        r->length_by_memory ? "true" : "false", r->weights_missing ? "true" : "false");
    print_json_number(stdout, r->fits ? r->seconds_per_epoch : NAN);
    printf(", \"evaluations\": %llu, \"seconds_per_evaluation\": ",
           (unsigned long long)r->evaluations);
    print_json_number(stdout, r->fits ? r->seconds_per_evaluation : NAN);
    printf(", \"seconds_total\": ");
    print_json_number(stdout, r->fits ? r->seconds_total : NAN);
    print_json_member_sources(stdout, r->sources, r->source_count);
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

    print_run_header(&f->s, &f->o, r, f->verbose);
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
    fprintf(
        stderr,
        "step %llu/%llu  epoch %.2f  loss %.4f  grad_norm %.3f  learning_rate %.3g  "
        "%.0f tokens/s  %s left%s",
        (unsigned long long)r->step, (unsigned long long)r->steps, r->epoch, r->loss, r->grad_norm,
        r->learning_rate, r->tokens_per_second, time, f->s.live ? "" : "\n");
}

/* The scores that have a meaning for the labels, as members of an object or as words. */
static void put_scores(FILE *to, const nib_scores *s, bool json)
{
    const struct { const char *name; double value; } all[] = {
        { "accuracy", s->accuracy }, { "exact_match", s->exact_match }, { "f1", s->f1 },
        { "matthews_correlation", s->matthews_correlation }, { "mse", s->mse },
        { "pearson", s->pearson }, { "spearmanr", s->spearmanr },
        { "recall@1", s->recall[0] }, { "recall@3", s->recall[1] }, { "recall@5", s->recall[2] },
        { "recall@10", s->recall[3] }, { "mrr@10", s->mrr }, { "overall_f1", s->overall_f1 },
        { "overall_precision", s->overall_precision }, { "overall_recall", s->overall_recall },
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i].value != all[i].value) continue;
        fprintf(to, json ? ", \"eval_%s\": " : "  %s ", all[i].name);
        if (json) print_json_number(to, all[i].value);
        else fprintf(to, "%.4f", all[i].value);
    }
}

/* The scores of answers, in the same way. */
static void put_answers(FILE *to, const nib_answer_means *a, bool json)
{
    const struct { const char *name; double value; } all[] = {
        { "exact", a->exact }, { "exact_match", a->exact_match }, { "contains", a->contains },
        { "rougeL", a->rouge_l }, { "chrf", a->chrf }, { "json_valid", a->json_valid },
        { "json_fields", a->json_fields },
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i].value != all[i].value) continue;
        fprintf(to, json ? ", \"eval_%s\": " : "  %s ", all[i].name);
        if (json) print_json_number(to, all[i].value);
        else fprintf(to, "%.4f", all[i].value);
    }
}

static void line_of_scores(finetune *f, const nib_eval_report *r)
{
    char text[300] = "";
    FILE *to = fmemopen(text, sizeof text, "w");

    if (to) {
        if (r->scores) put_scores(to, r->scores, false);
        else put_answers(to, r->answers, false);
        fclose(to);
    }
    session_line(&f->s, "step %llu  eval_loss %.4f%s%s", (unsigned long long)r->step, r->eval_loss,
                 text, r->best ? "  the best so far" : "");
}

static void on_evaluate(void *user, const nib_eval_report *r)
{
    finetune *f = user;

    if (f->s.json) {
        printf("{\"step\": %llu, \"epoch\": ", (unsigned long long)r->step);
        print_json_number(stdout, r->epoch);
        printf(", \"eval_loss\": ");
        print_json_number(stdout, r->eval_loss);
        if (r->scores) put_scores(stdout, r->scores, true);
        else printf(", \"eval_perplexity\": "), print_json_number(stdout, r->perplexity);
        if (r->answers) put_answers(stdout, r->answers, true);
        printf(", \"eval_runtime\": ");
        print_json_number(stdout, r->eval_runtime);
        printf("}\n");
        fflush(stdout);
    }
    if (r->scores || r->answers) line_of_scores(f, r);
    else
        session_line(&f->s, "step %llu  eval_loss %.4f  perplexity %.4g%s",
                     (unsigned long long)r->step, r->eval_loss, r->perplexity,
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
        printf(", \"peak_memory_bytes\": %llu, \"planned_memory_bytes\": %llu}\n",
               (unsigned long long)r->peak_memory_bytes,
               (unsigned long long)r->planned_memory_bytes);
    }
    if (f->s.line_open) fprintf(stderr, "\n");
    f->s.line_open = false;
    session_line(
        &f->s,
        "%llu steps in %.1f s, train_loss %.4f; peak memory %.1f MiB, planned %.1f MiB\n"
        "  arenas       %9.1f MiB\n"
        "  weights      %9.1f MiB\n  program      %9.1f MiB\n%s written to %s",
        (unsigned long long)r->steps, r->train_runtime, r->train_loss, mib(r->peak_memory_bytes),
        mib(r->planned_memory_bytes), mib(r->arenas), mib(r->weights_resident), mib(r->baseline),
        f->o.full || f->o.train_head_only ? "model" : "adapter", f->o.output_dir);
}

/* --- the command line: the keys of the recipe, with dashes --- */

static const char *heading_of(const char *name)
{
    static const struct { const char *first, *heading; } groups[] = {
        { "model-name-or-path", "The run" },
        { "load-in-4bit", "The frozen weights (BitsAndBytesConfig)" },
        { "r", "What is trained (LoraConfig)" }, { "template", "Data (SFTConfig)" },
        { "per-device-train-batch-size", "Training (TrainingArguments)" },
        { "logging-strategy", "Logs, checkpoints, evaluation" },
        { "gradient-checkpointing", "Memory and types" },
        { "threads", "The program" },
    };

    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (strcmp(groups[i].first, name) == 0) return groups[i].heading;
    return NULL;
}

/* Name, class, what becomes of it, and why or what it is: a line a key, by tabs. */
static int print_keys(void)
{
    static const char *const uses[] = { [NIB_RECIPE_USED] = "used",
                                        [NIB_RECIPE_ALIAS] = "alias",
                                        [NIB_RECIPE_IGNORED] = "without effect",
                                        [NIB_RECIPE_REFUSED] = "refused" };
    const nib_recipe_key *k;

    for (size_t i = 0; (k = nib_recipe_key_at(i)); i++)
        printf("%s\t%s\t%s\t%s\n", k->name, k->owner, uses[k->use], k->help);
    return -1;
}

/* What a plain --help lists: one screen. */
static const char *const common[] = {
    "data", "output-dir", "adapter", "dry-run", "overwrite", "load-in-4bit",
    "task-type", "full", "r", "lora-alpha", "lora-dropout",
    "target-modules", "eval-data", "val-size",
    "max-seq-length", "per-device-train-batch-size", "gradient-accumulation-steps",
    "num-train-epochs", "max-steps", "learning-rate", "lr-scheduler-type", "warmup-ratio", "seed",
    "save-steps", "eval-strategy", "load-best-model-at-end", "threads", "keys", NULL
};

int verb_finetune(int argc, char **argv)
{
    static finetune f; /* large: not on the stack */
    static option options[RECIPE_MOST_OPTIONS];
    option own[] = { SESSION_OPTIONS(&f.s), STRICT_OPTION(&f.s),
                     { "verbose", OPTION_FLAG, &f.verbose, NULL,
                       "print every setting, all counts and the parts of the memory plan" },
                     { "keys", OPTION_FLAG, &f.list_keys, NULL,
                       "list every key a recipe may hold, and stop" } };
    verb v = {
        .name = "finetune",
        .arguments = "MODEL|RECIPE --data FILE --output-dir DIR [key=value ...]",
        .summary =
            "Trains a LoRA adapter on the frozen model and writes it as PEFT does.\n"
            "MODEL is a directory or a .gguf file; RECIPE a YAML file of the options below, with\n"
            "underscores.",
        .options = options,
        .repeats = nib_recipe_key_is_list,
        .heading = heading_of,
        .common = common,
        .positional_most = OPTION_POSITIONAL_ROOM
    };
    nib_status status;
    int code;

    f.s.json_lines = true;
    v.option_count = recipe_line_options(&f.line, NULL, own, sizeof own / sizeof *own, options);
    if ((code = options_parse(&v, argc, argv))) return code;
    if (f.list_keys) return print_keys();
    if ((code = recipe_line_sort(&f.line, &v)) || (code = session_begin(&f.s))) return code;
    code = recipe_line_read(&f.line, &f.s, &v, &status);
    if (!code && !status && !f.line.o->output_dir && !f.line.o->dry_run)
        code = f.line.path ? options_misuse(&v, "%s: missing key output_dir", f.line.path)
                           : options_misuse(&v, "missing option --output-dir");
    if (code) {
        recipe_line_free(&f.line);
        nib_ctx_destroy(f.s.ctx);
        return code;
    }
    if (!status) f.o = *f.line.o;
    if (!status) f.o.model.model = options_place(&v, f.o.model.model);
    f.o.on_start = on_start;
    f.o.on_step = on_step;
    f.o.on_evaluate = on_evaluate;
    f.o.on_end = on_end;
    f.o.on_progress = session_progress;
    f.o.user = &f;
    if (!status) status = nib_finetune(f.s.ctx, &f.o, &f.s.err);
    recipe_line_free(&f.line);
    return session_end(&f.s, status);
}
