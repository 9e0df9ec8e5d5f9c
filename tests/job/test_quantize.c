/* test_quantize.c - a dense directory into a 4-bit one: what is written, what is refused, and
 * that nothing is left when it fails. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/filemap.h"
#include "base/outfile.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "model/model.h"
#include "nibble/quantize.h"
#include "quant/bnb4_file.h"

enum { ROWS = 80, COLUMNS = 48 };
static const char matrix_name[] = "model.layers.0.mlp.up_proj.weight";

typedef struct path {
    char s[600];
} path;

static path joined(const char *dir, const char *name)
{
    path p;
    if ((size_t)snprintf(p.s, sizeof p.s, "%s/%s", dir, name) >= sizeof p.s) abort();
    return p;
}

/* A directory with one matrix, a norm and an embedding; `spoil` puts a NaN into the matrix. */
static bool tiny_model(nib_ctx *ctx, const char *dir, bool spoil)
{
    static const char config[] =
        "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": "
        "48,"
        " \"intermediate_size\": 80, \"num_attention_heads\": 4, \"num_key_value_heads\": 4,"
        " \"num_hidden_layers\": 1, \"vocab_size\": 16, \"max_position_embeddings\": 64,"
        " \"rms_norm_eps\": 1e-05, \"hidden_act\": \"silu\", \"tie_word_embeddings\": true}";
    nib_tensor_plan plans[] = {
        { .name = "model.embed_tokens.weight",
          .dtype = NIB_F32,
          .rank = 2,
          .shape = { 16, COLUMNS } },
        { .name = matrix_name, .dtype = NIB_F32, .rank = 2, .shape = { ROWS, COLUMNS } },
        { .name = "model.layers.0.input_layernorm.weight",
          .dtype = NIB_F32,
          .rank = 1,
          .shape = { COLUMNS } },
    };
    float values[ROWS * COLUMNS];
    nib_tensor_writer *w = NULL;
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(values); i++) values[i] = test_rand_float();
    if (mkdir(dir, 0777) ||
        nib_outfile_replace(ctx, joined(dir, "config.json").s, config, strlen(config), &err) ||
        nib_outfile_replace(ctx, joined(dir, "tokenizer.json").s, "{}", 2, &err) ||
        nib_tensor_writer_create(ctx, dir, "model", plans, NIB_COUNT(plans), 0, &w, &err))
        return false;
    if (nib_tensor_writer_put(w, values, 16 * COLUMNS * sizeof *values, &err)) return false;
    if (spoil) values[7] = NAN;
    if (nib_tensor_writer_put(w, values, sizeof values, &err)) return false;
    values[7] = 1;
    if (nib_tensor_writer_put(w, values, COLUMNS * sizeof *values, &err)) return false;
    return nib_tensor_writer_commit(w, &err) == NIB_OK;
}

static nib_quantize_options options_for(const char *model, const char *out)
{
    return (nib_quantize_options){ .model = model, .out = out, .settings = test_four_bit };
}

static nib_part view_of(const nib_tensor *t)
{
    return (nib_part){ .name = t->name,
                            .dtype = t->dtype,
                            .elements = t->elements,
                            .bytes = t->bytes,
                            .data = t->data };
}

static void rows_of(void *arg, size_t r0, size_t r1, float *dst)
{
    nib_weight_decode(arg, r0, r1, dst);
}

