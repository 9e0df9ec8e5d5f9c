/* test_commands.c - the program as its users meet it: options, streams, exit codes
 * (docs/conventions.md). */
#include "program.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const verbs[] = { "quantize", "finetune", "generate", "evaluate",
                                     "merge",    "inspect",  "tokenize", "doctor",
                                     "convert-recipe", "perplexity", "predict", "embed",
                                     "export", "preview", "runs", "add-tokens" };
enum { VERBS = sizeof verbs / sizeof *verbs };

static bool has(const char *text, const char *part) { return strstr(text, part) != NULL; }

static size_t times(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, part)); p++) n++;
    return n;
}

static bool is_one_line(const char *text)
{
    const char *end = strchr(text, '\n');
    return end && !end[1];
}

/* A plain help says how many options more `--help all` has. */
static bool check_hidden(const program_end *plain, const program_end *all)
{
    size_t hidden = times(all->out, "\n  --") - times(plain->out, "\n  --");
    char line[64];

    snprintf(line, sizeof line, "\n%zu more options: ", hidden);
    return hidden ? has(plain->out, line) && has(plain->out, "--help all\n")
                  : strcmp(plain->out, all->out) == 0;
}

/* Help is a result: on standard output, exit 0, and exit 1 when it cannot be written. */
static void test_help(void)
{
    program_end e, all;

    for (size_t i = 0; i < VERBS; i++) {
        REQUIRE(NIBBLE(&e, verbs[i], "--help"));
        CHECK(e.exit_code == 0 && has(e.out, verbs[i]) && !*e.said, "%s: %d %s", verbs[i],
              e.exit_code, e.said);
        CHECK(times(e.out, "\n") <= 40, "%s: %zu lines are no screen", verbs[i],
              times(e.out, "\n"));
        REQUIRE(NIBBLE(&all, verbs[i], "--help", "all"));
        CHECK(all.exit_code == 0 && has(all.out, "--json") && !*all.said, "%s: %d %s", verbs[i],
              all.exit_code, all.said);
        CHECK(check_hidden(&e, &all), "%s: plain help hides %zu of %zu options unsaid", verbs[i],
              times(all.out, "\n  --") - times(e.out, "\n  --"), times(all.out, "\n  --"));
        const char *const help[] = { verbs[i], "--help", NULL };
        REQUIRE(program_nibble(&(program_run){ .arguments = help, .out_path = "/dev/full" }, &e));
        CHECK(e.exit_code == 1 && has(e.said, "standard output"), "%s: %d %s", verbs[i],
              e.exit_code, e.said);
    }
}

/* The manual page has a place for each verb's options, and they are those of `--help all`. */
static void test_manual(void)
{
    char page[16384] = "", mark[64];
    program_end help, manual;
    FILE *f = fopen(test_data("docs/nibble.1"), "r");

    REQUIRE(f && fread(page, 1, sizeof page - 1, f) > 0);
    fclose(f);
    for (size_t i = 0; i < VERBS; i++) {
        snprintf(mark, sizeof mark, "\n@OPTIONS %s@\n", verbs[i]);
        CHECK(times(page, mark) == 1, "%s is missing", verbs[i]);
        REQUIRE(NIBBLE(&help, verbs[i], "--help", "all") &&
                NIBBLE(&manual, verbs[i], "--help=mdoc"));
        CHECK(manual.exit_code == 0 && times(help.out, "\n  --") > 1 &&
                  times(help.out, "\n  --") == times(manual.out, ".It Fl \\-"),
              "%s: %zu and %zu options", verbs[i], times(help.out, "\n  --"),
              times(manual.out, ".It Fl \\-"));
    }
}

static void test_full_disk(void)
{
    static const char *const runs[][5] = {
        { "--help" }, { "--version" }, { "finetune", "--keys" }, { "doctor" },
        { "doctor", "--json" },
        { "inspect", "models/pico" }, { "inspect", "models/pico/model.safetensors" },
    };
    program_end e;

    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        REQUIRE(program_nibble(&(program_run){ .arguments = runs[i], .out_path = "/dev/full" },
                               &e));
        CHECK(e.exit_code == 1 && has(e.said, "standard output") && is_one_line(e.said),
              "run %zu: %d %s", i, e.exit_code, e.said);
    }
}

/* Misuse: exit 2, nothing on standard output; the usage of that verb in one line, and below it,
 * where no long help pushes it out of sight, what is wrong. */
