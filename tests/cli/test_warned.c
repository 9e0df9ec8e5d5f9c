/* test_warned.c - what each verb warns of: a line, a block, an object with a code, and with
 * --strict an error before anything is written; adapters on another base than theirs. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "program.h"

typedef struct place { char s[600]; } place;

static place in_tmp(const char *name)
{
    place p;

    snprintf(p.s, sizeof p.s, "%s/%s", test_tmpdir(), name);
    return p;
}

static bool has(const char *text, const char *part) { return strstr(text, part) != NULL; }
static bool is_there(const char *path) { return access(path, F_OK) == 0; }

/* An adapter that saw one step of training. */
static bool train(const char *out, bool packed)
{
    program_end e;
    bool good = NIBBLE(&e, "finetune", test_data("models/pico"), "--data",
                       test_data("models/shop.jsonl"), "--output-dir", out, "--max-steps", "1",
                       "--r", "2", "max_seq_length=64", "per_device_train_batch_size=1",
                       "defaults=peft",
                       packed ? "--load-in-4bit" : "--no-load-in-4bit");

    CHECK(good && e.exit_code == 0, "%s", e.said);
    return good && e.exit_code == 0;
}

/* The first step of a warm-up has the rate 0: an adapter that changes nothing is merged as well. */
static void test_no_change(void)
{
    place a = in_tmp("still"), out = in_tmp("out");
    program_end e;

    REQUIRE(NIBBLE(&e, "finetune", test_data("models/pico"), "--data",
                   test_data("models/shop-test.jsonl"), "--output-dir", a.s, "--max-steps", "1",
                   "--r", "2", "--load-in-4bit"));
    CHECK(e.exit_code == 0, "%s", e.said);
    REQUIRE(NIBBLE(&e, "merge", test_data("models/pico"), "--adapter", a.s, out.s, "--json"));
    CHECK(e.exit_code == 0 && has(e.out, "\"noise\": null") && is_there(out.s), "%s%s", e.out,
          e.said);
}

static void test_other_base(void)
{
    const char *model = test_data("models/pico"), *data = test_data("models/shop-test.jsonl");
    place on_dense = in_tmp("dense"), on_packed = in_tmp("packed"), out = in_tmp("out"),
          packed = in_tmp("out4");
    program_end e;

    REQUIRE(train(on_dense.s, false) && train(on_packed.s, true));
    REQUIRE(NIBBLE(&e, "evaluate", model, "--data", data, "--adapter", on_packed.s, "--json"));
    CHECK(e.exit_code == 0 && has(e.out, "\"warnings\": [{\"code\": \"other-form\", ") &&
              has(e.said, "was trained on nf4 64 weights and is evaluated on dense ones: "),
          "%s%s", e.out, e.said);
    REQUIRE(NIBBLE(&e, "evaluate", model, "--data", data, "--adapter", on_packed.s, "--strict",
                   "--load-in-4bit"));
    CHECK(e.exit_code == 0, "%s", e.said);
    REQUIRE(NIBBLE(&e, "generate", model, "--prompt", "a", "--max-new-tokens", "1", "--adapter",
                   on_packed.s, "--json"));
    CHECK(e.exit_code == 0 && has(e.out, "\"warnings\": [{\"code\": \"other-form\", "), "%s%s",
          e.out, e.said);
    REQUIRE(NIBBLE(&e, "generate", model, "--prompt", "a", "--adapter", on_packed.s, "--strict"));
    CHECK(e.exit_code == 1 && !*e.out && has(e.said, "strict: 1 warning; the first: "), "%s",
          e.said);
    REQUIRE(NIBBLE(&e, "merge", model, "--adapter", on_packed.s, out.s, "--strict", "--route",
                   "original"));
    CHECK(e.exit_code == 1 && has(e.said, "strict: 1 warning; the first: ") && !is_there(out.s),
          "%s", e.said);
    /* one step is lighter than four bits: it is warned of, or refused with what was measured */
    REQUIRE(NIBBLE(&e, "merge", model, "--adapter", on_packed.s, out.s, "--format", "nf4",
                   "--min-retained", "0.8", "--json"));
    CHECK(e.exit_code == 1 && !is_there(out.s) && has(e.said, "refused, nothing is written") &&
              !strncmp(e.out, "{\"report\": {", 12) && has(e.out, "\"space\": \"weights\""),
          "%d %s%s", e.exit_code, e.out, e.said);
    REQUIRE(NIBBLE(&e, "merge", model, "--adapter", on_packed.s, packed.s, "--format", "nf4",
                   "--json"));
    CHECK(e.exit_code == 0 && has(e.out, "\"code\": \"little-survived\""), "%s%s", e.out, e.said);
    REQUIRE(NIBBLE(&e, "finetune", model, "--data", data, "--adapter", on_packed.s, "--dry-run"));
    CHECK(e.exit_code == 0 && has(e.said, "is trained further on dense ones"), "%s", e.said);

    /* merged, the model knows its adapter, quantized or not */
    REQUIRE(NIBBLE(&e, "merge", model, "--adapter", on_dense.s, out.s, "--strict", "--json",
                   "--dtype", "float32")); /* bfloat16 would round two thirds of one step away */
    CHECK(e.exit_code == 0 && !has(e.out, "warnings"), "%s", e.said);
    REQUIRE(NIBBLE(&e, "evaluate", out.s, "--data", data, "--strict"));
    CHECK(e.exit_code == 0, "%s", e.said);
    REQUIRE(NIBBLE(&e, "evaluate", out.s, "--data", data, "--adapter", on_dense.s, "--json"));
    CHECK(e.exit_code == 0 && has(e.out, "\"warnings\": [{\"code\": \"merged-already\", ") &&
              has(e.said, "is merged into"),
          "%s%s", e.out, e.said);
    REQUIRE(NIBBLE(&e, "quantize", out.s, packed.s, "--load-in-4bit", "--strict",
                   "--overwrite"));
    CHECK(e.exit_code == 0, "%s", e.said);
    REQUIRE(NIBBLE(&e, "evaluate", packed.s, "--data", data, "--adapter", on_dense.s, "--json"));
    CHECK(e.exit_code == 0 && has(e.out, "\"merged-already\"") && has(e.out, "\"other-form\"") &&
              has(e.said, "2 things to look at:\n  - "),
          "%s%s", e.out, e.said);
    REQUIRE(NIBBLE(&e, "merge", out.s, "--adapter", on_dense.s, packed.s, "--strict"));
    CHECK(e.exit_code == 1 && has(e.said, "is merged into"), "%s", e.said);
}

