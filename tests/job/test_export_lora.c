/* test_export_lora.c - an adapter alone as a LoRA GGUF: what llama.cpp makes of the file, W plus
 * alpha / R times B A of each pair, is the model that export writes with the adapter, of families
 * whose rows are in another order, of experts, of embeddings, of scales that the form has no key
 * for; what it has no place for is refused by name. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/filemap.h"
#include "format/gguf.h"
#include "format/safetensors.h"
#include "nibble/export.h"
#include "test.h"

typedef struct path { char s[600]; } path;

static path in_tmp(const char *name)
{
    path p;
    snprintf(p.s, sizeof p.s, "%s/%s", test_tmpdir(), name);
    return p;
}

static path golden(const char *name)
{
    path p;
    snprintf(p.s, sizeof p.s, "%s/%s", test_data("tests/golden"), name);
    return p;
}

/* A copy of an adapter with one text of its config for another. */
static path edited(nib_ctx *ctx, const char *adapter, const char *from, const char *to)
{
    path dir = in_tmp("edited"), file = in_tmp("edited/adapter_config.json");
    char command[1500], *text = NULL, *at;
    size_t bytes;
    nib_error err;
    FILE *f;

    snprintf(command, sizeof command, "rm -rf %s && cp -r %s %s", dir.s, adapter, dir.s);
    if (system(command) || nib_file_read(ctx, file.s, 1 << 20, &text, &bytes, &err)) abort();
    at = strstr(text, from);
    f = at ? fopen(file.s, "wb") : NULL;
    if (!f) abort();
    fprintf(f, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    fclose(f);
    nib_free(ctx, text);
    return dir;
}

static nib_status export(nib_ctx *ctx, const char *model, const char *adapter, const char *base,
                         const char *type, const char *out, nib_export_result *r, nib_error *err)
{
    nib_export_options o = { .model = model, .adapter = adapter, .base = base, .out = out,
                             .quantize = type, .overwrite = true };

    return nib_export(ctx, &o, r, err);
}

static float value_at(const nib_tensor *t, size_t i)
{
    float v;
    memcpy(&v, (const uint8_t *)t->data + 4 * i, sizeof v);
    return v;
}

/* merged = plain + alpha / R * B A, of one matrix; of the embedding the pair is [V, R], [D, R]. */
static void check_matrix(const char *name, const nib_tensor *plain, const nib_tensor *merged,
                         const nib_tensor *a, const nib_tensor *b, float alpha)
{
    bool embedding = strcmp(plain->name, "token_embd.weight") == 0;
    size_t out = (size_t)plain->shape[0], in = (size_t)plain->shape[1];
    size_t rank = (size_t)(b ? b->shape[1] : 0);
    double worst = 0, most = 0;

    if (b && embedding)
        REQUIRE(a->shape[0] == out && a->shape[1] == rank && b->shape[0] == in, "%s", name);
    else if (b) REQUIRE(a->shape[0] == rank && a->shape[1] == in && b->shape[0] == out, "%s", name);
    for (size_t i = 0; i < out * in; i++) {
        double sum = 0;
        for (size_t k = 0; k < rank; k++)
            sum += embedding ? (double)value_at(a, i / in * rank + k) *
                                   (double)value_at(b, i % in * rank + k)
                             : (double)value_at(b, i / in * rank + k) *
                                   (double)value_at(a, k * in + i % in);
        if (rank) sum *= (double)alpha / (double)rank;
        sum += (double)value_at(plain, i);
        worst = fmax(worst, fabs(sum - (double)value_at(merged, i)));
        most = fmax(most, fabs(sum - (double)value_at(plain, i)));
    }
    CHECK(worst <= 1e-6, "%s, %s: differs by %g", name, plain->name, worst);
    CHECK(!b || most > 1e-3, "%s, %s: nothing is added", name, plain->name);
}

/* Slice i of a tensor of experts as a matrix. */
static nib_tensor slice_of(const nib_tensor *t, size_t i)
{
    nib_tensor one = *t;

    if (t->rank != 3) return one;
    one.rank = 2;
    one.shape[0] = t->shape[1];
    one.shape[1] = t->shape[2];
    one.bytes = t->bytes / t->shape[0];
    one.data = (const uint8_t *)t->data + i * one.bytes;
    return one;
}

static void check_experts(const char *name, const nib_tensor *plain, const nib_tensor *merged,
                          const nib_tensor *a, const nib_tensor *b, float alpha)
{
    for (size_t i = 0; i < plain->shape[0]; i++) {
        nib_tensor p = slice_of(plain, i), m = slice_of(merged, i), la, lb;
        if (!b) {
            check_matrix(name, &p, &m, NULL, NULL, alpha);
            continue;
        }
        REQUIRE(a->rank == 3 && b->rank == 3 && a->shape[0] == plain->shape[0] &&
                b->shape[0] == plain->shape[0], "%s", plain->name);
        la = slice_of(a, i);
        lb = slice_of(b, i);
        check_matrix(name, &p, &m, &la, &lb, alpha);
    }
}

static void check_files(nib_ctx *ctx, const char *name, const char *plain, const char *merged,
                        const char *lora, size_t pairs)
{
    nib_tensors *p = NULL, *m = NULL, *l = NULL;
    nib_error err;
    double alpha = 0;
    size_t found = 0;

    REQUIRE_OK(nib_tensors_open(ctx, plain, &p, &err), err);
    REQUIRE_OK(nib_tensors_open(ctx, merged, &m, &err), err);
    REQUIRE_OK(nib_tensors_open(ctx, lora, &l, &err), err);
    nib_gguf_number(nib_gguf_find(nib_tensors_gguf(l), "adapter.lora.alpha"), 0, &alpha);
    for (size_t i = 0; i < nib_tensors_count(p); i++) {
        const nib_tensor *t = nib_tensors_at(p, i), *a, *b;
        char part[200];
        snprintf(part, sizeof part, "%s.lora_a", t->name);
        a = nib_tensors_find(l, part);
        snprintf(part, sizeof part, "%s.lora_b", t->name);
        b = nib_tensors_find(l, part);
        CHECK(!a == !b, "%s: %s has one factor", name, t->name);
        found += b != NULL;
        if (t->rank == 3)
            check_experts(name, t, nib_tensors_find(m, t->name), a, b, (float)alpha);
        if (t->rank == 2)
            check_matrix(name, t, nib_tensors_find(m, t->name), a, b, (float)alpha);
    }
    CHECK(found == pairs && nib_tensors_count(l) == 2 * pairs, "%s: %zu pairs of %zu tensors, "
          "expected %zu", name, found, nib_tensors_count(l), pairs);
    nib_tensors_close(p);
    nib_tensors_close(m);
    nib_tensors_close(l);
}

static void check(nib_ctx *ctx, const char *name, const char *model, const char *adapter,
                  size_t pairs)
{
    path plain = in_tmp("plain.gguf"), merged = in_tmp("merged.gguf"), lora = in_tmp("lora.gguf");
    nib_export_result r;
    nib_error err;

    REQUIRE_OK(export(ctx, model, NULL, NULL, "F32", plain.s, &r, &err), err);
    REQUIRE_OK(export(ctx, model, adapter, NULL, "F32", merged.s, &r, &err), err);
    REQUIRE_OK(export(ctx, adapter, NULL, model, NULL, lora.s, &r, &err), err);
    CHECK(r.prompts == 5 && r.greatest_difference < 1e-5, "%s: %d prompts, %g", name, r.prompts,
          r.greatest_difference);
    check_files(ctx, name, plain.s, merged.s, lora.s, pairs);
}

static void test_families(void)
{
    static const struct { const char *name; size_t pairs; } cases[] = {
        { "llama", 14 }, { "gpt2", 8 }, { "falcon-new-1norm", 8 }, { "gpt-neox", 8 },
        { "bloom", 8 }, { "phi3", 8 }, { "granite", 14 }, { "qwen3", 14 },
    };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        char model[100], adapter[100];
        snprintf(model, sizeof model, "models/%s", cases[i].name);
        snprintf(adapter, sizeof adapter, "models/%s/adapter", cases[i].name);
        check(ctx, cases[i].name, golden(model).s, golden(adapter).s, cases[i].pairs);
    }
}