static void test_misuse(void)
{
    static const struct { const char *arguments[6], *error; } runs[] = {
        { { "generate", "models/pico" }, "expected one of TEXT, --prompt and --prompts, got none" },
        { { "evaluate", "models/pico" }, "missing option --data" },
        { { "perplexity", "models/pico" }, "missing option --data" },
        { { "embed", "models/pico" }, "missing option --data" },
        { { "predict" }, "missing argument MODEL" },
        { { "pull" }, "missing argument NAME" },
        { { "pull", "org/name", "--retries", "-1" },
          "--retries: expected an integer of 0 or more, got '-1'" },
        { { "perplexity", "models/pico", "--data", "x", "--preset=ppl" },
          "--preset: expected gptq or llama.cpp, got 'ppl'" },
        { { "quantize", "models/pico" }, "missing argument OUT" },
        { { "add-tokens", "models/pico", "out" }, "missing option --tokens" },
        { { "quantize", "models/pico", "out", "--calibration-data", "x" },
          "missing option --format: gptq, awq or compressed-tensors" },
        { { "quantize", "models/pico", "-o" }, "--output: missing value, such as DIR" },
        { { "quantize", "-o", "out" }, "missing argument MODEL" },
        { { "quantize", "models/pico", "out", "-o", "other" },
          "unexpected argument 'models/pico' beside --output" },
        { { "quantize", "models/pico", "-o", "out", "--output=other" },
          "--output is given twice, 'out' and 'other': it takes one value" },
        { { "quantize", "models/pico", "-q", "out" },
          "unknown option -q: those of one letter are -h, -m MODEL, -o OUT and -p PROMPT" },
        { { "doctor", "-m", "x" }, "unknown option --model" },
        { { "generate", "m", "text", "-p", "other" },
          "unexpected argument 'text' beside --prompt" },
        { { "generate", "m", "-p", "text", "--temp", "1" },
          "unknown option --temp; here it is --temperature" },
        { { "generate", "m", "text", "--greedy" },
          "unknown option --greedy; here it is --no-do-sample" },
        { { "finetune", "m", "--lora_rank", "4" }, "unknown option --lora-rank; here it is --r" },
        { { "finetune", "m", "--max-tokens=4" },
          "unknown option --max-tokens; here it is --max-seq-length" },
        { { "merge", "models/pico", "out" }, "missing option --adapter" },
        { { "merge", "models/pico" }, "missing argument OUT" },
        { { "inspect" }, "missing argument MODEL|ADAPTER|FILE" },
        { { "inspect", "a", "b" }, "unexpected argument 'b'" },
        { { "doctor", "--thread", "1" }, "unknown option --thread; the nearest is --threads" },
        { { "doctor", "--json=maybe" }, "--json: expected true or false, got 'maybe'" },
        { { "doctor", "--threads" }, "--threads: missing value, such as" },
        { { "doctor", "--threads", "x" }, "--threads: expected an integer of 0 or more, got 'x'" },
        { { "generate", "m", "--prompt", "p", "--temperature", "hot" },
          "--temperature: expected a decimal number, got 'hot'" },
        { { "finetune" }, "missing argument MODEL or RECIPE" },
        { { "finetune", "models/pico" }, "missing option --data" },
        { { "finetune", "models/pico", "--lora-alpa", "8" },
          "unknown option --lora-alpa; the nearest is --lora-alpha" },
        { { "finetune", "models/pico", "--zzzz" }, "unknown option --zzzz (" },
        { { "finetune", "models/pico", "other" }, "unexpected argument 'other'" },
    };
    program_end e;

    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        const char *const *arguments = runs[i].arguments, *newline;
        char usage[64], start[200], see[64];

        snprintf(usage, sizeof usage, "usage: nibble %s ", arguments[0]);
        snprintf(start, sizeof start, "\nnibble %s: %s", arguments[0], runs[i].error);
        snprintf(see, sizeof see, " (see nibble %s --help)\n", arguments[0]);
        REQUIRE(program_nibble(&(program_run){ .arguments = arguments }, &e));
        newline = strchr(e.said, '\n');
        CHECK(e.exit_code == 2 && strncmp(e.said, usage, strlen(usage)) == 0 && !*e.out &&
                  newline && strncmp(newline, start, strlen(start)) == 0 &&
                  is_one_line(newline + 1) && has(newline, see),
              "run %zu: %d %s%s", i, e.exit_code, e.out, e.said);
    }
    for (size_t i = 0; i < 3; i++) {
        static const char *const unknown[][2] = {
            { "finetun",
              "unknown verb 'finetun', perhaps finetune; the verbs are pull, quantize, " },
            { "chat", "unknown verb 'chat', perhaps generate; the verbs are " },
            { "zzzz", "unknown verb 'zzzz'; the verbs are pull, quantize, " },
        };
        REQUIRE(NIBBLE(&e, unknown[i][0]));
        CHECK(e.exit_code == 2 && has(e.said, unknown[i][1]), "%d %s", e.exit_code, e.said);
    }
}

