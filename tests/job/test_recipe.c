/* test_recipe.c - recipes: every key of the four classes is known and its default accepted; values
 * by the type of their key; mistakes with line and column; overrides; which type is computed in; a
 * run's recipe gives the same bits again; every allocation failing once. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/filemap.h"
#include "nibble/nibble.h"
#include "quant/weight_settings.h"
#include "test.h"

static char notes[2048];
static void keep_note(void *user, nib_message_kind kind, const char *text)
{
    (void)user, (void)kind;
    snprintf(notes + strlen(notes), sizeof notes - strlen(notes), "%s\n", text);
}

static nib_ctx *noting_ctx(void)
{
    nib_ctx *ctx = NULL;
    nib_error err;

    notes[0] = 0;
    return nib_ctx_create(&(nib_ctx_options){ .threads = 1, .message = keep_note }, &ctx, &err)
        ? NULL : ctx;
}

static const char *write_file(const char *name, const char *text)
{
    static char path[600];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", test_tmpdir(), name);
    f = fopen(path, "w");
    if (f) fputs(text, f), fclose(f);
    return path;
}

/* The recipe of a text; *out is the caller's also after a failure. */
static nib_status load(nib_ctx *ctx, const char *text, nib_recipe **out, nib_error *err)
{
    nib_status status = nib_recipe_create(ctx, out, err);
    return status ? status : nib_recipe_load(*out, write_file("r.yaml", text), err);
}

static const nib_recipe_key *find(const char *name)
{
    const nib_recipe_key *k;
    for (size_t i = 0; (k = nib_recipe_key_at(i)); i++)
        if (strcmp(k->name, name) == 0) return k;
    return NULL;
}

/* fields.txt comes from the libraries themselves (tests/golden/make/recipe_fields.py). */
static void test_fields(void)
{
    const char *path = test_data("tests/golden/recipes/fields.txt");
    FILE *f = fopen(path, "r");
    char line[512], text[600];
    nib_ctx *ctx = test_ctx();
    size_t count = 0;

    REQUIRE(f, "%s", path);
    for (; fgets(line, sizeof line, f); count++) {
        char *name = strchr(line, '\t'), *value = name ? strchr(name + 1, '\t') : NULL;
        nib_recipe *r = NULL;
        nib_error err;
        nib_status status;

        if (!value) {
            test_fail(__FILE__, __LINE__, "%s", line);
            break;
        }
        *name++ = *value++ = 0;
        CHECK(find(name) && strcmp(find(name)->owner, line) == 0, "%s of %s is not in the table",
              name, line);
        snprintf(text, sizeof text, "%s: %s", name, value);
        status = load(ctx, text, &r, &err);
        CHECK(status == NIB_OK, "the default of %s: %s", name, status ? err.message : "");
        nib_recipe_destroy(r);
    }
    fclose(f);
    CHECK(count > 200, "%zu fields", count);
}

