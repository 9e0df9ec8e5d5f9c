/* test_foreign.c - recipes of LLaMA-Factory, axolotl, mlx-lm and torchtune: the table of words
 * holds together, no wrong key is ever suggested, and ten recipes are answered with all that is to
 * be changed, converted with the right values and dry-run. */
#include <stdlib.h>
#include <string.h>

#include "recipe/foreign_words.h"
#include "recipe/recipe_keys.h"
#include "nibble/nibble.h"
#include "program.h"

#define FOREIGN "tests/golden/recipes/foreign/"

static const struct {
    const char *file, *tool;
    const char *lines[16];  /* that the converted recipe has, up to a comment */
    const char *says[12];   /* that finetune answers */
} recipes[] = {
    { "llamafactory-lora.yaml", "LLaMA-Factory",
      { "r: 6", "lora_alpha: 12", "target_modules: all-linear", "max_seq_length: 192",
        "learning_rate: 1.5e-4", "val_size: 0.1", "eval_steps: 20", "num_train_epochs: 2.0",
        "# template: qwen", "# max_samples: 500", "# ddp_timeout: 90000000" },
      { "lora_rank ", "-> r = 6", "cutoff_len ", "-> max_seq_length = 192", "template ",
        "preprocessing_num_workers ", "(not given) ", "-> lora_alpha = 12" } },
    { "llamafactory-qlora.yaml", "LLaMA-Factory",
      { "load_in_4bit: true", "bnb_4bit_use_double_quant: false", "r: 12", "lora_alpha: 20",
        "target_modules: \"q_proj,v_proj\"", "modules_to_save: lm_head", "train_on_prompt: true",
        "shuffle: false", "optim: paged_adamw_8bit", "max_steps: 15", "learning_rate: 5e-5" },
      { "-> load_in_4bit = true", "additional_target ", "disable_shuffling ",
        "-> shuffle = false" } },
    { "llamafactory-other.yaml", "LLaMA-Factory",
      { "# data: FILE", "# stage: dpo", "# finetuning_type: full", "# somebodys_own_key: 5",
        "packing: true", "learning_rate: 3.0e-6", "max_seq_length: 2048" },
      { "somebodys_own_key ", "knows of no tool", "use_galore ", "image_max_pixels " } },
    { "axolotl-lora.yml", "axolotl",
      { "model_name_or_path: models/pico", "load_in_8bit: true", "data: models/shop.jsonl",
        "val_size: 0.05", "max_seq_length: 224", "packing: true", "r: 10",
        "per_device_train_batch_size: 3", "target_modules: all-linear", "eval_steps: 0.125",
        "save_strategy: epoch", "compute_dtype: auto", "warmup_steps: 6" },
      { "base_model ", "sequence_len ", "micro_batch_size ", "evals_per_epoch ",
        "flash_attention ", "wandb_project " } },
    { "axolotl-qlora.yml", "axolotl",
      { "load_in_4bit: true", "bnb_4bit_use_double_quant: true", "data: models/shop.jsonl",
        "target_modules: [q_proj, k_proj, down_proj]", "use_rslora: true",
        "optim: paged_adamw_32bit", "lr_scheduler_type: constant", "eval_strategy: no",
        "warmup_ratio: 0.03", "num_train_epochs: 1" },
      { "lora_target_modules ", "peft_use_rslora ", "-> use_rslora = true" } },
    { "axolotl-other.yml", "axolotl",
      { "# data: FILE", "# rl: dpo", "# adapter: llama-adapter", "# optimizer: lion_pytorch",
        "# lr_scheduler: one_cycle", "per_device_train_batch_size: 1", "max_seq_length: 96" },
      { "liger_rope ", "plugins ", "optimizer " } },
    { "mlx-lora.yaml", "mlx-lm",
      { "r: 6", "lora_alpha: 90", "lora_dropout: 0.02", "max_steps: 30", "warmup_steps: 4",
        "train_on_prompt: false", "train_on_turns: last", "lr_scheduler_type: cosine",
        "max_grad_norm: 0", "output_dir: out/mlx-lora", "target_modules: all-linear", "seed: 5" },
      { "lora_parameters.rank ", "-> r = 6", "lora_parameters.scale ", "-> lora_alpha = 90",
        "iters ", "-> max_steps = 30", "lr_schedule.arguments " } },
    { "mlx-other.yaml", "mlx-lm",
      { "max_steps: 10", "gradient_accumulation_steps: 4", "target_modules: [q_proj, v_proj]",
        "lora_alpha: 40", "weight_decay: 0.01", "seed: 0", "train_on_prompt: true",
        "# fine_tune_type: dora", "# num_layers: 8" },
      { "num_layers ", "grad_accumulation_steps ", "-> max_steps = 10" } },
    { "torchtune-lora.yaml", "torchtune",
      { "target_modules: [q_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]", "r: 5",
        "lora_alpha: 9", "model_name_or_path: models/pico", "max_seq_length: 144",
        "learning_rate: 2.5e-4", "weight_decay: 0.03", "warmup_steps: 8", "max_steps: 25",
        "logging_dir: out/torchtune-lora/logs", "compute_dtype: bfloat16", "max_grad_norm: 0" },
      { "optimizer.lr ", "-> learning_rate = 2.5e-4", "model.lora_rank ", "profiler ",
        "checkpointer.checkpoint_dir ", "epochs " } },
    { "torchtune-qlora.yaml", "torchtune",
      { "load_in_4bit: true", "bnb_4bit_use_double_quant: true", "r: 7", "lora_alpha: 16",
        "optim: paged_adamw_8bit", "weight_decay: 0.01", "lr_scheduler_type: constant",
        "compute_dtype: float32" },
      { "model._component_ ", "-> load_in_4bit = true", "dtype " } },
};

