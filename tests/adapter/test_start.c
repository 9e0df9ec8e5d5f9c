/* test_start.c - adapters that start from the weights: what is taken out of the base and what is
 * left of it, against LAPACK; what is written and read again; what is refused. */
#include <lapacke.h>
#include <math.h>
#include <string.h>

#include "adapter/adapter.h"
#include "adapter/halves.h"
#include "adapter/start.h"
#include "base/filemap.h"
#include "test.h"

enum { R = 4 };
static const double alpha = 6;

typedef struct opened { nib_model *model; nib_adapter *adapter; } opened;

static nib_model *open_model(const char *name, const nib_setting *settings)
{
    char path[200];
    nib_model_options o = { .settings = settings };
    nib_model *m = NULL;
    nib_error err;

    snprintf(path, sizeof path, "tests/golden/models/%s", name);
    o.model = test_data(path);
    CHECK(nib_model_open(test_ctx(), &o, NIB_F32, (nib_model_progress){ 0 }, &m, &err) == NIB_OK,
          "%s", err.message);
    return m;
}

static nib_peft_config config_of(nib_ctx *ctx, const char *init)
{
    static const char *const all = "all-linear";
    nib_peft_config c = nib_peft_config_default();

    c.r = R;
    c.lora_alpha = alpha;
    strcpy(c.init_lora_weights, init);
    CHECK(!nib_peft_names_set(ctx, &c.target_modules, NIB_PEFT_ALL_LINEAR, &all, 1, NULL));
    return c;
}

static nib_adapter *create(nib_model *m, const char *init, uint64_t seed)
{
    nib_peft_config c = config_of(m->ctx, init);
    nib_adapter *a = NULL;
    nib_error err;

    CHECK(nib_adapter_create(m, &c, 0, seed, &a, &err) == NIB_OK, "%s: %s", init, err.message);
    return a;
}

static void close_all(opened *o)
{
    nib_adapter_close(o->adapter);
    nib_model_close(o->model);
}

static float *decoded(const nib_weight *w)
{
    float *values = test_guarded(w->out * w->in * sizeof *values);

    nib_weight_decode(w, 0, w->out, values);
    return values;
}

