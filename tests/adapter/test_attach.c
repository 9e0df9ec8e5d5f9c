/* test_attach.c - several adapters on one model: each takes out what is its own. */
#include "test.h"

#include <string.h>

#include "adapter/adapter.h"
#include "adapter/lora.h"
#include "model/model.h"

static const char *const attention[] = { "q_proj", "v_proj" };
static const char *const saved[] = { "lm_head", "norm" };

static nib_model *open_model(nib_ctx *ctx)
{
    nib_model_options o = { .model = test_data("tests/golden/models/qwen2") };
    nib_model *m = NULL;
    nib_error err;

    CHECK(nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, &m, &err) == NIB_OK, "%s",
          err.message);
    return m;
}

/* On q and v; the first one with a head, norms and biases of its own. */
static nib_adapter *add(nib_model *m, unsigned slot, int64_t rank, nib_status want)
{
    nib_peft_config config = nib_peft_config_default();
    nib_adapter *a = NULL;
    nib_error err = { 0 };
    nib_status status = nib_peft_names_set(m->ctx, &config.target_modules, NIB_PEFT_LIST, attention,
                                           NIB_COUNT(attention), &err);

    config.r = rank;
    if (!status && (slot == 0 || want))
        status = nib_peft_names_set(m->ctx, &config.modules_to_save, NIB_PEFT_LIST, saved,
                                    NIB_COUNT(saved), &err);
    if (slot == 0) config.bias = NIB_PEFT_BIAS_LORA_ONLY;
    if (!status) status = nib_adapter_create(m, &config, slot, 3, &a, &err);
    CHECK(status == want, "slot %u: status %d: %s", slot, (int)status, err.message);
    nib_peft_config_free(m->ctx, &config);
    return a;
}

/* Which parts of the model stand in for the model's own. */
typedef struct changes { size_t full, biases, norms, first, third, trains; } changes;

static changes look(const nib_model *m)
{
    changes c = { 0 };

    for (size_t i = 0; i < m->linear_count; i++) {
        const nib_linear *l = m->linears[i];
        c.full += l->full && l->frozen && l->weight != l->frozen;
        c.biases += l->bias_param && l->frozen_bias && l->bias == l->bias_param->value;
        c.first += nib_branch_at(&l->branches, 0) != NULL;
        c.third += nib_branch_at(&l->branches, 2) != NULL;
        c.trains += nib_linear_trains(l);
    }
    for (size_t i = 0; i < m->norm_count; i++)
        c.norms += m->norms[i]->weight_param && nib_norm_trains(m->norms[i]);
    return c;
}

static bool same(changes a, changes b) { return memcmp(&a, &b, sizeof a) == 0; }

/* The adapters are closed in both orders. */
static void check_order(bool first_goes)
{
    nib_model *m = open_model(test_ctx());
    nib_adapter *first, *third;
    changes none, both, alone;

    REQUIRE(m);
    none = look(m);
    CHECK(same(none, (changes){ 0 }), "a fresh model is changed");
    first = add(m, 0, 4, NIB_OK);
    third = add(m, 2, 7, NIB_OK);
    REQUIRE(first && third);
    both = look(m);
    CHECK(both.full == 1 && both.norms > 0 && both.biases > 0 && both.first == both.third &&
              both.first > 0 && both.trains == both.first + 1,
          "%zu full, %zu norms, %zu biases, %zu and %zu branches, %zu trained", both.full,
          both.norms, both.biases, both.first, both.third, both.trains);
    nib_adapter_close(first_goes ? first : third);
    alone = look(m);
    if (first_goes)
        CHECK(same(alone, (changes){ .third = both.third, .trains = both.third }),
              "%zu full, %zu norms, %zu biases, %zu and %zu branches, %zu trained", alone.full,
              alone.norms, alone.biases, alone.first, alone.third, alone.trains);
    else
        CHECK(alone.full == both.full && alone.norms == both.norms && alone.biases == both.biases &&
                  alone.first == both.first && alone.third == 0 && alone.trains == both.trains,
              "%zu full, %zu norms, %zu biases, %zu and %zu branches, %zu trained", alone.full,
              alone.norms, alone.biases, alone.first, alone.third, alone.trains);
    nib_adapter_close(first_goes ? third : first);
    CHECK(same(look(m), none), "something stays");
    nib_model_close(m);
}

static void test_close(void)
{
    check_order(false);
    check_order(true);
}

/* What changes the modules themselves is the first one's alone; what was made until then goes. */
static void test_refusal(void)
{
    nib_model *m = open_model(test_ctx());
    nib_adapter *first;
    changes before;

    REQUIRE(m);
    first = add(m, 0, 4, NIB_OK);
    before = look(m);
    CHECK(!add(m, 1, 4, NIB_E_UNSUPPORTED), "a second one with modules_to_save");
    CHECK(same(before, look(m)), "a refused adapter changed the model");
    nib_adapter_close(first);
    nib_model_close(m);
}