/* Experts as modules; those in tensors of all are in test_gguf.sh, which trains on them. */
static void test_experts(void)
{
    nib_ctx *ctx = test_ctx();

    check(ctx, "mixtral", golden("models/mixtral").s, golden("models/mixtral/adapter").s, 8);
    check(ctx, "qwen2-moe", golden("models/qwen2-moe").s, golden("models/qwen2-moe/adapter").s,
          12);
}

static void test_scales(void)
{
    static const char *const edits[][3] = {
        { "use_rslora", "\"use_rslora\": false", "\"use_rslora\": true" },
        { "alpha_pattern", "\"alpha_pattern\": {}",
          "\"alpha_pattern\": {\"q_proj\": 3.0, \"layers.1.mlp.down_proj\": 40.0}" },
    };
    nib_ctx *ctx = test_ctx();
    path adapter = golden("models/llama/adapter");

    for (size_t i = 0; i < NIB_COUNT(edits); i++)
        check(ctx, edits[i][0], golden("models/llama").s,
              edited(ctx, adapter.s, edits[i][1], edits[i][2]).s, 14);
}

static void test_embedding(void)
{
    nib_ctx *ctx = test_ctx();

    check(ctx, "embedding", golden("adapter-files/base").s,
          golden("adapter-files/default-keys").s, 2);
}

