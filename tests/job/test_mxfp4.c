/* test_mxfp4.c - gpt_oss with its experts in MXFP4, as published, through the verbs: reported,
 * planned, trained, merged, and what is refused.  Its numbers are in model/test_reference
 * (tests/golden/floats/gpt-oss-mxfp4). */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/json.h"
#include "model/model.h"
#include "nibble/finetune.h"
#include "nibble/inspect.h"
#include "nibble/merge.h"
#include "nibble/quantize.h"
#include "test.h"

static const char variant[] = "tests/golden/floats/gpt-oss-mxfp4";

enum { EXPERTS = 3, LAYERS = 2, SLICES = 2 * EXPERTS * LAYERS };

typedef struct path { char s[600]; } path;

static path joined(const char *dir, const char *name)
{
    path p;
    if ((size_t)snprintf(p.s, sizeof p.s, "%s/%s", dir, name) >= sizeof p.s) abort();
    return p;
}

static path base(void) { return joined(test_data(variant), "."); }

static nib_model *open_model(nib_ctx *ctx, const char *dir, bool blank)
{
    nib_model_options o = { .model = dir };
    nib_model *m = NULL;
    nib_error err;
    nib_status status = blank ? nib_model_open_blank(ctx, &o, NIB_F32, &m, &err)
                              : nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, &m,
                                               &err);

    CHECK(status == NIB_OK, "%s", err.message);
    return m;
}

static size_t packed_slices(const nib_model *m)
{
    size_t count = 0;

    for (size_t i = 0; i < m->linear_count; i++) {
        nib_form form = nib_weight_form(m->linears[i]->weight);
        char text[NIB_FORM_ROOM];

        nib_form_text(&form, text);
        CHECK(strcmp(text, "dense") == 0 || m->linears[i]->stack, "%s is %s", m->linears[i]->name,
              text);
        count += strcmp(text, "mxfp4") == 0;
    }
    return count;
}

/* The weights stay on the map; a plan without them has their sizes. */
static void test_opened(void)
{
    nib_ctx *ctx = test_ctx();
    nib_model *m = open_model(ctx, base().s, false), *blank = open_model(ctx, base().s, true);

    REQUIRE(m && blank);
    CHECK(packed_slices(m) == SLICES, "%zu slices", packed_slices(m));
    for (size_t i = 0; i < m->linear_count; i++)
        CHECK(m->linears[i]->weight->owned_bytes == 0, "%s is a copy", m->linears[i]->name);
    CHECK(m->weight_bytes == blank->weight_bytes && m->parameters == blank->parameters,
          "%" PRIu64 " bytes, a plan of %" PRIu64, m->weight_bytes, blank->weight_bytes);
    nib_model_close(m);
    nib_model_close(blank);
}

static void test_reported(void)
{
    nib_ctx *ctx = test_ctx();
    nib_model *m = open_model(ctx, base().s, true);
    char *text = NULL;
    json_t *report = NULL, *q;
    nib_error err;

    REQUIRE_OK(nib_inspect(ctx, base().s, NIB_REPORT_JSON, &text, &err), err);
    REQUIRE_OK(nib_json_parse(text, strlen(text), "report", 0, &report, &err), err);
    q = json_object_get(report, "quantization");
    CHECK(strcmp(json_string_value(json_object_get(q, "method")), "mxfp4") == 0 &&
              strcmp(json_string_value(json_object_get(q, "form")), "mxfp4") == 0,
          "%s", text);
    CHECK(json_integer_value(json_object_get(report, "parameters")) == (json_int_t)m->parameters,
          "%s", text);
    json_decref(report);
    nib_report_free(ctx, text);
    nib_model_close(m);
}

/* --- trained and merged --- */

typedef struct training { const char *model; bool experts; double rate; } training;

