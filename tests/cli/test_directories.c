/* test_directories.c - what the program says of where a model comes from, and where it writes
 * (docs/conventions.md, "Directories and files"). */
#include "program.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool has(const char *text, const char *part) { return strstr(text, part) != NULL; }

static bool file_has(const char *dir, const char *name, const char *part)
{
    char path[800], text[16384] = "";
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "rb");
    if (f) text[fread(text, 1, sizeof text - 1, f)] = 0;
    if (f) fclose(f);
    return strstr(text, part) != NULL;
}

/* models/pico as the hub's cache holds it: a snapshot of links. */
static bool make_snapshot(char snapshot[512])
{
    static const char *const files[] = {
        "config.json",           "generation_config.json",  "tokenizer.json",
        "tokenizer_config.json", "special_tokens_map.json", "model.safetensors"
    };
    static const char *const steps[] = { "models--acme--tiny", "models--acme--tiny/snapshots",
                                         "models--acme--tiny/snapshots/0123" };
    char real[4096], path[600], source[64];

    for (size_t i = 0; i < 3; i++) {
        snprintf(snapshot, 512, "%s/%s", test_tmpdir(), steps[i]);
        if (mkdir(snapshot, 0777)) return false;
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(source, sizeof source, "models/pico/%s", files[i]);
        snprintf(path, sizeof path, "%s/%s", snapshot, files[i]);
        if (!realpath(test_data(source), real) || symlink(real, path)) return false;
    }
    return true;
}

/* The hub's name is found also from inside, goes through quantize, and yields to
 * --base-model-name. */
static void test_origin(void)
{
    char snapshot[512], packed[512], out[512], here[4096], data[4096];
    program_end e;

    REQUIRE(make_snapshot(snapshot));
    snprintf(packed, sizeof packed, "%s/packed", test_tmpdir());
    REQUIRE(NIBBLE(&e, "quantize", snapshot, packed, "--load-in-4bit"));
    CHECK(e.exit_code == 0 && file_has(packed, "config.json", "\"_name_or_path\": \"acme/tiny\""),
          "%s", e.said);
    REQUIRE(realpath(test_data("models/shop.jsonl"), data) && getcwd(here, sizeof here));
    snprintf(out, sizeof out, "%s/a", test_tmpdir());
    REQUIRE(
        NIBBLE(&e, "finetune", packed, "--data", data, "--output-dir", out, "--max-steps", "1"));
    CHECK(file_has(out, "adapter_config.json", "\"base_model_name_or_path\": \"acme/tiny\""), "%s",
          e.said);
    snprintf(out, sizeof out, "%s/b", test_tmpdir());
    REQUIRE(chdir(snapshot) == 0);
    REQUIRE(NIBBLE(&e, "finetune", ".", "--data", data, "--output-dir", out, "--max-steps", "1"));
    REQUIRE(chdir(here) == 0);
    CHECK(file_has(out, "adapter_config.json", "\"base_model_name_or_path\": \"acme/tiny\""), "%s",
          e.said);
    snprintf(out, sizeof out, "%s/c", test_tmpdir());
    REQUIRE(NIBBLE(&e, "finetune", packed, "--data", data, "--output-dir", out, "--max-steps", "1",
                   "--base-model-name", "you/it"));
    CHECK(file_has(out, "adapter_config.json", "\"base_model_name_or_path\": \"you/it\""), "%s",
          e.said);
}