static void test_table(void)
{
    const nib_recipe_key *k, *other;

    for (size_t i = 0; (k = nib_recipe_key_at(i)); i++) {
        for (size_t j = 0; j < i; j++)
            CHECK(strcmp(k->name, nib_recipe_key_at(j)->name) != 0, "%s comes twice", k->name);
        CHECK(k->help && *k->help &&
                  k->name[strspn(k->name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == 0,
              "%s", k->name);
        if (k->use == NIB_RECIPE_USED)
            CHECK(k->flag == !k->example, "%s: an example for what is no flag", k->name);
        other = k->use == NIB_RECIPE_ALIAS ? find(k->help) : NULL;
        if (k->use == NIB_RECIPE_ALIAS)
            CHECK(other && other->use != NIB_RECIPE_ALIAS, "%s stands for %s", k->name, k->help);
        CHECK(strcmp(k->help, "not supported yet") != 0 || k->use == NIB_RECIPE_REFUSED, "%s",
              k->name);
    }
}

static void test_values(void)
{
    static const char text[] =
        "model_name_or_path: dir\ndata: a.jsonl\noutput-dir: out\nload_in_4bit: yes\n"
        "bnb_4bit_quant_type: fp4\nr: 16\nlora_alpha: 32\n"
        "lora_dropout: .05\ntarget_modules: [q_proj, v_proj]\nmodules_to_save: lm_head\n"
        "rank_pattern: {'layers.0.q_proj': 4, k_proj: 2}\n"
        "layers_to_transform: [0, 2]\nbias: none\nlearning_rate: 2e-4\n"
        "per_device_train_batch_size: auto\nmax_steps: -1\nseed: 7\n"
        "template: no\ngradient_checkpointing: off\nmax_memory: 6GiB\ninit_lora_weights: True\n"
        "max_length: 512\nexclude_modules: .*\\.mlp\\..*\n"
        "optim: adamw_8bit\nlr_scheduler_type: cosine_with_restarts\n"
        "lr_scheduler_kwargs: {num_cycles: 3, min_lr: null}\nloraplus_lr_ratio: 16\n";
    nib_recipe *r = NULL;
    const nib_finetune_options *o;
    nib_error err;

    REQUIRE_OK(load(test_ctx(), text, &r, &err), err);
    REQUIRE_OK(nib_recipe_finetune_options(r, &o, &err), err);
    CHECK(strcmp(o->model.model, "dir") == 0 && strcmp(o->data.data, "a.jsonl") == 0 &&
              strcmp(o->output_dir, "out") == 0,
          "texts");
    CHECK(strcmp(nib_setting_value(o->model.settings, "load_in_4bit"), "true") == 0 &&
              strcmp(nib_setting_value(o->model.settings, "bnb_4bit_quant_type"), "fp4") == 0 &&
              !nib_setting_value(o->model.settings, "bnb_4bit_blocksize"),
          "settings of weights");
    CHECK(o->lora.r == 16 && o->lora.lora_alpha == 32 && o->lora.lora_dropout == .05, "lora");
    CHECK(o->lora.target_modules.count == 2 && !o->lora.target_modules.regex &&
              strcmp(o->lora.target_modules.items[1], "v_proj") == 0,
          "targets");
    CHECK(o->lora.modules_to_save.count == 1 &&
              strcmp(o->lora.modules_to_save.items[0], "lm_head") == 0,
          "one name");
    CHECK(o->lora.exclude_modules.regex &&
              strcmp(o->lora.exclude_modules.items[0], ".*\\.mlp\\..*") == 0,
          "an expression");
    CHECK(o->lora.rank_patterns == 2 && o->lora.rank_pattern[0].value == 4 &&
              strcmp(o->lora.rank_pattern[0].name, "layers.0.q_proj") == 0,
          "pattern");
    CHECK(o->lora.layers_to_transform_count == 2 && o->lora.layers_to_transform[1] == 2, "layers");
    CHECK(o->train.learning_rate == 2e-4 && o->train.max_steps == -1 && o->train.seed == 7 &&
              o->train.per_device_train_batch_size == 0,
          "numbers");
    CHECK(strcmp(o->data.template_text, "no") == 0 && o->train.gradient_checkpointing == 0,
          "`no` is a text where one is expected");
    CHECK(o->train.max_memory == (uint64_t)6 << 30 &&
              strcmp(o->lora.init_lora_weights, "true") == 0 && o->data.max_seq_length == 512,
          "others");
    CHECK(strcmp(o->train.optim, "adamw_bnb_8bit") == 0 &&
              strcmp(o->train.lr_scheduler_type, "cosine_with_restarts") == 0,
          "%s", o->train.optim);
    CHECK(o->train.lr_scheduler_kwarg_count == 1 &&
              strcmp(o->train.lr_scheduler_kwargs->name, "num_cycles") == 0 &&
              o->train.lr_scheduler_kwargs->value == 3 && o->train.loraplus_lr_ratio == 16 &&
              o->train.loraplus_lr_embedding == 1e-6,
          "schedule and LoRA+");
    CHECK(o->train.weight_decay == 0 && o->train.max_grad_norm == 1 &&
              o->train.gradient_accumulation_steps == 1,
          "defaults stay");

    /* The command line over the file: lists are replaced once, then added to. */
    REQUIRE_OK(nib_recipe_set(r, "target-modules", "k_proj", &err), err);
    REQUIRE_OK(nib_recipe_set(r, "target_modules", "[o_proj, up_proj]", &err), err);
    REQUIRE_OK(nib_recipe_set(r, "Learning-Rate", "1e-3", &err), err);
    REQUIRE_OK(nib_recipe_set(r, "rank_pattern", "q_proj=8,v_proj=2", &err), err);
    REQUIRE_OK(nib_recipe_set(r, "template", "{a}: {b}", &err), err);
    REQUIRE_OK(nib_recipe_set(r, "layers_to_transform", "null", &err), err);
    REQUIRE_OK(nib_recipe_finetune_options(r, &o, &err), err);
    CHECK(o->lora.target_modules.count == 3 &&
              strcmp(o->lora.target_modules.items[0], "k_proj") == 0,
          "%zu targets", o->lora.target_modules.count);
    CHECK(o->train.learning_rate == 1e-3 && o->lora.rank_patterns == 2 &&
              o->lora.rank_pattern[1].value == 2,
          "overrides");
    CHECK(strcmp(o->data.template_text, "{a}: {b}") == 0 && o->lora.layers_to_transform_count == 0,
          "a template is no map; null is the default");
    nib_recipe_destroy(r);
}

static void test_eight_bit(void)
{
    nib_recipe *r = NULL;
    const nib_finetune_options *o;
    nib_error err;

    REQUIRE_OK(load(test_ctx(), "model_name_or_path: dir\ndata: a\noutput_dir: out\n"
                    "load_in_8bit: true\nllm_int8_threshold: 4.5\n"
                    "llm_int8_has_fp16_weight: false\nllm_int8_skip_modules: [lm_head]\n",
                    &r, &err),
               err);
    REQUIRE_OK(nib_recipe_finetune_options(r, &o, &err), err);
    CHECK(strcmp(nib_setting_value(o->model.settings, "load_in_8bit"), "true") == 0 &&
          strcmp(nib_setting_value(o->model.settings, "llm_int8_threshold"), "4.5") == 0);
    nib_recipe_destroy(r);
}

static void test_mistakes(void)
{
    static const struct { const char *text, *says; } bad[] = {
        { "r: 8\nlearning_rat: 1\n",
          "r.yaml:2:1: unknown key 'learning_rat'; the nearest is learning_rate" },
        { "r:  1.5\n", "r.yaml:1:5: r: '1.5' is not a whole number" },
        { "r: 99999999999\n", "is not a whole number" },
        { "learning_rate: fast\n", "r.yaml:1:16: learning_rate: 'fast' is not a number" },
        { "learning_rate: .nan\n", "is not a number" },
        { "learning_rate: 0x10\n", "is not a number" },
        { "load_in_4bit: 1\n", "'1' is not true or false" },
        { "llm_int8_threshold: much\n", "'much' is not a number" },
        { "llm_int8_has_fp16_weight: true\n", "llm_int8_has_fp16_weight" },
        { "llm_int8_skip_modules: [q_proj]\n", "llm_int8_skip_modules" },
        { "bias: some\n", "'some' is not one of none all lora_only" },
        { "data: {a: 1}\n", "r.yaml:1:7: data: a map, expected a file, or a list of files" },
        { "data: []\n", "r.yaml:1:7: data: a list, expected a file, or a list of files" },
        { "data: [a, [b]]\n", "data: a list, expected the name of a file" },
        { "data: [a, null]\n", "data: 'null' is not the name of a file" },
        { "data: [a.jsonl, b.jsonl:0]\n",
          "r.yaml:1:7: data: 'b.jsonl:0': '0' is no weight: a number above 0" },
        { "data: b.jsonl:-0.5\n", "data: 'b.jsonl:-0.5': '-0.5' is no weight" },
        { "data: 'b.jsonl:0,2'\n", "'0,2' is no weight" },
        { "data: b.jsonl:20%\n", "'20%' is no weight" },
        { "data: b.jsonl:nan\n", "'nan' is no weight" },
        { "target_modules: {q: 1}\n", "a map, expected a list" },
        { "target_modules: []\n", "a list of names" },
        { "target_modules: [[q]]\n", "item 1 is not a text" },
        { "layers_to_transform: [0, -1]\n", "'-1' is not the number of a layer" },
        { "rank_pattern: {q_proj: many}\n", "'q_proj' has no number" },
        { "max_memory: much\n", "is not a size" },
        { "max_length: 5\nmax_seq_length: 6\n",
          "r.yaml:2:1: max_seq_length: the same key as max_length in line 1" },
        { "optim: adafactor\n",
          "r.yaml:1:8: optim: 'adafactor' is not one of adamw_torch adamw_bnb_8bit "
          "paged_adamw_32bit paged_adamw_8bit" },
        { "lr_scheduler_kwargs: {num_cycles: [1]}\n",
          "lr_scheduler_kwargs: 'num_cycles' has no value" },
        { "init_lora_weights: eva\n", "pissa_niter_*" },
        { "layer_replication: [[0, 4]]\n", "another model" },
        { "per_device_train_batch_size: 0\n", "a whole number above 0, or auto" },
        { "torch_dtype: float8\n", "is not auto, float32, bfloat16 or float16" },
        { "report_to: [tensorbord]\n", "'tensorbord'" },
        { "- r\n", "r.yaml:1:1: a recipe is a map" },
        { "", "a recipe is a map" },
        { "r: 8\n  x: 1\n", "r.yaml:2:" },
    };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(bad); i++) {
        nib_recipe *r = NULL;
        nib_error err;
        nib_status status = load(ctx, bad[i].text, &r, &err);
        CHECK(status && strstr(err.message, bad[i].says), "%s: %s", bad[i].text,
              status ? err.message : "accepted");
        nib_recipe_destroy(r);
    }
}

static void test_without_effect(void)
{
    nib_ctx *ctx = noting_ctx();
    nib_recipe *r = NULL;
    const nib_finetune_options *o;
    nib_error err;

    REQUIRE(ctx, "a context");
    REQUIRE_OK(
        load(
            ctx,
            "tf32: true\npush_to_hub: false\nddp_backend: nccl\nfsdp: full_shard\n"
            "report_to: [wandb, jsonl]\nuse_cpu: true\n",
            &r, &err),
        err);
    REQUIRE_OK(nib_recipe_finetune_options(r, &o, &err), err);
    CHECK(strstr(notes, "without effect here: tf32 (there is no graphics card)") &&
              strstr(notes, "ddp_backend, fsdp (one process trains)"),
          "%s", notes);
    CHECK(strstr(notes, "report_to wandb") && strcmp(o->train.report_to, "jsonl") == 0, "%s",
          o->train.report_to);
    CHECK(!strstr(notes, "push_to_hub") && !strstr(notes, "use_cpu"), "asks for nothing: %s",
          notes);
    notes[0] = 0;
    REQUIRE_OK(nib_recipe_finetune_options(r, &o, &err), err);
    CHECK(!*notes, "reported once: %s", notes);
    nib_recipe_destroy(r);
    nib_ctx_destroy(ctx);
}

/* TRL's flags become nibble's words; a later place wins, one place must not contradict itself. */
static void test_loss(void)
{
    static const struct {
        const char *text, *key, *value, *turns;
        bool prompt;
        const char *says;
    } cases[] = {
        { "r: 8\n", NULL, NULL, NULL, false, NULL },
        { "assistant_only_loss: true\n", NULL, NULL, "all", false, NULL },
        { "assistant_only_loss: false\ncompletion_only_loss: false\n", NULL, NULL, "everything",
          true, NULL },
        { "train_on_turns: last\nassistant_only_loss: true\ncompletion_only_loss: true\n", NULL,
          NULL, "last", false, NULL },
        { "assistant_only_loss: false\n", "train_on_turns", "last", "last", false, NULL },
        { "train_on_turns: last\ntrain_on_prompt: true\n", "assistant_only_loss", "false",
          "everything", true, NULL },
        { "train_on_prompt: true\n", "completion_only_loss", "true", NULL, false, NULL },
        { "train_on_turns: everything\nassistant_only_loss: true\n", NULL, NULL, NULL, false,
          "contradict" },
        { "train_on_prompt: true\ncompletion_only_loss: true\n", NULL, NULL, NULL, false,
          "contradict" },
    };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_recipe *r = NULL;
        const nib_finetune_options *o;
        nib_error err = { .message = "" };
        nib_status status = load(ctx, cases[i].text, &r, &err);

        if (!status && cases[i].key) status = nib_recipe_set(r, cases[i].key, cases[i].value, &err);
        if (!status) status = nib_recipe_finetune_options(r, &o, &err);
        if (cases[i].says) {
            CHECK(status == NIB_E_INVALID && strstr(err.message, cases[i].says), "%s: %s",
                  cases[i].text, status ? err.message : "accepted");
        } else if (status) {
            CHECK(false, "%s: %s", cases[i].text, err.message);
        } else {
            const char *turns = o->data.train_on_turns;
            CHECK((turns && cases[i].turns ? strcmp(turns, cases[i].turns) == 0
                                           : turns == cases[i].turns) &&
                      o->data.train_on_prompt == cases[i].prompt,
                  "%s: %s, %d", cases[i].text, turns ? turns : "none", o->data.train_on_prompt);
        }
        nib_recipe_destroy(r);
    }
}

