/* test_merge.c - merged models compute what model and adapter do: PEFT's logits for the golden
 * models, nibble's own for what changes embeddings, heads, norms and biases. */
#include "logits.h"
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "adapter/adapter.h"
#include "base/filemap.h"
#include "nibble/merge.h"
#include "nibble/quantize.h"

enum { VOCABULARY = 128, MOST_TOKENS = 64 };

typedef struct path { char s[600]; } path;

static path joined(const char *dir, const char *name)
{
    path p;
    if ((size_t)snprintf(p.s, sizeof p.s, "%s/%s", dir, name) >= sizeof p.s) abort();
    return p;
}

static path golden(const char *variant)
{
    return joined(test_data("tests/golden/models"), variant);
}

static nib_status open_model(nib_ctx *ctx, const char *dir, nib_model **out, nib_error *err)
{
    nib_model_options o = { .model = dir };
    return nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, out, err);
}

static bool compute_in(nib_ctx *ctx, const char *dir, const char *adapter, const uint32_t *ids,
                       size_t count, float *logits)
{
    nib_model *m = NULL;
    nib_adapter *a = NULL;
    nib_error err;
    bool good = !open_model(ctx, dir, &m, &err) &&
                (!adapter || !nib_adapter_open(m, adapter, 0, false, &a, &err));

    CHECK(good, "%s", err.message);
    good = good && test_compute(m, ids, count, logits);
    nib_adapter_close(a);
    nib_model_close(m);
    return good;
}

static double greatest_difference(const float *a, const float *b, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = d;
    }
    return worst;
}

static nib_status merge(nib_ctx *ctx, const char *model, const char *adapter, const char *out,
                        const char *dtype, nib_error *err)
{
    nib_merge_options o = { .model = model, .adapter = adapter, .out = out, .dtype = dtype };
    return nib_merge(ctx, &o, err);
}

/* --- against PEFT --- */

static const char *const variants[] = {
    "llama", "llama-gqa-tied", "llama-bias", "llama-rope-linear", "mistral-window",
    "qwen2", "gptj",           "falcon-7b",  "falcon-new-2norms", "falcon-rw"
};

static void check_golden(nib_ctx *ctx, const char *merged, const char *variant, const char *name)
{
    static float got[MOST_TOKENS * VOCABULARY];
    nib_tensors *expected;
    const nib_tensor *ids, *want;
    nib_error err;

    REQUIRE_OK(
        nib_tensors_open(ctx, joined(golden(variant).s, "expected.safetensors").s, &expected, &err),
        err);
    ids = nib_tensors_find(expected, "ids.0");
    want = nib_tensors_find(expected, name);
    CHECK(ids && want, "%s: no %s", variant, name);
    if (ids && want && compute_in(ctx, merged, NULL, ids->data, ids->elements, got)) {
        double worst = greatest_difference(got, want->data, ids->elements * VOCABULARY);
        CHECK(worst <= 1e-4, "%s: %s differ by %g", variant, name, worst);
    }
    nib_tensors_close(expected);
}

static void test_golden_models(void)
{
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(variants); i++) {
        path out = joined(test_tmpdir(), variants[i]), model = golden(variants[i]);
        nib_error err;
        REQUIRE_OK(merge(ctx, model.s, joined(model.s, "adapter").s, out.s, "float32", &err), err);
        check_golden(ctx, out.s, variants[i], "lora.logits.0");
    }
}