/* The matrix read back from the directory equals the matrix encoded in memory. */
static void check_matrix(nib_ctx *ctx, const nib_tensors *from, const nib_tensors *to,
                         const nib_bnb4_options *bnb)
{
    const nib_tensor *source = nib_tensors_find(from, matrix_name),
                     *codes = nib_tensors_find(to, matrix_name);
    nib_weight *dense = NULL, *want = NULL, *got = NULL;
    nib_bnb4_parts parts;
    float a[ROWS * COLUMNS], b[ROWS * COLUMNS];
    nib_error err;

    REQUIRE(source && codes, "%s is missing", matrix_name);
    parts = (nib_bnb4_parts){ .weight = view_of(codes) };
    for (size_t i = 0; i < NIB_BNB4_SUFFIXES; i++) {
        char name[256];
        const nib_tensor *t;
        nib_part v;
        snprintf(name, sizeof name, "%s%s", matrix_name, nib_bnb4_suffixes[i]);
        t = nib_tensors_find(to, name);
        if (!t) continue;
        v = view_of(t);
        REQUIRE_OK(nib_bnb4_parts_add(&parts, &v, &err), err);
    }
    REQUIRE_OK(nib_bnb4_open(ctx, &parts, &got, &err), err);
    REQUIRE_OK(nib_weight_dense(ctx, ROWS, COLUMNS, NIB_F32, source->data, NULL, &dense, &err),
               err);
    REQUIRE_OK(nib_bnb4_encode(ctx, bnb, ROWS, COLUMNS, rows_of, dense, &want, &err), err);
    nib_weight_decode(got, 0, ROWS, a);
    nib_weight_decode(want, 0, ROWS, b);
    CHECK(memcmp(a, b, sizeof a) == 0, "decoded values differ");
    CHECK(got->dtype == bnb->dtype && ((nib_bnb4 *)got)->blocksize == bnb->blocksize,
          "quant_state");
    nib_weight_destroy(ctx, dense);
    nib_weight_destroy(ctx, want);
    nib_weight_destroy(ctx, got);
}

static void check_config(nib_ctx *ctx, const char *out, const char *type, bool nested,
                         const char *dtype)
{
    json_t *config = NULL, *q;
    nib_error err;

    REQUIRE_OK(nib_json_read(ctx, joined(out, "config.json").s, 0, &config, &err), err);
    q = json_object_get(config, "quantization_config");
    CHECK(json_object_size(q) == 13, "%zu keys", json_object_size(q));
    CHECK(strcmp(json_string_value(json_object_get(q, "bnb_4bit_quant_type")), type) == 0,
          "quant type");
    CHECK(json_is_true(json_object_get(q, "bnb_4bit_use_double_quant")) == nested,
          "double quantization");
    CHECK(json_real_value(json_object_get(config, "rms_norm_eps")) == 1e-5, "rms_norm_eps");
    CHECK(!dtype || strcmp(json_string_value(json_object_get(config, "dtype")), dtype) == 0,
          "dtype");
    json_decref(config);
}

static void test_writes(void)
{
    nib_ctx *ctx = test_ctx();
    path place = joined(test_tmpdir(), "model");
    const char *model = place.s;

    REQUIRE(tiny_model(ctx, model, false), "no model");
    for (unsigned kind = 0; kind < 4; kind++) {
        path place_out = joined(test_tmpdir(), kind % 2 ? "b" : "a");
        const char *out = place_out.s;
        nib_quantize_options o = options_for(model, out);
        nib_bnb4_options bnb = { .fp4 = kind & 1,
                                 .double_quant = kind & 2,
                                 .blocksize = kind == 3 ? 256 : 64,
                                 .dtype = kind == 2 ? NIB_BF16 : NIB_F32 };
        const nib_setting settings[] = {
            { "load_in_4bit", "true" },
            { "bnb_4bit_quant_type", bnb.fp4 ? "fp4" : NULL },
            { "bnb-4bit-use-double-quant", bnb.double_quant ? "true" : "false" },
            { "bnb_4bit_blocksize", kind == 3 ? "256" : "64" },
            { NULL, NULL },
        };
        nib_quantize_result result;
        nib_tensors *from = NULL, *to = NULL;
        const nib_tensor *x, *y;
        nib_error err;

        o.settings = settings;
        o.dtype = kind == 2 ? "bfloat16" : NULL;
        o.overwrite = kind >= 2; /* over what the first two runs left */
        REQUIRE_OK(nib_quantize(ctx, &o, &result, &err), err);
        CHECK(result.matrices == 1 && result.parameters == (16 + ROWS + 1) * COLUMNS, "result");
        REQUIRE_OK(nib_tensors_open(ctx, model, &from, &err), err);
        REQUIRE_OK(nib_tensors_open(ctx, out, &to, &err), err);
        CHECK(nib_tensors_count(to) == (bnb.double_quant ? 8 : 6), "%zu tensors",
              nib_tensors_count(to));
        check_matrix(ctx, from, to, &bnb);
        x = nib_tensors_find(from, "model.embed_tokens.weight");
        y = nib_tensors_find(to, "model.embed_tokens.weight");
        REQUIRE(x && y, "no embedding");
        CHECK(y->dtype == bnb.dtype && y->elements == x->elements, "embedding");
        if (y->dtype == x->dtype)
            CHECK(memcmp(x->data, y->data, x->bytes) == 0, "embedding's values");
        check_config(ctx, out, bnb.fp4 ? "fp4" : "nf4", bnb.double_quant, o.dtype);
        CHECK(nib_file_exists(joined(out, "tokenizer.json").s), "tokenizer.json");
        nib_tensors_close(from);
        nib_tensors_close(to);
    }
}