static void test_compute(void)
{
    static const struct {
        const char *text, *key, *value;
        nib_compute compute;
        const char *note;
    } cases[] = {
        { "r: 8\n", NULL, NULL, NIB_COMPUTE_AUTO, NULL },
        { "bf16: true\n", NULL, NULL, NIB_COMPUTE_BFLOAT16, NULL },
        { "bf16: false\nfp16: true\n", NULL, NULL, NIB_COMPUTE_FLOAT16, NULL },
        { "bnb_4bit_compute_dtype: bfloat16\nfp16: true\n", NULL, NULL, NIB_COMPUTE_BFLOAT16,
          "fp16 asks for float16" },
        { "bnb_4bit_compute_dtype: torch.float16\ntorch_dtype: float16\n", NULL, NULL,
          NIB_COMPUTE_FLOAT16, NULL },
        { "torch_dtype: float32\nbf16: true\n", NULL, NULL, NIB_COMPUTE_FLOAT32,
          "bf16 asks for bfloat16" },
        { "compute_dtype: float32\n", "bf16", "true", NIB_COMPUTE_BFLOAT16,
          "compute_dtype asks for float32" },
        { "bf16: true\n", "bf16", "false", NIB_COMPUTE_AUTO, NULL },
    };

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_ctx *ctx = noting_ctx();
        nib_recipe *r = NULL;
        const nib_finetune_options *o;
        nib_error err;

        REQUIRE(ctx, "a context");
        REQUIRE_OK(load(ctx, cases[i].text, &r, &err), err);
        if (cases[i].key) REQUIRE_OK(nib_recipe_set(r, cases[i].key, cases[i].value, &err), err);
        REQUIRE_OK(nib_recipe_finetune_options(r, &o, &err), err);
        CHECK(o->model.compute_dtype == cases[i].compute, "%s: %d", cases[i].text,
              (int)o->model.compute_dtype);
        CHECK(cases[i].note ? strstr(notes, cases[i].note) != NULL : !*notes, "%s: %s",
              cases[i].text, notes);
        nib_recipe_destroy(r);
        nib_ctx_destroy(ctx);
    }
    {
        nib_recipe *r = NULL;
        const nib_finetune_options *o;
        nib_error err;
        REQUIRE_OK(load(test_ctx(), "bf16: true\nfp16: true\n", &r, &err), err);
        CHECK(nib_recipe_finetune_options(r, &o, &err) == NIB_E_INVALID, "both types");
        nib_recipe_destroy(r);
    }
}