/* On the NF4 grid: quantized, then merged, each 4-bit matrix is one dense tensor. */
static void test_golden_4bit(void)
{
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(variants); i++) {
        path packed = joined(test_tmpdir(), "packed"), out = joined(test_tmpdir(), variants[i]),
             model = golden(variants[i]);
        nib_quantize_options q = { .model = model.s, .out = packed.s, .overwrite = true,
                                   .settings = test_four_bit };
        nib_tensors *tensors;
        nib_error err;

        REQUIRE_OK(nib_quantize(ctx, &q, NULL, &err), err);
        REQUIRE_OK(merge(ctx, packed.s, joined(model.s, "adapter").s, out.s, "float32", &err), err);
        check_golden(ctx, out.s, variants[i], "nf4.lora.logits.0");
        REQUIRE_OK(nib_tensors_open(ctx, out.s, &tensors, &err), err);
        for (size_t k = 0; k < nib_tensors_count(tensors); k++)
            CHECK(nib_tensors_at(tensors, k)->dtype == NIB_F32, "%s is %s",
                  nib_tensors_at(tensors, k)->name, nib_tensors_at(tensors, k)->dtype_name);
        nib_tensors_close(tensors);
    }
}

/* --- against nibble with the adapter --- */

static const struct shape {
    const char *what, *variant;
    const char *targets[3], *saved[3];
    nib_peft_bias bias;
    bool untied; /* a head of its own afterwards */
} shapes[] = {
    { "embedding", "llama-bias", { "embed_tokens", "q_proj" }, { 0 }, NIB_PEFT_BIAS_NONE, false },
    { "tied embedding", "llama-gqa-tied", { "embed_tokens", "q_proj" }, { 0 },
      NIB_PEFT_BIAS_NONE, true },
    { "tied head", "llama-gqa-tied", { "v_proj" }, { "lm_head" }, NIB_PEFT_BIAS_NONE, true },
    { "tied embedding whole", "falcon-7b", { "dense" }, { "word_embeddings" },
      NIB_PEFT_BIAS_NONE, true },
    { "head and norm whole", "llama-bias", { "o_proj" }, { "lm_head", "norm" },
      NIB_PEFT_BIAS_NONE, false },
    { "every bias", "falcon-rw", { "dense" }, { 0 }, NIB_PEFT_BIAS_ALL, false },
    { "biases of targets", "llama-bias", { "up_proj" }, { 0 }, NIB_PEFT_BIAS_LORA_ONLY, false },
    { "head of gptj", "gptj", { "fc_in" }, { "lm_head" }, NIB_PEFT_BIAS_NONE, false },
};

static size_t list_length(const char *const list[3])
{
    size_t n = 0;
    while (n < 3 && list[n]) n++;
    return n;
}

/* Writes an adapter of that shape with random values. */
static nib_status make_adapter(nib_ctx *ctx, const struct shape *s, const char *model,
                               const char *dir, nib_error *err)
{
    nib_peft_config cfg = nib_peft_config_default();
    nib_model *m = NULL;
    nib_adapter *a = NULL;
    nib_status status = open_model(ctx, model, &m, err);

    cfg.bias = s->bias;
    if (!status)
        status = nib_peft_names_set(ctx, &cfg.target_modules, NIB_PEFT_LIST, s->targets,
                                    list_length(s->targets), err);
    if (!status && s->saved[0])
        status = nib_peft_names_set(ctx, &cfg.modules_to_save, NIB_PEFT_LIST, s->saved,
                                    list_length(s->saved), err);
    if (!status) status = nib_adapter_create(m, &cfg, 0, 3, &a, err);
    if (!status) {
        for (size_t i = 0; i < a->params.count; i++)
            for (size_t k = 0; k < nib_param_count(a->params.items[i]); k++)
                a->params.items[i]->value[k] += 0.1f * test_rand_float();
        status = nib_adapter_save(a, dir, NULL, err);
    }
    nib_adapter_close(a);
    nib_peft_config_free(ctx, &cfg);
    nib_model_close(m);
    return status;
}