static void refuse(nib_ctx *ctx, const nib_quantize_options *o, nib_status want, const char *part)
{
    nib_error err = { 0 };
    nib_status got = nib_quantize(ctx, o, NULL, &err);

    CHECK(got == want && strstr(err.message, part), "%d '%s', expected '%s'", got, err.message,
          part);
}

static int stop(void *user)
{
    (void)user;
    return 1;
}

static void test_refuses(void)
{
    nib_ctx *ctx = test_ctx(), *stopped = NULL;
    path places[] = { joined(test_tmpdir(), "model"), joined(test_tmpdir(), "out"),
                      joined(test_tmpdir(), "again"), joined(test_tmpdir(), "model/new/deep"),
                      joined(test_tmpdir(), "nowhere") };
    static const struct { const char *flag, *key, *value, *says; } settings[] = {
        { "false", "bnb_4bit_blocksize", NULL, "known are: bitsandbytes with load_in_4bit" },
        { "true", "bnb_4bit_quant_type", "nf5", "'nf5'; known are nf4 and fp4" },
        { "true", "bnb_4bit_blocksize", "48", "from 32 to 4096, got 48" },
        { "true", "bnb_4bit_group_size", "64", "known are load_in_4bit, bnb_4bit_quant_type" },
        { "yes please", "bnb_4bit_blocksize", "64", "load_in_4bit: expected true or false" },
    };
    const char *model = places[0].s, *out = places[1].s;
    nib_quantize_options o;
    nib_error err;

    REQUIRE(tiny_model(ctx, model, false), "no model");
    o = options_for(model, model);
    o.overwrite = true;
    refuse(ctx, &o, NIB_E_INVALID, "an input, where nothing is written");
    o.out = places[3].s;
    refuse(ctx, &o, NIB_E_INVALID, "an input, where nothing is written");
    o.out = test_tmpdir();
    refuse(ctx, &o, NIB_E_INVALID, "contains");
    o = options_for(model, out);
    for (size_t i = 0; i < NIB_COUNT(settings); i++) {
        o.settings = (nib_setting[]){ { "load_in_4bit", settings[i].flag },
                                      { settings[i].key, settings[i].value },
                                      { NULL, NULL } };
        refuse(ctx, &o, NIB_E_INVALID, settings[i].says);
    }
    o = options_for(model, out);
    o.dtype = "int8";
    refuse(ctx, &o, NIB_E_INVALID, "int8");
    o = options_for(places[4].s, out);
    refuse(ctx, &o, NIB_E_IO, "nowhere");
    REQUIRE_OK(
        nib_ctx_create(&(nib_ctx_options){ .threads = 1, .should_stop = stop }, &stopped, &err),
        err);
    o = options_for(model, out);
    refuse(stopped, &o, NIB_E_INTERRUPTED, "stopped");
    nib_ctx_destroy(stopped);
    CHECK(!nib_file_exists(out), "a refused run left %s", out);

    REQUIRE_OK(nib_quantize(ctx, &o, NULL, &err), err);
    refuse(ctx, &o, NIB_E_IO, "not empty");
    o = options_for(out, places[2].s);
    refuse(ctx, &o, NIB_E_MISMATCH, "quantized already");
}

static void test_not_finite(void)
{
    nib_ctx *ctx = test_ctx();
    path places[] = { joined(test_tmpdir(), "model"), joined(test_tmpdir(), "out") };
    const char *model = places[0].s, *out = places[1].s;
    nib_quantize_options o = options_for(model, out);

    REQUIRE(tiny_model(ctx, model, true), "no model");
    refuse(ctx, &o, NIB_E_NUMERIC, matrix_name);
    o.settings = test_four_bit_double;
    refuse(ctx, &o, NIB_E_NUMERIC, matrix_name);
    CHECK(!nib_file_exists(out), "left %s", out);
}