/* Sources of data with weights: as they are given, added to, replaced, written and read again.  A
 * file whose name ends like a weight is itself. */
static void test_sources(void)
{
    char odd[600], text[700], line[700];
    nib_recipe *r = NULL, *again = NULL;
    const nib_finetune_options *o;
    nib_error err = { .message = "" };
    FILE *f;

    snprintf(odd, sizeof odd, "%s/data:2", test_tmpdir());
    f = fopen(odd, "w");
    REQUIRE(f && !fclose(f), "%s", odd);
    snprintf(text, sizeof text, "data: [new.jsonl, old.jsonl:0.2, c:d.jsonl, %s]\n", odd);
    REQUIRE_OK(load(test_ctx(), text, &r, &err), err);
    REQUIRE_OK(nib_recipe_finetune_options(r, &o, &err), err);
    CHECK(o->data.sources.count == 4 && strcmp(o->data.data, "new.jsonl") == 0 &&
          strcmp(o->data.sources.items[1].path, "old.jsonl") == 0 &&
          o->data.sources.items[1].weight == 0.2 &&
          strcmp(o->data.sources.items[2].path, "c:d.jsonl") == 0 &&
          strcmp(o->data.sources.items[3].path, odd) == 0, "as given");
    snprintf(line, sizeof line,
             "data: [\"new.jsonl\", \"old.jsonl:0.2\", \"c:d.jsonl\", \"%s:1\"]\n", odd);
    REQUIRE(nib_recipe_resolved(r) && strstr(nib_recipe_resolved(r), line), "%s",
            nib_recipe_resolved(r));
    REQUIRE_OK(load(test_ctx(), line, &again, &err), err);
    REQUIRE_OK(nib_recipe_finetune_options(again, &o, &err), err);
    CHECK(o->data.sources.count == 4 && strcmp(o->data.sources.items[3].path, odd) == 0 &&
          o->data.sources.items[3].weight == 1, "read again");
    nib_recipe_destroy(again);
    /* the command line replaces the file's list, and adds to its own */
    REQUIRE_OK(nib_recipe_set(r, "data", "one.jsonl", &err), err);
    REQUIRE_OK(nib_recipe_finetune_options(r, &o, &err), err);
    CHECK(o->data.sources.count == 0 && strcmp(o->data.data, "one.jsonl") == 0, "one");
    REQUIRE_OK(nib_recipe_set(r, "data", "two.jsonl:3", &err), err);
    REQUIRE_OK(nib_recipe_finetune_options(r, &o, &err), err);
    CHECK(o->data.sources.count == 2 && o->data.sources.items[0].weight == 1 &&
          strcmp(o->data.sources.items[0].path, "one.jsonl") == 0 &&
          o->data.sources.items[1].weight == 3, "added to");
    snprintf(text, sizeof text, "%s:much", odd);
    CHECK(nib_recipe_set(r, "data", text, &err) == NIB_E_INVALID &&
          strstr(err.message, "'much' is no weight"), "%s", err.message);
    nib_recipe_destroy(r);
}

