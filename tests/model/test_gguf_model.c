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

/* Of family `name`: what is `skip` bytes behind a key's type, or behind a tensor's number of
 * dimensions, becomes `value`. */
static void check_refused_in(const char *name, const char *key, size_t skip, const char *value,
                             size_t value_bytes, nib_status status, const char *says)
{
    nib_ctx *ctx = test_ctx();
    char path[600], relative[100], *file = NULL;
    nib_model_options options = { .model = path };
    nib_model *m = NULL;
    size_t bytes = 0;
    uint8_t *at;
    FILE *f;
    nib_status got;
    nib_error err = { 0 };

    snprintf(relative, sizeof relative, "tests/golden/gguf/%s.gguf", name);
    REQUIRE_OK(nib_file_read(ctx, test_data(relative), 1 << 24, &file, &bytes, &err), err);
    at = value_of((uint8_t *)file, bytes, key);
    REQUIRE(at, "%s is not there", key);
    memcpy(at + skip, value, value_bytes);
    snprintf(path, sizeof path, "%s/changed.gguf", test_tmpdir());
    f = fopen(path, "wb");
    REQUIRE(f && fwrite(file, 1, bytes, f) == bytes && !fclose(f), "%s", path);
    got = nib_model_open(ctx, &options, NIB_F32, (nib_model_progress){ 0 }, &m, &err);
    CHECK(got == status && strstr(err.message, says) && strstr(err.message, "changed.gguf"),
          "%s: status %d: %s", key, (int)got, err.message);
    nib_model_close(m);
    nib_free(ctx, file);
}

static void check_refused(const char *key, const char *value, size_t value_bytes,
                          nib_status status, const char *says)
{
    check_refused_in("llama", key, 0, value, value_bytes, status, says);
}

/* Where the data of a tensor lie in the file, as a distance from behind its name's dimensions. */
static size_t distance_of(const char *name, const char *tensor)
{
    char relative[100];
    nib_tensors *t = NULL;
    const nib_tensor *found;
    size_t distance = 0;
    nib_error err;

    snprintf(relative, sizeof relative, "tests/golden/gguf/%s.gguf", name);
    if (nib_tensors_open(test_ctx(), test_data(relative), &t, &err)) {
        CHECK(false, "%s", err.message);
        return 0;
    }
    found = nib_tensors_find(t, tensor);
    CHECK(found && found->map, "%s", tensor);
    if (found && found->map) {
        uint8_t *base = (uint8_t *)(uintptr_t)found->map->base;
        uint8_t *at = value_of(base, found->map->bytes, tensor);
        distance = (size_t)((const uint8_t *)found->data - at);
    }
    nib_tensors_close(t);
    return distance;
}

