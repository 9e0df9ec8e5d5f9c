/* test_embed.c - embeddings against sentence-transformers, from directories of today's and the
 * older layout and from a bare model; the files they are written to; what is refused.
 *
 * tests/golden/embeddings/ holds the models, the texts and the numbers
 * (tests/golden/make/embeddings.py). */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/filemap.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "nibble/embed.h"
#include "test.h"

static const char *golden(const char *name)
{
    static char path[4][600];
    static int next;
    char *p = path[next++ % 4];

    snprintf(p, 600, "%s/%s", test_data("tests/golden/embeddings"), name);
    return p;
}

static const char *inside(const char *name)
{
    static char path[4][700];
    static int next;
    char *p = path[next++ % 4];

    snprintf(p, 700, "%s/%s", test_tmpdir(), name);
    return p;
}

static nib_embed_options options_for(const char *model)
{
    nib_embed_options o = { .model = { .model = golden(model),
                                       .compute_dtype = NIB_COMPUTE_FLOAT32 },
                            .data = { .data = golden("texts.jsonl") }, .batch_size = 4 };
    return o;
}

static void compare(const nib_tensors *got, const nib_tensors *all, const char *name)
{
    const nib_tensor *a = nib_tensors_find(got, "embeddings"), *b = nib_tensors_find(all, name);
    double worst = 0;

    REQUIRE(a && b, "%s: no embeddings", name);
    REQUIRE(a->rank == 2 && a->shape[0] == b->shape[0] && a->shape[1] == b->shape[1],
            "%s: [%d, %d]", name, (int)a->shape[0], (int)a->shape[1]);
    for (size_t i = 0; i < a->elements; i++) {
        double d = fabs((double)((const float *)a->data)[i] - (double)((const float *)b->data)[i]);
        if (!(d <= worst)) worst = d;
    }
    CHECK(worst <= 1e-5, "%s: differs by %g", name, worst);
}

static void check_case(nib_ctx *ctx, const nib_tensors *all, nib_embed_options o, const char *name)
{
    nib_tensors *got;
    nib_embed_result r;
    nib_error err;

    o.out = inside("e.safetensors");
    o.overwrite = true;
    REQUIRE_OK(nib_embed_texts(ctx, &o, &r, &err), err);
    CHECK(r.texts == 6, "%s: %d texts", name, (int)r.texts);
    REQUIRE_OK(nib_tensors_open(ctx, o.out, &got, &err), err);
    compare(got, all, name);
    nib_tensors_close(got);
}

static void test_reference(void)
{
    static const char *const models[] = { "bare", "decoder", "mpnet" };
    static const char *const modes[] = { "cls", "max", "mean", "mean_sqrt_len_tokens",
                                         "weightedmean", "lasttoken" };
    nib_ctx *ctx = test_ctx();
    nib_embed_options o = options_for("new");
    nib_tensors *all;
    nib_error err;

    REQUIRE_OK(nib_tensors_open(ctx, golden("expected.safetensors"), &all, &err), err);
    check_case(ctx, all, o, "new"); /* with the prompt that is the default */
    o.prompt_name = "query";
    check_case(ctx, all, o, "new.query");
    o.prompt_name = NULL;
    o.prompt = "";
    check_case(ctx, all, o, "new.plain");
    o.prompt = NULL;
    o.truncate_dim = 20;
    check_case(ctx, all, o, "new.20");
    check_case(ctx, all, options_for("old"), "old");
    o = options_for("old");
    o.prompt_name = "query";
    check_case(ctx, all, o, "old.query");
    check_case(ctx, all, options_for("dense"), "dense"); /* behind the pooling */
    o = options_for("dense");
    o.truncate_dim = 7;
    check_case(ctx, all, o, "dense.7");
    for (size_t m = 0; m < NIB_COUNT(models); m++) {
        check_case(ctx, all, options_for(models[m]), models[m]);
        for (size_t i = 0; i < NIB_COUNT(modes); i++) {
            char name[64];
            o = options_for(models[m]);
            o.pooling = modes[i];
            snprintf(name, sizeof name, "%s.%s", models[m], modes[i]);
            check_case(ctx, all, o, name);
        }
    }
    nib_tensors_close(all);
}