/* The tiny model with one more key in config.json. */
static bool make_odd(const char *dir)
{
    static const char *const links[] = { "model.safetensors", "tokenizer.json",
                                         "tokenizer_config.json" };
    char path[700], from[4200], real[4096], text[8192];
    size_t n;
    FILE *f;

    if (mkdir(dir, 0777) || !realpath(test_data("models/pico"), real)) return false;
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, links[i]);
        snprintf(from, sizeof from, "%s/%s", real, links[i]);
        if (symlink(from, path)) return false;
    }
    if (!(f = fopen(test_data("models/pico/config.json"), "r"))) return false;
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    snprintf(path, sizeof path, "%s/config.json", dir);
    if (!strchr(text, '{') || !(f = fopen(path, "w"))) return false;
    fprintf(f, "{\"attention_typo\": 5,%s", strchr(text, '{') + 1);
    fclose(f);
    return true;
}

/* Each verb that reads config.json names the key, as a line, in the block, with its code; with
 * --strict it ends there. */
static void test_every_verb(void)
{
    place odd = in_tmp("odd"), out = in_tmp("odd-out"), adapter = in_tmp("odd-adapter");
    const char *data = test_data("models/shop-test.jsonl");
    const char *const runs[][12] = {
        { "inspect", odd.s },
        { "quantize", odd.s, out.s, "--load-in-4bit" },
        { "generate", odd.s, "--prompt", "a", "--max-new-tokens", "1" },
        { "evaluate", odd.s, "--data", data },
        { "merge", odd.s, "--adapter", adapter.s, out.s, "--overwrite" },
        { "finetune", odd.s, "--data", data, "--dry-run" },
    };
    program_end e;

    REQUIRE(make_odd(odd.s) && train(adapter.s, false));
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        const char *strict[14] = { 0 }, *json[14] = { 0 };
        size_t n = 0;

        for (; runs[i][n]; n++) strict[n] = json[n] = runs[i][n];
        strict[n] = "--strict";
        json[n] = "--json";
        REQUIRE(program_nibble(&(program_run){ .arguments = strict }, &e));
        CHECK(e.exit_code == 1 && !*e.out && has(e.said, "strict: 1 warning; the first: ") &&
                  has(e.said, "attention_typo") && !is_there(out.s),
              "%s --strict: %d %s", runs[i][0], e.exit_code, e.said);
        REQUIRE(program_nibble(&(program_run){ .arguments = json }, &e));
        CHECK(e.exit_code == 0 && has(e.said, "\nwarning: ") + !strncmp(e.said, "warning: ", 9) &&
                  has(e.said, "1 thing to look at:\n  - ") && has(e.out, "\"warnings\": [") &&
                  has(e.out, "\"code\": \"unused-key\""),
              "%s: %d %s%s", runs[i][0], e.exit_code, e.out, e.said);
        if (is_there(out.s)) {
            REQUIRE(rename(out.s, in_tmp(runs[i][0]).s) == 0);
        }
    }
}