static void check_shape(nib_ctx *ctx, const struct shape *s)
{
    static float got[MOST_TOKENS * VOCABULARY], want[MOST_TOKENS * VOCABULARY],
        bare[MOST_TOKENS * VOCABULARY];
    path model = golden(s->variant), out = joined(test_tmpdir(), s->what),
         adapter = joined(test_tmpdir(), "adapter");
    uint32_t ids[20];
    double worst, change;
    nib_model *m;
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(ids); i++) ids[i] = test_rand() % VOCABULARY;
    mkdir(adapter.s, 0777);
    REQUIRE_OK(make_adapter(ctx, s, model.s, adapter.s, &err), err);
    REQUIRE_OK(merge(ctx, model.s, adapter.s, out.s, "float32", &err), err);
    REQUIRE(compute_in(ctx, model.s, adapter.s, ids, NIB_COUNT(ids), want));
    REQUIRE(compute_in(ctx, model.s, NULL, ids, NIB_COUNT(ids), bare));
    REQUIRE(compute_in(ctx, out.s, NULL, ids, NIB_COUNT(ids), got));
    worst = greatest_difference(got, want, NIB_COUNT(ids) * VOCABULARY);
    change = greatest_difference(bare, want, NIB_COUNT(ids) * VOCABULARY);
    CHECK(worst <= 1e-4, "%s: logits differ by %g", s->what, worst);
    CHECK(change >= 1e-2, "%s: the adapter changes logits by only %g", s->what, change);
    REQUIRE_OK(open_model(ctx, out.s, &m, &err), err);
    CHECK((nib_tensors_find(m->tensors, "lm_head.weight") != NULL) == !m->tied,
          "%s: head and config", s->what);
    if (s->untied) CHECK(!m->tied, "%s: still tied", s->what);
    nib_model_close(m);
}

static void test_shapes(void)
{
    for (size_t i = 0; i < NIB_COUNT(shapes); i++) check_shape(test_ctx(), &shapes[i]);
}

/* --- values --- */

/* Each value of a merged matrix is W + 2 B A in float, rounded once; others are the source's. */
static void test_values(void)
{
    nib_ctx *ctx = test_ctx();
    path model = golden("llama"), out = joined(test_tmpdir(), "out");
    nib_tensors *from, *with, *made;
    const nib_tensor *w, *a, *b, *got;
    size_t wrong = 0;
    nib_error err;

    REQUIRE_OK(merge(ctx, model.s, joined(model.s, "adapter").s, out.s, "bfloat16", &err), err);
    REQUIRE_OK(nib_tensors_open(ctx, model.s, &from, &err), err);
    REQUIRE_OK(
        nib_tensors_open(ctx, joined(model.s, "adapter/adapter_model.safetensors").s, &with, &err),
        err);
    REQUIRE_OK(nib_tensors_open(ctx, out.s, &made, &err), err);
    w = nib_tensors_find(from, "model.layers.1.mlp.down_proj.weight");
    a = nib_tensors_find(with, "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight");
    b = nib_tensors_find(with, "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight");
    got = nib_tensors_find(made, "model.layers.1.mlp.down_proj.weight");
    REQUIRE(w && a && b && got, "a tensor is missing");
    REQUIRE(got->dtype == NIB_BF16 && got->elements == w->elements);
    for (size_t r = 0; r < w->shape[0]; r++)
        for (size_t k = 0; k < w->shape[1]; k++) {
            float sum = 0;
            for (size_t q = 0; q < a->shape[0]; q++)
                sum += ((const float *)b->data)[r * b->shape[1] + q] *
                       ((const float *)a->data)[q * a->shape[1] + k];
            sum = ((const float *)w->data)[r * w->shape[1] + k] + 2 * sum;
            wrong += ((const uint16_t *)got->data)[r * w->shape[1] + k] != nib_f32_to_bf16(sum);
        }
    CHECK(wrong == 0, "%zu of %d values", wrong, (int)w->elements);
    CHECK(nib_tensors_count(made) == nib_tensors_count(from), "%zu tensors of %zu",
          nib_tensors_count(made), nib_tensors_count(from));
    nib_tensors_close(made);
    nib_tensors_close(with);
    nib_tensors_close(from);
}

