/* test_export.c - what export writes, and back into directories: of the files of llama.cpp's own
 * converter, which are models as any other, the same tensors, byte for byte, and the same keys, of
 * every family; of the model in the repository one that answers as it does; and what GGUF cannot
 * hold is refused by name. */
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/filemap.h"
#include "format/gguf_writer.h"
#include "nibble/export.h"
#include "test.h"
#include "text/model_file.h"
#include "text/tokenizer.h"

static nib_status export(nib_ctx *ctx, const char *model, const char *out, const char *type,
                         nib_export_result *r, nib_error *err)
{
    nib_export_options o = { .model = model, .out = out, .quantize = type };

    return nib_export(ctx, &o, r, err);
}

/* Keys that the converter writes and no reader asks for, or with a value of its own. */
static bool is_other(const char *key)
{
    static const char *const others[] = {
        "general.", ".vocab_size", ".tensor_data_layout", ".feed_forward_length",
        ".rope.scaling.type", ".layer_norm_rms_epsilon", "tokenizer.", "bloom.attention.head_",
        "bert.attention.head_",
        "phi3.attention.sliding", "phi3.rope.scaling.orig", "cohere2.attention.key_",
        "cohere2.attention.value_", "modern-bert.classifier.", /* of a head, which is not written */
    };

    for (size_t i = 0; i < NIB_COUNT(others); i++)
        if (strstr(key, others[i])) return true;
    return false;
}

static void check_keys(const nib_gguf *want, const nib_gguf *got, const char *name)
{
    for (size_t i = 0; i < want->value_count; i++) {
        const nib_gguf_value *w = &want->values[i], *g = nib_gguf_find(got, w->key);
        if (is_other(w->key)) continue;
        CHECK(g && g->kind == w->kind && g->bytes == w->bytes &&
              memcmp(g->at, w->at, w->bytes) == 0, "%s: %s", name, w->key);
    }
}

static void check_tensors(const nib_tensors *want, const nib_tensors *got, const char *name)
{
    CHECK(nib_tensors_count(want) == nib_tensors_count(got), "%s: %zu tensors, expected %zu", name,
          nib_tensors_count(got), nib_tensors_count(want));
    for (size_t i = 0; i < nib_tensors_count(want); i++) {
        const nib_tensor *w = nib_tensors_at(want, i), *g = nib_tensors_find(got, w->name);
        CHECK(g && g->rank == w->rank && memcmp(g->shape, w->shape, sizeof w->shape) == 0 &&
              g->bytes == w->bytes && memcmp(g->data, w->data, (size_t)w->bytes) == 0,
              "%s: %s", name, w->name);
    }
}

static void check_golden(nib_ctx *ctx, const char *path, const char *name)
{
    nib_tensors *want = NULL, *got = NULL;
    nib_export_result r;
    nib_error err;
    char out[600];

    snprintf(out, sizeof out, "%s/%s", test_tmpdir(), name);
    if (export(ctx, path, out, "F16", &r, &err)) {
        CHECK(false, "%s: %s", name, err.message);
        return;
    }
    CHECK(r.prompts == 5 && !(r.greatest_difference > 0), "%s: %d prompts, %g", name, r.prompts,
          r.greatest_difference);
    REQUIRE_OK(nib_tensors_open(ctx, path, &want, &err), err);
    REQUIRE_OK(nib_tensors_open(ctx, out, &got, &err), err);
    check_tensors(want, got, name);
    check_keys(nib_tensors_gguf(want), nib_tensors_gguf(got), name);
    nib_tensors_close(want);
    nib_tensors_close(got);
}

static void test_converter(void)
{
    nib_ctx *ctx = test_ctx();
    const char *top = test_data("tests/golden/gguf");
    DIR *d = opendir(top);
    struct dirent *entry;
    char path[600];
    int count = 0;

    REQUIRE(d, "%s cannot be read", top);
    while ((entry = readdir(d))) {
        if (!strstr(entry->d_name, ".gguf") || strstr(entry->d_name, "-Q")) continue;
        snprintf(path, sizeof path, "%s/%s", top, entry->d_name);
        check_golden(ctx, path, entry->d_name);
        count++;
    }
    closedir(d);
    CHECK(count >= 25, "%d models", count);
}

