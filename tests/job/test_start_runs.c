/* test_start_runs.c - runs of adapters that start from the weights: resumed exactly, also where the
 * base was quantized again; that base made once more from what stands beside the adapter. */
#include <stdlib.h>
#include <string.h>

#include "adapter/adapter.h"
#include "base/filemap.h"
#include "nibble/evaluate.h"
#include "nibble/finetune.h"
#include "nibble/quantize.h"
#include "test.h"

typedef struct path { char s[600]; } path;

static path joined(const char *dir, const char *name)
{
    path p;
    snprintf(p.s, sizeof p.s, "%.400s/%.100s", dir, name);
    return p;
}

static path write_data(void)
{
    path p = joined(test_tmpdir(), "data.jsonl");
    FILE *f = fopen(p.s, "w");

    CHECK(f && fputs("{\"input_ids\": [1, 5, 9, 33, 7, 100, 4]}\n{\"input_ids\": [3, 4, 5, 6, 7]}\n"
                     "{\"input_ids\": [90, 80, 70, 60, 50, 40]}\n", f) >= 0 && fclose(f) == 0,
          "%s", p.s);
    return p;
}

static const nib_setting nf4[] = { { "load_in_4bit", "true" }, { 0 } },
                         fp4[] = { { "load_in_4bit", "true" }, { "bnb_4bit_quant_type", "fp4" },
                                   { "bnb_4bit_use_double_quant", "true" }, { 0 } },
                         int8[] = { { "load_in_8bit", "true" }, { 0 } };
static const nib_argument three[] = { { .name = "loftq_iter", .value = 3 } };

static nib_finetune_options options_for(const path *data, const path *out, const char *init,
                                        const nib_setting *settings)
{
    nib_finetune_options o;

    nib_finetune_defaults(&o);
    o.model.model = test_data("tests/golden/models/llama");
    o.model.compute_dtype = NIB_COMPUTE_FLOAT32;
    o.model.settings = settings;
    o.data.data = data->s;
    o.output_dir = out->s;
    o.lora.r = 4;
    o.lora.lora_alpha = 6;
    o.lora.target_modules.all_linear = true;
    o.lora.init_lora_weights = init;
    if (strcmp(init, "loftq") == 0) o.lora.loftq_config = three, o.lora.loftq_count = 1;
    o.train.learning_rate = 1e-2;
    o.train.per_device_train_batch_size = 2;
    o.train.max_steps = 6;
    o.train.save_steps = 3;
    return o;
}

static bool same_files(path a, path b, bool want)
{
    char *x = NULL, *y = NULL;
    size_t n = 0, m = 1;
    nib_error err;
    bool same;

    CHECK(!nib_file_read(test_ctx(), a.s, 1 << 26, &x, &n, &err) &&
              !nib_file_read(test_ctx(), b.s, 1 << 26, &y, &m, &err), "%s", err.message);
    same = x && y && n == m && memcmp(x, y, n) == 0;
    free(x);
    free(y);
    return same == want;
}

static const struct { const char *init; const nib_setting *settings; bool changes; } runs[] = {
    { "pissa", NULL, false },     { "pissa_niter_2", NULL, false }, { "olora", NULL, false },
    { "orthogonal", NULL, false }, { "pissa", nf4, true },          { "loftq", fp4, true },
    { "loftq", int8, true },
};

/* Six steps, and three more after three. */
static void test_resume(void)
{
    path data = write_data();
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(runs); i++) {
        char name[20];
        path whole, rest, from;
        nib_finetune_options o;

        snprintf(name, sizeof name, "whole%zu", i);
        whole = joined(test_tmpdir(), name);
        snprintf(name, sizeof name, "rest%zu", i);
        rest = joined(test_tmpdir(), name);
        from = joined(whole.s, "checkpoint-3");
        o = options_for(&data, &whole, runs[i].init, runs[i].settings);
        REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
        o.output_dir = rest.s;
        o.resume_from_checkpoint = from.s;
        REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
        CHECK(same_files(joined(whole.s, "adapter_model.safetensors"),
                         joined(rest.s, "adapter_model.safetensors"), true), "%s", runs[i].init);
        CHECK(same_files(joined(whole.s, "adapter_model.safetensors"),
                         joined(from.s, "adapter_model.safetensors"), false), "nothing learnt");
        CHECK(nib_file_exists(joined(rest.s, "base_change/adapter_config.json").s) ==
                  runs[i].changes, "%s", runs[i].init);
    }
}

