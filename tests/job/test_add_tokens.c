/* test_add_tokens.c - a model with new tokens: its rows, ids and files, and what is refused. */
#include "test.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/filemap.h"
#include "base/outfile.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "nibble/add_tokens.h"
#include "text/tokenizer.h"

enum { ROWS = 40, WIDTH = 8, KNOWN = 37 }; /* rows, and the tokens that the tokenizer has */

typedef struct path {
    char s[600];
} path;

static path joined(const char *name)
{
    path p;
    snprintf(p.s, sizeof p.s, "%s/%s", test_tmpdir(), name);
    return p;
}

static bool put(nib_ctx *ctx, const char *file, const char *text)
{
    return !nib_outfile_replace(ctx, joined(file).s, text, strlen(text), &(nib_error){ 0 });
}

/* Words a0 .. a35 and a special token, in the form of the files that transformers writes. */
static bool put_tokenizer(nib_ctx *ctx)
{
    char text[4000];
    int n = snprintf(text, sizeof text,
                     "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, "
                     "\"added_tokens\": [{\"id\": 36, \"content\": \"<e>\", \"single_word\": false,"
                     " \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": "
                     "true}], \"normalizer\": null, \"pre_tokenizer\": null, \"post_processor\": "
                     "null, \"decoder\": null, \"model\": {\"type\": \"BPE\", \"dropout\": null, "
                     "\"unk_token\": \"a0\", \"continuing_subword_prefix\": null, "
                     "\"end_of_word_suffix\": null, \"fuse_unk\": false, \"byte_fallback\": false, "
                     "\"ignore_merges\": false, \"vocab\": {");

    for (int i = 0; i < KNOWN - 1; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s\"a%d\": %d", i ? ", " : "", i, i);
    snprintf(text + n, sizeof text - (size_t)n, "}, \"merges\": []}}");
    return put(ctx, "model/tokenizer.json", text) &&
           put(ctx, "model/tokenizer_config.json",
               "{\"added_tokens_decoder\": {\"36\": {\"content\": \"<e>\", \"lstrip\": false, "
               "\"normalized\": false, \"rstrip\": false, \"single_word\": false, \"special\": "
               "true}}, \"eos_token\": \"<e>\", \"model_max_length\": "
               "1000000000000000019884624838656, "
               "\"tokenizer_class\": \"PreTrainedTokenizerFast\"}") &&
           put(ctx, "model/special_tokens_map.json", "{\"eos_token\": \"<e>\"}") &&
           put(ctx, "model/LICENSE", "free");
}

/* model/: a llama without layers' matrices that matter, the head its own; packed: the head's rows
 * lie as bytes. */
static bool make_model(nib_ctx *ctx, size_t rows, size_t shard, bool packed)
{
    nib_tensor_plan plans[] = {
        { .name = "model.embed_tokens.weight", .dtype = NIB_F32, .rank = 2,
          .shape = { rows, WIDTH } },
        { .name = "model.norm.weight", .dtype = NIB_F32, .rank = 1, .shape = { WIDTH } },
        { .name = "lm_head.weight", .dtype = packed ? NIB_U8 : NIB_F32, .rank = 2,
          .shape = { rows, WIDTH } },
    };
    float values[2 * ROWS * WIDTH];
    char config[600];
    nib_tensor_writer *w;
    nib_error err;

    snprintf(config, sizeof config,
             "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", "
             "\"hidden_size\": 8, \"intermediate_size\": 24, \"num_attention_heads\": 1, "
             "\"num_key_value_heads\": 1, \"num_hidden_layers\": 1, \"vocab_size\": %zu, "
             "\"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-05, \"hidden_act\": \"silu\", "
             "\"tie_word_embeddings\": false}", rows);
    for (size_t i = 0; i < NIB_COUNT(values); i++) values[i] = test_rand_float() + 3;
    for (size_t i = 0; i < 2 * ROWS; i++) /* one column follows another */
        values[i * WIDTH + 1] = 2 * values[i * WIDTH] + 0.1f * test_rand_float();
    if (mkdir(joined("model").s, 0777) || !put(ctx, "model/config.json", config) ||
        !put_tokenizer(ctx) ||
        nib_tensor_writer_create(ctx, joined("model").s, "model", plans, NIB_COUNT(plans), shard,
                                 &w, &err) ||
        nib_tensor_writer_put(w, values, rows * WIDTH * sizeof *values, &err) ||
        nib_tensor_writer_put(w, values, WIDTH * sizeof *values, &err) ||
        nib_tensor_writer_put(w, values + ROWS * WIDTH,
                              rows * WIDTH * (packed ? 1 : sizeof *values), &err))
        return false;
    return nib_tensor_writer_commit(w, &err) == NIB_OK;
}

