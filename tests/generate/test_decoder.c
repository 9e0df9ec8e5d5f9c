/* test_decoder.c - the logits of the likeliest words are those of all words, and are fewer once a
 * sketch pays; tokens tried a few at a time have the logits that they have one by one. */
#include "test.h"

#include <math.h>
#include <string.h>

#include "adapter/adapter.h"
#include "generate/decoder.h"
#include "model/model.h"

enum { TOKENS = 60, MOST = 40, TRIED = NIB_DOT_ROWS + 3 };

static nib_conversation converse(nib_model *model, uint8_t slot)
{
    nib_conversation c = { .slot = slot };
    nib_error err;

    CHECK(nib_state_create(model->ctx, model->graph, TOKENS, &c.state, &err) == NIB_OK, "%s",
          err.message);
    return c;
}

static const nib_setting eight_bit[] = { { "load_in_8bit", "true" },
                                         { "llm_int8_threshold", "2" },
                                         { NULL, NULL } };

static nib_model *open_model(nib_ctx *ctx, nib_dtype type, const nib_setting *settings)
{
    nib_model_options options = { .model = test_data("models/pico"), .settings = settings };
    nib_model *model = NULL;
    nib_error err;

    CHECK(nib_model_open(ctx, &options, type, (nib_model_progress){ 0 }, &model, &err) == NIB_OK,
          "%s", err.message);
    return model;
}

/* Among `some` are the `most` greatest of `all` and what equals the last of them, with the same
 * bits. */
static void check_logits(nib_logits all, nib_logits some, size_t most)
{
    size_t at = 0;

    for (size_t i = 0; some.ids && i < some.count; i++)
        CHECK(memcmp(&some.values[i], &all.values[some.ids[i]], sizeof *all.values) == 0,
              "word %u: %a, expected %a", some.ids[i], (double)some.values[i],
              (double)all.values[some.ids[i]]);
    for (size_t w = 0; some.ids && w < all.count; w++) {
        size_t greater = 0;
        while (at < some.count && some.ids[at] < w) at++;
        if (at < some.count && some.ids[at] == w) continue;
        for (size_t i = 0; i < all.count; i++) greater += all.values[i] > all.values[w];
        CHECK(greater >= most, "word %zu is number %zu and is missing", w, greater);
    }
}

static void check_type(nib_dtype type)
{
    static const size_t mosts[] = { 1, MOST, 0, 1000 };
    nib_ctx *ctx = test_ctx();
    nib_model *model = open_model(ctx, type, NULL);
    nib_decoder *full = NULL, *few = NULL;
    nib_conversation of_full, of_few;
    size_t fewer = 0;
    nib_logits all, some;
    nib_error err;

    REQUIRE(model);
    REQUIRE_OK(nib_decoder_create(ctx, model->graph, TOKENS, 1, &full, &err), err);
    REQUIRE_OK(nib_decoder_create(ctx, model->graph, TOKENS, 1, &few, &err), err);
    of_full = converse(model, NIB_NO_SLOT);
    of_few = converse(model, NIB_NO_SLOT);
    for (uint32_t t = 0; t < TOKENS; t++) {
        uint32_t id = 5 + t * 31 % 1900;
        size_t most = mosts[t % NIB_COUNT(mosts)];

        REQUIRE_OK(nib_decoder_next(full, &of_full, &id, 1, 0, &err), err);
        REQUIRE_OK(nib_decoder_next(few, &of_few, &id, 1, most, &err), err);
        REQUIRE_OK(nib_decoder_logits(full, 0, &all, &err), err);
        REQUIRE_OK(nib_decoder_logits(few, 0, &some, &err), err);
        CHECK(!all.ids && all.count == model->head->weight->out,
              "%zu logits where all were asked for", all.count);
        CHECK(!some.ids || (most > 0 && most <= MOST), "%zu logits where %zu were asked for",
              some.count, most);
        check_logits(all, some, most);
        fewer += some.ids && some.count < model->head->weight->out / 2;
    }
    CHECK(fewer >= 8, "only %zu of %d tokens had fewer logits", fewer, TOKENS);
    nib_decoder_destroy(full);
    nib_decoder_destroy(few);
    nib_state_destroy(of_full.state);
    nib_state_destroy(of_few.state);
    nib_model_close(model);
}

/* Tokens tried a few at a time, some of them taken back, leave the bits that pushing one by one
 * leaves. */