/* Two steps on two records of tokens; the adapter's directory. */
static path train(nib_ctx *ctx, const char *name, training t)
{
    static const char *const modules[] = { "q_proj", "o_proj" };
    static const char *const parameters[] = { "experts.gate_up_proj", "experts.down_proj" };
    path data = joined(test_tmpdir(), "data.jsonl"), out = joined(test_tmpdir(), name);
    FILE *f = fopen(data.s, "w");
    nib_finetune_options o;
    nib_error err;

    if (!f) abort();
    fprintf(f, "{\"input_ids\": [1, 9, 4, 77, 32, 5, 6, 90, 3]}\n{\"input_ids\": [8, 2, 4, 1]}\n");
    fclose(f);
    nib_finetune_defaults(&o);
    nib_finetune_peft_defaults(&o);
    o.model.model = t.model;
    o.model.compute_dtype = NIB_COMPUTE_FLOAT32;
    o.data.data = data.s;
    o.output_dir = out.s;
    o.overwrite = true;
    o.train.learning_rate = t.rate;
    o.train.max_steps = 2;
    o.lora.target_modules = (nib_names){ .items = modules, .count = 2 };
    if (t.experts) o.lora.target_parameters = (nib_names){ .items = parameters, .count = 2 };
    CHECK(nib_finetune(ctx, &o, &err) == NIB_OK, "%s", err.message);
    return out;
}

static path merge(nib_ctx *ctx, const char *name, const char *model, const char *adapter,
                  const char *dtype)
{
    path out = joined(test_tmpdir(), name);
    nib_merge_options o = { .model = model, .adapter = adapter, .out = out.s, .dtype = dtype };
    nib_error err;

    CHECK(nib_merge(ctx, &o, &err) == NIB_OK, "%s", err.message);
    return out;
}

/* Every tensor of the first file that `part` is in the name of is in the other, the same. */
static size_t check_same(nib_ctx *ctx, const char *a, const char *b, const char *part)
{
    nib_tensors *x = NULL, *y = NULL;
    size_t count = 0;
    nib_error err = { 0 };

    CHECK(!nib_tensors_open(ctx, a, &x, &err) && !nib_tensors_open(ctx, b, &y, &err), "%s",
          err.message);
    for (size_t i = 0; x && y && i < nib_tensors_count(x); i++) {
        const nib_tensor *t = nib_tensors_at(x, i), *u = nib_tensors_find(y, t->name);
        if (!strstr(t->name, part)) continue;
        count++;
        CHECK(u && t->rank == u->rank && t->bytes == u->bytes &&
                  memcmp(t->shape, u->shape, sizeof t->shape) == 0 &&
                  memcmp(t->data, u->data, t->bytes) == 0,
              "%s: %s", a, t->name);
    }
    nib_tensors_close(x);
    nib_tensors_close(y);
    return count;
}

static path weights_of(path dir) { return joined(dir.s, "model.safetensors"); }

/* An adapter trained on the stored experts has the bits of one trained on the decoded model, that
 * of experts too, whose gradients go through the stored rows the other way round; and merging it
 * gives the same on both. */
static void test_trained(void)
{
    nib_ctx *ctx = test_ctx();
    path none = train(ctx, "none", (training){ base().s, false, 0 });
    path dense = merge(ctx, "dense", base().s, none.s, "float32");
    path one = train(ctx, "one", (training){ base().s, true, 0.05 });
    path two = train(ctx, "two", (training){ dense.s, true, 0.05 });
    path from_one = merge(ctx, "from-one", base().s, one.s, NULL);
    path from_two = merge(ctx, "from-two", dense.s, one.s, "bfloat16");
    nib_model *m = open_model(ctx, from_one.s, false);

    CHECK(check_same(ctx, joined(one.s, "adapter_model.safetensors").s,
                     joined(two.s, "adapter_model.safetensors").s, "lora_") == 8 * LAYERS,
          "matrices of the adapter");
    CHECK(check_same(ctx, weights_of(from_one).s, weights_of(from_two).s, "") ==
              check_same(ctx, weights_of(from_two).s, weights_of(from_one).s, ""),
          "tensors");
    REQUIRE(m);
    CHECK(!m->stored.format && packed_slices(m) == 0, "experts that an adapter changed are dense");
    nib_model_close(m);
}