/* As Qwen3-Embedding is used: a causal model's files, the end token that the template appends, and
 * its row pooled; the text that is last in an instruction stays a part of it. */
static void test_decoder(void)
{
    nib_ctx *ctx = test_ctx();
    nib_embed_options o = options_for("qwen");
    nib_tensors *all;
    nib_error err;

    REQUIRE_OK(nib_tensors_open(ctx, golden("qwen/expected.safetensors"), &all, &err), err);
    check_case(ctx, all, o, "plain");
    o.prompt_name = "query";
    check_case(ctx, all, o, "query");
    nib_tensors_close(all);
}

typedef struct lines { float first[6]; size_t count, wrong; } lines;

static void on_line(void *user, const char *line, size_t bytes)
{
    lines *l = user;
    json_t *j = json_loadb(line, bytes, 0, NULL);
    const json_t *numbers = json_object_get(j, "embedding");

    l->wrong += json_array_size(numbers) != 32;
    if (l->count < 6) l->first[l->count++] = (float)json_number_value(json_array_get(numbers, 0));
    json_decref(j);
}

/* The same numbers in every form; a .txt gives the same as records. */
static void test_files(void)
{
    static const char text[] = "The chain of a bicycle\n\noil\r\na query is a passage of the wheel";
    nib_ctx *ctx = test_ctx();
    nib_embed_options o = options_for("bare");
    nib_embed_result r;
    nib_filemap npy;
    lines l = { .count = 0 }, plain = { .count = 0 };
    nib_error err;
    FILE *f = fopen(inside("t.txt"), "w");

    REQUIRE(f && fwrite(text, 1, sizeof text - 1, f) == sizeof text - 1 && !fclose(f), "t.txt");
    o.on_line = on_line;
    o.user = &l;
    REQUIRE_OK(nib_embed_texts(ctx, &o, &r, &err), err);
    CHECK(l.count == 6 && !l.wrong && r.width == 32, "%zu lines", l.count);
    o.out = inside("e.npy");
    REQUIRE_OK(nib_embed_texts(ctx, &o, &r, &err), err);
    REQUIRE_OK(nib_filemap_open(o.out, &npy, &err), err);
    REQUIRE(npy.bytes == 128 + 6 * 32 * sizeof(float), "%zu bytes", npy.bytes);
    CHECK(memcmp(npy.base, "\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, "
                 "'shape': (6, 32), }", 68) == 0 && npy.base[127] == '\n', "the header");
    for (size_t i = 0; i < 6; i++) {
        float x;
        memcpy(&x, npy.base + 128 + i * 32 * sizeof x, sizeof x);
        CHECK(x == l.first[i], "text %zu: %g and %g", i, (double)x, (double)l.first[i]);
    }
    nib_filemap_close(&npy);
    o.out = NULL;
    o.data.data = inside("t.txt");
    o.user = &plain;
    REQUIRE_OK(nib_embed_texts(ctx, &o, &r, &err), err);
    CHECK(plain.count == 3, "%zu lines", plain.count);
    CHECK(fabsf(plain.first[1] - l.first[1]) < 1e-6f && fabsf(plain.first[2] - l.first[5]) < 1e-6f,
          "lines of a .txt");
}

static void refused(nib_embed_options o, nib_status status, const char *what)
{
    nib_embed_result r;
    nib_error err = { 0 };
    nib_status got = nib_embed_texts(test_ctx(), &o, &r, &err);

    CHECK(got == status && strstr(err.message, what), "status %d, '%s', expected '%s'", (int)got,
          err.message, what);
}

static const char *file_with(const char *name, const char *content)
{
    const char *path = inside(name);
    FILE *f = fopen(path, "w");

    if (f) fputs(content, f), fclose(f);
    return path;
}