static void check_tries(nib_dtype type, const nib_setting *settings, nib_precision precision,
                        bool adapter)
{
    nib_ctx *ctx = test_ctx();
    nib_model *model = open_model(ctx, type, settings);
    nib_adapter *a = NULL;
    nib_decoder *one = NULL, *few = NULL;
    nib_conversation of_one, of_few;
    uint8_t slot = adapter ? 0 : NIB_NO_SLOT;
    uint32_t ids[TOKENS];
    nib_logits want, got;
    nib_error err;

    REQUIRE(model);
    model->graph->precision = precision;
    if (adapter)
        REQUIRE_OK(
            nib_adapter_open(model, test_data("tests/golden/train/adapter"), 0, false, &a, &err),
            err);
    for (uint32_t t = 0; t < TOKENS; t++) ids[t] = 5 + t * 31 % 1900;
    REQUIRE_OK(nib_decoder_create(ctx, model->graph, TOKENS, 1, &one, &err), err);
    REQUIRE_OK(nib_decoder_create(ctx, model->graph, TOKENS, TRIED, &few, &err), err);
    of_one = converse(model, slot);
    of_few = converse(model, slot);
    for (size_t t = 0, count, right; t + TRIED <= TOKENS; t += right) {
        uint32_t tried[TRIED] = { 0 };
        count = 1 + t % TRIED;
        right = 1 + t / 3 % count; /* the rest is wrong, and taken back */
        for (size_t i = 0; i < count; i++) tried[i] = i < right ? ids[t + i] : 7;
        REQUIRE_OK(nib_decoder_try(few, of_few, tried, count, t % 3 ? 3 : 0, &err), err);
        for (size_t i = 0; i < right; i++) {
            REQUIRE_OK(nib_decoder_next(one, &of_one, &ids[t + i], 1, 0, &err), err);
            REQUIRE_OK(nib_decoder_logits(one, 0, &want, &err), err);
            REQUIRE_OK(nib_decoder_logits(few, i, &got, &err), err);
            check_logits(want, got, 3);
            if (!got.ids)
                CHECK(memcmp(want.values, got.values, want.count * sizeof *want.values) == 0,
                      "token %zu of %zu tried from %zu on differs", i, count, t);
        }
        nib_state_truncate(of_few.state, t + right);
    }
    nib_decoder_destroy(one);
    nib_decoder_destroy(few);
    nib_state_destroy(of_one.state);
    nib_state_destroy(of_few.state);
    nib_adapter_close(a);
    nib_model_close(model);
}

static void test_tries(void)
{
    check_tries(NIB_F32, NULL, NIB_PRECISION_HIGH, false);
    check_tries(NIB_F32, test_four_bit_double, NIB_PRECISION_HIGHEST, false);
    check_tries(NIB_F32, test_four_bit_double, NIB_PRECISION_HIGH, true);
    check_tries(NIB_BF16, NULL, NIB_PRECISION_HIGH, true);
    check_tries(NIB_BF16, test_four_bit_double, NIB_PRECISION_HIGH, false);
    check_tries(NIB_F32, eight_bit, NIB_PRECISION_HIGH, true);
    check_tries(NIB_BF16, eight_bit, NIB_PRECISION_HIGH, false);
}

/* "high" is not the bits of "highest", but some 15 of them. */
static void test_precision(void)
{
    enum { PROMPT = 8 };
    nib_ctx *ctx = test_ctx();
    nib_model *model = open_model(ctx, NIB_F32, test_four_bit_double);
    nib_decoder *d = NULL;
    nib_conversation c;
    uint32_t ids[TOKENS];
    float *highest = nib_new_array(ctx, TOKENS * 4096, sizeof *highest);
    double lost = 0, size = 0;
    nib_logits got;
    nib_error err;

    REQUIRE(model && highest && model->head->weight->out <= 4096);
    for (uint32_t t = 0; t < TOKENS; t++) ids[t] = 5 + t * 31 % 1900;
    REQUIRE_OK(nib_decoder_create(ctx, model->graph, TOKENS, 1, &d, &err), err);
    c = converse(model, NIB_NO_SLOT);
    for (int high = 0; high < 2; high++) {
        model->graph->precision = high ? NIB_PRECISION_HIGH : NIB_PRECISION_HIGHEST;
        nib_state_reset(c.state);
        for (size_t t = PROMPT - 1; t < TOKENS; t++) {
            size_t first = t < PROMPT ? 0 : t;
            float *to = highest + t * 4096;
            if (t < PROMPT)
                REQUIRE_OK(nib_decoder_read(d, c, ids + first, t + 1 - first, 0, &err), err);
            else REQUIRE_OK(nib_decoder_next(d, &c, ids + first, 1, 0, &err), err);
            REQUIRE_OK(nib_decoder_logits(d, 0, &got, &err), err);
            if (!high) memcpy(to, got.values, got.count * sizeof *to);
            for (size_t i = 0; high && i < got.count; i++) {
                lost += pow((double)(got.values[i] - to[i]), 2);
                size += pow((double)to[i], 2);
            }
        }
    }
    CHECK(sqrt(lost / size) < 2e-4, "%g of the logits is lost", sqrt(lost / size));
    CHECK(!model->graph->kernels.dot4_fixed == !(lost > 0), "high is computed as highest is");
    nib_free(ctx, highest);
    nib_decoder_destroy(d);
    nib_state_destroy(c.state);
    nib_model_close(model);
}

static void test_float32(void) { check_type(NIB_F32); }
static void test_bfloat16(void) { check_type(NIB_BF16); }

static const test_case cases[] = {
    { "logits of the likeliest, float32", test_float32 },
    { "logits of the likeliest, bfloat16", test_bfloat16 },
    { "tokens tried, and taken back", test_tries },
    { "float32_matmul_precision", test_precision },
};

int main(void) { return test_main("test_decoder", cases, NIB_COUNT(cases)); }