/* A line that is `line`, or continues with a comment. */
static bool has_line(const char *text, const char *line)
{
    size_t n = strlen(line);

    for (const char *p = text; p; p = strchr(p, '\n'), p = p ? p + 1 : NULL)
        if (strncmp(p, line, n) == 0 && (p[n] == '\n' || strncmp(p + n, "  ", 2) == 0)) return true;
    return false;
}

/* Each is converted and names its tool, the values are right, and the result is a run. */
static void test_converted(void)
{
    char out[600], dir[600];
    program_end e;

    nib_ctx *ctx = test_ctx_threads(1, NULL);

    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        char from[300];
        char *text = NULL;
        nib_error err = { 0 };

        snprintf(from, sizeof from, "%s%s", FOREIGN, recipes[i].file);
        snprintf(out, sizeof out, "%s/%zu.yaml", test_tmpdir(), i);
        snprintf(dir, sizeof dir, "output_dir=%s/%zu", test_tmpdir(), i);
        REQUIRE_OK(nib_recipe_convert(
                       ctx, &(nib_convert_options){ .recipe = from, .out = out }, &text, &err),
                   err);
        CHECK(strstr(text, recipes[i].tool) && strstr(text, recipes[i].file), "%s", text);
        for (size_t k = 0; k < 16 && recipes[i].lines[k]; k++)
            CHECK(has_line(text, recipes[i].lines[k]), "%s: no line '%s' in\n%s", from,
                  recipes[i].lines[k], text);
        REQUIRE(NIBBLE(&e, "finetune", out, "--dry-run", dir, "optim=adamw_torch",
                       has_line(text, "# data: FILE") ? "data=models/shop.jsonl" : "seed=1"));
        CHECK(e.exit_code == 0, "%s: %s", from, e.said);
        nib_report_free(ctx, text);
    }
}

/* finetune answers with the whole table and what to do, and trains nothing. */
static void test_answered(void)
{
    char from[300];
    program_end e;

    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        snprintf(from, sizeof from, "%s%s", FOREIGN, recipes[i].file);
        REQUIRE(NIBBLE(&e, "finetune", from));
        CHECK(e.exit_code == 1 && !*e.out && strstr(e.said, recipes[i].tool) &&
                  strstr(e.said, "`nibble convert-recipe "),
              "%s: %d %s", from, e.exit_code, e.said);
        for (size_t k = 0; k < 12 && recipes[i].says[k]; k++)
            CHECK(strstr(e.said, recipes[i].says[k]), "%s: '%s' is not in\n%s", from,
                  recipes[i].says[k], e.said);
    }
}

