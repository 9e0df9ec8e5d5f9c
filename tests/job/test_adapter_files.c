/* test_adapter_files.c - the forms of adapter files that PEFT 0.21.2 writes and reads: the logits
 * are its own (tests/golden/make/adapter_files_golden.py), with the adapter and merged. */
#include "logits.h"
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "adapter/adapter.h"
#include "base/filemap.h"
#include "base/outfile.h"
#include "nibble/merge.h"
#include "nibble/quantize.h"

enum { VOCABULARY = 32, TOKENS = 12 };
static const char top[] = "tests/golden/adapter-files";

typedef struct path { char s[600]; } path;

static path joined(const char *dir, const char *name)
{
    path p;
    if ((size_t)snprintf(p.s, sizeof p.s, "%s/%s", dir, name) >= sizeof p.s) abort();
    return p;
}

static path golden(const char *name) { return joined(test_data(top), name); }

static nib_status open_model(nib_ctx *ctx, const char *dir, nib_model **out, nib_error *err)
{
    nib_model_options o = { .model = dir };
    return nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, out, err);
}

/* Are the model's logits, with the adapter or (NULL) without, those that the golden file has? */
static void check_logits(nib_ctx *ctx, const char *dir, const char *adapter, const char *name)
{
    float got[TOKENS * VOCABULARY];
    char key[64];
    nib_tensors *expected = NULL;
    nib_model *m = NULL;
    nib_adapter *a = NULL;
    nib_error err;
    bool good = !nib_tensors_open(ctx, golden("expected.safetensors").s, &expected, &err) &&
                !open_model(ctx, dir, &m, &err) &&
                (!adapter || !nib_adapter_open(m, adapter, 0, false, &a, &err));

    CHECK(good, "%s: %s", name, err.message);
    snprintf(key, sizeof key, "%s.logits", name);
    if (good && test_compute(m, nib_tensors_find(expected, "ids")->data, TOKENS, got)) {
        const float *want = nib_tensors_find(expected, key)->data;
        double worst = 0;
        for (size_t i = 0; i < NIB_COUNT(got); i++) {
            double d = fabs((double)got[i] - (double)want[i]);
            if (!(d <= worst)) worst = d;
        }
        CHECK(worst <= 1e-5, "%s: logits differ by %g", name, worst);
    }
    nib_adapter_close(a);
    nib_model_close(m);
    nib_tensors_close(expected);
}

static const struct { const char *base, *name; } forms[] = {
    { "base", "default-keys" }, { "base", "saved-twice" }, { "base", "mica" },
    { "tied", "tied-targets" }, { "tied", "tied-head" },   { "tied", "tied-saved" },
    { "conv", "conv-saved" },
};

static void test_forms(void)
{
    for (size_t i = 0; i < NIB_COUNT(forms); i++) {
        nib_ctx *ctx = test_ctx();
        path base = golden(forms[i].base), adapter = golden(forms[i].name);
        path out = joined(test_tmpdir(), forms[i].name);
        nib_merge_options o = { .model = base.s, .adapter = adapter.s, .out = out.s,
                                .dtype = "float32" };
        nib_error err;

        check_logits(ctx, base.s, adapter.s, forms[i].name);
        CHECK(nib_ctx_warning_count(ctx) == 0, "%s: %s", forms[i].name,
              nib_ctx_warning(ctx, 0).text);
        REQUIRE_OK(nib_merge(ctx, &o, &err), err);
        check_logits(ctx, out.s, NULL, forms[i].name);
    }
}

/* Read and written, a Conv1D that is saved whole lies in the file as it did: [in, out], the square
 * one too. */
static void test_saved_again(void)
{
    nib_ctx *ctx = test_ctx();
    nib_model *m = NULL;
    nib_adapter *a = NULL;
    nib_tensors *was = NULL, *is = NULL;
    nib_error err;

    REQUIRE_OK(open_model(ctx, golden("conv").s, &m, &err), err);
    REQUIRE_OK(nib_adapter_open(m, golden("conv-saved").s, 0, true, &a, &err), err);
    REQUIRE_OK(nib_adapter_save(a, test_tmpdir(), NULL, &err), err);
    REQUIRE_OK(nib_tensors_open(ctx, golden("conv-saved/adapter_model.safetensors").s, &was, &err),
               err);
    REQUIRE_OK(nib_tensors_open(ctx, joined(test_tmpdir(), "adapter_model.safetensors").s, &is,
                                &err), err);
    CHECK(nib_tensors_count(was) == nib_tensors_count(is), "%zu tensors, expected %zu",
          nib_tensors_count(is), nib_tensors_count(was));
    for (size_t i = 0; i < nib_tensors_count(was); i++) {
        const nib_tensor *t = nib_tensors_at(was, i), *u = nib_tensors_find(is, t->name);
        CHECK(u && u->rank == t->rank && memcmp(u->shape, t->shape, sizeof t->shape) == 0 &&
                  memcmp(u->data, t->data, t->elements * sizeof(float)) == 0,
              "%s is another", t->name);
    }
    nib_tensors_close(was);
    nib_tensors_close(is);
    nib_adapter_close(a);
    nib_model_close(m);
}