/* What is measured of answers in a context can be asked for, in a file and on the command line. */
static void test_metric(void)
{
    static const char *const names[] = { "exact_match", "eval_exact_match", "f1", "overall_f1",
                                         "eval_mrr@10" };

    for (size_t i = 0; i < NIB_COUNT(names); i++) {
        nib_recipe *r = NULL, *set = NULL;
        const nib_finetune_options *o;
        nib_error err;
        char text[100];

        snprintf(text, sizeof text, "eval_strategy: epoch\nmetric_for_best_model: %s\n", names[i]);
        REQUIRE_OK(load(test_ctx(), text, &r, &err), err);
        REQUIRE_OK(nib_recipe_finetune_options(r, &o, &err), err);
        CHECK(strcmp(o->train.metric_for_best_model, names[i]) == 0, "%s", names[i]);
        CHECK(strstr(nib_recipe_resolved(r), names[i]), "%s is not written", names[i]);
        REQUIRE_OK(nib_recipe_create(test_ctx(), &set, &err), err);
        REQUIRE_OK(nib_recipe_set(set, "metric_for_best_model", names[i], &err), err);
        nib_recipe_destroy(r);
        nib_recipe_destroy(set);
    }
}

/* What is resolved reads back as the same options: the text of the text is the text. */
static void test_resolved(void)
{
    static const char text[] =
        "data: \"a \\\"b\\\"\\n\\\\.jsonl\"\n"
        "template: \"{a}\\t\xc3\xa9 # no: comment\\N\\u2028\\ufeff\\x01\"\n"
        "learning_rate: 0.1\nlora_alpha: 1e-3\n"
        "target_modules: \"regex:.*\\\\.(q|v)_proj\"\nrank_pattern: {'.*\"x': 3}\n"
        "layers_to_transform: [1]\nbf16: true\nsave_steps: 3\n";
    nib_recipe *r = NULL, *again = NULL;
    const nib_finetune_options *o;
    nib_error err;
    char *first;

    REQUIRE_OK(load(test_ctx(), text, &r, &err), err);
    REQUIRE_OK(nib_recipe_finetune_options(r, &o, &err), err);
    REQUIRE(nib_recipe_resolved(r), "out of memory");
    first = strdup(nib_recipe_resolved(r));
    REQUIRE_OK(load(test_ctx(), first, &again, &err), err);
    REQUIRE_OK(nib_recipe_finetune_options(again, &o, &err), err);
    CHECK(strcmp(first, nib_recipe_resolved(again)) == 0, "%s\n%s", first,
          nib_recipe_resolved(again));
    CHECK(strcmp(o->data.data, "a \"b\"\n\\.jsonl") == 0 &&
              strcmp(o->lora.target_modules.items[0], ".*\\.(q|v)_proj") == 0,
          "texts");
    CHECK(o->train.learning_rate == 0.1 && o->lora.rank_pattern[0].value == 3 &&
              o->model.compute_dtype == NIB_COMPUTE_BFLOAT16,
          "numbers");
    CHECK(!strstr(first, "save_steps"), "what changes no number is left out");
    free(first);
    nib_recipe_destroy(r);
    nib_recipe_destroy(again);
}