/* What a file may say of a tensor that does not fit the others, or the family. */
static void test_tensors(void)
{
    static const float bad[] = { 0, .5f, NAN, -INFINITY };
    size_t skip = distance_of("granite-hybrid", "blk.0.ssm_a") + 3 * sizeof *bad;

    check_refused_in("gpt-oss", "blk.1.ffn_up_exps.bias", 16, "\32\0\0\0", 4, NIB_E_MISMATCH,
                     "expected the same shape and type");
    check_refused_in("deepseek3", "blk.1.attn_v_b.weight", 8, "\40\0\0\0\0\0\0\0\1", 9,
                     NIB_E_MISMATCH, "expected [heads, in, keys] and [heads, values, in]");
    check_refused_in("distilbert", "bert.attention.layer_norm_epsilon", 0, "\0\0\200\77", 4,
                     NIB_E_UNSUPPORTED, "epsilon is 1; without types of tokens");
    check_refused_in("gemma4", "rope_freqs.weight", distance_of("gemma4", "rope_freqs.weight"),
                     "\0\0\0\100", 4, NIB_E_UNSUPPORTED, "value 0 is 2, known are 1, and 1e30");
    check_refused_in("gemma4", "gemma4.rope.freq_base_swa", 0, "\0\0\200\177", 4, NIB_E_FORMAT,
                     "rope.freq_base_swa is no finite number");
    check_refused_in("gemma4", "gemma4.attention.sliding_window_pattern", 15, "\1", 1,
                     NIB_E_FORMAT, "each of 4 layers, the last one false");
    check_refused_in("gemma4-moe", "gemma4.attention.head_count_kv", 16, "\3", 1,
                     NIB_E_UNSUPPORTED, "head_count_kv is 3 in layer 1 and 2 in another");
    check_refused_in("falcon-h1", "falcon-h1.ssm.inner_size", 0, "\61", 1, NIB_E_FORMAT,
                     "ssm.inner_size is 49, expected a multiple of ssm.time_step_rank, 6");
    check_refused_in("apertus", "apertus.block_count", 0, "\3", 1, NIB_E_FORMAT,
                     "xielu.alpha_n is of another type or length");
    check_refused_in("qwen3-5", "qwen35.ssm.group_count", 0, "\4", 1, NIB_E_FORMAT,
                     "6 heads are not a multiple of 4 key/value heads");
    check_refused_in("qwen3-5", "qwen35.ssm.group_count", 0, "\0", 1, NIB_E_FORMAT,
                     "linear_num_key_heads is 0");
    check_refused_in("qwen3-5", "qwen35.ssm.inner_size", 0, "\377\377\377\377", 4, NIB_E_FORMAT,
                     "expected a multiple of ssm.time_step_rank, 6");
    check_refused_in("qwen3-5", "qwen35.ssm.state_size", 0, "\10", 1, NIB_E_MISMATCH,
                     " rows; the keys say 2 key heads of 8 channels, 6 heads of values of 16");
    check_refused_in("qwen3-next", "qwen3next.ssm.group_count", 0, "\3", 1, NIB_E_MISMATCH,
                     "blk.0.attn_qkv.weight has 160 rows, and blk.0.attn_gate.weight beside it 96; "
                     "the keys say 3 key heads");
    check_refused_in("qwen3-next", "qwen3next.ssm.state_size", 0, "\1", 1, NIB_E_MISMATCH,
                     "blk.0.attn_qkv.weight has 160 rows, and blk.0.attn_gate.weight beside it 96");
    check_refused_in("qwen3-next", "qwen3next.block_count", 0, "\4", 1, NIB_E_FORMAT,
                     "recurrent_layers has 3 entries, expected one of each of 4 layers");
    check_refused_in("qwen3-5", "qwen35.ssm.", 0, "X", 1, NIB_E_FORMAT, /* in "conv_kernel" */
                     "qwen35.ssm.conv_kernel is missing");
    for (size_t i = 0; i < NIB_COUNT(bad); i++)
        check_refused_in("granite-hybrid", "blk.0.ssm_a", skip, (const char *)&bad[i],
                         sizeof *bad, NIB_E_FORMAT, "a finite number below 0");
}

/* A table of one row of types as a vector, which older converters write: the bytes of its second
 * dimension go, and as many come to the model's name. */
static void test_one_type(void)
{
    char path[600], *file = NULL;
    nib_tensors *expected = NULL;
    size_t bytes = 0;
    uint8_t *name, *table;
    uint64_t length;
    FILE *f;
    nib_error err;

    REQUIRE_OK(nib_file_read(test_ctx(), test_data("tests/golden/gguf/roberta.gguf"), 1 << 24,
                             &file, &bytes, &err), err);
    name = value_of((uint8_t *)file, bytes, "general.name");
    table = value_of((uint8_t *)file, bytes, "token_types.weight");
    REQUIRE(name && table && name < table && table[-4] == 2 && table[8] == 1);
    memcpy(&length, name, sizeof length);
    memmove(name + 8 + length + 8, name + 8 + length,
            (size_t)(table + 8 - (name + 8 + length)));
    memset(name + 8 + length, 'x', 8);
    length += 8;
    memcpy(name, &length, sizeof length);
    table[8 - 4] = 1;
    snprintf(path, sizeof path, "%s/roberta.gguf", test_tmpdir());
    f = fopen(path, "wb");
    REQUIRE(f && fwrite(file, 1, bytes, f) == bytes && !fclose(f), "%s", path);
    REQUIRE_OK(nib_tensors_open(test_ctx(), test_data("tests/golden/gguf/expected.safetensors"),
                                &expected, &err), err);
    check_model(path, "roberta", expected);
    nib_tensors_close(expected);
    nib_free(test_ctx(), file);
}

static void test_known(void)
{
    char known[900];
    const char *first;

    nib_gguf_families_known(known, sizeof known);
    first = strstr(known, ", bert,");
    CHECK(first && !strstr(first + 1, ", bert,"), "%s", known);
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
    check_refused("llama.attention.layer_norm_", "X", 1, NIB_E_FORMAT, /* in "epsilon" */
                  "llama.attention.layer_norm_rms_epsilon is missing");
}

int main(void)
{
    static const test_case cases[] = { { "families", test_families },
                                       { "refusals", test_refusals },
                                       { "tensors that do not fit", test_tensors },
                                       { "one type of tokens", test_one_type },
                                       { "known families", test_known } };
    return test_main("model/test_gguf_model", cases, NIB_COUNT(cases));
}
