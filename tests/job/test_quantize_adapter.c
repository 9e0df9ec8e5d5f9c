/* test_quantize_adapter.c - a model with an adapter, quantized: the same as merging it in float32
 * and quantizing the sum, calibrated on the data that the adapter's recipe names. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/filemap.h"
#include "format/json.h"
#include "nibble/merge.h"
#include "nibble/quantize.h"
#include "test.h"

typedef struct path { char s[600]; } path;

static path joined(const char *dir, const char *name)
{
    path p;
    if ((size_t)snprintf(p.s, sizeof p.s, "%s/%s", dir, name) >= sizeof p.s) abort();
    return p;
}

static const nib_setting four[] = { { "format", "gptq" }, { "group_size", "32" }, { NULL, NULL } };

static bool same_weights(const char *a, const char *b)
{
    nib_filemap x = { 0 }, y = { 0 };
    nib_error err;
    bool same = !nib_filemap_open(joined(a, "model.safetensors").s, &x, &err) &&
                !nib_filemap_open(joined(b, "model.safetensors").s, &y, &err) &&
                x.bytes == y.bytes && memcmp(x.base, y.base, x.bytes) == 0;

    nib_filemap_close(&x);
    nib_filemap_close(&y);
    return same;
}

static path texts(void)
{
    path p = joined(test_tmpdir(), "texts.jsonl");
    FILE *f = fopen(p.s, "w");

    for (int i = 0; f && i < 20; i++)
        fprintf(f, "{\"input_ids\": [%d, %d, %d, %d, %d]}\n", 3 + i, 50 - i, 9, 4 + 2 * i, 20 + i);
    CHECK(f && fclose(f) == 0, "%s", p.s);
    return p;
}

/* Two ways to the same: rounded, and calibrated. */
static void test_equals_merged(void)
{
    path model = joined(test_data("tests/golden/models"), "llama"), data = texts();
    path merged = joined(test_tmpdir(), "sum"), out[2];
    nib_merge_options m = { .model = model.s, .adapter = joined(model.s, "adapter").s,
                            .out = merged.s, .dtype = "float32" };
    path adapter = joined(model.s, "adapter");
    struct stat info;
    nib_error err;

    m.adapter = adapter.s;
    REQUIRE_OK(nib_merge(test_ctx(), &m, &err), err);
    for (int calibrated = 0; calibrated < 2; calibrated++) {
        for (int direct = 0; direct < 2; direct++) {
            nib_quantize_options o = { .settings = four, .model = direct ? model.s : merged.s,
                                       .adapter = direct ? adapter.s : NULL };
            char name[20];
            snprintf(name, sizeof name, "out%d%d", calibrated, direct);
            out[direct] = joined(test_tmpdir(), name);
            o.out = out[direct].s;
            o.algorithm = calibrated ? "gptq" : "rtn";
            if (calibrated) o.calibration.data = data.s;
            REQUIRE_OK(nib_quantize(test_ctx(), &o, NULL, &err), err);
        }
        CHECK(same_weights(out[0].s, out[1].s), "calibrated: %d", calibrated);
    }
    CHECK(stat(joined(test_tmpdir(), "out11.merged").s, &info) != 0, "the sum is left");
}

static void keep_note(void *user, nib_message_kind kind, const char *text)
{
    char *notes = user;
    size_t used = strlen(notes);

    (void)kind;
    snprintf(notes + used, 2000 - used, "%s\n", text);
}

/* An adapter with or without a recipe. */
static path adapter_with(const char *recipe)
{
    path from = joined(test_data("tests/golden/models/llama"), "adapter");
    path to = joined(test_tmpdir(), recipe ? "trained" : "bare");
    char command[1400];
    FILE *f;

    snprintf(command, sizeof command, "cp -r '%.500s' '%.500s'", from.s, to.s);
    CHECK(system(command) == 0, "%s", command);
    f = recipe ? fopen(joined(to.s, "recipe.yaml").s, "w") : NULL;
    if (recipe) CHECK(f && fputs(recipe, f) >= 0 && fclose(f) == 0);
    return to;
}

static void test_training_data(void)
{
    path model = joined(test_data("tests/golden/models"), "llama"), data = texts(), adapter;
    path out = joined(test_tmpdir(), "tuned");
    char recipe[700], notes[2000] = "";
    nib_ctx_options c = { .message = keep_note, .message_user = notes };
    nib_quantize_options o = { .model = model.s, .out = out.s, .settings = four };
    nib_ctx *ctx;
    json_t *config = NULL;
    nib_error err;

    snprintf(recipe, sizeof recipe, "data: %s\nmax_seq_length: 64\n", data.s);
    REQUIRE_OK(nib_ctx_create(&c, &ctx, &err), err);
    adapter = adapter_with(recipe);
    o.adapter = adapter.s;
    REQUIRE_OK(nib_quantize(ctx, &o, NULL, &err), err);
    CHECK(strstr(notes, "what it was trained on") &&
              strstr(notes, "calibrated on 100 tokens of 20 records"), "%s", notes);
    nib_ctx_destroy(ctx);
    REQUIRE_OK(nib_json_read(test_ctx(), joined(out.s, "config.json").s, 0, &config, &err), err);
    CHECK(strcmp(json_string_value(json_object_get(config, "_name_or_path")), out.s) == 0,
          "what is trained on it would name another model");
    json_decref(config);
}

static void test_refused(void)
{
    path model = joined(test_data("tests/golden/models"), "llama"), adapter = adapter_with(NULL);
    path out = joined(test_tmpdir(), "refused"), merged = joined(test_tmpdir(), "refused.merged");
    nib_quantize_options o = { .model = model.s, .out = out.s, .settings = four,
                               .adapter = adapter.s };
    struct stat info;
    nib_error err;
    FILE *f;

    CHECK(nib_quantize(test_ctx(), &o, NULL, &err) == NIB_E_INVALID &&
              strstr(err.message, "--calibration-data"), "%s", err.message);
    CHECK(stat(out.s, &info) != 0 && stat(merged.s, &info) != 0, "something is written");
    CHECK(mkdir(merged.s, 0777) == 0);
    f = fopen(joined(merged.s, "mine").s, "w");
    CHECK(f && fclose(f) == 0);
    o.algorithm = "rtn";
    CHECK(nib_quantize(test_ctx(), &o, NULL, &err) == NIB_E_INVALID &&
              strstr(err.message, "refused.merged"), "%s", err.message);
    CHECK(stat(joined(merged.s, "mine").s, &info) == 0, "another's file is gone");
}

int main(void)
{
    static const test_case cases[] = {
        { "equals the sum quantized", test_equals_merged },
        { "calibrated on the training data", test_training_data },
        { "what is refused", test_refused },
    };
    return test_main("quantize_adapter", cases, NIB_COUNT(cases));
}