/* A convolution is no linear, and its bias is not trained: reported, where PEFT would do either. */
static void test_vectors(void)
{
    static const char *const conv[] = { "conv", "in_proj" }, *const plain[] = { "in_proj" };
    nib_model_options o = { .model = test_data("tests/golden/models/lfm2-bias") };
    nib_model *m = NULL;
    nib_error err;

    REQUIRE_OK(nib_model_open(test_ctx(), &o, NIB_F32, (nib_model_progress){ 0 }, &m, &err), err);
    for (int how = 0; how < 4; how++) {
        nib_peft_config config = nib_peft_config_default();
        nib_adapter *a = NULL;
        nib_status want = how ? NIB_E_UNSUPPORTED : NIB_OK, status;

        status = nib_peft_names_set(m->ctx, &config.target_modules, NIB_PEFT_LIST,
                                    how == 1 ? conv : plain, how == 1 ? 2 : 1, &err);
        if (!status && how == 2)
            status = nib_peft_names_set(m->ctx, &config.modules_to_save, NIB_PEFT_LIST, conv, 2,
                                        &err);
        if (how == 3) config.bias = NIB_PEFT_BIAS_ALL;
        if (!status) status = nib_adapter_create(m, &config, 0, 3, &a, &err);
        CHECK(status == want, "%d: status %d: %s", how, (int)status, err.message);
        CHECK(!status || strstr(err.message, "conv.conv"), "%s", err.message);
        nib_adapter_close(a);
        nib_peft_config_free(m->ctx, &config);
    }
    nib_model_close(m);
}

/* A linear of which PEFT refuses adapters: not meant by all-linear, and refused by name. */
static void test_bypassed(void)
{
    static const char *const all[] = { "all-linear" }, *const named[] = { "in_proj", "out_proj" };
    nib_model_options o = { .model = test_data("tests/golden/models/falcon-h1") };
    nib_model *m = NULL;
    nib_error err;

    REQUIRE_OK(nib_model_open(test_ctx(), &o, NIB_F32, (nib_model_progress){ 0 }, &m, &err), err);
    for (int how = 0; how < 2; how++) {
        nib_peft_config config = nib_peft_config_default();
        nib_adapter *a = NULL;
        nib_status status;

        status = nib_peft_names_set(m->ctx, &config.target_modules,
                                    how ? NIB_PEFT_LIST : NIB_PEFT_ALL_LINEAR,
                                    how ? named : all, how ? 2 : 1, &err);
        if (!status) status = nib_adapter_create(m, &config, 0, 3, &a, &err);
        CHECK(status == (how ? NIB_E_UNSUPPORTED : NIB_OK), "%d: status %d: %s", how, (int)status,
              err.message);
        CHECK(!status || strstr(err.message, "mamba.out_proj"), "%s", err.message);
        CHECK(status || a->params.count == 2 * (m->linear_count - 2), "%zu matrices of %zu linears",
              a ? a->params.count : 0, m->linear_count); /* without it and the head */
        nib_adapter_close(a);
        nib_peft_config_free(m->ctx, &config);
    }
    nib_model_close(m);
}

/* A bias that is a parameter of its own is no module's: PEFT stores it under another name. */
static void test_bias_apart(void)
{
    nib_model_options o = { .model = test_data("tests/golden/models/gpt-neox-japanese") };
    static const nib_peft_bias biases[] = { NIB_PEFT_BIAS_ALL, NIB_PEFT_BIAS_LORA_ONLY };
    nib_model *m = NULL;
    nib_error err;

    REQUIRE_OK(nib_model_open(test_ctx(), &o, NIB_F32, (nib_model_progress){ 0 }, &m, &err), err);
    for (size_t i = 0; i < NIB_COUNT(biases); i++) {
        nib_peft_config config = nib_peft_config_default();
        nib_adapter *a = NULL;
        nib_status status = nib_peft_names_set(m->ctx, &config.target_modules, NIB_PEFT_ALL_LINEAR,
                                               NULL, 0, &err);

        config.bias = biases[i];
        if (!status) status = nib_adapter_create(m, &config, 0, 3, &a, &err);
        if (i == 0)
            CHECK(status == NIB_E_UNSUPPORTED && strstr(err.message, "layers.1.attention.dense_b"),
                  "%s", status ? err.message : "taken");
        else
            CHECK(status == NIB_OK && a->params.count == 2 * (m->linear_count - 1), "%s",
                  status ? err.message : "other parameters");
        nib_adapter_close(a);
        nib_peft_config_free(m->ctx, &config);
    }
    nib_model_close(m);
}

/* Each allocation of a second adapter fails once: the first one stays whole, and nothing leaks. */
static void test_no_memory(void)
{
    static test_heap heap; /* outlives the case, as the context does */
    nib_ctx *ctx = test_ctx_heap(&heap);
    nib_model *m = open_model(ctx);
    nib_adapter *first, *second = NULL;
    changes before;
    size_t live;

    REQUIRE(m);
    first = add(m, 0, 4, NIB_OK);
    REQUIRE(first);
    before = look(m);
    live = heap.live;
    for (size_t n = 1; !second; n++) {
        nib_peft_config config = nib_peft_config_default();
        nib_error err;

        REQUIRE(n < 10000);
        config.r = 2;
        heap.fail_at = heap.calls + n;
        nib_adapter_create(m, &config, 3, 1, &second, &err);
        heap.fail_at = 0;
        nib_peft_config_free(ctx, &config);
        if (second) break;
        CHECK(same(before, look(m)), "the model is changed after allocation %zu failed", n);
        CHECK(heap.live == live, "%zu pieces of memory, %zu before", heap.live, live);
    }
    nib_adapter_close(second);
    nib_adapter_close(first);
    nib_model_close(m);
}

static const test_case cases[] = {
    { "closing one adapter leaves the other", test_close },
    { "a second adapter that changes modules", test_refusal },
    { "convolutions stay as they are", test_vectors },
    { "a linear past which kernels read", test_bypassed },
    { "every allocation fails once", test_no_memory },
    { "a bias apart from its linear", test_bias_apart },
};

int main(void) { return test_main("test_attach", cases, NIB_COUNT(cases)); }
