/* test_generate.c - text from the small model: greedy equals transformers', and what ends it. */
#include "test.h"

#include <math.h>
#include <string.h>

#include "base/base.h"
#include "nibble/generate.h"

static const char story[] = "Once upon a time";

/* transformers 4.57.6, float32; tests/golden/make/generate_golden.py prints these. */
static const struct golden {
    const char *prompt;
    double penalty;
    int most;
    uint64_t prompt_tokens, new_tokens;
    const char *reason, *text;
} goldens[] = {
    { story, 1, 100, 4, 72, "eos",
      ", there were two friends named Coco and Coco. Coco woke up late. He took the bus to the "
      "town. Coco asked, \"Do you want to play?\" and Coco said, \"Yes!\" Coco told a funny story "
      "about a little dog. Coco was tired, but it had been a good day. Coco was proud of what he "
      "had done." },
    { "The cat is", 1, 30, 3, 22, "eos",
      " in the field.\nQuestion: Where is Ivy?\nAnswer: Ivy is in the field.\n" },
    { story, 1.3, 30, 4, 30, "length",
      ", there were two friends named Coco and Rusty. One warm day, they found an orange hat in "
      "the yard. \"I saw it "
      "first!\" said" },
};

static nib_generator *open_generator(size_t adapters)
{
    static const nib_adapter_choice choices[] = { { "first", "tests/golden/train/adapter" },
                                                  { "second", "tests/golden/train/adapter" } };
    nib_adapter_choice use[NIB_COUNT(choices)];
    char dirs[NIB_COUNT(choices)][600], dir[600];
    nib_model_options model = { .model = dir, .compute_dtype = NIB_COMPUTE_FLOAT32 };
    nib_generator *g = NULL;
    nib_error err;

    snprintf(dir, sizeof dir, "%s", test_data("models/pico"));
    for (size_t i = 0; i < adapters; i++) {
        snprintf(dirs[i], sizeof dirs[i], "%s", test_data(choices[i].dir));
        use[i] = (nib_adapter_choice){ choices[i].name, dirs[i] };
    }
    CHECK(nib_generator_open(test_ctx(), &model, use, adapters, &g, &err) == NIB_OK, "%s",
          err.message);
    return g;
}

static nib_generate_options greedy(int most)
{
    nib_generate_options o;

    nib_generate_defaults(&o);
    o.do_sample = 0;
    o.max_new_tokens = most;
    return o;
}

/* Text as it was given out, and how often; ends the text after `most` calls. */
typedef struct heard { char text[2000]; size_t bytes, calls, most; } heard;

static bool hear(void *user, const char *text, size_t bytes)
{
    heard *h = user;

    if (h->bytes + bytes < sizeof h->text) memcpy(h->text + h->bytes, text, bytes);
    h->bytes += bytes;
    return ++h->calls < h->most;
}

static void test_greedy(void)
{
    nib_generator *g = open_generator(0);

    REQUIRE(g);
    /* twice: a decoder that was used before */
    for (size_t i = 0; i < NIB_COUNT(goldens) * 2; i++) {
        const struct golden *want = &goldens[i % NIB_COUNT(goldens)];
        nib_generate_options o = greedy(want->most);
        nib_generate_result r;
        nib_error err;

        o.repetition_penalty = want->penalty;
        REQUIRE_OK(nib_generator_run(g, want->prompt, strlen(want->prompt), &o, &r, &err), err);
        CHECK(strcmp(r.text, want->text) == 0, "%s ...%s\n  expected ...%s", want->prompt, r.text,
              want->text);
        CHECK(r.prompt_tokens == want->prompt_tokens && r.new_tokens == want->new_tokens,
              "%d and %d tokens", (int)r.prompt_tokens, (int)r.new_tokens);
        CHECK(strcmp(r.stop_reason, want->reason) == 0, "ended by %s", r.stop_reason);
        CHECK(r.prefill_seconds > 0 && r.decode_seconds > 0 && r.peak_memory_bytes > 1 << 20,
              "%g s, %g s, %g bytes", r.prefill_seconds, r.decode_seconds,
              (double)r.peak_memory_bytes);
        nib_generate_result_free(g, &r);
    }
    nib_generator_close(g);
}