/* Numbers are finite, decimal and in their range; nothing else is read as one. */
static void test_numbers(void)
{
    static const struct { const char *option; const char *values[10]; } bad[] = {
        { "--temperature", { "nan", "inf", "0x1p3", "-1", "1e999", "1,5", "", " 1", "warm" } },
        { "--top-p", { "nan", "0", "1.5", "-0.1", "0x1" } },
        { "--min-p", { "nan", "-1", "2" } },
        { "--repetition-penalty", { "0", "inf", "nan", "-1" } },
        { "--top-k", { "-1", "1.5", "nan", "99999999999", "0x10", "" } },
        { "--max-new-tokens", { "0", "-1", "1e3", " 5", "5 ", "+5" } },
        { "--prompt-lookup-num-tokens", { "-1", "1.5", "many", "" } },
        { "--seed", { "-1", "1.0", "18446744073709551616" } },
        { "--threads", { "-1", "1.5", "5000" } },
        { "--bnb-4bit-blocksize", { "0", "33", "16", "8192", "nan" } },
        { "--bnb-4bit-quant-type", { "int8", "" } },
        { "--compute-dtype", { "int8", "" } },
        { "--float32-matmul-precision", { "medium", "" } },
    };
    program_end e;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (const char *const *v = bad[i].values; *v; v++) {
            REQUIRE(NIBBLE(&e, "generate", test_data("models/pico"), "--prompt", "Hello",
                           "--load-in-4bit", bad[i].option, *v));
            CHECK((e.exit_code == 1 || e.exit_code == 2) && !*e.out, "%s '%s': %d %s",
                  bad[i].option, *v, e.exit_code, e.out);
        }
    REQUIRE(NIBBLE(&e, "evaluate", test_data("models/pico"), "--data",
                   test_data("models/shop-test.jsonl"), "--batch-size", "-1"));
    CHECK(e.exit_code == 2, "%d", e.exit_code);
}

/* More threads than there are processors to run them are lowered, with a note. */
static void test_threads(void)
{
    program_end e;
    const char *found;

    REQUIRE(NIBBLE(&e, "doctor", "--threads", "4096"));
    found = strstr(e.out, "threads: ");
    CHECK(e.exit_code == 0 && has(e.said, "threads 4096: this process may use "), "%d %s",
          e.exit_code, e.said);
    CHECK(found && atoi(found + strlen("threads: ")) >= 1 &&
              atoi(found + strlen("threads: ")) < 4096,
          "%s", e.out);
    REQUIRE(NIBBLE(&e, "doctor", "--threads", "1"));
    CHECK(e.exit_code == 0 && has(e.out, "threads: 1\n") && !*e.said, "%s %s", e.out, e.said);
}