/* Weights and an adapter in PyTorch's files, whole and in shards; quantized from one, they are the
 * bytes that are made of the safetensors file. */
static void test_pytorch(void)
{
    nib_ctx *ctx = test_ctx();
    path bin = golden("bin"), base = golden("base");
    const char *from[] = { bin.s, base.s };
    char *bytes[2];
    size_t count[2];
    nib_error err;

    check_logits(ctx, bin.s, NULL, "base");
    check_logits(ctx, golden("bin-shards").s, NULL, "bin-shards");
    check_logits(ctx, bin.s, golden("bin-adapter").s, "mica");
    check_logits(ctx, bin.s, golden("bin-zip64").s, "mica");
    for (int i = 0; i < 2; i++) {
        path out = joined(test_tmpdir(), i ? "b" : "a");
        nib_quantize_options q = { .model = from[i], .out = out.s, .settings = test_four_bit };
        REQUIRE_OK(nib_quantize(ctx, &q, NULL, &err), err);
        REQUIRE_OK(nib_file_read(ctx, joined(out.s, "model.safetensors").s, 1 << 20, &bytes[i],
                                 &count[i], &err), err);
    }
    CHECK(count[0] == count[1] && memcmp(bytes[0], bytes[1], count[0]) == 0,
          "quantized files differ");
    nib_free(ctx, bytes[0]);
    nib_free(ctx, bytes[1]);
}

static void check_refused(const char *base, const char *adapter, bool train, nib_status want,
                          const char *said)
{
    nib_ctx *ctx = test_ctx();
    nib_model *m = NULL;
    nib_adapter *a = NULL;
    nib_error err = { 0 };

    REQUIRE_OK(open_model(ctx, golden(base).s, &m, &err), err);
    CHECK(nib_adapter_open(m, adapter, 0, train, &a, &err) == want && strstr(err.message, said),
          "%s: %s", adapter, err.message);
    nib_adapter_close(a);
    nib_model_close(m);
}

/* A copy of `from` in which each `find` of adapter_model.safetensors is `put`, as long. */
static path edited(const char *from, const char *find, const char *put)
{
    static const char *const files[] = { "adapter_config.json", "adapter_model.safetensors" };
    path dir = { 0 };
    nib_ctx *ctx = test_ctx();

    snprintf(dir.s, sizeof dir.s, "%s", test_tmpdir());
    for (size_t i = 0; i < NIB_COUNT(files); i++) {
        path file = joined(golden(from).s, files[i]);
        char *text, *at;
        size_t bytes, changed = 0;
        nib_error err;

        if (nib_file_read(ctx, file.s, 1 << 20, &text, &bytes, &err)) abort();
        at = i == 1 ? text : NULL;
        while (at && (at = memmem(at, bytes - (size_t)(at - text), find, strlen(find)))) {
            memcpy(at, put, strlen(put));
            changed++;
        }
        CHECK(i == 0 || changed, "%s is not in %s", find, file.s);
        if (nib_outfile_replace(ctx, joined(dir.s, files[i]).s, text, bytes, &err)) abort();
        nib_free(ctx, text);
    }
    return dir;
}

static void test_refusals(void)
{
    check_refused("tied", golden("tied-targets").s, true, NIB_E_UNSUPPORTED, "ensure_weight_tying");
    check_refused("tied", golden("tied-saved").s, true, NIB_E_UNSUPPORTED, "ensure_weight_tying");
    /* the name of another adapter than PEFT's "default" is none of this file's */
    check_refused("base", edited("default-keys", ".default.", ".another.").s, false,
                  NIB_E_MISMATCH, "lora_A.weight is missing");
    /* what is stored beside a module that is not saved whole */
    check_refused("base", edited("saved-twice", "lm_head.original_", "lm_tail.original_").s, false,
                  NIB_E_MISMATCH, "lm_tail.original_module.weight belongs to no module");
}

int main(void)
{
    static const test_case cases[] = { { "forms", test_forms },
                                       { "saved again", test_saved_again },
                                       { "pytorch", test_pytorch },
                                       { "refusals", test_refusals } };
    return test_main("adapter_files", cases, NIB_COUNT(cases));
}