/* What the run recorded of its base is another: it is not resumed. */
static void test_other_base(void)
{
    path data = write_data(), out = joined(test_tmpdir(), "out"), rest = joined(test_tmpdir(), "r"),
         from = joined(out.s, "checkpoint-3"), file = joined(from.s, "base_change"
                                                             "/adapter_model.safetensors");
    nib_finetune_options o = options_for(&data, &out, "loftq", nf4);
    nib_error err;
    FILE *f;

    REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    f = fopen(file.s, "r+");
    REQUIRE(f && fseek(f, -3, SEEK_END) == 0 && fputc('?', f) == '?' && fclose(f) == 0, "%s",
            file.s);
    o.output_dir = rest.s;
    o.resume_from_checkpoint = from.s;
    CHECK(nib_finetune(test_ctx(), &o, &err) == NIB_E_MISMATCH &&
              strstr(err.message, "resumed exactly"), "%s", err.message);
}

static double loss_on(const char *model, const nib_setting *settings, const path *adapter,
                      const path *data, nib_status *status, nib_error *err)
{
    nib_evaluate_options o = { .model = { .model = model, .settings = settings,
                                          .compute_dtype = NIB_COMPUTE_FLOAT32 },
                               .adapter = adapter->s, .data = { .data = data->s,
                                                                .max_seq_length = 1024 } };
    nib_evaluate_result e = { 0 };

    *status = nib_evaluate(test_ctx(), &o, &e, err);
    return e.loss;
}

static double last_loss;
static void keep_evaluation(void *user, const nib_eval_report *r)
{
    (void)user;
    last_loss = r->eval_loss;
}

/* Trained further on that base, what it refers to is beside it again. */
static void check_further(const path *data, const path *base, const path *adapter)
{
    path further = joined(base->s, "../further");
    nib_finetune_options o = options_for(data, &further, "true", NULL);
    nib_error err;

    o.model.model = base->s;
    o.adapter = adapter->s;
    o.lora.given = (const char *const[]){ NULL };
    o.train.max_steps = 1;
    o.overwrite = true;
    REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    CHECK(same_files(joined(adapter->s, "base_change/adapter_model.safetensors"),
                     joined(further.s, "base_change/adapter_model.safetensors"), true) &&
              same_files(joined(adapter->s, "base_change/adapter_config.json"),
                         joined(further.s, "base_change/adapter_config.json"), true), "%s",
          further.s);
}

/* The adapter goes with no other base than the one that base_change/ makes, and there has the loss
 * of the run's end; also beside rows of words and modules that are saved whole or left out. */
static void test_base_change(void)
{
    static const char *saved = "lm_head", *excluded = "k_proj", *regex = ".*k_proj|.*v_proj";
    path data = write_data();
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(runs); i++) {
        char name[20];
        path out, base, change;
        nib_finetune_options o;
        nib_quantize_options q = { 0 };
        nib_status status;
        double loss;

        snprintf(name, sizeof name, "out%zu", i);
        out = joined(test_tmpdir(), name);
        snprintf(name, sizeof name, "base%zu", i);
        base = joined(test_tmpdir(), name);
        change = joined(out.s, "base_change");
        o = options_for(&data, &out, runs[i].init, runs[i].settings);
        o.lora.trainable_token_indices = (const int[]){ 5, 9 };
        o.lora.trainable_token_count = 2;
        o.lora.modules_to_save = (nib_names){ .items = &saved, .count = 1 };
        o.lora.exclude_modules = (nib_names){ .items = i % 2 ? &excluded : &regex, .count = 1,
                                              .regex = i % 2 == 0 };
        o.eval_data = data.s;
        o.train.eval_strategy = "epoch";
        o.on_evaluate = keep_evaluation;
        REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
        loss = loss_on(o.model.model, runs[i].settings, &out, &data, &status, &err);
        if (!runs[i].changes) {
            REQUIRE_OK(status, err);
            CHECK(loss > last_loss - 1e-5 && loss < last_loss + 1e-5, "%s: %g, the run's %g",
                  runs[i].init, loss, last_loss);
            continue;
        }
        CHECK(status == NIB_E_MISMATCH && strstr(err.message, "base_change --load-in-"), "%s",
              err.message);
        q.model = o.model.model;
        q.out = base.s;
        q.adapter = change.s;
        q.settings = runs[i].settings;
        REQUIRE_OK(nib_quantize(test_ctx(), &q, NULL, &err), err);
        loss = loss_on(base.s, NULL, &out, &data, &status, &err);
        REQUIRE_OK(status, err);
        CHECK(loss == last_loss, "%s: %.17g, the run's %.17g", runs[i].init, loss, last_loss);
        check_further(&data, &base, &out);
    }
}

