/* test_continue.c - options beside an adapter that is trained further, and beside a model that is
 * stored in few bits: what would be overruled is refused, and what is the same is fine. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "base/outfile.h"
#include "nibble/quantize.h"
#include "nibble/recipe.h"

static const char model[] = "tests/golden/models/llama-gqa-tied";

typedef struct path { char s[600]; } path;

static path joined(const char *dir, const char *name)
{
    path p;
    if ((size_t)snprintf(p.s, sizeof p.s, "%s/%s", dir, name) >= sizeof p.s) abort();
    return p;
}

/* A run of one step with `options`, "key value key value", as the command line gives them. */
static nib_status run(nib_ctx *ctx, const char *base, const char *adapter, const char *out,
                      const char *options, nib_error *err)
{
    static const char record[] = "{\"input_ids\": [3, 4, 5, 6, 7]}\n";
    path data = joined(test_tmpdir(), "data.jsonl");
    const nib_finetune_options *o;
    nib_recipe *r = NULL;
    char text[400], *save = NULL;
    nib_status status = nib_outfile_replace(ctx, data.s, record, strlen(record), err);

    if (!status) status = nib_recipe_create(ctx, &r, err);
    if (!status) status = nib_recipe_set(r, "model_name_or_path", base, err);
    if (!status) status = nib_recipe_set(r, "data", data.s, err);
    if (!status) status = nib_recipe_set(r, "output_dir", out, err);
    if (!status) status = nib_recipe_set(r, "overwrite", "true", err);
    if (!status) status = nib_recipe_set(r, "max_steps", "1", err);
    if (!status && adapter) status = nib_recipe_set(r, "adapter", adapter, err);
    snprintf(text, sizeof text, "%s", options);
    for (char *key = strtok_r(text, " ", &save); key && !status; key = strtok_r(NULL, " ", &save))
        status = nib_recipe_set(r, key, strtok_r(NULL, " ", &save), err);
    if (!status) status = nib_recipe_finetune_options(r, &o, err);
    if (!status) status = nib_finetune(ctx, o, err);
    nib_recipe_destroy(r);
    return status;
}

/* `said` has parts of the message, by "|"; NULL: the run goes through. */
typedef struct question { const char *options, *said; } question;

static void ask(nib_ctx *ctx, const char *base, const char *adapter, const question *q)
{
    path out = joined(test_tmpdir(), "again");
    char parts[400], *save = NULL;
    nib_error err = { 0 };
    nib_status status = run(ctx, base, adapter, out.s, q->options, &err);

    CHECK(status == (q->said ? NIB_E_INVALID : NIB_OK), "%s: %d %s", q->options, status,
          status ? err.message : "taken");
    if (!q->said || !status) return;
    snprintf(parts, sizeof parts, "%s", q->said);
    for (char *part = strtok_r(parts, "|", &save); part; part = strtok_r(NULL, "|", &save))
        CHECK(strstr(err.message, part), "%s: no '%s' in: %s", q->options, part, err.message);
}

static void test_adapter(void)
{
    static const question questions[] = {
        { "r 4", NULL },
        { "target_modules v_proj,q_proj,v_proj bias none", NULL },
        { "target_modules regex:.*[qv]_proj", NULL },
        { "target_modules [\"model.layers.0.self_attn.q_proj\",\"v_proj\","
          "\"1.self_attn.q_proj\",\"2.self_attn.q_proj\"] r null", NULL },
        { "layers_to_transform 2,1,0", NULL },
        { "r 16 lora_alpha 64 target_modules k_proj",
          "r 16 (the adapter has 4)|lora_alpha 64 (the adapter has 8)|"
          "target_modules [k_proj] (the adapter has [q_proj, v_proj])" },
        { "target_modules all-linear", "target_modules all-linear (the adapter has [" },
        { "lora_dropout 0.5", "lora_dropout 0.5 (the adapter has 0)" },
        { "use_rslora true", "use_rslora true (the adapter has false)" },
        { "bias all", "bias all (the adapter has none)" },
        { "modules_to_save lm_head", "modules_to_save [lm_head] (the adapter has null)" },
        { "init_lora_weights gaussian", "init_lora_weights gaussian (the adapter has true)" },
        { "rank_pattern q_proj=2", "rank_pattern {q_proj: 2} (the adapter has {})" },
        { "alpha_pattern q_proj=2", "alpha_pattern {q_proj: 2} (the adapter has {})" },
        { "layers_to_transform 1", "layers_to_transform [1]" },
        { "trainable_token_indices 5,7",
          "trainable_token_indices [5, 7] (the adapter has null)" },
        { "exclude_modules v_proj", "exclude_modules [v_proj] (the adapter has null)" },
    };
    nib_ctx *ctx = test_ctx();
    path first = joined(test_tmpdir(), "first"), base = joined(test_data(model), "");
    nib_error err;

    REQUIRE_OK(run(ctx, base.s, NULL, first.s, "r 4 target_modules q_proj,v_proj", &err), err);
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++)
        ask(ctx, base.s, first.s, &questions[i]);
}

