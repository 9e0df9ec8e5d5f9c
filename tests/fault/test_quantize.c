/* test_quantize.c - a calibrated quantization that is killed at a write, sync or rename, or
 * fails there: the same command resumes behind the last finished layer, to the same bytes. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "faulty.h"

typedef struct path { char s[600]; } path;

typedef struct scene {
    path model, data, wanted; /* wanted: what an undisturbed run gives */
    path work, out;           /* out lies in work, and nothing else does */
    bool targeted;            /* bits are allotted: errors are measured first */
    bool gguf;                /* the model is such a file */
    bool merged;              /* an adapter is merged, and the sum calibrated */
    bool two_ways;            /* it was trained on NF4: into the dense weights, and as it knew them
                                 */
    path trained;
} scene;

static path in(const char *dir, const char *name)
{
    path p;
    if ((size_t)snprintf(p.s, sizeof p.s, "%s/%s", dir, name) >= sizeof p.s) abort();
    return p;
}

static bool quantize(const scene *s, const char *out, const faulty_run *fault, faulty_end *end)
{
    const char *const arguments[] = {
        "quantize", s->model.s, out, "--format", "gptq", s->targeted ? "--target-bpw" : "--bits",
        s->targeted ? "6" : "4", "--group-size", "32",
        "--calibration-data", s->data.s, "--overwrite", "--threads", "1", NULL
    };
    const path adapter = s->two_ways ? s->trained : in(s->model.s, "adapter");
    const char *const merge[] = {
        "merge", s->model.s, out, "--adapter", adapter.s, "--format", "gptq",
        "--bits", "4", "--group-size", "32", "--calibration-data", s->data.s, "--overwrite",
        "--threads", "1", NULL
    };
    faulty_run run = *fault;

    run.arguments = s->merged ? merge : arguments;
    run.under = s->work.s;
    return faulty_nibble(&run, end);
}

/* An adapter of the model's NF4 form. */
static bool train(scene *s, faulty_end *end)
{
    const char *const arguments[] = {
        "finetune", s->model.s, "--data", s->data.s, "--output-dir", s->trained.s, "--load-in-4bit",
        "--bnb-4bit-quant-type", "nf4", "--max-steps", "2", "--learning-rate", "0.1", "--r", "2",
        "--save-steps", "0", "--threads", "1", NULL
    };

    return faulty_nibble(&(faulty_run){ .arguments = arguments, .under = s->work.s }, end);
}

static bool set_up(scene *s)
{
    char top[PATH_MAX];
    faulty_end end;
    FILE *f;

    if (!realpath(test_data(s->gguf ? "tests/golden/gguf/llama.gguf"
                                    : "tests/golden/models/llama"), top))
        return false;
    snprintf(s->model.s, sizeof s->model.s, "%.599s", top);
    s->data = in(test_tmpdir(), "data.jsonl");
    s->wanted = in(test_tmpdir(), "wanted");
    s->work = in(test_tmpdir(), "work");
    s->out = in(s->work.s, "out");
    f = fopen(s->data.s, "w");
    for (int i = 0; f && i < 12; i++)
        fprintf(f, "{\"input_ids\": [%d, %d, %d, %d, %d, %d]}\n", 1 + i, 40 - i, 3 + 2 * i, 7,
                9 + i, 60 - 3 * i);
    s->trained = in(test_tmpdir(), "trained");
    if (!f || fclose(f)) return false;
    if (s->two_ways) {
        if (!train(s, &end)) return false;
        CHECK(end.exit_code == 0, "%s", end.said);
    }
    if (!quantize(s, s->wanted.s, &(faulty_run){ 0 }, &end)) return false;
    CHECK(end.exit_code == 0, "%s", end.said);
    return end.exit_code == 0;
}

static bool put_back(const scene *s)
{
    char command[1400];

    snprintf(command, sizeof command, "rm -rf '%s' && mkdir '%s'", s->work.s, s->work.s);
    return system(command) == 0;
}