/* Where the adapter has nothing for them the experts stay as they are, and config.json says so;
 * a dtype asks for all of them. */
static void test_kept(void)
{
    nib_ctx *ctx = test_ctx();
    path adapter = joined(test_data(variant), "adapter");
    path kept = merge(ctx, "kept", base().s, adapter.s, NULL);
    path dense = merge(ctx, "dense", base().s, adapter.s, "bfloat16");
    nib_model *m = open_model(ctx, kept.s, false);
    json_t *before = NULL, *after = NULL;
    nib_error err;

    REQUIRE(m);
    CHECK(packed_slices(m) == SLICES, "%zu slices", packed_slices(m));
    CHECK(check_same(ctx, weights_of(base()).s, weights_of(kept).s, "experts.") == 6 * LAYERS,
          "experts");
    CHECK(check_same(ctx, weights_of(kept).s, weights_of(dense).s, "self_attn") == 9 * LAYERS,
          "attention");
    CHECK(check_same(ctx, weights_of(dense).s, weights_of(dense).s, "experts.") == 4 * LAYERS,
          "dense experts");
    REQUIRE_OK(nib_json_read(ctx, joined(base().s, "config.json").s, 0, &before, &err), err);
    REQUIRE_OK(nib_json_read(ctx, joined(kept.s, "config.json").s, 0, &after, &err), err);
    CHECK(json_equal(json_object_get(before, "quantization_config"),
                     json_object_get(after, "quantization_config")),
          "quantization_config");
    json_decref(after);
    REQUIRE_OK(nib_json_read(ctx, joined(dense.s, "config.json").s, 0, &after, &err), err);
    CHECK(!json_object_get(after, "quantization_config"), "a dense model has none");
    json_decref(before);
    json_decref(after);
    nib_model_close(m);
}

/* A step is timed over random weights where only config.json is there: of each form that is read
 * and not written. */
static void test_planned(void)
{
    static const char *const dirs[] = { variant, "tests/golden/floats/fp8-block",
                                        "tests/golden/floats/fp8-inverse" };
    static const char *const modules[] = { "q_proj" };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(dirs); i++) {
        path dir = joined(test_tmpdir(), "planned"), data = joined(test_tmpdir(), "planned.jsonl");
        path out = joined(test_tmpdir(), "out");
        json_t *config = NULL;
        nib_finetune_options o;
        FILE *f = fopen(data.s, "w");
        nib_error err = { 0 };

        REQUIRE(f);
        fprintf(f, "{\"input_ids\": [1, 9, 4, 77, 32]}\n");
        fclose(f);
        mkdir(dir.s, 0777);
        REQUIRE_OK(nib_json_read(ctx, joined(test_data(dirs[i]), "config.json").s, 0, &config,
                                 &err), err);
        REQUIRE(json_dump_file(config, joined(dir.s, "config.json").s, 0) == 0);
        json_decref(config);
        nib_finetune_defaults(&o);
        nib_finetune_peft_defaults(&o);
        o.model.model = dir.s;
        o.data.data = data.s;
        o.output_dir = out.s;
        o.dry_run = true;
        o.lora.target_modules = (nib_names){ .items = modules, .count = 1 };
        CHECK(nib_finetune(ctx, &o, &err) == NIB_OK, "%s: %s", dirs[i], err.message);
    }
}

/* --- refused --- */