static nib_status add(nib_ctx *ctx, const char *list, nib_add_tokens_options o,
                      nib_add_tokens_result *r, nib_error *err)
{
    path model = joined("model"), out = joined("out"), tokens = joined(list);

    o.model = model.s;
    o.out = out.s;
    o.tokens = tokens.s;
    return nib_add_tokens(ctx, &o, r, err);
}

/* --- rows --- */

static void check_rows(const nib_tensors *from, const nib_tensors *to, const char *name, size_t n)
{
    const nib_tensor *a = nib_tensors_find(from, name), *b = nib_tensors_find(to, name);
    const float *old, *new;
    double mean[WIDTH] = { 0 }, noise[WIDTH] = { 0 }, spread[WIDTH] = { 0 }, both = 0;

    REQUIRE(a && b && b->shape[0] == a->shape[0] + n && b->shape[1] == WIDTH, "%s", name);
    CHECK(memcmp(a->data, b->data, a->bytes) == 0, "%s: old rows changed", name);
    old = a->data;
    new = (const float *)b->data + a->elements;
    for (size_t i = 0; i < a->elements; i++) mean[i % WIDTH] += (double)old[i] / ROWS;
    for (size_t i = 0; i < a->elements; i++) {
        double d = (double)old[i] - mean[i % WIDTH];
        spread[i % WIDTH] += d * d / ROWS;
    }
    for (size_t i = 0; i < n * WIDTH; i++) {
        double d = (double)new[i] - mean[i % WIDTH];
        CHECK(fabs(d) < 4e-4, "%s: column %zu is %g from the mean", name, i % WIDTH, d);
        noise[i % WIDTH] += d * d / (double)n;
    }
    for (size_t r = 0; r < n; r++)
        both += ((double)new[r * WIDTH] - mean[0]) * ((double)new[r * WIDTH + 1] - mean[1]) /
                (double)n;
    for (size_t c = 0; c < WIDTH; c++) {
        double share = sqrt(noise[c] / (1e-9 * spread[c]));
        CHECK(share > 0.9 && share < 1.1, "%s: column %zu's noise is %g of what is expected", name,
              c, share);
    }
    CHECK(both / sqrt(noise[0] * noise[1]) > 0.98, "%s: columns that go together are %g alike",
          name, both / sqrt(noise[0] * noise[1]));
}

static void test_rows(void)
{
    enum { MANY = 1500 };
    static char list[MANY * 12];
    nib_ctx *ctx = test_ctx();
    nib_add_tokens_result r;
    nib_tensors *from, *to;
    const nib_tensor *a, *b;
    size_t n = 0;
    nib_error err;

    for (int i = 0; i < MANY + ROWS - KNOWN; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, "<%d>\n", i);
    REQUIRE(make_model(ctx, ROWS, 1500, false) && put(ctx, "list", list), "no model");
    CHECK(!nib_file_exists(joined("model/model.safetensors").s), "not in shards");
    REQUIRE_OK(add(ctx, "list", (nib_add_tokens_options){ .seed = 5 }, &r, &err), err);
    CHECK(r.added == MANY + 3 && r.first_id == KNOWN && r.rows_before == ROWS &&
              r.rows_after == ROWS + MANY, "%d tokens, %d rows", (int)r.added, (int)r.rows_after);
    REQUIRE_OK(nib_tensors_open(ctx, joined("model").s, &from, &err), err);
    REQUIRE_OK(nib_tensors_open(ctx, joined("out").s, &to, &err), err);
    check_rows(from, to, "model.embed_tokens.weight", MANY);
    check_rows(from, to, "lm_head.weight", MANY);
    a = nib_tensors_find(to, "model.embed_tokens.weight");
    b = nib_tensors_find(to, "lm_head.weight");
    CHECK(memcmp(a->data, b->data, a->bytes) != 0, "the head is the embedding");
    a = nib_tensors_find(from, "model.norm.weight");
    b = nib_tensors_find(to, "model.norm.weight");
    CHECK(a && b && a->bytes == b->bytes && memcmp(a->data, b->data, a->bytes) == 0, "the norm");
    nib_tensors_close(from);
    nib_tensors_close(to);
}