static double norm_of(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

/* to += s B A */
static void add_branch(const nib_branch *b, size_t out, size_t in, float *to)
{
    for (size_t i = 0; i < out; i++)
        for (size_t k = 0; k < in; k++) {
            double sum = 0;
            for (size_t q = 0; q < b->a->rows; q++)
                sum += (double)b->b->value[i * b->a->rows + q] *
                       (double)b->a->value[q * in + k];
            to[i * in + k] += (float)((double)b->scale * sum);
        }
}

/* What no matrix of rank R takes away. */
static double least_left(const float *w, size_t out, size_t in)
{
    size_t n = nib_min(out, in);
    float *copy = test_guarded(out * in * sizeof *copy), *s = test_guarded(n * sizeof *s), none[1];
    double sum = 0;

    memcpy(copy, w, out * in * sizeof *copy);
    CHECK(LAPACKE_sgesdd(LAPACK_ROW_MAJOR, 'N', (int)out, (int)in, copy, (int)in, s, none,
                         (int)out, none, (int)in) == 0, "%zu", out);
    for (size_t q = R; q < n; q++) sum += (double)s[q] * (double)s[q];
    return sqrt(sum);
}

static size_t check_bases(const nib_model *m, const char *init, const float *const *before)
{
    size_t changed = 0;

    for (size_t i = 0; i < m->linear_count; i++) {
        const nib_linear *l = m->linears[i];
        const nib_branch *b = nib_branch_at(&l->branches, 0);
        size_t out = l->weight->out, in = l->weight->in;
        bool narrow = l->weight->dtype == NIB_BF16;
        float *now;
        double norm, left, worst = 0;

        if (!b) continue;
        changed++;
        now = decoded(l->weight);
        norm = norm_of(before[i], out * in);
        left = norm_of(now, out * in);
        if (strcmp(init, "olora") == 0)
            CHECK(left < norm, "%s: %g of %g left", l->name, left, norm);
        else
            CHECK(fabs(left - least_left(before[i], out, in)) <
                      (strcmp(init, "pissa") == 0 ? (narrow ? 2e-3 : 2e-6) : .02) * norm,
                  "%s %s: %g of %g left, LAPACK %g", l->name, init, left, norm,
                  least_left(before[i], out, in));
        add_branch(b, out, in, now);
        for (size_t k = 0; k < out * in; k++) now[k] -= before[i][k];
        worst = norm_of(now, out * in);
        CHECK(worst < (narrow ? 3e-3 : 1e-6) * norm, "%s %s: %g of %g", l->name, init, worst, norm);
    }
    return changed;
}

static const char *const models[] = { "llama", "qwen2", "gpt2" };
static const char *const inits[] = { "pissa", "pissa_niter_4", "olora" };

/* W' + s B A is W to its type's rounding, and W' what is left of W without its greatest singular
 * values; closing puts W back. */
static void test_dense(void)
{
    for (size_t k = 0; k < NIB_COUNT(models); k++)
        for (size_t i = 0; i < NIB_COUNT(inits); i++) {
            opened o = { .model = open_model(models[k], NULL) };
            nib_model *m = o.model;
            const float *before[200];
            const nib_weight *weights[200];

            REQUIRE(m && m->linear_count <= NIB_COUNT(before), "%s", models[k]);
            for (size_t n = 0; n < m->linear_count; n++) {
                weights[n] = m->linears[n]->weight;
                before[n] = decoded(weights[n]);
            }
            o.adapter = create(m, inits[i], 5);
            REQUIRE(o.adapter, "%s", inits[i]);
            CHECK(check_bases(m, inits[i], before) == o.adapter->taken_count &&
                      o.adapter->taken_count > 3 && !o.adapter->recoded, "%s", inits[i]);
            nib_adapter_close(o.adapter);
            o.adapter = NULL;
            for (size_t n = 0; n < m->linear_count; n++)
                CHECK(m->linears[n]->weight == weights[n], "%s: linear %zu", models[k], n);
            close_all(&o);
        }
}

/* B A = 0, from factors that are not. */
static void test_orthogonal(void)
{
    opened o = { .model = open_model("llama", NULL) };
    nib_peft_config c = config_of(test_ctx(), "orthogonal");
    nib_error err;
    nib_adapter *odd = NULL;

    REQUIRE(o.model && (o.adapter = create(o.model, "orthogonal", 5)), "orthogonal");
    CHECK(o.adapter->taken_count == 0, "%zu", o.adapter->taken_count);
    for (size_t i = 0; i < o.model->linear_count; i++) {
        const nib_linear *l = o.model->linears[i];
        const nib_branch *b = nib_branch_at(&l->branches, 0);
        size_t out = l->weight->out, in = l->weight->in;
        float *product = test_guarded(out * in * sizeof *product);
        double a_norm, b_norm;

        if (!b) continue;
        memset(product, 0, out * in * sizeof *product);
        add_branch(b, out, in, product);
        a_norm = norm_of(b->a->value, R * in) / sqrt((double)(R * in));
        b_norm = norm_of(b->b->value, R * out) / sqrt((double)(R * out));
        /* each value is a sum of R / 2 normal ones times those of unit vectors, by 10 */
        CHECK(a_norm > .05 && a_norm < .1 && b_norm > .05 && b_norm < .1, "%s: %g, %g", l->name,
              a_norm, b_norm);
        CHECK(norm_of(product, out * in) < 1e-6 * sqrt((double)(out * in)), "%s: %g", l->name,
              norm_of(product, out * in));
    }
    nib_adapter_close(o.adapter);
    o.adapter = NULL;
    c.r = 3;
    CHECK(nib_adapter_create(o.model, &c, 0, 1, &odd, &err) == NIB_E_INVALID &&
              strstr(err.message, "even r"), "%s", err.message);
    close_all(&o);
}

/* Written as a LoRA of twice the rank on W, whose product is then zero; read by the run that wrote
 * it, and by no other. */
static void test_saved(void)
{
    for (size_t i = 0; i < NIB_COUNT(inits); i++) {
        opened o = { .model = open_model("llama", NULL) };
        nib_adapter *again = NULL;
        nib_error err;
        size_t seen = 0;

        REQUIRE(o.model && (o.adapter = create(o.model, inits[i], 5)), "%s", inits[i]);
        REQUIRE_OK(nib_adapter_save(o.adapter, test_tmpdir(), NULL, &err), err);
        nib_branch_at(&o.model->linears[0]->branches, 0)->a->value[3] += 1;
        REQUIRE_OK(nib_adapter_read_values(o.adapter, test_tmpdir(), &err), err);
        o.adapter->taken[1].b[7] += 1;
        CHECK(nib_adapter_read_values(o.adapter, test_tmpdir(), &err) == NIB_E_MISMATCH &&
                  strstr(err.message, "resumed exactly"), "%s", err.message);
        nib_adapter_close(o.adapter);
        o.adapter = NULL;
        REQUIRE_OK(nib_adapter_open(o.model, test_tmpdir(), 0, false, &again, &err), err);
        CHECK(again->config.r == 2 * R && again->config.lora_alpha == 2 * alpha &&
                  strcmp(again->config.init_lora_weights, "true") == 0, "%s", inits[i]);
        for (size_t n = 0; n < o.model->linear_count; n++) {
            const nib_linear *l = o.model->linears[n];
            const nib_branch *b = nib_branch_at(&l->branches, 0);
            float *product;
            if (!b) continue;
            product = test_guarded(l->weight->out * l->weight->in * sizeof *product);
            memset(product, 0, l->weight->out * l->weight->in * sizeof *product);
            add_branch(b, l->weight->out, l->weight->in, product);
            CHECK(norm_of(product, l->weight->out * l->weight->in) < 1e-6, "%s", l->name);
            CHECK(norm_of(b->b->value, l->weight->out * 2 * R) > .1, "%s", l->name);
            seen++;
        }
        CHECK(seen > 3, "%zu", seen);
        nib_adapter_close(again);
        close_all(&o);
    }
}

/* As PEFT leaves one that nobody converted: half the rank, and the init in its config. */
static void test_unconverted(void)
{
    opened o = { .model = open_model("llama", NULL) };
    nib_peft_config c = config_of(o.model->ctx, "true");
    nib_adapter *again = NULL;
    nib_error err;

    REQUIRE(o.model && (o.adapter = create(o.model, "true", 5)));
    REQUIRE_OK(nib_adapter_save(o.adapter, test_tmpdir(), NULL, &err), err);
    nib_adapter_close(o.adapter);
    o.adapter = NULL;
    strcpy(c.init_lora_weights, "pissa");
    REQUIRE_OK(nib_peft_config_write(o.model->ctx, test_tmpdir(), &c, &err), err);
    nib_peft_config_free(o.model->ctx, &c);
    REQUIRE_OK(nib_adapter_open(o.model, test_tmpdir(), 0, true, &o.adapter, &err), err);
    CHECK(o.adapter->config.r == 2 * R, "rank %d", (int)o.adapter->config.r);
    REQUIRE_OK(nib_adapter_save(o.adapter, test_tmpdir(), NULL, &err), err);
    REQUIRE_OK(nib_adapter_read_values(o.adapter, test_tmpdir(), &err), err); /* a resumed run */
    nib_adapter_close(o.adapter);
    o.adapter = NULL;
    REQUIRE_OK(nib_adapter_open(o.model, test_tmpdir(), 0, false, &again, &err), err);
    CHECK(again->config.r == 2 * R, "rank %d", (int)again->config.r);
    nib_adapter_close(again);
    close_all(&o);
}

static const nib_setting nf4[] = { { "load_in_4bit", "true" }, { 0 } },
                         fp4[] = { { "load_in_4bit", "true" }, { "bnb_4bit_quant_type", "fp4" },
                                   { 0 } },
                         int8[] = { { "load_in_8bit", "true" }, { 0 } };

static double loss_of(const nib_model *m, const float *const *before, bool branch)
{
    double sum = 0;

    for (size_t i = 0; i < m->linear_count; i++) {
        const nib_linear *l = m->linears[i];
        const nib_branch *b = nib_branch_at(&l->branches, 0);
        size_t n = l->weight->out * l->weight->in;
        float *now;
        double one;

        if (!b) continue;
        now = decoded(l->weight);
        if (branch) add_branch(b, l->weight->out, l->weight->in, now);
        for (size_t k = 0; k < n; k++) now[k] -= before[i][k];
        one = norm_of(now, n);
        sum += one * one;
    }
    return sqrt(sum);
}

/* |W - Q - s B A| is less than |W - Q|, less with more iterations, in any form. */
static void test_loftq(void)
{
    static const nib_setting *const forms[] = { nf4, fp4, int8, test_four_bit_double };
    nib_model *dense = open_model("llama", NULL);
    const float *before[200];

    REQUIRE(dense, "llama");
    for (size_t n = 0; n < dense->linear_count; n++) before[n] = decoded(dense->linears[n]->weight);
    for (size_t f = 0; f < NIB_COUNT(forms); f++) {
        double last = INFINITY;
        for (int64_t iterations = 1; iterations <= 5; iterations += 4) {
            opened o = { .model = open_model("llama", forms[f]) };
            nib_peft_config c = config_of(test_ctx(), "loftq");
            double plain, left;
            nib_error err;

            c.loftq_iter = iterations;
            c.loftq_bits = forms[f] == int8 ? 8 : 4;
            REQUIRE(o.model, "form %zu", f);
            plain = loss_of(dense, before, false); /* no branches: nothing */
            REQUIRE_OK(nib_adapter_create(o.model, &c, 0, 5, &o.adapter, &err), err);
            CHECK(o.adapter->recoded == (iterations > 1), "form %zu", f);
            left = loss_of(o.model, before, true);
            if (iterations == 1) plain = loss_of(o.model, before, false), last = plain;
            CHECK(left < .97 * last, "form %zu, %d iterations: %g, before %g", f, (int)iterations,
                  left, last);
            last = left;
            close_all(&o);
        }
    }
    nib_model_close(dense);
}

/* What is taken out of a base that is quantized while loading comes of the original values. */
static void test_low(void)
{
    nib_model *dense = open_model("llama", NULL);
    const float *before[200];

    REQUIRE(dense, "llama");
    for (size_t n = 0; n < dense->linear_count; n++) before[n] = decoded(dense->linears[n]->weight);
    for (size_t i = 0; i < NIB_COUNT(inits); i++) {
        opened o = { .model = open_model("llama", nf4) },
               plain = { .model = open_model("llama", nf4) };
        double left, was;

        REQUIRE(o.model && plain.model, "llama");
        o.adapter = create(o.model, inits[i], 5);
        plain.adapter = create(plain.model, "true", 5);
        REQUIRE(o.adapter && plain.adapter, "%s", inits[i]);
        CHECK(o.adapter->recoded && o.adapter->taken_count > 3, "%s", inits[i]);
        left = loss_of(o.model, before, true);
        was = loss_of(plain.model, before, true);
        /* what is quantized is smaller, and its error with it */
        CHECK(left < was, "%s: %g, without %g", inits[i], left, was);
        close_all(&o);
        close_all(&plain);
    }
    nib_model_close(dense);
}

static void test_refused(void)
{
    static const struct {
        const char *model;
        const nib_setting *settings;
        const char *init, *target;
        int64_t r, bits;
        nib_status status;
        const char *says;
    } bad[] = {
        { "llama", NULL, "loftq", "q_proj", R, 0, NIB_E_INVALID, "is dense: give load_in_4bit" },
        { "llama", nf4, "loftq", "q_proj", R, 8, NIB_E_INVALID, "loftq_bits is 8, and the base" },
        { "llama", int8, "loftq", "q_proj", R, 4, NIB_E_INVALID, "8 with load_in_8bit" },
        { "llama", NULL, "pissa", "q_proj", 65, 0, NIB_E_INVALID, "less than its r 65" },
        { "llama-gqa-tied", NULL, "pissa", "lm_head", R, 0, NIB_E_UNSUPPORTED,
          "has the embedding's weight" },
        { "../grouped/gptq", NULL, "olora", "q_proj", R, 0, NIB_E_UNSUPPORTED,
          "low-bit as it is stored" },
        { "../grouped/gptq", NULL, "loftq", "q_proj", R, 8, NIB_E_INVALID, "loftq_bits is 8" },
        { "../grouped/gptq", NULL, "loftq", "q_proj", R, 0, NIB_E_INVALID, "with base_original" },
    };

    for (size_t i = 0; i < 3; i++) { /* with DoRA */
        static const char *const starts[] = { "pissa", "olora", "loftq" };
        nib_model *m = open_model("llama", i == 2 ? nf4 : NULL);
        nib_peft_config c = config_of(test_ctx(), starts[i]);
        nib_adapter *a = NULL;
        nib_error err;

        c.use_dora = true;
        REQUIRE(m, "llama");
        CHECK(nib_adapter_create(m, &c, 0, 1, &a, &err) == NIB_E_UNSUPPORTED &&
                  strstr(err.message, "with use_dora"), "%s: %s", starts[i], err.message);
        nib_adapter_close(a);
        nib_model_close(m);
    }
    for (size_t i = 0; i < NIB_COUNT(bad); i++) {
        nib_model *m = open_model(bad[i].model, bad[i].settings);
        nib_peft_config c = nib_peft_config_default();
        nib_adapter *a = NULL;
        nib_error err;

        REQUIRE(m, "%s", bad[i].model);
        c.r = bad[i].r;
        c.loftq_bits = bad[i].bits;
        strcpy(c.init_lora_weights, bad[i].init);
        CHECK(!nib_peft_names_set(test_ctx(), &c.target_modules, NIB_PEFT_LIST, &bad[i].target, 1,
                                  &err), "%s", err.message);
        CHECK(nib_adapter_create(m, &c, 0, 1, &a, &err) == bad[i].status &&
                  strstr(err.message, bad[i].says), "%zu: %s", i, err.message);
        nib_adapter_close(a);
        nib_model_close(m);
    }
}

/* Each allocation of a start fails once; LAPACK's own are not seen. */
static void test_no_memory(void)
{
    static const struct { const char *init; const nib_setting *settings; } ways[] = {
        { "pissa", NULL }, { "olora", nf4 }, { "loftq", nf4 }, { "orthogonal", NULL },
    };

    for (size_t i = 0; i < NIB_COUNT(ways); i++) {
        test_heap heap = { .fail_at = 0 };
        nib_ctx *ctx = test_ctx_heap(&heap);
        nib_model_options o = { .model = test_data("tests/golden/models/llama"),
                                .settings = ways[i].settings };
        nib_status status = NIB_E_NOMEM;
        nib_error err;

        for (size_t at = 1; status; at++) {
            nib_peft_config c = nib_peft_config_default();
            static const char *const query = "q_proj";
            nib_model *m = NULL;
            nib_adapter *a = NULL;

            c.loftq_iter = 2;
            strcpy(c.init_lora_weights, ways[i].init);
            REQUIRE_OK(nib_peft_names_set(ctx, &c.target_modules, NIB_PEFT_LIST, &query, 1, &err),
                       err);
            REQUIRE_OK(nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, &m, &err), err);
            heap.fail_at = heap.calls + at;
            status = nib_adapter_create(m, &c, 0, 1, &a, &err);
            if (!status) status = nib_adapter_save(a, test_tmpdir(), NULL, &err);
            heap.fail_at = 0;
            nib_peft_config_free(ctx, &c); /* not taken over where there was no adapter */
            CHECK(status == NIB_OK || status == NIB_E_NOMEM, "%s, %zu: %s", ways[i].init, at,
                  err.message);
            nib_adapter_close(a);
            nib_model_close(m);
            /* the context keeps the texts of its notes */
            CHECK(heap.live < 6, "%s, %zu: %zu left", ways[i].init, at, heap.live);
            if (at > 70) at += 3;
            REQUIRE(at < 1000, "%s", ways[i].init);
        }
        test_ctx_release(ctx);
    }
}