/* Every family's file becomes a directory, and the directory the file again. */
static void check_directory(nib_ctx *ctx, const char *path, const char *name)
{
    nib_tensors *want = NULL, *got = NULL;
    nib_export_result r;
    nib_error err;
    char dir[600], out[700];

    snprintf(dir, sizeof dir, "%s/dir-%.*s", test_tmpdir(), (int)(strlen(name) - 5), name);
    snprintf(out, sizeof out, "%s.gguf", dir);
    if (export(ctx, path, dir, NULL, &r, &err) || export(ctx, dir, out, "F16", &r, &err)) {
        CHECK(false, "%s: %s", name, err.message);
        return;
    }
    CHECK(r.prompts == 5 && !(r.greatest_difference > 0), "%s: %d prompts, %g", name, r.prompts,
          r.greatest_difference);
    REQUIRE_OK(nib_tensors_open(ctx, path, &want, &err), err);
    REQUIRE_OK(nib_tensors_open(ctx, out, &got, &err), err);
    check_tensors(want, got, name);
    nib_tensors_close(want);
    nib_tensors_close(got);
}

static void test_directory(void)
{
    nib_ctx *ctx = test_ctx();
    const char *top = test_data("tests/golden/gguf");
    DIR *d = opendir(top);
    struct dirent *entry;
    char path[600];
    int count = 0;

    REQUIRE(d, "%s cannot be read", top);
    while ((entry = readdir(d))) {
        if (!strstr(entry->d_name, ".gguf") || strstr(entry->d_name, "-Q")) continue;
        snprintf(path, sizeof path, "%s/%s", top, entry->d_name);
        check_directory(ctx, path, entry->d_name);
        count++;
    }
    closedir(d);
    CHECK(count >= 25, "%d models", count);
}

/* The tokenizer's ids of odd strings, which lie one after the other, a byte of 1 behind each. */
static void check_ids(nib_ctx *ctx, const char *a, const char *b)
{
    nib_tokenizer *t[2] = { NULL };
    nib_tokens ids[2] = { { 0 } };
    char *strings = NULL;
    size_t bytes, count = 0;
    nib_error err;

    REQUIRE_OK(nib_tokenizer_open(ctx, a, &t[0], &err), err);
    REQUIRE_OK(nib_tokenizer_open(ctx, b, &t[1], &err), err);
    REQUIRE_OK(nib_file_read(ctx, test_data("tests/golden/text/strings"), 16 << 20, &strings,
                             &bytes, &err), err);
    for (const char *s = strings, *end; s < strings + bytes; s = end + 1, count++) {
        end = memchr(s, 1, (size_t)(strings + bytes - s));
        for (int i = 0; i < 2; i++) {
            ids[i].count = 0;
            REQUIRE_OK(nib_tokenizer_encode(t[i], s, (size_t)(end - s), true, &ids[i], NULL, &err),
                       err);
        }
        CHECK(ids[0].count == ids[1].count &&
              (!ids[0].count ||
               memcmp(ids[0].items, ids[1].items, ids[0].count * sizeof *ids[0].items) == 0),
              "string %zu has other tokens", count);
    }
    CHECK(count > 100, "%zu strings", count);
    for (int i = 0; i < 2; i++) {
        nib_tokens_free(ctx, &ids[i]);
        nib_tokenizer_close(t[i]);
    }
    nib_free(ctx, strings);
}

/* A directory of bfloat16 through a file of bfloat16: the same tensors, vectors too, and ids; of
 * blocks in a type that is asked for. */
static void test_there_and_back(void)
{
    nib_ctx *ctx = test_ctx();
    const char *pico = test_data("models/pico");
    nib_tensors *want = NULL, *got = NULL;
    nib_export_result r;
    nib_error err = { 0 };
    char file[600], dir[600];
    nib_export_options o = { .model = file, .out = dir };

    snprintf(file, sizeof file, "%s/back.gguf", test_tmpdir());
    snprintf(dir, sizeof dir, "%s/back", test_tmpdir());
    REQUIRE_OK(export(ctx, pico, file, "BF16", &r, &err), err);
    REQUIRE_OK(nib_export(ctx, &o, &r, &err), err);
    REQUIRE_OK(nib_tensors_open(ctx, pico, &want, &err), err);
    REQUIRE_OK(nib_tensors_open(ctx, dir, &got, &err), err);
    check_tensors(want, got, "pico");
    for (size_t i = 0; i < nib_tensors_count(want); i++) {
        const nib_tensor *w = nib_tensors_at(want, i);
        CHECK(nib_tensors_find(got, w->name)->dtype == w->dtype, "%s has another type", w->name);
    }
    nib_tensors_close(want);
    nib_tensors_close(got);
    check_ids(ctx, pico, dir);
    CHECK(nib_export(ctx, &o, &r, &err) != NIB_OK && strstr(err.message, "overwrite"), "%s",
          err.message);
    o.quantize = "Q8_0";
    CHECK(nib_export(ctx, &o, &r, &err) == NIB_E_INVALID && strstr(err.message, "dtype names"),
          "%s", err.message);
    o = (nib_export_options){ .model = file, .out = dir, .dtype = "float16", .overwrite = true };
    REQUIRE_OK(nib_export(ctx, &o, &r, &err), err);
    CHECK(r.tensors == 56 && r.bytes == 5510016 && r.greatest_difference > 0, "%g",
          r.greatest_difference);
    o.out = "x.gguf";
    CHECK(nib_export(ctx, &o, &r, &err) == NIB_E_INVALID && strstr(err.message, "dtype is of"),
          "%s", err.message);
}