/* As many rows as columns have no covariance of full rank: all new rows are the mean. */
static void test_few_rows(void)
{
    nib_ctx *ctx = test_ctx();
    nib_tensors *to;
    const nib_tensor *t;
    const float *x;
    nib_error err;

    REQUIRE(make_model(ctx, WIDTH, 0, false) && put(ctx, "list", "<x>\n"), "no model");
    REQUIRE_OK(add(ctx, "list", (nib_add_tokens_options){ 0 }, NULL, &err), err);
    REQUIRE_OK(nib_tensors_open(ctx, joined("out").s, &to, &err), err);
    t = nib_tensors_find(to, "lm_head.weight");
    REQUIRE(t && t->shape[0] == KNOWN + 1, "rows");
    x = t->data;
    for (size_t c = 0; c < WIDTH; c++) {
        double mean = 0;
        for (size_t r = 0; r < WIDTH; r++) mean += (double)x[r * WIDTH + c] / WIDTH;
        for (size_t r = WIDTH; r < KNOWN + 1; r++)
            CHECK(fabs((double)x[r * WIDTH + c] - mean) < 1e-6, "row %zu", r);
    }
    nib_tensors_close(to);
}

/* The rows are a function of the seed. */
static void test_seeds(void)
{
    static const uint64_t seeds[] = { 1, 1, 2, (uint64_t)1 << 32 };
    static float rows[NIB_COUNT(seeds)][64 * WIDTH];
    nib_ctx *ctx = test_ctx();
    nib_error err;

    REQUIRE(make_model(ctx, ROWS, 0, false) && put(ctx, "list", "<x>\n"), "no model");
    for (size_t i = 0; i < NIB_COUNT(seeds); i++) {
        nib_add_tokens_options o = { .seed = seeds[i], .overwrite = i > 0,
                                     .pad_to_multiple_of = 64 };
        nib_tensors *to;
        const nib_tensor *t;
        REQUIRE_OK(add(ctx, "list", o, NULL, &err), err);
        REQUIRE_OK(nib_tensors_open(ctx, joined("out").s, &to, &err), err);
        t = nib_tensors_find(to, "lm_head.weight");
        REQUIRE(t && t->bytes == sizeof rows[i], "64 rows");
        memcpy(rows[i], t->data, sizeof rows[i]);
        nib_tensors_close(to);
    }
    CHECK(memcmp(rows[0], rows[1], sizeof rows[0]) == 0, "one seed, two results");
    CHECK(memcmp(rows[0], rows[2], sizeof rows[0]) != 0, "seeds 1 and 2 agree");
    CHECK(memcmp(rows[2], rows[3], sizeof rows[0]) != 0 &&
              memcmp(rows[0], rows[3], sizeof rows[0]) != 0, "the seed's upper half is lost");
}

/* --- ids and files --- */

static const json_t *at(const json_t *file, const char *key, size_t i)
{
    return json_array_get(json_object_get(file, key), i);
}

static void check_encoded(nib_tokenizer *t, const char *text, uint32_t id)
{
    nib_tokens ids = { 0 };
    nib_error err;

    REQUIRE_OK(nib_tokenizer_encode(t, text, strlen(text), false, &ids, NULL, &err), err);
    CHECK(ids.count == 1 && ids.items[0].id == id, "%s: %zu tokens, the first %u", text, ids.count,
          ids.count ? ids.items[0].id : 0);
    nib_tokens_free(test_ctx(), &ids);
}

static void check_json(nib_ctx *ctx, const char *name, bool special)
{
    json_t *file;
    const json_t *token;
    nib_error err;

    REQUIRE_OK(nib_json_read(ctx, joined(name).s, NIB_JSON_BIG_NUMBERS, &file, &err), err);
    if (strstr(name, "tokenizer.json")) {
        token = at(file, "added_tokens", 1);
        CHECK(json_number_value(json_object_get(token, "id")) == KNOWN &&
                  json_is_true(json_object_get(token, "normalized")) != special &&
                  json_is_true(json_object_get(token, "special")) == special, "%s", name);
    } else if (strstr(name, "tokenizer_config")) {
        token = json_object_get(json_object_get(file, "added_tokens_decoder"), "38");
        CHECK(json_is_true(json_object_get(token, "lstrip")) &&
                  json_is_true(json_object_get(token, "special")) &&
                  json_array_size(json_object_get(file, "additional_special_tokens")) ==
                      (special ? 3 : 1), "%s", name);
    } else {
        CHECK(json_array_size(json_object_get(file, "additional_special_tokens")) ==
                  (special ? 3 : 1), "%s", name);
        token = at(file, "additional_special_tokens", special);
        CHECK(strcmp(json_string_value(json_object_get(token, "content")), "\xc3\xa9 \"q\"") == 0,
              "%s", name);
    }
    json_decref(file);
}

