/* test_gguf_model.c - a GGUF of each family, as llama.cpp's converter writes it, gives the logits
 * that transformers computes with the model it was made of (tests/golden/make/gguf_golden.py), with
 * every tensor used and every key known; what fits no family is refused by name. */
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/filemap.h"
#include "graph/readout.h"
#include "model/gguf_model.h"
#include "model/model.h"
#include "test.h"

enum { TOKENS = 40 };

static void check_logits(nib_model *m, const nib_tensors *expected, const char *name)
{
    const nib_tensor *ids = nib_tensors_find(expected, "ids"),
                     *want = nib_tensors_find(expected, name);
    uint32_t positions[TOKENS], offsets[2] = { 0, TOKENS }, types[TOKENS] = { 0 };
    size_t v = m->head ? m->head->weight->out : m->graph->values[m->graph->hidden].width;
    float *logits = test_guarded(TOKENS * v * sizeof *logits), worst = 0, most = 0;
    nib_batch batch = { .sequences = 1 };
    nib_plan *plan;
    nib_run *run;
    nib_error err;

    REQUIRE(ids && want && ids->elements == TOKENS && want->elements == TOKENS * v, "%s", name);
    for (uint32_t i = 0; i < TOKENS; i++) positions[i] = i;
    batch.axes[NIB_TOKENS] = (nib_axis_rows){ .count = TOKENS, .offsets = offsets };
    batch.axes[NIB_LOGIT_ROWS] = (nib_axis_rows){ .count = TOKENS, .picks = positions };
    batch.inputs[NIB_IDS] = ids->data;
    batch.inputs[NIB_POSITIONS] = positions;
    batch.inputs[NIB_TYPES] = types;
    REQUIRE_OK(nib_plan_create(m->graph, NIB_PLAN_INFERENCE, TOKENS, TOKENS, &plan, &err), err);
    REQUIRE_OK(nib_run_create(m->ctx, m->graph, plan, TOKENS, &run, &err), err);
    nib_run_forward(run, &batch);
    if (m->head) nib_run_logits(run, 0, TOKENS, logits);
    for (size_t i = 0; !m->head && i < TOKENS; i++)
        memcpy(logits + i * v, nib_run_hidden(run, i), v * sizeof *logits);
    for (size_t i = 0; i < TOKENS * v; i++) {
        float w = ((const float *)want->data)[i], d = fabsf(logits[i] - w);
        most = fmaxf(most, fabsf(w));
        if (!(d <= worst)) worst = d;
    }
    CHECK(worst <= 1e-4f * most, "%s: logits differ by %g, the largest is %g", name, (double)worst,
          (double)most);
    nib_run_destroy(run);
    nib_plan_destroy(m->ctx, plan);
}

/* A warning would name a key or a tensor that is not used. */
static void no_warning(void *user, nib_message_kind kind, const char *text)
{
    (void)user;
    CHECK(kind != NIB_MESSAGE_WARNING, "%s", text);
}

static void check_model(const char *path, const char *name, const nib_tensors *expected)
{
    nib_ctx_options o = { .threads = 2, .message = no_warning };
    nib_model_options options = { .model = path };
    nib_ctx *ctx;
    nib_model *m = NULL;
    nib_error err;

    REQUIRE_OK(nib_ctx_create(&o, &ctx, &err), err);
    if (strstr(name, "bert")
            ? nib_model_open_features(ctx, &options, NIB_F32, (nib_model_progress){ 0 }, &m, &err)
            : nib_model_open(ctx, &options, NIB_F32, (nib_model_progress){ 0 }, &m, &err))
        CHECK(false, "%s", err.message);
    else check_logits(m, expected, name);
    nib_model_close(m);
    if (nib_model_open_blank(ctx, &options, NIB_F32, &m, &err))
        CHECK(false, "%s, blank: %s", name, err.message);
    else nib_model_close(m);
    nib_ctx_destroy(ctx);
}