/* Training's, too; and a refused run leaves no directory. */
static void test_training_numbers(void)
{
    static const struct { const char *option; const char *values[8]; } bad[] = {
        { "--r", { "0", "-1", "1.5", "nan", "" } },
        { "--lora-alpha", { "0", "nan", "inf", "0x8", "" } },
        { "--lora-dropout", { "1", "-0.1", "nan" } },
        { "--learning-rate", { "-1", "nan", "1e999", "0x1p-3", "" } },
        { "--weight-decay", { "-1", "nan" } },
        { "--adam-beta1", { "1", "-1" } },
        { "--adam-epsilon", { "0", "-1" } },
        { "--max-grad-norm", { "-1", "inf" } },
        { "--warmup-ratio", { "2", "-1" } },
        { "--data-seed", { "-5", "1.5" } },
        { "--seed", { "-1", "1e3" } },
        { "--max-seq-length", { "1", "0" } },
        { "--max-memory", { "0x10", "nan", "-5" } },
        { "--rank-pattern", { "q_proj=0", "q_proj=1.5", "q_proj" } },
        { "--alpha-pattern", { "q_proj=0", "q_proj=nan" } },
        { "--modules-to-save", { "nope", "" } },
        { "--target-modules", { "nope", "regex:(", "" } },
    };
    char out[600];
    program_end e;

    snprintf(out, sizeof out, "%s/out", test_tmpdir());
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (const char *const *v = bad[i].values; *v; v++) {
            REQUIRE(NIBBLE(&e, "finetune", test_data("models/pico"), "--data",
                           test_data("models/shop.jsonl"), "--output-dir", out, "--max-steps", "1",
                           bad[i].option, *v));
            CHECK((e.exit_code == 1 || e.exit_code == 2) && !*e.out, "%s '%s': %d", bad[i].option,
                  *v, e.exit_code);
            CHECK(access(out, F_OK) != 0, "%s '%s': a directory was left", bad[i].option, *v);
        }
    REQUIRE(NIBBLE(&e, "finetune", test_data("models/pico"), "--data",
                   test_data("models/shop.jsonl"), "--output-dir", out, "--max-steps", "1",
                   "--target-modules", "q_proj,nope", "--load-in-4bit"));
    CHECK(e.exit_code == 0 && times(e.said, "called nope") == 2,
          "once, and in the block: %s", e.said);
}

/* The ways to write an option: dashes, underscores, true and false, `--no-`, an alias. */
static void test_spellings(void)
{
    static const char *const runs[][4] = { { "--max_new_tokens", "2" },
                                           { "--max-new-tokens=2" },
                                           { "--MAX-NEW-TOKENS", "2" } };
    const char *model = test_data("models/pico");
    program_end e, other;

    REQUIRE(NIBBLE(&e, "generate", model, "--prompt", "Question: What", "--temperature", "0",
                   "--max-new-tokens", "2"));
    REQUIRE(e.exit_code == 0 && *e.out, "%s", e.said);
    for (size_t i = 0; i < 3; i++) {
        REQUIRE(NIBBLE(&other, "generate", model, "--prompt=Question: What", "--no-do-sample",
                       runs[i][0], runs[i][1]));
        CHECK(strcmp(other.out, e.out) == 0, "run %zu: '%s' and '%s' %s", i, other.out, e.out,
              other.said);
    }
    REQUIRE(NIBBLE(&other, "generate", model, "--do_sample", "false", "--prompt", "Question: What",
                   "--max-new-tokens", "2", "--torch-dtype", "bfloat16"));
    CHECK(other.exit_code == 0 && has(other.said, "bfloat16"), "%s", other.said);
    REQUIRE(NIBBLE(&other, "finetune", model, "--overwrite-output-dir", "--data",
                   test_data("models/shop.jsonl"), "--dry-run", "--max_length", "64",
                   "--no-use-rslora", "--batch-size=2", "--verbose"));
    CHECK(other.exit_code == 0 && has(other.said, "max_seq_length 64") &&
              has(other.said, "of 2 x 1 records"),
          "%s", other.said);
    REQUIRE(NIBBLE(&other, "inspect", model, "--json", "false"));
    CHECK(other.exit_code == 0 && *other.out != '{', "%s", other.out);
}