static void test_ids(void)
{
    static const char lines[] = "[\"<new>\", {\"content\": \"\\u00e9 \\\"q\\\"\", "
                                "\"special\": true, \"lstrip\": true}, \"a7\", \"<e>\", \"<new>\"]";
    nib_ctx *ctx = test_ctx();
    nib_error err;

    REQUIRE(make_model(ctx, ROWS, 0, false) && put(ctx, "list.json", lines), "no model");
    for (int special = 0; special < 2; special++) {
        nib_add_tokens_options o = { .special = special, .overwrite = special };
        nib_add_tokens_result r;
        nib_tokenizer *t;
        nib_tensors *to;
        json_t *config;

        REQUIRE_OK(add(ctx, "list.json", o, &r, &err), err);
        CHECK(r.added == 2 && r.marked == 1 && r.present == 1 && r.repeated == 1, "counts");
        CHECK(r.rows_after == ROWS && r.first_id == KNOWN, "spare rows are used");
        REQUIRE_OK(nib_tokenizer_open(ctx, joined("out").s, &t, &err), err);
        check_encoded(t, "<new>", KNOWN);
        check_encoded(t, "\xc3\xa9 \"q\"", KNOWN + 1);
        check_encoded(t, "a7", 7);
        check_encoded(t, "<e>", 36);
        CHECK(nib_tokenizer_is_special(t, KNOWN) == special && nib_tokenizer_is_special(t, 36),
              "special ones");
        nib_tokenizer_close(t);
        check_json(ctx, "out/tokenizer.json", special);
        check_json(ctx, "out/tokenizer_config.json", special);
        check_json(ctx, "out/special_tokens_map.json", special);
        REQUIRE_OK(nib_json_read(ctx, joined("out/config.json").s, 0, &config, &err), err);
        CHECK(json_integer_value(json_object_get(config, "vocab_size")) == ROWS, "vocab_size");
        json_decref(config);
        REQUIRE_OK(nib_tensors_open(ctx, joined("out").s, &to, &err), err);
        CHECK(nib_tensors_find(to, "lm_head.weight")->shape[0] == ROWS, "rows");
        nib_tensors_close(to);
        CHECK(nib_file_exists(joined("out/LICENSE").s), "LICENSE is not copied");
    }
}

/* Ids follow on those that the class of the tokenizer gives, which tokenizer.json gets too. */
static void test_class(void)
{
    nib_ctx *ctx = test_ctx();
    nib_add_tokens_result r;
    nib_tokenizer *before, *after;
    json_t *file;
    nib_error err;

    REQUIRE(make_model(ctx, ROWS, 0, false) && put(ctx, "list", "<x>\r\n<y>"), "no model");
    REQUIRE(put(ctx, "model/tokenizer_config.json",
                "{\"tokenizer_class\": \"LlamaTokenizerFast\"}"));
    REQUIRE_OK(nib_tokenizer_open(ctx, joined("model").s, &before, &err), err);
    REQUIRE(nib_tokenizer_size(before) > KNOWN, "the class has no token of its own");
    REQUIRE_OK(add(ctx, "list", (nib_add_tokens_options){ 0 }, &r, &err), err);
    CHECK(r.first_id == nib_tokenizer_size(before), "ids from %d", (int)r.first_id);
    REQUIRE_OK(nib_tokenizer_open(ctx, joined("out").s, &after, &err), err);
    CHECK(nib_tokenizer_size(after) == r.first_id + 2, "%zu tokens", nib_tokenizer_size(after));
    for (uint32_t id = 0; id < r.first_id; id++)
        CHECK(!strcmp(nib_tokenizer_token(before, id), nib_tokenizer_token(after, id)) &&
                  nib_tokenizer_is_special(before, id) == nib_tokenizer_is_special(after, id),
              "token %u is another", id);
    check_encoded(after, "<x>", (uint32_t)r.first_id);
    check_encoded(after, "<y>", (uint32_t)r.first_id + 1);
    REQUIRE_OK(nib_json_read(ctx, joined("out/tokenizer.json").s, 0, &file, &err), err);
    CHECK(json_array_size(json_object_get(file, "added_tokens")) == r.first_id - KNOWN + 3,
          "%zu added tokens", json_array_size(json_object_get(file, "added_tokens")));
    json_decref(file);
    nib_tokenizer_close(before);
    nib_tokenizer_close(after);
}

