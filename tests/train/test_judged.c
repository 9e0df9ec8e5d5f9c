/* test_judged.c - metric_for_best_model of answers: those of the evaluations are those of nibble
 * evaluate --generate, the best one is kept, a killed run resumes to the same bytes, and what
 * cannot be judged is refused before a weight is loaded. */
#include <jansson.h>
#include <math.h>

#include "program.h"
#include "run_support.h"

enum { QUESTIONS = 4 };

static const char *questions(const char *name)
{
    static char text[2000];
    size_t used = 0;

    for (int i = 0; i < QUESTIONS; i++)
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "{\"prompt\": \"Question: number %d?\\nAnswer:\", "
                                 "\"completion\": \" bike %d and more\"}\n", i, i * 7);
    return run_write(name, text);
}

/* Two turns, of which the last is asked. */
static const char *chats(const char *name)
{
    static char text[4000];
    size_t used = 0;

    for (int i = 0; i < QUESTIONS; i++)
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "{\"messages\": [{\"role\": \"user\", \"content\": \"Open?\"}, "
                                 "{\"role\": \"assistant\", \"content\": \"At nine, %d.\"}, "
                                 "{\"role\": \"user\", \"content\": \"Number %d?\"}, "
                                 "{\"role\": \"assistant\", \"content\": \"Bike %d.\"}]}\n", i, i,
                                 i * 3);
    return run_write(name, text);
}

/* The entry of log_history of that step's evaluation; borrowed. */
static const json_t *evaluation(const json_t *state, int step)
{
    const json_t *history = json_object_get(state, "log_history");

    for (size_t i = 0; i < json_array_size(history); i++) {
        const json_t *e = json_array_get(history, i);
        if (json_object_get(e, "eval_loss") &&
            json_integer_value(json_object_get(e, "step")) == step)
            return e;
    }
    return NULL;
}

static json_t *state_of(const char *dir)
{
    char path[700];

    snprintf(path, sizeof path, "%s/trainer_state.json", dir);
    return json_load_file(path, 0, NULL);
}

/* What an evaluation logged, and what evaluate --generate finds of that step's checkpoint. */
static void check_step(const char *model, const char *data, const char *out, int step)
{
    static const char *const names[][2] = {
        { "exact", "eval_exact" }, { "exact_match", "eval_exact_match" },
        { "contains", "eval_contains" }, { "rouge_l", "eval_rougeL" }, { "chrf", "eval_chrf" },
    };
    char adapter[700];
    program_end e;
    json_t *state = state_of(out), *report;
    const json_t *logged = evaluation(state, step), *scores;

    REQUIRE(logged, "step %d: no evaluation", step);
    snprintf(adapter, sizeof adapter, "%s/checkpoint-%d", out, step);
    REQUIRE(NIBBLE(&e, "evaluate", model, "--generate", "--data", data, "--adapter", adapter,
                   "--no-base", "--json"));
    REQUIRE(e.exit_code == 0, "%s", e.said);
    REQUIRE(report = json_loads(e.out, 0, NULL), "%s", e.out);
    scores = json_object_get(json_array_get(json_object_get(report, "contestants"), 0), "scores");
    for (size_t i = 0; i < NIB_COUNT(names); i++) {
        double wanted = json_number_value(
            json_object_get(json_object_get(scores, names[i][0]), "score"));
        const json_t *got = json_object_get(logged, names[i][1]);
        CHECK(got && fabs(json_number_value(got) - wanted) < 1e-9, "step %d: %s is %g, expected %g",
              step, names[i][1], json_number_value(got), wanted);
    }
    CHECK(!json_object_get(logged, "eval_json_valid"), "of answers that are no JSON");
    json_decref(report);
    json_decref(state);
}

static void check_run(const char *model, const char *data, const char *out,
                      const char *const *more)
{
    const char *arguments[40] = { "finetune", model, "--data", data, "--eval-data", data, "-o", out,
                                  "--eval-strategy", "steps", "--eval-steps", "15", "--save-steps",
                                  "15", "--save-total-limit", "0", "--max-steps", "30", "--lr",
                                  "1e-2", "--metric-for-best-model" };
    size_t n = 21;
    program_end e;

    while (*more) arguments[n++] = *more++;
    REQUIRE(program_nibble(&(program_run){ .arguments = arguments }, &e));
    REQUIRE(e.exit_code == 0, "%s", e.said);
    CHECK(strstr(e.said, "each evaluation answers its 4 records"), "%s", e.said);
    check_step(model, data, out, 30);
}

/* Prompts, chats of several turns; a head that is trained, of which nothing old may be used. */
static void test_as_evaluate(void)
{
    const char *model = test_data("models/pico"), *out = run_path("prompts");
    const char *jinja = run_write("chat.jinja",
                                  "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n"
                                  "{% endfor %}{% if add_generation_prompt %}[assistant] "
                                  "{% endif %}");
    json_t *state;

    check_run(model, questions("q.jsonl"), out,
              (const char *const[]){ "eval_exact_match", "--load-best-model-at-end", NULL });
    REQUIRE(state = state_of(out));
    CHECK(json_number_value(json_object_get(state, "best_metric")) > .4 &&
              json_number_value(json_object_get(state, "best_metric")) ==
                  json_number_value(json_object_get(evaluation(state, 30), "eval_exact_match")),
          "the best is not the last of 30");
    json_decref(state);
    check_run(model, chats("c.jsonl"), run_path("chats"),
              (const char *const[]){ "rougeL", "--chat-template", jinja, NULL });
    check_run(model, questions("q.jsonl"), run_path("head"),
              (const char *const[]){ "chrf", "--modules-to-save", "lm_head", NULL });
}