static void check_fails(nib_ctx *ctx, const char *model, const char *adapter, const char *base,
                        const char *type, nib_status status, const char *says)
{
    path out = in_tmp("refused.gguf");
    nib_export_result r;
    nib_error err = { 0 };
    nib_status got = export(ctx, model, adapter, base, type, out.s, &r, &err);

    CHECK(got == status && strstr(err.message, says), "%s: %d, '%s'", says, got, err.message);
    CHECK(!nib_file_exists(out.s), "%s: a file was left", says);
}

static void test_refused(void)
{
    nib_ctx *ctx = test_ctx();
    path llama = golden("models/llama"), adapter = golden("models/llama/adapter"), changed;

    check_fails(ctx, adapter.s, NULL, NULL, NULL, NIB_E_INVALID, "--base names it");
    check_fails(ctx, adapter.s, NULL, llama.s, "Q8_0", NIB_E_INVALID, "F32, F16 or BF16");
    check_fails(ctx, adapter.s, adapter.s, llama.s, NULL, NIB_E_INVALID, "--adapter another");
    check_fails(ctx, llama.s, NULL, llama.s, NULL, NIB_E_INVALID, "is no adapter");
    check_fails(ctx, golden("adapter-files/saved-twice").s, NULL, golden("adapter-files/base").s,
                NULL, NIB_E_UNSUPPORTED, "modules_to_save (embed_tokens)");
    changed = edited(ctx, adapter.s, "\"bias\": \"none\"", "\"bias\": \"all\"");
    check_fails(ctx, changed.s, NULL, llama.s, NULL, NIB_E_UNSUPPORTED, "bias has no place");
    check_fails(ctx, golden("models/qwen3-moe/adapter").s, NULL, golden("models/qwen3-moe").s, NULL,
                NIB_E_UNSUPPORTED, "mlp.gate_proj: a module that llama.cpp has not");
    check_fails(ctx, golden("adapter-files/tied-head").s, NULL, golden("adapter-files/tied").s,
                NULL, NIB_E_UNSUPPORTED, "the embedding of a model whose head it is");
}

static const test_case cases[] = {
    { "families", test_families }, { "experts", test_experts }, { "scales", test_scales },
    { "embedding", test_embedding },
    { "refused", test_refused },
};

int main(void) { return test_main("test_export_lora", cases, NIB_COUNT(cases)); }