/* What people type: the same run by aliases and by the names that they stand for. */
static void test_aliases(void)
{
    const char *model = test_data("models/pico"), *data = test_data("models/shop.jsonl");
    char out[600], config[700];
    struct stat info;
    program_end e, other;

    REQUIRE(NIBBLE(&e, "finetune", model, "--data", data, "--dry-run", "--learning-rate", "3e-4",
                   "--num-train-epochs", "2", "--r", "3", "--lora-alpha", "5",
                   "--per-device-train-batch-size", "2", "--seed", "1"));
    REQUIRE(e.exit_code == 0, "%s", e.said);
    REQUIRE(NIBBLE(&other, "train", "-m", model, "--data", data, "--dry-run", "--lr", "3e-4",
                   "--epochs", "2", "--rank", "3", "--alpha", "5", "--batch-size", "2"));
    CHECK(other.exit_code == 0 && has(other.said, "r 3") && has(other.said, "of 2 x 1 records") &&
              strncmp(e.said, other.said, 200) == 0,
          "%s%s", e.said, other.said);
    REQUIRE(NIBBLE(&other, "train", model, "data", "--dry-run"));
    CHECK(other.exit_code == 2, "%s", other.said);
    snprintf(config, sizeof config, "data=%s", data);
    REQUIRE(NIBBLE(&other, "train", model, config, "dry_run=true", "lr=3e-4", "epochs=2", "rank=3",
                   "alpha=5", "batch_size=2"));
    CHECK(other.exit_code == 0 && strncmp(e.said, other.said, 200) == 0, "%s%s", e.said,
          other.said);

    REQUIRE(NIBBLE(&e, "generate", model, "--prompt", "Question: What", "--temperature", "0",
                   "--max-new-tokens", "2"));
    REQUIRE(e.exit_code == 0 && *e.out, "%s", e.said);
    REQUIRE(NIBBLE(&other, "generate", model, "Question: What", "--temperature", "0",
                   "--max-new-tokens", "2"));
    CHECK(strcmp(e.out, other.out) == 0, "%s%s", other.out, other.said);
    REQUIRE(NIBBLE(&other, "generate", "-p", "Question: What", "--temperature", "0", "-m", model,
                   "--max-new-tokens", "2"));
    CHECK(strcmp(e.out, other.out) == 0, "%s%s", other.out, other.said);

    snprintf(out, sizeof out, "%s/usual", test_tmpdir());
    REQUIRE(NIBBLE(&e, "quantize", "-o", out, model));
    CHECK(e.exit_code == 0 && has(e.said, "no format is given: NF4 with double quantization"), "%s",
          e.said);
    snprintf(config, sizeof config, "%s/config.json", out);
    CHECK(stat(config, &info) == 0, "%s is missing", config);
    REQUIRE(NIBBLE(&other, "inspect", out));
    CHECK(other.exit_code == 0 && has(other.out, "nf4") && has(other.out, "double"), "%s",
          other.out);
}

/* Of the tokens of single bytes one is a newline's: it is printed as \\n, so that a line stays a
 * line. */
static void newline_is_shown(const char *const *decode)
{
    program_end e;
    char ids[16];
    unsigned id;

    for (id = 3; id < 300; id++) {
        snprintf(ids, sizeof ids, "%u\n", id);
        REQUIRE(program_nibble(&(program_run){ .arguments = decode, .input = ids }, &e));
        if (strcmp(e.out, "\\n\n") == 0) break;
    }
    CHECK(id < 300, "no token is decoded to \\n");
}

/* Invalid UTF-8 is refused with file, line and byte; newlines of decoded text are shown. */
static void test_tokenize(void)
{
    const char *const encode[] = { "tokenize", test_data("models/pico"), NULL };
    const char *const decode[] = { "tokenize", test_data("models/pico"), "--decode", NULL };
    program_end e;

    REQUIRE(program_nibble(&(program_run){ .arguments = encode, .input = "fine\nab\xff" "c\n" },
                           &e));
    CHECK(e.exit_code == 1 && has(e.said, "standard input: line 2: byte 2"), "%d %s", e.exit_code,
          e.said);
    REQUIRE(program_nibble(&(program_run){ .arguments = decode, .input = "5\n7 x\n" }, &e));
    CHECK(e.exit_code == 1 && has(e.said, "standard input: line 2: 'x'"), "%d %s", e.exit_code,
          e.said);
    REQUIRE(program_nibble(&(program_run){ .arguments = encode, .input = "one\n\ntwo" }, &e));
    CHECK(e.exit_code == 0, "%s", e.said);
    CHECK(times(e.out, "\n") == 3, "%s", e.out);
    const char *const json[] = { "tokenize", test_data("models/pico"), "--json", NULL };
    REQUIRE(program_nibble(&(program_run){ .arguments = json, .input = "one two\n\n" }, &e));
    CHECK(*e.out == '[' && times(e.out, ", ") > 0 && has(e.out, "]\n[]\n"), "%s", e.out);
    newline_is_shown(decode);
}

/* --- adapters --- */

static bool train(const char *out, const char *steps, const char *rate)
{
    program_end e;
    bool good = NIBBLE(&e, "finetune", test_data("models/pico"), "--data",
                       test_data("models/shop.jsonl"), "--output-dir", out, "--max-steps", steps,
                       "--learning-rate", rate, "--target-modules", "all-linear");

    CHECK(good && e.exit_code == 0, "%s", e.said);
    return good && e.exit_code == 0;
}

/* Two adapters: each prompt names one, or none; --active-adapter (--use is an alias) says which
 * answers the others; what cannot be is refused with the line. */