/* The recipe that a run wrote gives the same adapter again, whatever its own config holds. */
static void test_recipe_again(void)
{
    nib_ctx *ctx = test_ctx();
    path first = joined(test_tmpdir(), "first"), second = joined(test_tmpdir(), "second");
    path base = joined(test_data(model), ""), written = joined(second.s, "recipe.yaml");
    const nib_finetune_options *o;
    nib_recipe *r = NULL;
    nib_error err;

    REQUIRE_OK(run(ctx, base.s, NULL, first.s, "r 2 target_modules q_proj,v_proj "
                   "use_rslora true rank_pattern q_proj=4 alpha_pattern v_proj=2 "
                   "layers_to_transform 1 exclude_modules up_proj modules_to_save norm "
                   "init_lora_weights gaussian lora_dropout 0.1", &err), err);
    REQUIRE_OK(run(ctx, base.s, first.s, second.s, "seed 3", &err), err);
    REQUIRE_OK(nib_recipe_create(ctx, &r, &err), err);
    REQUIRE_OK(nib_recipe_load(r, written.s, &err), err);
    REQUIRE_OK(nib_recipe_set(r, "overwrite", "true", &err), err);
    REQUIRE_OK(nib_recipe_finetune_options(r, &o, &err), err);
    CHECK(o->lora.rank_patterns == 1 && o->lora.alpha_pattern[0].value == 2 &&
              o->lora.layers_to_transform_count == 1 && o->lora.modules_to_save.count == 1 &&
              strcmp(o->lora.init_lora_weights, "gaussian") == 0 && o->lora.use_rslora,
          "the recipe misses a part of the adapter's config");
    REQUIRE_OK(nib_finetune(ctx, o, &err), err);
    nib_recipe_destroy(r);
}

static void test_stored(void)
{
    static const question questions[] = {
        { "load_in_4bit true bnb_4bit_blocksize 64 bnb_4bit_quant_type nf4", NULL },
        { "load_in_8bit false", NULL },
        { "load_in_4bit true bnb_4bit_quant_type fp4 bnb_4bit_use_double_quant true",
          "quantized already|bnb_4bit_quant_type fp4 (stored: nf4)|"
          "bnb_4bit_use_double_quant true (stored: false)" },
        { "load_in_8bit true", "load_in_8bit true (stored: false)" },
        { "load_in_4bit false", "load_in_4bit false (stored: true)" },
        { "bnb_4bit_blocksize 128", "bnb_4bit_blocksize 128 (stored: 64)" },
    };
    nib_ctx *ctx = test_ctx();
    path packed = joined(test_tmpdir(), "packed"), base = joined(test_data(model), "");
    nib_quantize_options q = { .model = base.s, .out = packed.s, .settings = test_four_bit };
    nib_error err;

    REQUIRE_OK(nib_quantize(ctx, &q, NULL, &err), err);
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++)
        ask(ctx, packed.s, NULL, &questions[i]);
}

int main(void)
{
    static const test_case cases[] = { { "adapter", test_adapter },
                                       { "recipe_again", test_recipe_again },
                                       { "stored", test_stored } };
    return test_main("continue", cases, sizeof cases / sizeof *cases);
}