/* --- trained on the other form --- */

static nib_status merge_told(nib_ctx *ctx, const char *model, const char *adapter, const char *out,
                             nib_merge_result *r, nib_error *err)
{
    nib_merge_options o = { .model = model, .adapter = adapter, .out = out, .overwrite = true,
                            .result = r };
    return nib_merge(ctx, &o, err);
}

/* |W - Q| / |W| of the linear `name`, from the two models as they are opened. */
static double change_between(const nib_model *dense, const nib_model *packed, const char *name)
{
    double difference = 0, norm = 0;

    for (size_t i = 0; i < dense->linear_count; i++) {
        const nib_weight *w = dense->linears[i]->weight, *q = packed->linears[i]->weight;
        static float a[64 * 256], b[64 * 256];
        if (strcmp(dense->linears[i]->name, name) != 0 || w->out * w->in > NIB_COUNT(a)) continue;
        nib_weight_decode(w, 0, w->out, a);
        nib_weight_decode(q, 0, q->out, b);
        for (size_t k = 0; k < w->out * w->in; k++) {
            difference += ((double)a[k] - (double)b[k]) * ((double)a[k] - (double)b[k]);
            norm += (double)a[k] * (double)a[k];
        }
    }
    return norm > 0 ? sqrt(difference / norm) : -1;
}

static void test_other_form(void)
{
    static const struct shape plain = { "form", "llama", { "q_proj" }, { 0 }, NIB_PEFT_BIAS_NONE,
                                        false };
    nib_ctx *ctx = test_ctx();
    path dense = golden("llama"), packed = joined(test_tmpdir(), "packed"),
         out = joined(test_tmpdir(), "out");
    path on_dense = joined(test_tmpdir(), "on-dense"),
         on_packed = joined(test_tmpdir(), "on-packed");
    nib_quantize_options q = { .model = dense.s, .out = packed.s,
                               .settings = test_four_bit_double };
    nib_model *whole = NULL, *coded = NULL;
    nib_merge_result r;
    double change;
    nib_error err;

    mkdir(on_dense.s, 0777);
    mkdir(on_packed.s, 0777);
    REQUIRE_OK(nib_quantize(ctx, &q, NULL, &err), err);
    REQUIRE_OK(make_adapter(ctx, &plain, dense.s, on_dense.s, &err), err);
    REQUIRE_OK(make_adapter(ctx, &plain, packed.s, on_packed.s, &err), err);
    REQUIRE_OK(open_model(ctx, dense.s, &whole, &err), err);
    REQUIRE_OK(open_model(ctx, packed.s, &coded, &err), err);

    REQUIRE_OK(merge_told(ctx, dense.s, on_packed.s, out.s, &r, &err), err);
    CHECK(r.other_form && !r.change_is_bound, "%s into %s", r.trained_form, r.model_form);
    CHECK(!strcmp(r.trained_form, "nf4 64 double") && !strcmp(r.model_form, "dense"), "%s into %s",
          r.trained_form, r.model_form);
    change = change_between(whole, coded, r.matrix);
    /* NF4 of normal values: some 9 % */
    CHECK(change > 0.05 && change < 0.15, "%s changes by %g", r.matrix, change);
    CHECK(fabs(r.greatest_change - change) < 1e-6, "%g, computed %g", r.greatest_change, change);
    for (size_t i = 0; i < whole->linear_count; i++)
        CHECK(change_between(whole, coded, whole->linears[i]->name) <= r.greatest_change + 1e-9,
              "%s", whole->linears[i]->name);

    REQUIRE_OK(merge_told(ctx, packed.s, on_dense.s, out.s, &r, &err), err);
    CHECK(r.other_form && r.change_is_bound && !strcmp(r.trained_form, "dense"), "%s into %s",
          r.trained_form, r.model_form);
    CHECK(r.greatest_change > change && r.greatest_change < 0.4, "at most %g, and it is %g",
          r.greatest_change, change);

    REQUIRE_OK(merge_told(ctx, packed.s, on_packed.s, out.s, &r, &err), err);
    CHECK(!r.other_form && r.greatest_change < 0, "%s into %s", r.trained_form, r.model_form);
    REQUIRE_OK(merge_told(ctx, dense.s, joined(dense.s, "adapter").s, out.s, &r, &err), err);
    CHECK(!r.other_form && !*r.trained_form, "PEFT's adapter does not say: %s", r.trained_form);
    nib_model_close(coded);
    nib_model_close(whole);
}

