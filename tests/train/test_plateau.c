/* test_plateau.c - reduce_lr_on_plateau: torch's rates after each evaluation
 * (tests/golden/make/plateau_golden.py), a run whose rates fall, and one that is resumed. */
#include <stdlib.h>
#include <string.h>

#include "base/filemap.h"
#include "program.h"
#include "test.h"
#include "train/schedule.h"

enum { MOST_ARGUMENTS = 8 };

/* "patience=2,mode=max" or "-" */
static size_t read_arguments(char *text, nib_argument *out)
{
    size_t n = 0;
    char *rest = NULL;

    if (strcmp(text, "-") == 0) return 0;
    for (char *one = strtok_r(text, ",", &rest); one; one = strtok_r(NULL, ",", &rest), n++) {
        char *value = strchr(one, '='), *end;
        *value++ = 0;
        out[n] = (nib_argument){ one, strtod(value, &end), NULL };
        if (*end) out[n].text = value;
    }
    return n;
}

static void check_case(char *line)
{
    nib_argument arguments[MOST_ARGUMENTS];
    char name[200], *rest = NULL, *word = strtok_r(line, " ", &rest);
    nib_train_options o = { .lr_scheduler_type = "reduce_lr_on_plateau", .learning_rate = 3e-4,
                            .lr_scheduler_kwargs = arguments };
    double rates[2] = { 3e-4, 7e-5 };
    nib_schedule s;
    nib_error err;
    size_t falls = 0;

    snprintf(name, sizeof name, "%s", word);
    o.lr_scheduler_kwarg_count = read_arguments(word, arguments);
    REQUIRE_OK(nib_schedule_init(&o, 100, &s, &err), err);
    for (int i = 0; i < 30; i++) {
        double metric = strtod(strtok_r(NULL, " ", &rest), NULL);
        bool lower = nib_plateau_judge(&s.plateau, metric);

        falls += lower;
        for (int k = 0; k < 2; k++) {
            double want = strtod(strtok_r(NULL, " ", &rest), NULL);
            if (lower) rates[k] = nib_plateau_lower(&s.plateau, rates[k]);
            CHECK(rates[k] == want, "%s, evaluation %d: rate %d is %a, torch has %a", name, i, k,
                  rates[k], want);
        }
        CHECK(nib_schedule_factor(&s, (uint64_t)i) == 1, "a factor of its own");
    }
    CHECK(falls || strcmp(name, "-") == 0, "%s: no rate falls", name);
}

static void test_rates(void)
{
    nib_ctx *ctx = test_ctx();
    char *text = NULL, *next;
    size_t bytes, count = 0;
    nib_error err;

    REQUIRE_OK(nib_file_read(ctx, test_data("tests/golden/train/plateau.txt"), 1 << 20, &text,
                             &bytes, &err), err);
    for (char *at = text; at && *at; at = next, count++) {
        next = strchr(at, '\n');
        if (next) *next++ = 0;
        check_case(at);
    }
    CHECK(count == 12, "%zu cases", count);
    nib_free(ctx, text);
}

static bool train(const char *out, const char *steps, const char *resume, program_end *e)
{
    return NIBBLE(e, "finetune", test_data("models/pico"), "--data",
                  test_data("models/shop.jsonl"), "--eval-data",
                  test_data("models/shop-test.jsonl"), "--eval-strategy", "steps", "--eval-steps",
                  "1", "--save-steps", "3", "--max-steps", steps, "--lr-scheduler-type",
                  "reduce_lr_on_plateau", "--lr-scheduler-kwargs",
                  "patience=1,threshold=0.9,factor=0.5", "--r", "2", "--defaults", "peft",
                  "max_seq_length=48",
                  "per_device_train_batch_size=1", "--output-dir", out, "--json", "--threads", "1",
                  resume);
}

/* Every second evaluation halves the rate (none is better by nine tenths), and a run that resumes
 * from its third step ends with the bytes of the whole one. */
static void test_run(void)
{
    nib_ctx *ctx = test_ctx();
    char whole[500], parts[500], path[600], *a = NULL, *b = NULL;
    size_t a_bytes = 0, b_bytes = 0;
    program_end e;
    nib_error err;

    snprintf(whole, sizeof whole, "%s/whole", test_tmpdir());
    snprintf(parts, sizeof parts, "%s/parts", test_tmpdir());
    REQUIRE(train(whole, "6", "--no-overwrite", &e));
    CHECK(e.exit_code == 0, "%s", e.said);
    CHECK(strstr(e.out, "\"learning_rate\": 0.0002") &&
              strstr(e.out, "\"learning_rate\": 0.0001") &&
              strstr(e.out, "\"learning_rate\": 5e-05"),
          "%s", e.out);
    REQUIRE(train(parts, "3", "--no-overwrite", &e));
    CHECK(e.exit_code == 0, "%s", e.said);
    REQUIRE(train(parts, "6", "--resume-from-checkpoint=true", &e));
    CHECK(e.exit_code == 0 && strstr(e.said, "resuming from"), "%s", e.said);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", whole);
    REQUIRE_OK(nib_file_read(ctx, path, 1 << 26, &a, &a_bytes, &err), err);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", parts);
    REQUIRE_OK(nib_file_read(ctx, path, 1 << 26, &b, &b_bytes, &err), err);
    CHECK(a_bytes == b_bytes && memcmp(a, b, a_bytes) == 0, "another adapter than in one go");
    nib_free(ctx, a);
    nib_free(ctx, b);
}

static void test_refused(void)
{
    static const nib_argument one = { "factor", 1, NULL }, mode = { "mode", 0, "least" },
                              cycles = { "num_cycles", 2, NULL };
    const struct { const nib_argument *argument; int warmup; const char *says; } bad[] = {
        { &one, 0, "factor is 1, expected a number from 0 to below 1" },
        { &mode, 0, "mode is 'least', known are min, max" },
        { &cycles, 0, "reduce_lr_on_plateau has no 'num_cycles', it has min_lr, factor, patience" },
        { NULL, 5, "has no warm-up" },
    };
    program_end e;

    for (size_t i = 0; i < NIB_COUNT(bad); i++) {
        nib_train_options o = { .lr_scheduler_type = "reduce_lr_on_plateau",
                                .lr_scheduler_kwargs = bad[i].argument,
                                .lr_scheduler_kwarg_count = bad[i].argument != NULL,
                                .warmup_steps = bad[i].warmup };
        nib_schedule s;
        nib_error err;

        CHECK(nib_schedule_init(&o, 10, &s, &err) == NIB_E_INVALID &&
                  strstr(err.message, bad[i].says),
              "case %zu: %s", i, err.message);
    }
    REQUIRE(NIBBLE(&e, "finetune", test_data("models/pico"), "--data",
                   test_data("models/shop.jsonl"), "--dry-run", "--lr-scheduler-type",
                   "reduce_lr_on_plateau"));
    CHECK(e.exit_code == 1 && strstr(e.said, "reduce_lr_on_plateau needs eval_strategy"), "%s",
          e.said);
}

int main(void)
{
    static const test_case cases[] = { { "rates", test_rates }, { "run", test_run },
                                       { "refused", test_refused } };
    return test_main("plateau", cases, NIB_COUNT(cases));
}