static nib_finetune_options judged_options(const char *out)
{
    nib_finetune_options o = run_options(out);

    o.model.model = test_data("models/pico");
    o.data.data = questions("q.jsonl");
    o.eval_data = questions("eval.jsonl");
    o.train.max_steps = 12;
    o.train.save_steps = o.train.eval_steps = 2;
    o.train.eval_strategy = "steps";
    o.train.metric_for_best_model = "eval_chrf";
    o.train.load_best_model_at_end = true;
    o.train.early_stopping_patience = 3;
    o.train.report_to = "jsonl";
    return o;
}

static double chrf[64];
static bool best[64];
static void keep(void *user, const nib_eval_report *r)
{
    (void)user;
    if (r->step >= 64) return;
    chrf[r->step] = r->answers ? r->answers->chrf : -1;
    best[r->step] = r->best;
}

static void test_resumed(void)
{
    nib_finetune_options whole = judged_options("whole"), o;
    nib_error err;
    double greatest = -1;
    int improved = 0;

    whole.on_evaluate = keep;
    REQUIRE_OK(run_here(&whole, 2, &err), err);
    for (int step = 2; step <= 12 && (step == 2 || chrf[step] > 0); step += 2) {
        CHECK(best[step] == (chrf[step] > greatest), "step %d: chrf %g after %g", step, chrf[step],
              greatest);
        improved += best[step];
        greatest = fmax(greatest, chrf[step]);
    }
    CHECK(improved > 1 && greatest > 0 && greatest <= 1, "%d are the best so far, %g", improved,
          greatest);
    o = judged_options("killed");
    for (int step = 1; step <= 11; step += 2) (void)run_killed(o, step, 1);
    REQUIRE_OK(run_here(&o, 1, &err), err);
    CHECK(run_same(whole.output_dir, o.output_dir, "adapter_model.safetensors"), "other bytes");
}

static uint64_t scratch, total;
static void keep_plan(void *user, const nib_run_report *r)
{
    (void)user;
    scratch = r->plan.scratch;
    total = r->plan.total - r->plan.baseline;
}

/* The plan has what answering takes. */
static void test_planned(void)
{
    nib_finetune_options o = judged_options("plan");
    uint64_t plain, plain_total;
    nib_error err;

    o.dry_run = true;
    o.on_start = keep_plan;
    o.train.metric_for_best_model = "loss";
    REQUIRE_OK(run_here(&o, 1, &err), err);
    plain = scratch, plain_total = total;
    o.train.metric_for_best_model = "contains";
    REQUIRE_OK(run_here(&o, 1, &err), err);
    /* keys and values of float: layers, both, tokens, heads, width; at the least */
    CHECK(scratch > plain + 2 * 16 * 64 && total - plain_total == scratch - plain,
          "%" PRIu64 " bytes after %" PRIu64, scratch, plain);
}

static void check_refused(nib_finetune_options o, const char *wanted)
{
    nib_error err;

    o.output_dir = run_path("refused");
    CHECK(run_here(&o, 1, &err) == NIB_E_INVALID && strstr(err.message, wanted),
          "'%s' is not in: %s", wanted, err.message);
}

static void test_refused(void)
{
    nib_finetune_options o = judged_options("out");

    o.train.metric_for_best_model = "json_valid";
    check_refused(o, "answers that are JSON objects or lists, and of the 4 of");
    o.train.metric_for_best_model = "rougeL";
    o.data.train_on_prompt = true;
    check_refused(o, "with train_on_prompt nothing tells them from their prompts");
    o.data.train_on_prompt = false;
    o.data.data = o.eval_data = run_write("text.jsonl", "{\"text\": \"Bikes are here.\"}\n");
    check_refused(o, "have no prompt that could be answered");
    o.data.data = o.eval_data = run_write(
        "choice.jsonl", "{\"question\": \"a?\", \"choices\": [\"one\", \"two\"], "
                        "\"answer\": 1}\n");
    check_refused(o, "of records of multiple choice none is");
    o.train.metric_for_best_model = "bleu";
    check_refused(o, "of answers exact_match, exact, contains, rougeL");
    o = judged_options("out");
    o.model.model = test_data("models/sorter");
    o.data.data = o.eval_data = test_data("models/kinds.jsonl");
    check_refused(o, "chrf is not measured of");
    o = judged_options("out"); /* one that is JSON is enough */
    o.eval_data = run_write("json.jsonl", "{\"prompt\": \"a\", "
                                          "\"completion\": \"{\\\"b\\\": 1}\"}\n"
                                          "{\"prompt\": \"b\", \"completion\": \" no\"}\n");
    o.train.metric_for_best_model = "json_fields";
    o.dry_run = true;
    nib_error err;
    REQUIRE_OK(run_here(&o, 1, &err), err);
}

int main(void)
{
    static const test_case cases[] = {
        { "as evaluate", test_as_evaluate },
        { "resumed", test_resumed },
        { "planned", test_planned },
        { "refused", test_refused },
    };
    return test_main("judged", cases, NIB_COUNT(cases));
}