/* --- refusals --- */

static void test_refusals(void)
{
    nib_ctx *ctx = test_ctx();
    path model = golden("llama"), other = golden("qwen2"), out = joined(test_tmpdir(), "out");
    path adapter = joined(model.s, "adapter");
    nib_error err;

    CHECK(merge(ctx, model.s, adapter.s, out.s, "int8", &err) == NIB_E_INVALID);
    CHECK(merge(ctx, model.s, adapter.s, joined(model.s, "merged").s, NULL, &err) == NIB_E_INVALID);
    CHECK(merge(ctx, model.s, joined(other.s, "adapter").s, out.s, NULL, &err) != NIB_OK,
          "an adapter of another model");
    CHECK(!nib_file_exists(out.s), "something was written");
    REQUIRE_OK(merge(ctx, model.s, adapter.s, out.s, NULL, &err), err);
    CHECK(merge(ctx, model.s, adapter.s, out.s, NULL, &err) != NIB_OK,
          "written over without overwrite");
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

/* Every allocation fails once: an error, nothing leaked, no half of a directory. */
static void test_no_memory(void)
{
    path model = golden("llama-gqa-tied"), out = joined(test_tmpdir(), "out"),
         adapter = joined(model.s, "adapter");
    size_t in_place = 0, n;
    path command;
    bool succeeded = false;

    for (n = 1; n < 20000 && !succeeded; n++) {
        test_heap heap = { 0 };
        nib_ctx_options o = { .alloc = count_alloc, .realloc = count_realloc, .free = count_free,
                              .alloc_user = &heap, .threads = 1 };
        nib_merge_options m = { .model = model.s, .adapter = adapter.s, .out = out.s,
                                .overwrite = true };
        nib_ctx *ctx;
        nib_error err;
        nib_status status;
        size_t before;

        REQUIRE_OK(nib_ctx_create(&o, &ctx, &err), err);
        before = heap.live;
        heap.fail_at = heap.calls + n;
        status = nib_merge(ctx, &m, &err);
        succeeded = status == NIB_OK;
        CHECK(succeeded || status == NIB_E_NOMEM, "allocation %zu: status %d, %s", n, status,
              err.message);
        CHECK(heap.live == before, "allocation %zu: %zu are left", n, heap.live - before);
        nib_ctx_destroy(ctx);
        if (succeeded || !nib_file_exists(out.s)) continue;
        /* Only syncing the parent directory comes after the rename. */
        CHECK(++in_place == 1 && nib_file_exists(joined(out.s, "config.json").s),
              "allocation %zu: %s", n, out.s);
        snprintf(command.s, sizeof command.s, "rm -rf '%.500s'", out.s);
        REQUIRE(system(command.s) == 0, "%s", command.s);
    }
    CHECK(succeeded && n > 100, "%zu allocations", n);
}

static const test_case cases[] = {
    { "golden models merged give PEFT's logits", test_golden_models },
    { "golden models merged from 4 bit give PEFT's logits", test_golden_4bit },
    { "embeddings, heads, norms and biases", test_shapes },
    { "values are rounded once", test_values },
    { "trained on the other form of the base", test_other_form },
    { "refusals", test_refusals },
    { "every allocation fails once", test_no_memory },
};

int main(void) { return test_main("test_merge", cases, NIB_COUNT(cases)); }