/* A name of the hub is a model where the cache has it: a branch, a commit, in every verb. */
static void test_names(void)
{
    static const char commit[] = "0123456789abcdef0123456789abcdef01234567";
    char snapshot[512], path[600], out[600], data[4096], cache[512];
    program_end e;
    FILE *f;

    REQUIRE(make_snapshot(snapshot) && realpath(test_data("models/shop.jsonl"), data));
    snprintf(cache, sizeof cache, "%s", test_tmpdir());
    snprintf(path, sizeof path, "%s/models--acme--tiny/refs", cache);
    REQUIRE(mkdir(path, 0777) == 0);
    snprintf(path, sizeof path, "%s/models--acme--tiny/refs/main", cache);
    REQUIRE((f = fopen(path, "w")) && fputs(commit, f) > 0 && !fclose(f));
    snprintf(path, sizeof path, "%s/models--acme--tiny/snapshots/%s", cache, commit);
    REQUIRE(symlink(snapshot, path) == 0 && setenv("HF_HUB_CACHE", cache, 1) == 0);
    REQUIRE(NIBBLE(&e, "inspect", "acme/tiny"));
    CHECK(e.exit_code == 0 && has(e.out, "llama"), "%s%s", e.out, e.said);
    REQUIRE(NIBBLE(&e, "preview", "acme/tiny@0123", "--data", data));
    CHECK(e.exit_code == 0, "%s", e.said);
    snprintf(out, sizeof out, "%s/tuned", cache);
    REQUIRE(NIBBLE(&e, "finetune", "acme/tiny", "--data", data, "--output-dir", out, "--max-steps",
                   "1"));
    CHECK(e.exit_code == 0 &&
              file_has(out, "adapter_config.json", "\"base_model_name_or_path\": \"acme/tiny\""),
          "%s", e.said);
    REQUIRE(NIBBLE(&e, "evaluate", "acme/tiny@other", "--data", data));
    CHECK(e.exit_code == 1 && has(e.said, "acme/tiny@other: there is no such directory, nor is it "
                                          "in the cache of the hub"), "%s", e.said);
    unsetenv("HF_HUB_CACHE");
}

/* The header says what other programs cannot take. */
static void test_elsewhere(void)
{
    static const struct { const char *option, *value, *word; } cases[] = {
        { "--modules-to-save", "lm_head", "vLLM refuses" },
        { "--alpha-pattern", "q_proj=4", "alpha_pattern: vLLM" },
        { "--bias", "all", "stops on an adapter with biases" },
        { "--use-rslora", "true", "use_rslora: llama.cpp" },
        { "--r", "4", NULL },
    };
    program_end e;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        REQUIRE(NIBBLE(&e, "finetune", test_data("models/pico"), "--data",
                       test_data("models/shop.jsonl"), "--dry-run", cases[i].option,
                       cases[i].value));
        CHECK(e.exit_code == 0 && has(e.said, cases[i].word ? cases[i].word : "steps of"), "%s: %s",
              cases[i].option, e.said);
        CHECK(cases[i].word || !has(e.said, "warning"), "%s", e.said);
    }
}

/* Nothing is written into an input, wherever a link leads. */
static void test_inputs_are_read(void)
{
    const char *model = test_data("models/pico"), *data = test_data("models/shop-test.jsonl");
    char link[512], inside[600], real[4096];
    program_end e;

    snprintf(link, sizeof link, "%s/link", test_tmpdir());
    snprintf(inside, sizeof inside, "%s/new", link);
    REQUIRE(realpath(model, real) && symlink(real, link) == 0);
    REQUIRE(NIBBLE(&e, "quantize", model, inside, "--load-in-4bit", "--overwrite"));
    CHECK(e.exit_code == 1 && has(e.said, "an input, where nothing is written"), "%d %s",
          e.exit_code, e.said);
    REQUIRE(NIBBLE(&e, "finetune", model, "--data", data, "--output-dir", inside, "--max-steps",
                   "1", "--overwrite"));
    CHECK(e.exit_code == 1 && has(e.said, "an input, where nothing is written"), "%d %s",
          e.exit_code, e.said);
    snprintf(inside, sizeof inside, "%s/new.safetensors", link);
    REQUIRE(NIBBLE(&e, "evaluate", model, "--data", data, "--logits", inside));
    CHECK(e.exit_code == 1 && has(e.said, "an input, where nothing is written"), "%d %s",
          e.exit_code, e.said);
    CHECK(access(inside, F_OK) != 0);
}

/* A pipe where a file is expected is refused and not waited for. */
static void test_pipe(void)
{
    char path[512];
    program_end e;

    snprintf(path, sizeof path, "%s/data.jsonl", test_tmpdir());
    REQUIRE(mkfifo(path, 0666) == 0);
    REQUIRE(NIBBLE(&e, "evaluate", test_data("models/pico"), "--data", path));
    CHECK(e.exit_code == 1 && has(e.said, "not a regular file"), "%d %s", e.exit_code, e.said);
}

int main(void)
{
    static const test_case cases[] = {
        { "origin", test_origin }, { "names", test_names }, { "elsewhere", test_elsewhere },
        { "inputs_are_read", test_inputs_are_read }, { "pipe", test_pipe },
    };
    return test_main("directories", cases, sizeof cases / sizeof *cases);
}