static void test_families(void)
{
    const char *top = test_data("tests/golden/gguf");
    char path[600];
    nib_tensors *expected = NULL;
    DIR *d = opendir(top);
    struct dirent *entry;
    nib_error err;
    int count = 0;

    REQUIRE(d, "%s cannot be read", top);
    snprintf(path, sizeof path, "%s/expected.safetensors", top);
    REQUIRE_OK(nib_tensors_open(test_ctx(), path, &expected, &err), err);
    while ((entry = readdir(d))) {
        char name[100];
        const char *end = strstr(entry->d_name, ".gguf");
        if (!end || end[5]) continue;
        snprintf(name, sizeof name, "%.*s", (int)(end - entry->d_name), entry->d_name);
        snprintf(path, sizeof path, "%s/%s", top, entry->d_name);
        check_model(path, name, expected);
        count++;
    }
    closedir(d);
    nib_tensors_close(expected);
    CHECK(count >= 20, "%d models", count);
}

/* --- the same file with a value changed --- */

/* Behind the name of a key and its type. */
static uint8_t *value_of(uint8_t *file, size_t bytes, const char *key)
{
    size_t n = strlen(key);

    for (size_t i = 0; i + n + 12 < bytes; i++)
        if (memcmp(file + i, key, n) == 0) return file + i + n + 4;
    return NULL;
}

static void check_refused(const char *key, const char *value, size_t value_bytes,
                          nib_status status, const char *says)
{
    nib_ctx *ctx = test_ctx();
    char path[600], *file = NULL;
    nib_model_options options = { .model = path };
    nib_model *m = NULL;
    size_t bytes = 0;
    uint8_t *at;
    FILE *f;
    nib_status got;
    nib_error err = { 0 };

    REQUIRE_OK(nib_file_read(ctx, test_data("tests/golden/gguf/llama.gguf"), 1 << 24, &file, &bytes,
                             &err), err);
    at = value_of((uint8_t *)file, bytes, key);
    REQUIRE(at, "%s is not there", key);
    memcpy(at, value, value_bytes);
    snprintf(path, sizeof path, "%s/changed.gguf", test_tmpdir());
    f = fopen(path, "wb");
    REQUIRE(f && fwrite(file, 1, bytes, f) == bytes && !fclose(f), "%s", path);
    got = nib_model_open(ctx, &options, NIB_F32, (nib_model_progress){ 0 }, &m, &err);
    CHECK(got == status && strstr(err.message, says) && strstr(err.message, "changed.gguf"),
          "%s: status %d: %s", key, (int)got, err.message);
    nib_model_close(m);
    nib_free(ctx, file);
}

static void test_refusals(void)
{
    check_refused("general.architecture", "\5\0\0\0\0\0\0\0llamx", 13, NIB_E_UNSUPPORTED,
                  "'llamx', known are");
    check_refused("llama.attention.head_count", "\10\0\0\0", 4, NIB_E_MISMATCH,
                  " rows; the keys say 8 heads, 2 for keys and values");
    check_refused("llama.block_count", "\3\0\0\0", 4, NIB_E_MISMATCH,
                  "model.layers.2.input_layernorm.weight is missing");
    check_refused("llama.block_count", "\0\0\0\200", 4, NIB_E_FORMAT, "num_hidden_layers");
    check_refused("llama.feed_forward_length", "\100\1\0\0", 4, NIB_E_MISMATCH, "[320, 32]");
    check_refused("llama.embedding_length", "\0\0\0\0", 4, NIB_E_FORMAT, "hidden_size");
    check_refused("llama.attention.layer_norm_rms_epsilon", "\0\0\300\177", 4, NIB_E_FORMAT,
                  "no finite number");
}

int main(void)
{
    static const test_case cases[] = { { "families", test_families },
                                       { "refusals", test_refusals } };
    return test_main("model/test_gguf_model", cases, NIB_COUNT(cases));
}