/* What a chat template passes over, and turns that ask for another loss than they get. */
static void test_chats(void)
{
    static const char records[] =
        "{\"conversations\": [{\"from\": \"human\", \"value\": \"3 km?\"}, {\"from\": "
        "\"function_call\", \"value\": \"{\\\"name\\\": \\\"convert\\\", "
        "\\\"arguments\\\": {}}\"}, {\"from\": \"observation\", \"value\": \"1.86\"}, "
        "{\"from\": \"gpt\", \"value\": \"1.86 miles\"}]}\n"
        "{\"conversations\": [{\"from\": \"human\", \"value\": \"a\", \"train\": true}, "
        "{\"from\": \"gpt\", \"value\": \"b\", \"weight\": 0}, {\"from\": \"human\", "
        "\"value\": \"c\"}, {\"from\": \"gpt\", \"value\": \"<think>why</think>d\"}]}\n";
    static const char template[] =
        "{% for m in messages %}{% if m.role in ['user', 'assistant'] %}<{{ m.role }}>{{ "
        "m.content.split('</think>')[-1] }}{{ eos_token }}{% elif m.role == 'tool' %}<tool>{% "
        "endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
    place data = in_tmp("chats.jsonl"), jinja = in_tmp("t.jinja");
    program_end e;
    FILE *f = fopen(data.s, "w");

    REQUIRE(f && fputs(records, f) > 0 &&
            fputs("{\"conversations\": [{\"from\": \"narrator\", \"value\": \"x\"}, {\"from\": "
                  "\"human\", \"value\": \"a\"}, {\"from\": \"gpt\", \"value\": \"b\"}]}\n",
                  f) > 0 && !fclose(f));
    f = fopen(jinja.s, "w");
    REQUIRE(f && fputs(template, f) > 0 && !fclose(f));
    REQUIRE(NIBBLE(&e, "preview", test_data("models/pico"), "--data", data.s, "--chat-template",
                   jinja.s, "--json"));
    CHECK(e.exit_code == 0 && has(e.out, "\"lost-calls\"") && has(e.out, "\"lost-messages\"") &&
              has(e.out, "\"not-trained-turns\""),
          "%s%s", e.out, e.said);
    CHECK(has(e.said, "1 calls of tools are passed over") &&
              has(e.said, "1 messages are passed over by the chat template, the first of the role "
                          "'narrator'") &&
              has(e.said, "1 turns of the assistant are not trained: their records say so") &&
              has(e.said, "leaves out the reasoning of 1 turns"),
          "%s", e.said);
    /* the tiny model's own template ends its turns with another token than generation ends at */
    REQUIRE(NIBBLE(&e, "preview", test_data("models/pico"), "--data", data.s, "--json"));
    CHECK(e.exit_code == 0 && has(e.out, "\"no-end-token\"") &&
              has(e.said, "warning: the end token <|endoftext|> "),
          "%s%s", e.out, e.said);
}

/* What is not there, or is something else, is answered with what is wanted. */
static void test_places(void)
{
    const char *data = test_data("models/shop-test.jsonl"), *model = test_data("models/pico");
    const struct { const char *arguments[8], *says; } runs[] = {
        { { "evaluate", "org/name", "--data", data },
          "org/name: there is no such directory, nor is it in the cache of the hub (" },
        { { "evaluate", "./nowhere", "--data", data },
          "./nowhere: there is no such directory; a model is a directory with config.json" },
        { { "evaluate", data, "--data", data }, ": a file; a model is a directory with" },
        { { "generate", test_tmpdir(), "--prompt", "a" }, ": there is no tokenizer.json in it; " },
        { { "evaluate", test_tmpdir(), "--data", data }, ": there is no config.json in it; " },
        { { "evaluate", model, "--data", data, "--adapter", "./nowhere" },
          "./nowhere: there is no such directory; an adapter is a directory with" },
        { { "evaluate", model, "--data", data, "--adapter", model },
          ": there is no adapter_config.json in it; an adapter is" },
        { { "finetune", model, "--data", data, "--dry-run", "--target-modules", "query" },
          "matched; its linears are called q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, "
          "down_proj, lm_head" },
        { { "inspect", "./nowhere" }, "./nowhere: there is no such file or directory; inspect " },
    };
    program_end e;

    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        REQUIRE(program_nibble(&(program_run){ .arguments = runs[i].arguments }, &e));
        CHECK(e.exit_code == 1 && has(e.said, runs[i].says), "run %zu: %d %s", i, e.exit_code,
              e.said);
    }
}

int main(void)
{
    static const test_case cases[] = { { "no-change", test_no_change },
                                       { "other-base", test_other_base },
                                       { "every-verb", test_every_verb },
                                       { "chats", test_chats },
                                       { "places", test_places } };
    return test_main("warned", cases, sizeof cases / sizeof *cases);
}