static void run_recipe(const char *path, const char *out, char **bytes, size_t *count)
{
    char file[700];
    nib_recipe *r = NULL;
    const nib_finetune_options *o;
    nib_error err;

    REQUIRE_OK(nib_recipe_create(test_ctx(), &r, &err), err);
    REQUIRE_OK(nib_recipe_load(r, path, &err), err);
    REQUIRE_OK(nib_recipe_set(r, "output_dir", out, &err), err);
    REQUIRE_OK(nib_recipe_finetune_options(r, &o, &err), err);
    REQUIRE_OK(nib_finetune(test_ctx(), o, &err), err);
    nib_recipe_destroy(r);
    snprintf(file, sizeof file, "%s/adapter_model.safetensors", out);
    REQUIRE_OK(nib_file_read(test_ctx(), file, 1 << 26, bytes, count, &err), err);
}

/* The recipe that a run leaves gives the same adapter again, bit for bit. */
static void test_reproduces(void)
{
    char recipe[2048], out[2][512], path[600];
    char *x = NULL, *y = NULL;
    size_t n = 0, m = 1;

    test_on_disk();
    for (int i = 0; i < 2; i++) snprintf(out[i], sizeof out[i], "%s/out%d", test_tmpdir(), i);
    snprintf(
        path, sizeof path, "%s",
        write_file(
            "d.jsonl",
            "{\"input_ids\": [1, 5, 9, 33, 7]}\n{\"input_ids\": [3, 4, 5]}\n"
            "{\"input_ids\": [90, 80, 70, 60]}\n"));
    snprintf(
        recipe, sizeof recipe,
        "model_name_or_path: %s\ndata: %s\nload_in_4bit: true\nr: 4\nlora_dropout: 0.25\n"
        "per_device_train_batch_size: 2\n"
        "max_steps: 5\nlearning_rate: 1e-2\nlr_scheduler_type: cosine\nwarmup_ratio: .2\nseed: 3\n"
        "optim: paged_adamw\nlr_scheduler_kwargs: {num_cycles: .75}\nloraplus_lr_ratio: 4\n"
        "loraplus_weight_decay: .1\n",
        test_data("tests/golden/models/llama"), path);
    run_recipe(write_file("r.yaml", recipe), out[0], &x, &n);
    snprintf(path, sizeof path, "%s/recipe.yaml", out[0]);
    run_recipe(path, out[1], &y, &m);
    CHECK(x && y && n == m && memcmp(x, y, n) == 0, "%zu and %zu bytes", n, m);
    free(x); /* the plain allocator's */
    free(y);
}