/* Guesses make no difference to the text, greedy, penalized or sampled, with an adapter and
 * without; and some are right. */
static void test_lookup(void)
{
    static const char prompt[] =
        "Question: Where is Ivy?\nAnswer: Ivy is in the field.\nQuestion: Where is Ivy?\nAnswer: "
        "Ivy";
    nib_generator *g = open_generator(1);
    uint64_t guessed = 0;

    REQUIRE(g);
    for (int how = 0; how < 8; how++) {
        char *text = NULL;
        for (int n = 0; n <= 5; n++) {
            nib_generate_options o = greedy(60);
            nib_generate_result r;
            nib_error err;

            o.do_sample = how & 1;
            o.repetition_penalty = how & 2 ? 1.1 : 1;
            o.no_adapter = how & 4;
            o.temperature = how & 1 ? 0.7 : (double)NAN;
            o.prompt_lookup_num_tokens = n;
            REQUIRE_OK(nib_generator_run(g, prompt, strlen(prompt), &o, &r, &err), err);
            CHECK(n == 0 || strcmp(r.text, text) == 0,
                  "way %d, %d guesses: ...%s\n  expected ...%s", how, n, r.text, text);
            CHECK(r.guessed_tokens <= (n ? r.new_tokens : 0), "%d of %d tokens guessed",
                  (int)r.guessed_tokens, (int)r.new_tokens);
            if (n == 0) text = strcpy(test_guarded(r.bytes + 1), r.text);
            guessed += r.guessed_tokens;
            nib_generate_result_free(g, &r);
        }
    }
    CHECK(guessed > 8, "%d guesses were right", (int)guessed);
    nib_generator_close(g);
}

/* A stop string ends the text wherever tokens meet in it; what was given out is the text. */
static void test_stop(void)
{
    static const char *const stops[] = { "Coco woke", "ends na", ".", "zzz", " two" };
    nib_generator *g = open_generator(0);

    REQUIRE(g);
    for (size_t i = 0; i < NIB_COUNT(stops); i++) {
        nib_generate_options o = greedy(goldens[0].most);
        const char *cut = strstr(goldens[0].text, stops[i]);
        size_t bytes = cut ? (size_t)(cut - goldens[0].text) : strlen(goldens[0].text);
        heard h = { .most = 1000 };
        nib_generate_result r;
        nib_error err;

        o.stop = &stops[i];
        o.stop_count = 1;
        o.on_text = hear;
        o.user = &h;
        REQUIRE_OK(nib_generator_run(g, story, strlen(story), &o, &r, &err), err);
        CHECK(r.bytes == bytes && strncmp(r.text, goldens[0].text, bytes) == 0, "'%s': %s",
              stops[i], r.text);
        CHECK(h.bytes == bytes && memcmp(h.text, r.text, bytes) == 0, "'%s': got %.*s", stops[i],
              (int)h.bytes, h.text);
        CHECK(strcmp(r.stop_reason, cut ? "stop" : "eos") == 0, "'%s': ended by %s", stops[i],
              r.stop_reason);
        nib_generate_result_free(g, &r);
    }
    nib_generator_close(g);
}