/* Answers through its own tokenizer; nearer the more bits there are. */
static void test_types(void)
{
    static const struct { const char *type; double most; } cases[] = {
        { "F32", 0 }, { "F16", 1e-5 }, { "BF16", 0 }, { "Q8_0", 0.05 },
        { "Q6_K", 0.05 }, { "Q5_K_M", 0.2 }, { "Q4_K_M", 0.4 }, { "Q4_K_S", 0.4 }, { "Q5_1", 0.2 },
        { "Q5_0", 0.2 }, { "Q4_1", 0.5 }, { "Q4_0", 0.5 },
    };
    nib_ctx *ctx = test_ctx();
    nib_export_result r;
    nib_error err;
    char out[600];

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        snprintf(out, sizeof out, "%s/%s.gguf", test_tmpdir(), cases[i].type);
        REQUIRE_OK(export(ctx, test_data("models/pico"), out, cases[i].type, &r, &err), err);
        CHECK(r.prompts == 5 && r.greatest_difference <= cases[i].most, "%s: %g, expected %g",
              cases[i].type, r.greatest_difference, cases[i].most);
    }
}

/* llama-quantize counts the matrices of values that there are (here in two of four layers, and in
 * one of three), and leaves one of gemma4's as it was. */
static void test_mix(void)
{
    static const struct { const char *model, *tensor, *type; } cases[] = {
        { "gemma4", "blk.0.attn_v.weight", "Q5_0" }, { "gemma4", "blk.1.attn_v.weight", "Q8_0" },
        { "gemma4", "per_layer_model_proj.weight", "F16" },
        { "gemma4", "per_layer_token_embd.weight", "Q8_0" }, /* as the table that is the head */
        { "granite-hybrid", "blk.1.attn_v.weight", "Q8_0" },
    };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        char path[600], out[600];
        nib_export_options o = { .model = path, .out = out, .quantize = "Q4_K_M",
                                 .overwrite = true, .no_verify = true };
        nib_tensors *t = NULL;
        const nib_tensor *found;
        nib_export_result r;
        nib_error err;

        snprintf(path, sizeof path, "%s/%s.gguf", test_data("tests/golden/gguf"), cases[i].model);
        snprintf(out, sizeof out, "%s/mix.gguf", test_tmpdir());
        REQUIRE_OK(nib_export(ctx, &o, &r, &err), err);
        REQUIRE_OK(nib_tensors_open(ctx, out, &t, &err), err);
        found = nib_tensors_find(t, cases[i].tensor);
        CHECK(found && strcmp(found->dtype_name, cases[i].type) == 0, "%s: %s is %s, expected %s",
              cases[i].model, cases[i].tensor, found ? found->dtype_name : "missing",
              cases[i].type);
        nib_tensors_close(t);
    }
}

static void check_fails(nib_ctx *ctx, const char *model, const char *type, nib_status status,
                        const char *says)
{
    nib_export_result r;
    nib_error err = { 0 };
    char out[600];
    nib_status got;

    snprintf(out, sizeof out, "%s/refused.gguf", test_tmpdir());
    got = export(ctx, model, out, type, &r, &err);
    CHECK(got == status && strstr(err.message, says), "%s: %d, '%s'", says, got, err.message);
    CHECK(!nib_file_exists(out), "%s: a file was left", says);
}