static void test_allocations(void)
{
    const char *path = write_file(
        "r.yaml",
        "target_modules: [a, b]\nrank_pattern: {a: 1}\nlayers_to_transform: 0,1\ndata: x\n"
        "report_to: jsonl\n"
        "dataset_text_field: body\nbias: all\n");
    bool ended = false;

    for (size_t k = 1; k < 400 && !ended; k++) {
        test_heap heap = { .fail_at = k };
        nib_ctx *ctx = test_ctx_heap(&heap);
        nib_recipe *r = NULL;
        const nib_finetune_options *o;
        nib_error err;
        nib_status status = nib_recipe_create(ctx, &r, &err);

        if (!status) status = nib_recipe_load(r, path, &err);
        if (!status) status = nib_recipe_set(r, "target_modules", "[c, d]", &err);
        if (!status) status = nib_recipe_finetune_options(r, &o, &err);
        if (!status && !nib_recipe_resolved(r)) status = NIB_E_NOMEM;
        ended = heap.calls < k;
        CHECK(status == (ended ? NIB_OK : NIB_E_NOMEM), "allocation %zu: %d", k, (int)status);
        nib_recipe_destroy(r);
        CHECK(heap.live == 0, "allocation %zu: %zu blocks leaked", k, heap.live);
        test_ctx_release(ctx);
    }
    CHECK(ended, "never ended");
}

int main(void)
{
    static const test_case cases[] = { { "fields", test_fields },
                                       { "table", test_table },
                                       { "values", test_values },
                                       { "eight bits", test_eight_bit },
                                       { "mistakes", test_mistakes },
                                       { "without_effect", test_without_effect },
                                       { "compute", test_compute },
                                       { "loss", test_loss },
                                       { "sources", test_sources },
        { "metric", test_metric },
        { "resolved", test_resolved },
                                       { "reproduces", test_reproduces },
                                       { "allocations", test_allocations } };
    return test_main("recipe", cases, NIB_COUNT(cases));
}
