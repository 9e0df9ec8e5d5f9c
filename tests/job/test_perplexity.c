/* test_perplexity.c - windows of a text, and losses and distances of logits.  The program against
 * transformers: tests/interop/test_perplexity.py. */
#include <math.h>
#include <string.h>

#include "job/divergence.h"
#include "job/windows.h"
#include "test.h"

/* Each token but the first is predicted once. */
static void test_strides(void)
{
    for (size_t tokens = 2; tokens < 60; tokens++)
        for (size_t length = 2; length < 20; length++)
            for (size_t stride = 1; stride <= length; stride++) {
                nib_windowing w;
                size_t next = 1;
                nib_error err;
                REQUIRE_OK(nib_windowing_make(NIB_PERPLEXITY_GPTQ, tokens, length, stride, &w,
                                              &err), err);
                for (size_t i = 0; i < w.count; i++) {
                    nib_window at = nib_windowing_at(&w, i);
                    size_t first = nib_max(next, at.begin + 1); /* stride = length: no context */
                    CHECK(at.first == first && at.end > at.begin && at.end - at.begin <= length &&
                          at.end <= tokens && at.begin == i * stride,
                          "%zu tokens, windows of %zu, stride %zu: window %zu is %zu to %zu from "
                          "%zu", tokens, length, stride, i, at.begin, at.end, at.first);
                    next = at.end;
                }
                CHECK(next == tokens, "%zu of %zu tokens read, windows of %zu, stride %zu", next,
                      tokens, length, stride);
            }
}

static void test_side_by_side(void)
{
    nib_windowing w;
    nib_window at;
    nib_error err;

    REQUIRE_OK(nib_windowing_make(NIB_PERPLEXITY_GPTQ, 31, 10, 0, &w, &err), err);
    at = nib_windowing_at(&w, 2);
    CHECK(w.count == 3 && at.begin == 20 && at.end == 30 && at.first == 21);
    REQUIRE_OK(nib_windowing_make(NIB_PERPLEXITY_LLAMA_CPP, 31, 10, 0, &w, &err), err);
    at = nib_windowing_at(&w, 1); /* llama.cpp: n_ctx - 1 - n_ctx / 2 tokens of each */
    CHECK(w.count == 3 && at.begin == 10 && at.end == 20 && at.first == 16);
}

static void test_refused(void)
{
    static const struct { nib_perplexity_preset preset; size_t tokens, length, stride; } bad[] = {
        { NIB_PERPLEXITY_GPTQ, 9, 10, 0 },      { NIB_PERPLEXITY_GPTQ, 1, 10, 5 },
        { NIB_PERPLEXITY_GPTQ, 100, 10, 11 },   { NIB_PERPLEXITY_GPTQ, 100, 1, 0 },
        { NIB_PERPLEXITY_LLAMA_CPP, 19, 10, 0 }, { NIB_PERPLEXITY_LLAMA_CPP, 100, 10, 5 },
        { NIB_PERPLEXITY_LLAMA_CPP, 100, 3, 0 },
    };
    nib_windowing w;
    nib_error err;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(nib_windowing_make(bad[i].preset, bad[i].tokens, bad[i].length, bad[i].stride, &w,
                                 &err) == NIB_E_INVALID, "case %zu", i);
}

/* Two tokens of probabilities 3/4 and 1/4, against 1/2 and 1/2. */
static void test_divergence(void)
{
    const float logits[] = { 7 + (float)log(3.0), 7, -2, -2 + (float)log(3.0) };
    const float reference[] = { 0, 0, 1, 0 };
    const uint32_t tokens[] = { 0, 1 };
    nib_divergence d[2];

    nib_divergence_of(test_ctx(), logits, reference, tokens, 2, 2, d);
    CHECK(fabs(d[0].loss - log(4.0 / 3)) < 1e-6 && fabs(d[0].reference_loss - log(2)) < 1e-6);
    CHECK(fabs(d[0].divergence - 0.5 * log(4.0 / 3)) < 1e-6, "%g", d[0].divergence);
    CHECK(d[0].agrees && !d[1].agrees);
    nib_divergence_of(test_ctx(), logits, logits, tokens, 2, 2, d);
    CHECK(d[0].divergence == 0 && d[1].divergence == 0 && d[1].agrees);
    nib_divergence_of(test_ctx(), logits, NULL, tokens, 2, 2, d);
    CHECK(fabs(d[1].loss - log(4.0 / 3)) < 1e-6 && d[1].divergence == 0);
}

/* What the reference excludes counts nothing; what the model excludes and the reference does not is
 * infinitely far away. */
static void test_excluded(void)
{
    const float a[] = { 0, 0, -INFINITY }, b[] = { 0, 0, 0 };
    const uint32_t token = 0;
    nib_divergence d;

    nib_divergence_of(test_ctx(), b, a, &token, 1, 3, &d);
    CHECK(fabs(d.divergence - log(1.5)) < 1e-9, "%g", d.divergence);
    nib_divergence_of(test_ctx(), a, b, &token, 1, 3, &d);
    CHECK(isinf(d.divergence));
}

static void test_means(void)
{
    nib_mean m = { 0 };

    CHECK(isnan(nib_mean_of(&m)) && isnan(nib_mean_error(&m)));
    for (int i = 1; i <= 4; i++) nib_mean_add(&m, i);
    CHECK(nib_mean_of(&m) == 2.5 && fabs(nib_mean_error(&m) - sqrt(1.25 / 3)) < 1e-12);
}

int main(void)
{
    static const test_case cases[] = {
        { "strides predict every token once", test_strides },
        { "windows side by side", test_side_by_side },
        { "windows that do not fit are refused", test_refused },
        { "losses and divergences of logits", test_divergence },
        { "excluded tokens", test_excluded },
        { "means and their errors", test_means },
    };
    return test_main("perplexity", cases, NIB_COUNT(cases));
}