/* A copy of the small model's config.json with one text for another, and its weights. */
static void write_variant(nib_ctx *ctx, const char *from, const char *to, char *dir, size_t room)
{
    char path[900], link[900], *text = NULL, *at;
    size_t bytes;
    nib_error err;
    FILE *f;

    snprintf(dir, room, "%s/variant", test_tmpdir());
    snprintf(path, sizeof path, "mkdir -p %s && cp %s/* %s/", dir, test_data("models/pico"), dir);
    REQUIRE(system(path) == 0, "%s", path);
    snprintf(link, sizeof link, "%s/config.json", dir);
    REQUIRE_OK(nib_file_read(ctx, link, 1 << 20, &text, &bytes, &err), err);
    at = strstr(text, from);
    REQUIRE(at, "%s", from);
    f = fopen(link, "wb");
    REQUIRE(f, "%s", link);
    fprintf(f, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    fclose(f);
    nib_free(ctx, text);
}

static void test_refused(void)
{
    nib_ctx *ctx = test_ctx();
    char dir[700];

    check_fails(ctx, test_data("models/pico"), "Q9", NIB_E_INVALID, "known are F32, F16");
    write_variant(ctx, "\"hidden_act\": \"silu\"", "\"hidden_act\": \"relu\"", dir, sizeof dir);
    check_fails(ctx, dir, "F32", NIB_E_UNSUPPORTED, "the activation would be another");
    write_variant(ctx, "\"rope_scaling\": null",
                  "\"rope_scaling\": {\"rope_type\": \"dynamic\", \"factor\": 2.0}", dir,
                  sizeof dir);
    check_fails(ctx, dir, "F32", NIB_E_UNSUPPORTED, "rope_type dynamic has no form in GGUF");
}

/* llama.cpp makes what yarn rotates .1 ln(factor) + 1 times as long, whatever yarn_attn_factor is,
 * and multiplies that by attn_factor (src/llama-context.cpp; logits compared beside it: 5e-7). */
static void test_yarn(void)
{
#define YARN "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.0, " \
             "\"original_max_position_embeddings\": 64"
    static const struct { const char *rope; double factor; } cases[] = {
        { YARN "}", 0 },
        { YARN ", \"attention_factor\": 0.7}", 0.614774 },
        { YARN ", \"mscale\": 0.7, \"mscale_all_dim\": 1.3}", 0.816353 },
    };
    nib_ctx *ctx = test_ctx();
    nib_export_result r;
    nib_error err;
    char dir[600], out[600];

    snprintf(out, sizeof out, "%s/yarn.gguf", test_tmpdir());
    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_tensors *t = NULL;
        const nib_gguf_value *v;
        double factor = 0;
        write_variant(ctx, "\"rope_scaling\": null", cases[i].rope, dir, sizeof dir);
        remove(out);
        REQUIRE_OK(export(ctx, dir, out, "F32", &r, &err), err);
        CHECK(r.prompts == 5 && !(r.greatest_difference > 0), "%d prompts, %g", r.prompts,
              r.greatest_difference);
        REQUIRE_OK(nib_tensors_open(ctx, out, &t, &err), err);
        v = nib_gguf_find(nib_tensors_gguf(t), "llama.rope.scaling.attn_factor");
        if (v) nib_gguf_number(v, 0, &factor);
        CHECK(fabs(factor - cases[i].factor) < 1e-6, "%s: attn_factor %g, expected %g",
              cases[i].rope, factor, cases[i].factor);
        nib_tensors_close(t);
    }
}

/* Ids of generation_config.json: those that end a text, one key each, and those that are never
 * generated, which llama.cpp leaves out of its choice (common/sampling.cpp). */