/* --- the table --- */

static void check_target(nib_ctx *ctx, const nib_word *w, const char *key, const char *value)
{
    nib_recipe *r = NULL;
    nib_error err = { 0 };
    size_t row = nib_recipe_find(key);

    REQUIRE(row != SIZE_MAX, "%s: '%s' is no key", w->name, key);
    if (!value || strchr(value, '@')) return;
    REQUIRE_OK(nib_recipe_create(ctx, &r, &err), err);
    CHECK(nib_recipe_set(r, key, value, &err) == NIB_OK, "%s: %s", w->name, err.message);
    nib_recipe_destroy(r);
}

static void check_map(nib_ctx *ctx, const nib_word *w)
{
    char map[600], *rest = NULL, *more = NULL;

    REQUIRE(strlen(w->map) < sizeof map, "%s", w->name);
    strcpy(map, w->map);
    for (char *m = strtok_r(map, " ", &rest); m; m = strtok_r(NULL, " ", &rest)) {
        char *targets = strchr(m, '=');
        REQUIRE(targets, "%s: %s", w->name, m);
        CHECK(targets[1] || w->note || w->why, "%s: %s without a reason", w->name, m);
        for (char *t = strtok_r(targets + 1, ",", &more); t; t = strtok_r(NULL, ",", &more)) {
            char *value = strchr(t, ':');
            REQUIRE(value, "%s: %s", w->name, t);
            *value++ = 0;
            check_target(ctx, w, t, value);
        }
    }
}

static void test_table(void)
{
    nib_ctx *ctx = test_ctx_threads(1, NULL);

    for (size_t i = 0; i < nib_word_count; i++) {
        const nib_word *w = &nib_words[i];
        CHECK(nib_word_find(w->tool, w->name) == w, "%s %s is hidden by a line above it",
              nib_tool_name(w->tool), w->name);
        if (w->how == NIB_WORD_NONE || w->how == NIB_WORD_LOST)
            CHECK(w->why && !w->key, "%s", w->name);
        else if (w->how == NIB_WORD_MAP) check_map(ctx, w);
        else if (w->how != NIB_WORD_RATE) check_target(ctx, w, w->key, NULL);
    }
    for (size_t i = 0; i < nib_word_default_count; i++) {
        const nib_word_default *d = &nib_word_defaults[i];
        CHECK(nib_recipe_find(d->key) != SIZE_MAX && (d->value || d->why), "%s", d->key);
    }
}

/* A word of another tool is answered with its counterpart or with none, never by its letters; and
 * no name is answered with one of which more than a fifth is different. */
static void test_suggestions(void)
{
    static const char *const nonsense[] = { "lr", "zebra", "x", "seqlen", "bits", "foo_bar" };
    nib_ctx *ctx = test_ctx_threads(1, NULL);
    nib_recipe *r = NULL;
    nib_error err = { 0 };

    REQUIRE_OK(nib_recipe_create(ctx, &r, &err), err);
    for (size_t i = 0; i < nib_word_count; i++) {
        const nib_word *w = &nib_words[i], *meant = nib_word_find(NIB_TOOLS, w->name);
        char right[200];

        if (strpbrk(w->name, ".*") || nib_recipe_find(w->name) != SIZE_MAX) continue;
        CHECK(nib_recipe_set(r, w->name, "1", &err) == NIB_E_INVALID, "%s", w->name);
        snprintf(right, sizeof right, " is %s here", meant->key ? meant->key : "");
        CHECK(!strstr(err.message, "nearest") &&
                  (meant->how != NIB_WORD_SAME || strstr(err.message, right)),
              "%s: %s", w->name, err.message);
    }
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        CHECK(nib_recipe_set(r, nonsense[i], "1", &err) == NIB_E_INVALID, "%s", nonsense[i]);
        CHECK(!strstr(err.message, "nearest"), "%s: %s", nonsense[i], err.message);
    }
    nib_recipe_destroy(r);
}