static bool is_wanted(const scene *s)
{
    return faulty_same_file(in(s->out.s, "model.safetensors").s,
                            in(s->wanted.s, "model.safetensors").s) &&
           (s->merged || s->gguf || /* which name their own path */
            faulty_same_file(in(s->out.s, "config.json").s, in(s->wanted.s, "config.json").s));
}

/* The run of the same command after a disturbed one. */
static void check_resumes(const scene *s, const char *action, long k, long *resumed)
{
    faulty_end end;

    REQUIRE(quantize(s, s->out.s, &(faulty_run){ 0 }, &end));
    CHECK(end.exit_code == 0 && is_wanted(s), "after %s at call %ld: exit %d: %s", action, k,
          end.exit_code, end.said);
    CHECK(access(in(s->work.s, "out.unfinished").s, F_OK) &&
              access(in(s->work.s, "out.original.unfinished").s, F_OK) &&
              access(in(s->work.s, "out.decoded.unfinished").s, F_OK),
          "%s at call %ld: layers are left", action, k);
    *resumed += strstr(end.said, "layers are finished") != NULL;
}

/* At every `step`-th call; other ones each day where the steps are so short that every walk meets
 * what resumes. */
static void disturb(const char *action, int exit_code, long step, const scene *kind)
{
    scene s = *kind;
    faulty_end end;
    long calls, resumed = 0, shift = test_first_of_the_day(&step, *action == 'e');
    long first = 1 + (step < 7 ? shift : 0);

    REQUIRE(set_up(&s) && put_back(&s));
    REQUIRE(quantize(&s, s.out.s, &(faulty_run){ 0 }, &end) && end.exit_code == 0, "%s", end.said);
    calls = end.calls;
    CHECK(calls > 20 && is_wanted(&s), "%ld calls", calls);
    CHECK(!s.two_ways || (strstr(end.said, "original") && strstr(end.said, "decoded")),
          "one way alone: %s", end.said);
    for (long k = first; k <= calls; k = test_next_step(k, step, calls)) {
        REQUIRE(put_back(&s) &&
                quantize(&s, s.out.s, &(faulty_run){ .call = k, .action = action }, &end));
        CHECK(end.exit_code == exit_code || (exit_code == 1 && end.exit_code == 0 && is_wanted(&s)),
              "%s at call %ld: exit %d: %s", action, k, end.exit_code, end.said);
        check_resumes(&s, action, k, &resumed);
    }
    CHECK(resumed > calls / step / 4, "%ld of %ld runs resumed behind a finished layer", resumed,
          calls / step);
}

static void test_killed(void) { disturb("kill", -1, 3, &(scene){ 0 }); }
static void test_torn(void) { disturb("torn", -1, 4, &(scene){ 0 }); }
static void test_no_space(void) { disturb("enospc", 1, 3, &(scene){ 0 }); }
static void test_killed_target(void) { disturb("kill", -1, 7, &(scene){ .targeted = true }); }
static void test_killed_merge(void) { disturb("kill", -1, 7, &(scene){ .merged = true }); }
static void test_killed_ways(void)
{
    disturb("kill", -1, 13, &(scene){ .merged = true, .two_ways = true });
}
static void test_killed_gguf(void) { disturb("kill", -1, 11, &(scene){ .gguf = true }); }
static void test_merge_no_space(void) { disturb("enospc", 1, 11, &(scene){ .merged = true }); }

int main(void)
{
    static const test_case cases[] = {
        { "killed", test_killed },
        { "killed in a write", test_torn },
        { "no space", test_no_space },
        { "killed with a target", test_killed_target },
        { "a merge is killed", test_killed_merge },
        { "a merge two ways is killed", test_killed_ways },
        { "a GGUF file's is killed", test_killed_gguf },
        { "a merge without space", test_merge_no_space },
    };
    return test_main("quantize", cases, NIB_COUNT(cases));
}