static void test_callback_and_length(void)
{
    nib_generator *g = open_generator(0);
    nib_generate_options o = greedy(40);
    heard h = { .most = 3 };
    nib_generate_result r;
    nib_error err;

    REQUIRE(g);
    o.on_text = hear;
    o.user = &h;
    REQUIRE_OK(nib_generator_run(g, story, strlen(story), &o, &r, &err), err);
    CHECK(strcmp(r.stop_reason, "callback") == 0 && h.calls == 3 && r.bytes == h.bytes,
          "%s after %zu calls", r.stop_reason, h.calls);
    nib_generate_result_free(g, &r);
    o = greedy(1);
    REQUIRE_OK(nib_generator_run(g, story, strlen(story), &o, &r, &err), err);
    CHECK(strcmp(r.stop_reason, "length") == 0 && r.new_tokens == 1 && strcmp(r.text, ",") == 0,
          "%s", r.text);
    nib_generate_result_free(g, &r);
    nib_generator_close(g);
}

/* The same seed, the same text; another one, another. */
static void test_seeds(void)
{
    nib_generator *g = open_generator(0);
    nib_generate_options o = greedy(30);
    nib_generate_result r[3];
    nib_error err;

    REQUIRE(g);
    o.do_sample = 1;
    for (size_t i = 0; i < 3; i++) {
        o.seed = i == 2 ? 8 : 7;
        REQUIRE_OK(nib_generator_run(g, story, strlen(story), &o, &r[i], &err), err);
    }
    CHECK(strcmp(r[0].text, r[1].text) == 0, "%s / %s", r[0].text, r[1].text);
    CHECK(strcmp(r[0].text, r[2].text) != 0, "%s", r[2].text);
    for (size_t i = 0; i < 3; i++) nib_generate_result_free(g, &r[i]);
    nib_generator_close(g);
}

static void refuse(nib_generator *g, const nib_generate_options *o, const char *prompt,
                   const char *says)
{
    nib_generate_result r;
    nib_error err = { 0 };

    CHECK(nib_generator_run(g, prompt, strlen(prompt), o, &r, &err) == NIB_E_INVALID, "%s", says);
    CHECK(strstr(err.message, says), "%s: %s", says, err.message);
}

static void test_refusals(void)
{
    static const char *const empty[] = { "" };
    static char long_prompt[8000];
    nib_generator *g = open_generator(2);
    nib_generate_options o = greedy(3);
    nib_generate_result r;
    nib_error err;
    char line[400];

    REQUIRE(g);
    refuse(g, &o, story, "first, second");
    o.adapter = "third";
    refuse(g, &o, story, "first, second");
    o.adapter = "second";
    refuse(g, &o, "", "empty");
    o.float32_matmul_precision = "medium";
    refuse(g, &o, story, "not high or highest");
    o.float32_matmul_precision = "highest";
    for (size_t i = 0; i + 4 < sizeof long_prompt; i += 4) memcpy(long_prompt + i, " cat", 5);
    refuse(g, &o, long_prompt, "at most 512");
    o.stop = empty;
    o.stop_count = 1;
    refuse(g, &o, story, "stop string 1");
    o.stop_count = 0;
    REQUIRE_OK(nib_generator_describe(g, &o, line, sizeof line, &err), err);
    CHECK(strstr(line, "adapter second") && strstr(line, "greedy") &&
              strstr(line, "float32_matmul_precision highest"), "%s", line);
    REQUIRE_OK(nib_generator_run(g, story, strlen(story), &o, &r, &err), err);
    nib_generate_result_free(g, &r);
    o.adapter = NULL;
    o.no_adapter = true;
    REQUIRE_OK(nib_generator_run(g, story, strlen(story), &o, &r, &err), err);
    CHECK(strncmp(goldens[0].text, r.text, r.bytes) == 0, "%s", r.text);
    nib_generate_result_free(g, &r);
    nib_generator_close(g);
}

static const test_case cases[] = {
    { "greedy equals transformers", test_greedy },
    { "guesses leave the text as it is", test_lookup },
    { "stop strings", test_stop },
    { "callback and length", test_callback_and_length },
    { "seeds", test_seeds },
    { "adapters and refusals", test_refusals },
};

int main(void) { return test_main("test_generate", cases, NIB_COUNT(cases)); }