static void keep_note(void *user, nib_message_kind kind, const char *text)
{
    if (kind == NIB_MESSAGE_NOTE && strncmp(text, "loftq: of", 9) == 0)
        snprintf(user, 200, "%.199s", text);
}

/* A base that is low-bit as it is stored, with its original: as one that is quantized while
 * loading, and of any form. */
static void test_stored(void)
{
    static const nib_setting gptq[] = { { "format", "gptq" }, { "bits", "4" },
                                        { "group_size", "32" }, { 0 } };
    static const struct { const char *name; const nib_setting *settings; } forms[] = {
        { "nf4", nf4 }, { "gptq", gptq }
    };
    path data = write_data(), direct = joined(test_tmpdir(), "direct");
    nib_finetune_options o = options_for(&data, &direct, "loftq", nf4);
    nib_error err;

    o.lora.loftq_count = 0;
    REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    for (size_t i = 0; i < NIB_COUNT(forms); i++) {
        path base = joined(test_tmpdir(), forms[i].name), out = joined(base.s, "../out");
        char note[200] = "";
        nib_ctx_options c = { .message = keep_note, .message_user = note };
        nib_quantize_options q = { .model = o.model.model, .out = base.s,
                                   .settings = forms[i].settings };
        nib_finetune_options stored = options_for(&data, &out, "loftq", NULL);
        double before = 0, after = 0;
        nib_ctx *ctx;

        REQUIRE_OK(nib_quantize(test_ctx(), &q, NULL, &err), err);
        stored.model.model = base.s;
        stored.base_original = o.model.model;
        stored.overwrite = true;
        CHECK(nib_finetune(test_ctx(), &stored, &err) == NIB_E_UNSUPPORTED &&
                  strstr(err.message, "loftq_iter 3 would quantize"), "%s", err.message);
        stored.lora.loftq_count = 0;
        REQUIRE_OK(nib_ctx_create(&c, &ctx, &err), err);
        REQUIRE_OK(nib_finetune(ctx, &stored, &err), err);
        nib_ctx_destroy(ctx);
        CHECK(sscanf(note, "loftq: of 14 matrices |W - Q| is %lf %% of |W|, and |W - Q - s B A| "
                     "%lf", &before, &after) == 2 && after < .95 * before && after > 0, "%s", note);
        if (forms[i].settings == nf4)
            CHECK(same_files(joined(direct.s, "adapter_model.safetensors"),
                             joined(out.s, "adapter_model.safetensors"), true), "stored nf4");
        stored.base_original = NULL;
        CHECK(nib_finetune(test_ctx(), &stored, &err) == NIB_E_INVALID &&
                  strstr(err.message, "with base_original"), "%s", err.message);
        stored.base_original = test_data("models/pico");
        CHECK(nib_finetune(test_ctx(), &stored, &err) == NIB_E_MISMATCH &&
                  strstr(err.message, "has no dense"), "%s", err.message);
    }
}

static void test_refused(void)
{
    static const nib_argument wrong[][1] = {
        { { .name = "bits", .value = 4 } }, { { .name = "loftq_bits", .value = 2 } },
        { { .name = "loftq_iter", .value = 0 } }, { { .name = "loftq_iter", .value = 1.5 } },
        { { .name = "loftq_bits", .text = "four" } },
    };
    static const char *const inits[] = { "eva", "corda", "lora_ga", "pissa_niter_", "pissa_niter_x",
                                         "pissa_niter_10000" };
    path data = write_data(), out = joined(test_tmpdir(), "out");
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(wrong); i++) {
        nib_finetune_options o = options_for(&data, &out, "loftq", nf4);
        o.lora.loftq_config = wrong[i];
        CHECK(nib_finetune(test_ctx(), &o, &err) == NIB_E_INVALID &&
                  strstr(err.message, "loftq_config"), "%zu: %s", i, err.message);
    }
    for (size_t i = 0; i < NIB_COUNT(inits); i++) {
        nib_finetune_options o = options_for(&data, &out, inits[i], NULL);
        CHECK(nib_finetune(test_ctx(), &o, &err) == NIB_E_INVALID &&
                  strstr(err.message, "known are true, false, gaussian, orthogonal"), "%s: %s",
              inits[i], err.message);
    }
}

int main(void)
{
    static const test_case cases[] = {
        { "resumed", test_resume },
        { "another base", test_other_base },
        { "the base made again", test_base_change },
        { "bases as they are stored", test_stored },
        { "what is refused", test_refused },
    };
    return test_main("start_runs", cases, NIB_COUNT(cases));
}