/* The model with one tensor left out, changed, or with another config. */
static void check_refused(nib_ctx *ctx, const char *tensor, unsigned rank, bool configured,
                          nib_status status, const char *text)
{
    path dir = joined(test_tmpdir(), "bad");
    nib_tensors *t = NULL;
    nib_tensor_plan plans[64];
    nib_tensor_writer *w = NULL;
    json_t *config = NULL;
    size_t count = 0;
    nib_model_options o = { .model = dir.s };
    nib_model *m = NULL;
    nib_error err = { 0 };

    mkdir(dir.s, 0777);
    REQUIRE_OK(nib_json_read(ctx, joined(base().s, "config.json").s, 0, &config, &err), err);
    if (!configured) json_object_del(config, "quantization_config");
    REQUIRE(json_dump_file(config, joined(dir.s, "config.json").s, 0) == 0);
    json_decref(config);
    REQUIRE_OK(nib_tensors_open(ctx, weights_of(base()).s, &t, &err), err);
    for (size_t i = 0; i < nib_tensors_count(t); i++) {
        const nib_tensor *x = nib_tensors_at(t, i);
        if (strcmp(x->name, tensor) == 0 && !rank) continue;
        plans[count] = (nib_tensor_plan){ .name = x->name, .dtype = x->dtype, .rank = x->rank };
        memcpy(plans[count].shape, x->shape, sizeof plans[count].shape);
        if (rank && strcmp(x->name, tensor) == 0) { /* the same bytes in another shape */
            plans[count].rank = rank;
            plans[count].shape[rank - 1] = x->elements;
            for (unsigned k = 0; k + 1 < rank; k++) plans[count].shape[k] = 1;
        }
        count++;
    }
    REQUIRE_OK(nib_tensor_writer_create(ctx, dir.s, "model", plans, count, UINT64_MAX, &w, &err),
               err);
    for (size_t i = 0; i < count; i++) {
        const nib_tensor *x = nib_tensors_find(t, plans[i].name);
        REQUIRE_OK(nib_tensor_writer_put(w, x->data, x->bytes, &err), err);
    }
    REQUIRE_OK(nib_tensor_writer_commit(w, &err), err);
    CHECK(nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, &m, &err) == status &&
              strstr(err.message, text),
          "%s: %s", tensor, err.message);
    nib_model_close(m);
    nib_tensors_close(t);
}

static void test_refused(void)
{
    static const char blocks[] = "model.layers.1.mlp.experts.down_proj_blocks",
                      scales[] = "model.layers.1.mlp.experts.down_proj_scales";
    nib_ctx *ctx = test_ctx();

    check_refused(ctx, "", 0, false, NIB_E_UNSUPPORTED, "a piece of a quantized weight (MXFP4)");
    check_refused(ctx, blocks, 0, true, NIB_E_FORMAT, "down_proj_blocks is missing");
    check_refused(ctx, scales, 0, true, NIB_E_FORMAT, "down_proj_scales is missing");
    check_refused(ctx, blocks, 3, true, NIB_E_MISMATCH,
                  "down_proj_blocks is uint8 of rank 3 with 9216 elements, the sizes in "
                  "config.json make it uint8 [3, 64, 3, 16]");
    check_refused(ctx, scales, 2, true, NIB_E_MISMATCH, "make it uint8 [3, 64, 3]");
}

static void test_packed_twice(void)
{
    static const nib_setting four[] = { { "load_in_4bit", "true" }, { NULL, NULL } };
    nib_ctx *ctx = test_ctx();
    path out = joined(test_tmpdir(), "twice");
    nib_model_options o = { .model = base().s, .settings = four };
    nib_quantize_options q = { .model = base().s, .out = out.s, .settings = four };
    nib_model *m = NULL;
    nib_error err = { 0 };

    CHECK(nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, &m, &err) == NIB_E_INVALID &&
              strstr(err.message, "is quantized already (mxfp4"),
          "%s", err.message);
    CHECK(nib_quantize(ctx, &q, NULL, &err) == NIB_E_MISMATCH &&
              strstr(err.message, "quantized already"),
          "%s", err.message);
    o = (nib_model_options){ .model = base().s, .quantize_experts = true };
    CHECK(nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, &m, &err) == NIB_E_INVALID &&
              strstr(err.message, "is stored as mxfp4"),
          "%s", err.message);
}

int main(void)
{
    static const test_case cases[] = {
        { "opened", test_opened },
        { "reported", test_reported },
        { "an adapter has the bits of one on the decoded model", test_trained },
        { "experts that no adapter changes are kept", test_kept },
        { "planned without weights", test_planned },
        { "refused", test_refused },
        { "packed twice", test_packed_twice },
    };
    return test_main("mxfp4", cases, NIB_COUNT(cases));
}
