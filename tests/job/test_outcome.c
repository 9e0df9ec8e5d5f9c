/* test_outcome.c - a run that diverged or stands still is named at its end, and no other. */
#include <string.h>

#include "job/finetune_job.h"
#include "program.h"
#include "test.h"

static char warned[1000];

static void keep_warning(void *user, nib_message_kind kind, const char *text)
{
    (void)user;
    if (kind == NIB_MESSAGE_WARNING) snprintf(warned, sizeof warned, "%s", text);
}

/* A history of `count` lines whose losses go evenly from first to last. */
static const char *judge(int count, double first, double last, double grad_norm)
{
    nib_ctx_options options = { .threads = 1, .message = keep_warning };
    nib_finetune_options o;
    nib_finetune_job j = { .o = &o };
    nib_error err;

    *warned = 0;
    nib_finetune_defaults(&o);
    nib_finetune_peft_defaults(&o);
    if (nib_ctx_create(&options, &j.ctx, &err)) return "no context";
    nib_trainer_state_init(j.ctx, &j.state);
    CHECK(nib_trainer_state_reserve(&j.state, (size_t)count, &err) == NIB_OK);
    for (int i = 0; i < count; i++) {
        double loss = first + (last - first) * i / (count > 1 ? count - 1 : 1);
        nib_log_entry e = { NIB_LOG_TRAIN, (uint64_t)i + 1, 0, { grad_norm, 1e-3, loss } };
        nib_trainer_state_log(&j.state, &e);
    }
    nib_finetune_judge_end(&j);
    nib_trainer_state_free(&j.state);
    nib_ctx_destroy(j.ctx);
    return warned;
}

static void test_histories(void)
{
    const char *w = judge(40, 2.5, 10.8, 0.0002);

    CHECK(strstr(w, "the run diverged: the loss began at 2.5 and ended at 10.") &&
          strstr(w, "gradient of nearly 0"), "%s", w);
    CHECK(strstr(judge(10, 1, 5, 3), "diverged") && !strstr(warned, "nearly 0"), "%s", warned);
    CHECK(strstr(judge(10, 8, 11, 3), "diverged"), "%s", warned);
    CHECK(strstr(judge(30, 3, 2, 0), "stands still"), "%s", warned);
    CHECK(!*judge(30, 3, 2, 0.4), "%s", warned);    /* learned */
    CHECK(!*judge(30, 3, 3.2, 0.4), "%s", warned);  /* did not, but no harm */
    CHECK(!*judge(30, 0.2, 0.9, 2), "%s", warned);  /* other records */
    CHECK(!*judge(30, 1, 1e-4, 1e-4), "%s", warned); /* knows all by heart, and still moves */
    CHECK(!*judge(4, 1, 9, 2), "%s", warned);       /* too short to tell */
}

static void test_program(void)
{
    char out[600];
    program_end end;

    snprintf(out, sizeof out, "%s/out", test_tmpdir());
    REQUIRE(NIBBLE(&end, "finetune", test_data("models/pico"), "--data",
                   test_data("models/shop.jsonl"), "--output-dir", out, "--max-steps", "7",
                   "--defaults", "peft",
                   "--learning-rate", "10", "--lr-scheduler-type", "constant"));
    CHECK(end.exit_code == 0 && strstr(end.said, "warning: the run diverged: the loss began at") &&
          strstr(end.said, "1 thing to look at:\n  - the run diverged"), "%s", end.said);
    REQUIRE(NIBBLE(&end, "finetune", test_data("models/pico"), "--data",
                   test_data("models/shop.jsonl"), "--output-dir", out, "--max-steps", "12",
                   "--defaults", "peft",
                   "--overwrite"));
    CHECK(end.exit_code == 0 && !strstr(end.said, "warning"), "%s", end.said);
}

int main(void)
{
    static const test_case cases[] = { { "histories", test_histories },
                                       { "program", test_program } };
    return test_main("outcome", cases, NIB_COUNT(cases));
}