static void test_adapters_by_name(void)
{
    const char *model = test_data("models/pico");
    char one[600], two[600], three[700], prompts[600], a[700], b[700];
    program_end e, bare;
    FILE *f;

    snprintf(one, sizeof one, "%s/one", test_tmpdir());
    snprintf(two, sizeof two, "%s/two", test_tmpdir());
    snprintf(prompts, sizeof prompts, "%s/prompts.jsonl", test_tmpdir());
    REQUIRE(train(one, "1", "1e-4") && train(two, "25", "5e-3"));
    snprintf(a, sizeof a, "one=%s", one);
    snprintf(b, sizeof b, "two=%s", two);
    REQUIRE(f = fopen(prompts, "w"));
    fprintf(f, "{\"prompt\": \"Question: Do you repair bikes?\\nAnswer:\"}\n\n"
            "{\"prompt\": \"Question: Do you repair bikes?\\nAnswer:\", \"adapter\": \"two\"}\n"
            "{\"prompt\": \"Question: Do you repair bikes?\\nAnswer:\", \"adapter\": null}\n");
    fclose(f);
    REQUIRE(NIBBLE(&bare, "generate", model, "--prompt", "Question: Do you repair bikes?\nAnswer:",
                   "--temperature", "0", "--max-new-tokens", "6", "--raw"));
    REQUIRE(strlen(bare.out) > 4);
    REQUIRE(NIBBLE(&e, "generate", model, "--adapter", a, "--adapter", b, "--prompts", prompts,
                   "--temperature", "0", "--max-new-tokens", "6", "--raw"));
    CHECK(e.exit_code == 0 && times(e.out, "\n") == 3 && times(e.out, bare.out) == 2, "%s%s", e.out,
          e.said);
    REQUIRE(NIBBLE(&e, "generate", model, "--adapter", a, "--adapter", b, "--prompts", prompts,
                   "--use", "two", "--temperature", "0", "--max-new-tokens", "6", "--raw"));
    CHECK(e.exit_code == 0 && times(e.out, bare.out) == 1, "%s%s", e.out, e.said);
    REQUIRE(NIBBLE(&e, "generate", model, "--adapter", a, "--adapter", b, "--prompt",
                   "Question:", "--active-adapter", "two", "--max-new-tokens", "1"));
    CHECK(e.exit_code == 0 && has(e.said, "adapter two"), "%s", e.said);
    REQUIRE(NIBBLE(&e, "generate", model, "--adapter", a, "--adapter", b, "--prompt", "Question:"));
    CHECK(e.exit_code == 2 && has(e.said, "--active-adapter"), "%s", e.said);
    REQUIRE(NIBBLE(&e, "generate", model, "--adapter", a, "--prompts", prompts));
    CHECK(e.exit_code == 1 && has(e.said, "prompts.jsonl: line 3: adapter 'two'"), "%s", e.said);
    REQUIRE(NIBBLE(&e, "generate", model, "--prompts", test_tmpdir()));
    CHECK(e.exit_code == 1 && has(e.said, "irectory"), "%s", e.said);
    snprintf(three, sizeof three, "%s/logits.safetensors", two);
    REQUIRE(NIBBLE(&e, "evaluate", model, "--adapter", two, "--data",
                   test_data("models/shop-test.jsonl"), "--logits", three));
    CHECK(e.exit_code == 1 && access(three, F_OK) != 0, "%d %s", e.exit_code, e.said);
}

/* --- a run that diverges --- */

/* At the first value: behind 8 bytes of the header's length, and the header. */
static bool at_values(FILE *f)
{
    uint64_t header = 0;

    return f && fread(&header, sizeof header, 1, f) == 1 && fseek(f, (long)header, SEEK_CUR) == 0;
}

/* Files of one layout: their values; the headers' notes may differ. */
static bool same_values(const char *one, const char *other)
{
    FILE *a = fopen(one, "rb"), *b = fopen(other, "rb");
    bool same = at_values(a) && at_values(b);
    int c;

    while (same) {
        c = getc(a);
        same = c == getc(b);
        if (c == EOF) break;
    }
    if (a) fclose(a);
    if (b) fclose(b);
    return same;
}

/* The step and the first layer are named.  The update of step 1 gave the loss of step 2: it is
 * taken back, and what is kept is what the run began with, value for value, whether the update left
 * finite values (1e25) or not (1e39). */