/* All of a directory but what would contradict the new weights. */
static void test_copies(void)
{
    static const struct { const char *name; bool copied; } files[] = {
        { "README.md", true }, { "1_Pooling/config.json", true }, { "1_Pooling/x.bin", true },
        { "additional_chat_templates/rag.jinja", true }, { "merges.txt", true },
        { ".hidden", false }, { "tf_model.h5", false }, { "pytorch_model.bin", false },
        { "onnx/model.onnx", false }, { "model.safetensors.index.json", false },
    };
    static const char *const folders[] = { "model/1_Pooling", "model/onnx",
                                           "model/additional_chat_templates" };
    nib_ctx *ctx = test_ctx();
    char name[100];
    nib_error err;

    REQUIRE(make_model(ctx, ROWS, 0, false) && put(ctx, "list", "<x>\n"), "no model");
    for (size_t i = 0; i < NIB_COUNT(folders); i++)
        REQUIRE(mkdir(joined(folders[i]).s, 0777) == 0);
    for (size_t i = 0; i < NIB_COUNT(files); i++) {
        snprintf(name, sizeof name, "model/%s", files[i].name);
        REQUIRE(put(ctx, name, "{}"), "%s", name);
    }
    REQUIRE_OK(add(ctx, "list", (nib_add_tokens_options){ 0 }, NULL, &err), err);
    for (size_t i = 0; i < NIB_COUNT(files); i++) {
        snprintf(name, sizeof name, "out/%s", files[i].name);
        CHECK(nib_file_exists(joined(name).s) == files[i].copied, "%s", name);
    }
}

/* --- what is refused --- */

static void refuse(nib_ctx *ctx, const char *list, nib_add_tokens_options o, nib_status want,
                   const char *part)
{
    nib_error err = { 0 };
    nib_status got = add(ctx, list, o, NULL, &err);

    CHECK(got == want && strstr(err.message, part), "%s: %d '%s', expected '%s'", list, got,
          err.message, part);
    CHECK(!nib_file_exists(joined("out").s), "%s: something is written", list);
}

static void test_lists(void)
{
    static const struct { const char *name, *text; nib_status want; const char *part; } bad[] = {
        { "a", "", NIB_E_INVALID, "has no token" },
        { "a", "x\n\ny\n", NIB_E_INVALID, "a: line 2 is empty" },
        { "a", "x\n\xff\n", NIB_E_FORMAT, "a: line 2 is no UTF-8" },
        { "b.json", "[]", NIB_E_INVALID, "has no token" },
        { "b.json", "{\"a\": 1}", NIB_E_FORMAT, "expected a list" },
        { "b.json", "[\"x\", 3]", NIB_E_FORMAT, "token 2: neither a text nor an object" },
        { "b.json", "[\"x\", null]", NIB_E_FORMAT, "token 2: neither a text nor an object" },
        { "b.json", "[\"\"]", NIB_E_INVALID, "token 1: is empty" },
        { "b.json", "[{\"content\": null}]", NIB_E_INVALID, "content is missing" },
        { "b.json", "[{\"content\": \"x\", \"id\": 3}]", NIB_E_FORMAT, "ids follow from" },
        { "b.json", "[{\"content\": \"x\", \"lstrip\": 1}]", NIB_E_FORMAT, "lstrip" },
        { "c.jsonl", "\"x\"\n\n{\"content\": }\n", NIB_E_FORMAT, "c.jsonl: line 3" },
    };
    nib_ctx *ctx = test_ctx();

    REQUIRE(make_model(ctx, ROWS, 0, false), "no model");
    for (size_t i = 0; i < NIB_COUNT(bad); i++) {
        REQUIRE(put(ctx, bad[i].name, bad[i].text));
        refuse(ctx, bad[i].name, (nib_add_tokens_options){ 0 }, bad[i].want, bad[i].part);
    }
    refuse(ctx, "nowhere", (nib_add_tokens_options){ 0 }, NIB_E_IO, "nowhere");
    REQUIRE(put(ctx, "list", "<x>\n"));
    refuse(ctx, "list", (nib_add_tokens_options){ .pad_to_multiple_of = (uint64_t)1 << 40 },
           NIB_E_INVALID, "pad_to_multiple_of");
}