/* A Dense module of these keys. */
static void refuse_dense(const char *keys, const char *what)
{
    nib_embed_options o = options_for("bare");
    char text[300];

    snprintf(text, sizeof text, "{%s}", keys);
    mkdir(inside("2_Dense"), 0777);
    file_with("2_Dense/config.json", text);
    file_with("modules.json", "[{\"type\": \"x.Transformer\", \"path\": \"\"}, "
                              "{\"type\": \"x.Pooling\", \"path\": \"\"}, "
                              "{\"type\": \"x.Dense\", \"path\": \"2_Dense\"}]");
    o.model.model = test_tmpdir();
    refused(o, strstr(what, "missing") ? NIB_E_FORMAT : NIB_E_UNSUPPORTED, what);
}

/* Behind a pooling of other rows than the module was made for. */
static void test_dense_width(void)
{
    nib_embed_options o = options_for("dense");

    o.pooling = "mean";
    refused(o, NIB_E_MISMATCH, "2_Dense: in_features is 64, but it gets 32 numbers");
}

static void test_refusals(void)
{
    nib_embed_options o = options_for("new");

    o.out = "e.csv";
    refused(o, NIB_E_INVALID, "end in .safetensors, .npy or .jsonl");
    o.out = file_with("there.npy", "kept");
    refused(o, NIB_E_INVALID, "there.npy is there already; --overwrite replaces it");
    o = options_for("new");
    o.prompt_name = "passage";
    refused(o, NIB_E_INVALID, "there is no prompt 'passage', known are: ");
    o = options_for("new");
    o.truncate_dim = 33;
    refused(o, NIB_E_INVALID, "truncate_dim: 33, an embedding has 32 numbers");
    o = options_for("bare");
    o.pooling = "cls,average";
    refused(o, NIB_E_INVALID, "pooling 'average' is not known, known are cls, max");
    o.pooling = "cls,cls";
    refused(o, NIB_E_INVALID, "pooling cls is named twice");
    o = options_for("bare");
    o.data.data = file_with("pairs.jsonl", "{\"sentence1\": \"a\", \"sentence2\": \"b\"}\n");
    refused(o, NIB_E_FORMAT,
            "its fields are 'sentence1', 'sentence2'; expected text (or sentence)");
    file_with("modules.json", "[{\"type\": \"x.Transformer\", \"path\": \"\"}, "
                              "{\"type\": \"x.WordWeights\", \"path\": \"1\"}]");
    o = options_for("bare");
    o.model.model = test_tmpdir();
    refused(o, NIB_E_UNSUPPORTED, "module 1 is 'x.WordWeights', known are Transformer");
    file_with("modules.json", "[{\"type\": \"x.Transformer\", \"path\": \"\"}, "
                              "{\"type\": \"x.Pooling\", \"path\": \"\"}, "
                              "{\"type\": \"x.LayerNorm\", \"path\": \"2\"}]");
    file_with("config.json", "{}");
    refused(o, NIB_E_UNSUPPORTED, "module 2 is 'x.LayerNorm', known are Transformer, Pooling, any "
                                  "number of Dense, and Normalize");
    refuse_dense("\"out_features\": 4", "in_features or out_features is missing");
    refuse_dense("\"in_features\": 4, \"out_features\": 4, \"activation_function\": \"x.Softplus\"",
                 "activation_function is 'x.Softplus', known are Identity, Tanh");
    refuse_dense("\"in_features\": 4, \"out_features\": 4, \"module_input_name\": \"tokens\"",
                 "module_input_name is 'tokens'");
    file_with("modules.json", "[{\"type\": \"x.Transformer\", \"path\": \"../up\"}]");
    refused(o, NIB_E_INVALID, "leaves the directory");
}

int main(void)
{
    static const test_case cases[] = { { "reference", test_reference }, { "decoder", test_decoder },
                                       { "files", test_files },
                                       { "refusals", test_refusals },
                                       { "dense_width", test_dense_width } };
    return test_main("embed", cases, NIB_COUNT(cases));
}