/* The golden model with what a merge left behind, and a norm that its architecture lacks. */
static bool with_leftovers(nib_ctx *ctx, const char *dir)
{
    static const char lora[] = "model.layers.0.self_attn.q_proj.lora_A.weight",
                      extra[] = "model.layers.0.self_attn.q_norm.weight";
    const char *from = test_data("tests/golden/models/llama");
    static const float values[4 * 64];
    nib_tensor_plan plans[64];
    nib_tensors *t = NULL;
    nib_tensor_writer *w = NULL;
    char *config = NULL;
    size_t n = 0, bytes;
    nib_error err;
    bool good;

    if (mkdir(dir, 0777) || nib_tensors_open(ctx, from, &t, &err)) return false;
    for (; n < nib_tensors_count(t); n++) {
        const nib_tensor *x = nib_tensors_at(t, n);
        plans[n] = (nib_tensor_plan){ .name = x->name, .dtype = x->dtype, .rank = x->rank,
                                      .shape = { x->shape[0], x->shape[1] } };
    }
    plans[n] = (nib_tensor_plan){ .name = lora, .dtype = NIB_F32, .rank = 2, .shape = { 4, 64 } };
    plans[n + 1] = (nib_tensor_plan){ .name = extra, .dtype = NIB_F32, .rank = 1,
                                      .shape = { 16 } };
    good = !nib_tensor_writer_create(ctx, dir, "model", plans, n + 2, 0, &w, &err);
    for (size_t i = 0; i < n && good; i++)
        good = !nib_tensor_writer_put(w, nib_tensors_at(t, i)->data, nib_tensors_at(t, i)->bytes,
                                      &err);
    good = good && !nib_tensor_writer_put(w, values, sizeof values, &err) &&
           !nib_tensor_writer_put(w, values, 16 * sizeof *values, &err) &&
           !nib_tensor_writer_commit(w, &err) &&
           !nib_file_read(ctx, joined(from, "config.json").s, 1 << 20, &config, &bytes, &err) &&
           !nib_outfile_replace(ctx, joined(dir, "config.json").s, config, bytes, &err);
    nib_free(ctx, config);
    nib_tensors_close(t);
    return good;
}

/* Tensors that no module uses are named, and not encoded. */
static void test_leftovers(void)
{
    nib_ctx *ctx = test_ctx();
    path model = joined(test_tmpdir(), "model"), out = joined(test_tmpdir(), "out");
    nib_quantize_options o = options_for(model.s, out.s);
    nib_quantize_result result;
    nib_tensors *t = NULL;
    const nib_tensor *lora;
    nib_error err;

    REQUIRE(with_leftovers(ctx, model.s));
    REQUIRE_OK(nib_quantize(ctx, &o, &result, &err), err);
    CHECK(result.matrices == 2 * 7, "%d matrices", (int)result.matrices);
    REQUIRE(nib_ctx_warning_count(ctx) == 1, "%zu warnings", nib_ctx_warning_count(ctx));
    CHECK(strcmp(nib_ctx_warning(ctx, 0).code, "unused-tensors") == 0 &&
              strstr(nib_ctx_warning(ctx, 0).text,
                     ": 2 tensors that no module uses: model.layers.0.self_attn.q_norm.weight, "
                     "model.layers.0.self_attn.q_proj.lora_A.weight"),
          "%s", nib_ctx_warning(ctx, 0).text);
    REQUIRE_OK(nib_tensors_open(ctx, out.s, &t, &err), err);
    lora = nib_tensors_find(t, "model.layers.0.self_attn.q_proj.lora_A.weight");
    CHECK(lora && lora->dtype == NIB_F32, "it is encoded");
    nib_tensors_close(t);
}

/* llm_int8_skip_modules: what it names stays dense, in the file, in config.json and when the result
 * is opened; a list without the head is refused, for transformers would quantize the head. */