static void test_models(void)
{
    nib_ctx *ctx = test_ctx();
    path model = joined("model"), tokens = joined("list");
    nib_add_tokens_options same = { .model = model.s, .out = model.s, .tokens = tokens.s,
                                    .overwrite = true };
    nib_error err = { 0 };

    REQUIRE(make_model(ctx, ROWS, 0, true) && put(ctx, "list", "<x>\n"), "no model");
    refuse(ctx, "list", (nib_add_tokens_options){ 0 }, NIB_E_UNSUPPORTED,
           "lm_head.weight has dtype U8");
    CHECK(nib_add_tokens(ctx, &same, NULL, &err) == NIB_E_INVALID, "%s", err.message);
    REQUIRE(unlink(joined("model/tokenizer.json").s) == 0);
    refuse(ctx, "list", (nib_add_tokens_options){ 0 }, NIB_E_IO, "no tokenizer.json");
}

/* A table of words that no module reads would be left behind. */
static void test_other_tables(void)
{
    nib_tensor_plan plan = { .name = "score.weight", .dtype = NIB_F32, .rank = 2,
                             .shape = { ROWS, WIDTH } };
    nib_ctx *ctx = test_ctx();
    static float values[ROWS * WIDTH];
    nib_tensor_writer *w;
    nib_error err;

    REQUIRE(make_model(ctx, ROWS, 1, false) && put(ctx, "list", "<x>\n<y>\n<z>\n<t>\n"));
    REQUIRE_OK(nib_tensor_writer_create(ctx, joined("model").s, "odd", &plan, 1, 0, &w, &err), err);
    REQUIRE_OK(nib_tensor_writer_put(w, values, sizeof values, &err), err);
    REQUIRE_OK(nib_tensor_writer_commit(w, &err), err);
    REQUIRE(put(ctx, "model/model.safetensors.index.json",
                "{\"metadata\": {}, \"weight_map\": {\"model.embed_tokens.weight\": "
                "\"model-00001-of-00003.safetensors\", \"model.norm.weight\": "
                "\"model-00002-of-00003.safetensors\", \"lm_head.weight\": "
                "\"model-00003-of-00003.safetensors\", \"score.weight\": \"odd.safetensors\"}}"));
    refuse(ctx, "list", (nib_add_tokens_options){ 0 }, NIB_E_UNSUPPORTED, "score.weight");
}

static void test_memory(void)
{
    test_heap heap = { 0 };
    nib_ctx *ctx = test_ctx_heap(&heap);
    size_t calls;
    nib_error err;

    REQUIRE(make_model(ctx, ROWS, 0, false) && put(ctx, "list", "<w>\n<x>\n<y>\n<z>\n"));
    calls = heap.calls;
    REQUIRE_OK(add(ctx, "list", (nib_add_tokens_options){ 0 }, NULL, &err), err);
    calls = heap.calls - calls;
    REQUIRE_OK(nib_tree_remove(ctx, joined("out").s, &err), err);
    for (size_t i = 1; i < calls; i += 1 + calls / 97) {
        nib_status got;
        heap.fail_at = heap.calls + i;
        got = add(ctx, "list", (nib_add_tokens_options){ 0 }, NULL, &err);
        heap.fail_at = 0;
        CHECK(got == NIB_E_NOMEM || !got, "allocation %zu of %zu: %d %s", i, calls, got,
              err.message);
        if (!got) REQUIRE_OK(nib_tree_remove(ctx, joined("out").s, &err), err);
        CHECK(!nib_file_exists(joined("out").s), "allocation %zu: something is written", i);
    }
    test_ctx_release(ctx);
}

int main(void)
{
    static const test_case cases[] = {
        { "rows", test_rows },     { "few_rows", test_few_rows },
        { "seeds", test_seeds },   { "ids", test_ids },
        { "class", test_class },   { "copies", test_copies },
        { "lists", test_lists },   { "models", test_models },
        { "memory", test_memory }, { "other_tables", test_other_tables },
    };
    return test_main("add_tokens", cases, NIB_COUNT(cases));
}