/* --- mistakes, and no memory --- */

static const char *write_file(const char *name, const char *text)
{
    static char path[600];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", test_tmpdir(), name);
    f = fopen(path, "w");
    if (f) fputs(text, f), fclose(f);
    return path;
}

static void test_mistakes(void)
{
    const char *own = write_file("own.yaml", "model_name_or_path: m\nlearning_rat: 1\n"
                                             "cutoff_len: 4\nzebra: 3\nr: x\n");
    program_end e;

    REQUIRE(NIBBLE(&e, "finetune", own)); /* all at once, each with its place */
    CHECK(e.exit_code == 1 && strstr(e.said, ":2:1: unknown key 'learning_rat'; the nearest is") &&
              strstr(e.said, ":3:1: unknown key 'cutoff_len'; LLaMA-Factory's cutoff_len is "
                             "max_seq_length here") &&
              strstr(e.said, ":4:1: unknown key 'zebra', and none is near") &&
              strstr(e.said, ":5:4: r: 'x' is not a whole number") &&
              strstr(e.said, "4 keys are to be corrected"),
          "%s", e.said);
    REQUIRE(NIBBLE(&e, "convert-recipe", write_file("own.yaml", "r: 3\n")));
    CHECK(e.exit_code == 1 && strstr(e.said, "needs no conversion"), "%s", e.said);
    REQUIRE(NIBBLE(&e, "convert-recipe", FOREIGN "mlx-lora.yaml",
                   write_file("there.yaml", "mine\n")));
    CHECK(e.exit_code == 1 && strstr(e.said, "there already"), "%s", e.said);
    REQUIRE(NIBBLE(&e, "convert-recipe", FOREIGN "mlx-other.yaml"));
    CHECK(e.exit_code == 0 && strstr(e.out, "r: 4") &&
              strstr(e.said, "warning: fine_tune_type is not taken"), "%s %s", e.out, e.said);
    REQUIRE(NIBBLE(&e, "convert-recipe", FOREIGN "llamafactory-other.yaml"));
    CHECK(strstr(e.said, "warning: use_galore is not taken") &&
              strstr(e.said, "warning: stage is not taken") &&
              !strstr(e.said, "template is not taken"), "%s", e.said);
    REQUIRE(NIBBLE(&e, "finetune", "models/pico", "--micro-batch-size", "1"));
    CHECK(e.exit_code == 2 &&
              strstr(e.said, "--micro-batch-size; here it is per_device_train_batch_size"), "%s",
          e.said);
}

static void test_allocations(void)
{
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i += 3) {
        char from[300];
        bool ended = false;

        snprintf(from, sizeof from, "%s%s", FOREIGN, recipes[i].file);
        for (size_t k = 1; k < 4000 && !ended; k += k < 60 ? 1 : 5) {
            test_heap heap = { .fail_at = k };
            nib_ctx *ctx = test_ctx_heap(&heap);
            char *text = NULL;
            nib_error err = { 0 };
            nib_status status = nib_recipe_convert(
                ctx, &(nib_convert_options){ .recipe = from }, &text, &err);

            ended = heap.calls < k;
            CHECK(ended ? status == NIB_OK : status == NIB_E_NOMEM || status == NIB_OK,
                  "%s, allocation %zu: %d %s", from, k, status, err.message);
            CHECK((status == NIB_OK) == (text != NULL), "%s, allocation %zu", from, k);
            if (text) nib_report_free(ctx, text);
            nib_ctx_warnings_clear(ctx);
            CHECK(heap.live == 0, "%s, allocation %zu: %zu blocks leaked", from, k, heap.live);
            test_ctx_release(ctx);
        }
        CHECK(ended, "never ended");
    }
}

int main(void)
{
    static const test_case cases[] = {
        { "converted", test_converted }, { "answered", test_answered }, { "table", test_table },
        { "suggestions", test_suggestions }, { "mistakes", test_mistakes },
        { "allocations", test_allocations },
    };
    return test_main("job/test_foreign", cases, sizeof cases / sizeof *cases);
}
