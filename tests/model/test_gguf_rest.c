/* test_gguf_rest.c - keys of a GGUF's architecture that its family does not ask for: what llama.cpp
 * reads for every architecture is used or refused, anything else is named.
 *
 * What each key means to llama.cpp: load_hparams() in src/llama-model.cpp, the constructor in
 * src/llama-context.cpp (of llama-cpp-python 0.3.36). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/filemap.h"
#include "format/gguf.h"
#include "model/gguf_model.h"
#include "model/model.h"
#include "test.h"

enum { U32 = 4, F32 = 6, BOOL = 7, TEXT = 8 };

/* A key that is put in front of the others. */
typedef struct added {
    const char *key;
    uint32_t kind;
    double number;
    const char *text;
} added;

static size_t put(uint8_t *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
    return bytes;
}

static size_t put_text(uint8_t *to, const char *text)
{
    uint64_t n = strlen(text);

    return put(to, &n, sizeof n) + put(to + sizeof n, text, (size_t)n);
}

static size_t put_key(uint8_t *to, const added *a)
{
    size_t n = put_text(to, a->key);
    uint32_t whole = (uint32_t)a->number;
    float real = (float)a->number;

    n += put(to + n, &a->kind, sizeof a->kind);
    if (a->kind == TEXT) return n + put_text(to + n, a->text);
    if (a->kind == BOOL) return n + put(to + n, &whole, 1);
    return n + (a->kind == F32 ? put(to + n, &real, 4) : put(to + n, &whole, 4));
}

/* The golden file `name` with one key or two more: its path in `path`.  A text of filling keeps
 * what follows where its alignment is. */
static void write_changed(const char *name, const added *a, size_t count, char path[600])
{
    static const char filling[] = "test.filling";
    static char more[2000];
    uint8_t keys[2000];
    char relative[100], *file = NULL;
    size_t bytes = 0, n = 0;
    uint64_t keys_there;
    FILE *f;
    nib_error err;

    for (size_t i = 0; i < count; i++) n += put_key(keys + n, &a[i]);
    memset(more, 'x', sizeof more);
    more[32 - (n + 8 + strlen(filling) + 4 + 8) % 32] = 0;
    n += put_key(keys + n, &(added){ .key = filling, .kind = TEXT, .text = more });
    REQUIRE(n % 32 == 0);
    snprintf(relative, sizeof relative, "tests/golden/gguf/%s.gguf", name);
    REQUIRE_OK(nib_file_read(test_ctx(), test_data(relative), 1 << 24, &file, &bytes, &err), err);
    memcpy(&keys_there, file + 16, sizeof keys_there);
    keys_there += count + 1;
    memcpy(file + 16, &keys_there, sizeof keys_there);
    snprintf(path, 600, "%s/changed.gguf", test_tmpdir());
    f = fopen(path, "wb");
    REQUIRE(f && fwrite(file, 1, 24, f) == 24 && fwrite(keys, 1, n, f) == n &&
                fwrite(file + 24, 1, bytes - 24, f) == bytes - 24 && !fclose(f), "%s", path);
    nib_free(test_ctx(), file);
}

static char warned[2000];

static void keep_warning(void *user, nib_message_kind kind, const char *text)
{
    (void)user;
    if (kind == NIB_MESSAGE_WARNING)
        snprintf(warned + strlen(warned), sizeof warned - strlen(warned), "%s\n", text);
}

/* Opens `path`; *m, of *ctx, is the caller's where the status is NIB_OK. */
static nib_status open_changed(const char *path, nib_ctx **ctx, nib_model **m, nib_error *err)
{
    nib_ctx_options o = { .threads = 1, .message = keep_warning };
    nib_model_options options = { .model = path };
    nib_status status = nib_ctx_create(&o, ctx, err);

    *warned = 0;
    *m = NULL;
    if (status) return status;
    return nib_model_open(*ctx, &options, NIB_F32, (nib_model_progress){ 0 }, m, err);
}

static void check_refused(const char *name, added a, const char *says)
{
    char path[600];
    nib_ctx *ctx = NULL;
    nib_model *m;
    nib_error err = { 0 };
    nib_status status;

    write_changed(name, &a, 1, path);
    status = open_changed(path, &ctx, &m, &err);
    CHECK(status == NIB_E_UNSUPPORTED && strstr(err.message, says) &&
              strstr(err.message, "changed.gguf"), "%s: status %d: %s", a.key, (int)status,
          err.message);
    nib_model_close(m);
    nib_ctx_destroy(ctx);
}

static void check_warned(const char *name, added a)
{
    char path[600];
    nib_ctx *ctx = NULL;
    nib_model *m;
    nib_error err = { 0 };
    nib_status status;

    write_changed(name, &a, 1, path);
    status = open_changed(path, &ctx, &m, &err);
    CHECK(!status && strstr(warned, "1 key not used: ") && strstr(warned, a.key), "%s: %s%s",
          a.key, warned, status ? err.message : "");
    nib_model_close(m);
    nib_ctx_destroy(ctx);
}

/* rope_scaling of the model that is opened, as JSON; "" where there is none. */
static void check_scaling(const char *name, const added *a, size_t count, const char *want)
{
    char path[600], *text = NULL;
    nib_ctx *ctx = NULL;
    nib_model *m;
    nib_error err = { 0 };
    nib_status status;

    write_changed(name, a, count, path);
    status = open_changed(path, &ctx, &m, &err);
    if (!status)
        text = json_dumps(json_object_get(m->json, "rope_scaling"), JSON_REAL_PRECISION(6));
    CHECK(!status && strcmp(text ? text : "", want) == 0 && !*warned, "%s: %s%s, expected %s; %s",
          a[0].key, text ? text : "", status ? err.message : "", want, warned);
    free(text);
    nib_model_close(m);
    nib_ctx_destroy(ctx);
}