static void test_skipped(void)
{
    static const char *const names[] = { "lm_head", "down_proj", "layers.1.self_attn", "nothing" };
    nib_ctx *ctx = test_ctx();
    path out = joined(test_tmpdir(), "out");
    nib_quantize_options o = options_for(test_data("tests/golden/models/llama"), out.s);
    nib_model_options opened = { .model = out.s };
    nib_quantize_result result;
    nib_model *m = NULL;
    size_t dense = 0;
    nib_error err;

    o.skip_modules = names + 1;
    o.skip_count = 1;
    refuse(ctx, &o, NIB_E_UNSUPPORTED, "add lm_head to the list");
    o.skip_modules = names;
    o.skip_count = NIB_COUNT(names);
    REQUIRE_OK(nib_quantize(ctx, &o, &result, &err), err);
    CHECK(result.matrices == 2 * 7 - 2 - 4, "%d matrices", (int)result.matrices);
    CHECK(nib_ctx_warning_count(ctx) == 1 && strstr(nib_ctx_warning(ctx, 0).text, "nothing"),
          "%zu warnings", nib_ctx_warning_count(ctx));
    REQUIRE_OK(nib_model_open(ctx, &opened, NIB_F32, (nib_model_progress){ 0 }, &m, &err), err);
    for (size_t i = 0; i < m->linear_count; i++) {
        const nib_linear *l = m->linears[i];
        bool skipped = l == m->head || strstr(l->name, "down_proj") ||
                       strstr(l->name, "layers.1.self_attn");
        CHECK(nib_weight_is_dense(l->weight) == skipped, "%s", l->name);
        dense += skipped;
    }
    CHECK(dense == 1 + 2 + 4, "%zu dense linears", dense);
    CHECK(json_array_size(json_object_get(json_object_get(m->json, "quantization_config"),
                                          "llm_int8_skip_modules")) == NIB_COUNT(names),
          "config.json has another list");
    nib_model_close(m);
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

static void test_allocation_failures(void)
{
    path places[] = { joined(test_tmpdir(), "model"), joined(test_tmpdir(), "out") };
    const char *model = places[0].s, *out = places[1].s;
    bool succeeded = false;
    size_t n, in_place = 0;
    path command;

    REQUIRE(tiny_model(test_ctx(), model, false), "no model");
    for (n = 1; n < 2000 && !succeeded; n++) {
        test_heap heap = { 0 };
        nib_quantize_options o = options_for(model, out);
        nib_ctx *ctx;
        nib_error err;
        nib_status status;
        size_t live;

        REQUIRE_OK(nib_ctx_create(&(nib_ctx_options){ .alloc = count_alloc,
                                                      .realloc = count_realloc,
                                                      .free = count_free,
                                                      .alloc_user = &heap,
                                                      .threads = 1 },
                                  &ctx, &err),
                   err);
        o.settings = test_four_bit_double;
        live = heap.live;
        heap.fail_at = heap.calls + n;
        status = nib_quantize(ctx, &o, NULL, &err);
        succeeded = status == NIB_OK;
        CHECK(succeeded || status == NIB_E_NOMEM, "call %zu: status %d %s", n, status, err.message);
        CHECK(heap.live == live, "call %zu: %zu blocks are left", n, heap.live - live);
        nib_ctx_destroy(ctx);
        if (succeeded) CHECK(nib_file_exists(out), "no %s", out);
        if (succeeded || !nib_file_exists(out)) continue;
        /* Only syncing the parent directory comes after the rename. */
        CHECK(++in_place == 1 && nib_file_exists(joined(out, "config.json").s), "call %zu: %s", n,
              out);
        snprintf(command.s, sizeof command.s, "rm -rf '%.500s'", out);
        REQUIRE(system(command.s) == 0, "%s", command.s);
    }
    CHECK(succeeded && n > 20, "%zu calls", n);
}

int main(void)
{
    static const test_case cases[] = {
        { "writes", test_writes },
        { "refuses", test_refuses },
        { "not_finite", test_not_finite },
        { "skipped", test_skipped },
        { "leftovers", test_leftovers },
        { "allocation_failures", test_allocation_failures },
    };
    return test_main("quantize", cases, NIB_COUNT(cases));
}