/* PEFT's files that cannot be used say why. */
static void test_refused_files(void)
{
    static const struct { const char *init, *loftq, *says; } bad[] = {
        { "pissa_niter_4", "{}", "random subspace" },
        { "loftq", "{\"loftq_bits\": 4, \"loftq_iter\": 5}", "later iterations" },
        { "pissa_niter_00016", "{}", "random subspace" },
        { "pissa\", \"use_dora\": true, \"x\": \"", "{}", "with use_dora" },
        { "loftq", "{\"loftq_bits\": 2, \"loftq_iter\": 1}", "neither 4 nor 8" },
        { "corda", "{}", "by the data it was shown" },
        { "lora_ga", "{}", "by the data it was shown" },
        { "loftq", "{\"loftq_bits\": 4, \"loftq_iter\": 1}", NULL },
        { "eva", "{}", NULL },
        { "olora", "{}", NULL },
    };

    for (size_t i = 0; i < NIB_COUNT(bad); i++) {
        char text[300];
        nib_peft_config c = { 0 };
        const char *why;
        nib_error err;

        snprintf(text, sizeof text, "{\"peft_type\": \"LORA\", \"init_lora_weights\": \"%s\", "
                 "\"loftq_config\": %s}", bad[i].init, bad[i].loftq);
        REQUIRE_OK(nib_peft_config_parse(test_ctx(), text, strlen(text), "c", &c, &err), err);
        why = nib_start_refused(&c);
        CHECK(bad[i].says ? why && strstr(why, bad[i].says) : !why, "%s: %s", bad[i].init,
              why ? why : "taken");
        nib_peft_config_free(test_ctx(), &c);
    }
}

int main(void)
{
    static const test_case cases[] = {
        { "dense bases", test_dense },
        { "orthogonal", test_orthogonal },
        { "PEFT's, not converted", test_unconverted },
        { "written and read", test_saved },
        { "LoftQ", test_loftq },
        { "bases quantized while loading", test_low },
        { "what is refused", test_refused },
        { "no memory", test_no_memory },
        { "files that are refused", test_refused_files },
    };
    return test_main("start", cases, NIB_COUNT(cases));
}