static void test_named(void)
{
    check_warned("llama", (added){ "llama.attention.scale", F32, 0.5, NULL });
    check_warned("llama", (added){ "llama.logit_scale", F32, 2, NULL });
    check_warned("qwen3-moe", (added){ "qwen3moe.expert_weights_scale", F32, 2.5, NULL });
    check_warned("qwen2", (added){ "qwen2.attention.clamp_kqv", F32, 8, NULL });
    check_warned("gemma3", (added){ "gemma3.anything", TEXT, 0, "else" });
}

static void test_refused(void)
{
    check_refused("qwen3", (added){ "qwen3.attention.causal", BOOL, 0, NULL },
                  "qwen3.attention.causal is 0, known is 1");
    check_refused("qwen2", (added){ "qwen2.attention.value_length", U32, 16, NULL },
                  "attention.value_length is 16, known is 8");
    check_refused("qwen2", (added){ "qwen2.rope.dimension_count", U32, 4, NULL },
                  "rope.dimension_count is 4, known is 8");
    check_refused("llama-yarn", (added){ "llama.rope.scaling.yarn_ext_factor", F32, 0.5, NULL },
                  "yarn_ext_factor is 0.5, known is 1");
    check_refused("llama-llama3", (added){ "llama.rope.scaling.factor", F32, 4, NULL },
                  "with a factor of 4, known is one of the two");
}

static void test_ropes(void)
{
    static const added older = { "llama.rope.scale_linear", F32, 4, NULL };
    static const added untyped = { "llama.rope.scaling.factor", F32, 4, NULL };
    static const added none[] = { { "llama.rope.scaling.factor", F32, 4, NULL },
                                  { "llama.rope.scaling.type", TEXT, 0, "none" } };
    static const added zero = { "llama.rope.scaling.factor", F32, 0, NULL };
    static const added attention = { "llama.rope.scaling.attn_factor", F32, 0.5, NULL };
    static const added one = { "llama.rope.scaling.attn_factor", F32, 1, NULL };

    check_scaling("llama", &older, 1, "{\"rope_type\": \"linear\", \"factor\": 4.0}");
    check_scaling("llama", &untyped, 1, "{\"rope_type\": \"linear\", \"factor\": 4.0}");
    check_scaling("llama", none, 2, "");
    check_scaling("llama", &zero, 1, "");
    /* half of .1 ln 4 + 1 */
    check_scaling("llama-yarn", &attention, 1,
                  "{\"rope_type\": \"yarn\", \"factor\": 4.0, "
                  "\"original_max_position_embeddings\": 32, \"attention_factor\": 0.569315}");
    check_scaling("llama-yarn", &one, 1, "{\"rope_type\": \"yarn\", \"factor\": 4.0, "
                                         "\"original_max_position_embeddings\": 32}");
}

/* One number: so many layers, of which the last sees all, in a family of another pattern too. */
static void test_pattern(void)
{
    static const added every = { "gpt-oss.attention.sliding_window_pattern", U32, 1, NULL };
    char path[600];
    nib_ctx *ctx = NULL;
    nib_model *m;
    const json_t *types;
    nib_error err = { 0 };
    nib_status status;

    write_changed("gpt-oss", &every, 1, path);
    status = open_changed(path, &ctx, &m, &err);
    types = status ? NULL : json_object_get(m->json, "layer_types");
    CHECK(json_array_size(types) == 2 && !*warned, "%s%s", status ? err.message : "", warned);
    for (size_t i = 0; i < json_array_size(types); i++)
        CHECK(strcmp(json_string_value(json_array_get(types, i)), "full_attention") == 0,
              "layer %zu", i);
    nib_model_close(m);
    nib_ctx_destroy(ctx);
}

/* Without a base of angles it is llama.cpp's 10000, not that of the family's config.json. */
static void test_base(void)
{
    static const char key[] = "gemma3.rope.freq_base";
    char path[600], *file = NULL;
    size_t bytes = 0, at = 0;
    nib_ctx *ctx = NULL;
    nib_model *m;
    FILE *f;
    nib_error err = { 0 };
    nib_status status;

    REQUIRE_OK(nib_file_read(test_ctx(), test_data("tests/golden/gguf/gemma3.gguf"), 1 << 24,
                             &file, &bytes, &err), err);
    while (at + sizeof key < bytes && memcmp(file + at, key, sizeof key - 1) != 0) at++;
    file[at + sizeof key - 2] = 'X';
    snprintf(path, sizeof path, "%s/base.gguf", test_tmpdir());
    f = fopen(path, "wb");
    REQUIRE(f && fwrite(file, 1, bytes, f) == bytes && !fclose(f), "%s", path);
    nib_free(test_ctx(), file);
    status = open_changed(path, &ctx, &m, &err);
    CHECK(!status && json_number_value(json_object_get(m->json, "rope_theta")) == 10000 &&
              strstr(warned, "gemma3.rope.freq_basX"), "%s%s", status ? err.message : "", warned);
    nib_model_close(m);
    nib_ctx_destroy(ctx);
}

int main(void)
{
    static const test_case cases[] = { { "keys that nobody asks for", test_named },
                                       { "keys of every architecture", test_refused },
                                       { "ropes", test_ropes }, { "no base", test_base },
                                       { "pattern of windows", test_pattern } };

    return test_main("model/test_gguf_rest", cases, NIB_COUNT(cases));
}