static void test_diverging(void)
{
    static const char *const rates[] = { "1e25", "1e39" };
    char start[512], out[512], good[600], file[600];
    program_end e;

    snprintf(start, sizeof start, "%s/start", test_tmpdir());
    snprintf(good, sizeof good, "%s/adapter_model.safetensors", start);
    REQUIRE(NIBBLE(&e, "finetune", test_data("models/pico"), "--data",
                   test_data("models/shop.jsonl"), "--output-dir", start, "--max-steps", "2",
                   "--learning-rate", "1e-2", "--defaults", "peft",
                   "--target-modules", "all-linear"));
    REQUIRE(e.exit_code == 0, "%s", e.said);
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        snprintf(out, sizeof out, "%s/out-%s", test_tmpdir(), rates[i]);
        snprintf(file, sizeof file, "%s/adapter_model.safetensors", out);
        REQUIRE(NIBBLE(&e, "finetune", test_data("models/pico"), "--data",
                       test_data("models/shop.jsonl"), "--output-dir", out, "--max-steps", "9",
                       "--learning-rate", rates[i], "--adapter", start, "--max-grad-norm", "0",
                       "--defaults", "peft"));
        CHECK(e.exit_code == 1 && has(e.said, "step 2: the loss is not finite") &&
                  (has(e.said, " of layer 0") || has(e.said, "model.layers.0.")),
              "%d %s", e.exit_code, e.said);
        CHECK(has(e.said, "step 1 is taken back"), "%s", e.said);
        REQUIRE(NIBBLE(&e, "inspect", out));
        CHECK(has(e.out, "unfinished: ended by a loss that was not finite after step 0 of 9"),
              "%s", e.out);
        CHECK(same_values(good, file), "%s: not the adapter that the run began with", rates[i]);
    }
}

/* --- a model that is cut short while it is used --- */

static bool copy_file(const char *from, const char *to)
{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    char piece[4096];
    size_t n;
    bool good = in && out;

    while (good && (n = fread(piece, 1, sizeof piece, in)) > 0)
        good = fwrite(piece, 1, n, out) == n;
    if (in) fclose(in);
    if (out && fclose(out)) good = false;
    return good;
}

static void test_truncated_while_used(void)
{
    static const char *const files[] = { "config.json", "tokenizer.json", "tokenizer_config.json",
                                         "model.safetensors" };
    char model[512], out[512], path[600], from[64], steps[600];
    const char *const arguments[] = {
        "finetune",     model, "--data",      test_data("models/shop.jsonl"),
        "--output-dir", out,   "--max-steps", "100000",
        "--save-steps", "0",   "--json",      NULL
    };
    program_run run = { .arguments = arguments };
    program_end e;
    struct stat info = { 0 };
    int child;

    snprintf(model, sizeof model, "%s/model", test_tmpdir());
    snprintf(out, sizeof out, "%s/out", test_tmpdir());
    snprintf(steps, sizeof steps, "%s/program.out", test_tmpdir());
    REQUIRE(mkdir(model, 0777) == 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(from, sizeof from, "models/pico/%s", files[i]);
        snprintf(path, sizeof path, "%s/%s", model, files[i]);
        REQUIRE(copy_file(test_data(from), path), "%s", from);
    }
    REQUIRE(program_start(&run, &child));
    /* until step 1 is reported */
    for (int i = 0; i < 6000 && (stat(steps, &info) || info.st_size == 0); i++) usleep(10000);
    CHECK(info.st_size > 0, "no step was reported");
    CHECK(truncate(path, 4096) == 0);
    if (!info.st_size) kill(child, SIGKILL);
    REQUIRE(program_wait(&run, child, &e));
    CHECK(e.exit_code == 1 && has(e.said, path) && has(e.said, "truncated"), "%d %s", e.exit_code,
          e.said);
}

int main(void)
{
    static const test_case cases[] = {
        { "help", test_help },
        { "manual", test_manual },
        { "full_disk", test_full_disk },
        { "misuse", test_misuse },
        { "numbers", test_numbers },
        { "threads", test_threads },
        { "training_numbers", test_training_numbers },
        { "spellings", test_spellings },
        { "aliases", test_aliases },
        { "tokenize", test_tokenize },
        { "adapters_by_name", test_adapters_by_name },
        { "diverging", test_diverging },
        { "truncated_while_used", test_truncated_while_used },
    };
    return test_main("commands", cases, sizeof cases / sizeof *cases);
}