static void test_generation(void)
{
    static const char want[] = "[9, 4]";
    static const char *const keys[] = { "eos", "eot", "eom" };
    nib_ctx *ctx = test_ctx();
    nib_export_result r;
    nib_error err;
    char dir[600], path[700], out[600], *text = NULL;
    json_t *json = NULL;
    nib_tensors *t = NULL;
    FILE *f;

    write_variant(ctx, "\"rope_scaling\": null", "\"rope_scaling\": null", dir, sizeof dir);
    snprintf(path, sizeof path, "%s/generation_config.json", dir);
    f = fopen(path, "w");
    REQUIRE(f && fputs("{\"eos_token_id\": [2, 7, 5], \"suppress_tokens\": [9, 4]}", f) >= 0 &&
                !fclose(f), "%s", path);
    snprintf(out, sizeof out, "%s/generation.gguf", test_tmpdir());
    REQUIRE_OK(export(ctx, dir, out, "F32", &r, &err), err);
    REQUIRE_OK(nib_tensors_open(ctx, out, &t, &err), err);
    for (size_t i = 0; i < NIB_COUNT(keys); i++) {
        char key[80];
        uint64_t id = 0;
        snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", keys[i]);
        CHECK(nib_gguf_count(nib_gguf_find(nib_tensors_gguf(t), key), 0, &id), "%s", key);
    }
    nib_tensors_close(t);
    REQUIRE_OK(nib_model_file_read(ctx, out, "generation_config.json", 0, &json, &err), err);
    CHECK(json_array_size(json_object_get(json, "eos_token_id")) == 3);
    text = json_dumps(json_object_get(json, "suppress_tokens"), 0);
    CHECK(text && strcmp(text, want) == 0, "suppress_tokens %s, expected %s", text ? text : "none",
          want);
    free(text);
    json_decref(json);
}

static void test_present(void)
{
    nib_ctx *ctx = test_ctx();
    nib_export_options o = { .model = test_data("models/pico"), .quantize = "F32",
                             .no_verify = true };
    nib_export_result r;
    nib_error err = { 0 };
    char out[600];

    snprintf(out, sizeof out, "%s/twice.gguf", test_tmpdir());
    o.out = out;
    REQUIRE_OK(nib_export(ctx, &o, &r, &err), err);
    CHECK(r.prompts == 0);
    CHECK(nib_export(ctx, &o, &r, &err) == NIB_E_INVALID &&
          strstr(err.message, "--overwrite"), "%s", err.message);
    o.overwrite = true;
    REQUIRE_OK(nib_export(ctx, &o, &r, &err), err);
}

/* An allocator of its own: a case may hold few contexts of test_ctx_heap(). */
static void *count_alloc(void *user, size_t bytes)
{
    test_heap *h = user;
    void *p = ++h->calls == h->fail_at ? NULL : malloc(bytes);
    h->live += p != NULL;
    return p;
}
static void *count_realloc(void *user, void *old, size_t bytes)
{
    test_heap *h = user;
    void *p = ++h->calls == h->fail_at ? NULL : realloc(old, bytes);
    h->live += p && !old;
    return p;
}
static void count_free(void *user, void *p)
{
    ((test_heap *)user)->live -= p != NULL;
    free(p);
}

/* Every allocation fails once, every third of the many: an error, and nothing is left behind. */
static void test_memory(void)
{
    char out[600];
    size_t n;
    bool succeeded = false;

    snprintf(out, sizeof out, "%s/m.gguf", test_tmpdir());
    for (n = 1; n < 20000 && !succeeded; n += n < 400 ? 1 : 3) {
        test_heap heap = { 0 };
        nib_ctx_options c = { .alloc = count_alloc, .realloc = count_realloc, .free = count_free,
                              .alloc_user = &heap, .threads = 1 };
        nib_export_options o = { .model = test_data("tests/golden/gguf/llama-llama3.gguf"),
                                 .quantize = "Q8_0", .no_verify = true, .out = out };
        nib_ctx *ctx;
        nib_export_result r;
        nib_error err = { 0 };
        nib_status status;
        size_t before;

        REQUIRE_OK(nib_ctx_create(&c, &ctx, &err), err);
        before = heap.live;
        heap.fail_at = heap.calls + n;
        status = nib_export(ctx, &o, &r, &err);
        succeeded = status == NIB_OK;
        /* a file whose keys cannot be looked at counts as one with a tokenizer */
        CHECK(succeeded || status == NIB_E_NOMEM || strstr(err.message, "has no tokenizer"),
              "allocation %zu: %d, %s", n, status, err.message);
        CHECK(heap.live == before, "allocation %zu: %zu are left", n, heap.live - before);
        nib_ctx_destroy(ctx);
    }
    CHECK(succeeded && n > 100, "%zu allocations", n);
}

static const test_case cases[] = {
    { "converter", test_converter }, { "types", test_types },   { "refused", test_refused },
    { "present", test_present },     { "memory", test_memory }, { "directory", test_directory },
    { "there and back", test_there_and_back }, { "mix", test_mix },
    { "yarn", test_yarn },           { "generation", test_generation },
};

int main(void) { return test_main("test_export", cases, NIB_COUNT(cases)); }
