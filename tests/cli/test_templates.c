/* test_templates.c - a model's chat templates on their way: quantize, finetune and merge carry all
 * of them; --chat-template-kwargs reaches the template in every verb that renders one. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "program.h"

static const char chat[] =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ word }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";
static const char tools[] = "{{ 'tools' }}{% for m in messages %}{{ m.content }}{% endfor %}";

static const char *path_of(const char *name)
{
    static char path[8][600];
    static unsigned next;
    char *p = path[next++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", test_tmpdir(), name);
    return p;
}

static void put_file(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "w");
    CHECK(f != NULL, "%s", name);
    if (f) fputs(text, f), fclose(f);
}

static bool holds(const char *name, const char *text)
{
    char found[400] = "";
    FILE *f = fopen(path_of(name), "r");
    size_t n = f ? fread(found, 1, sizeof found - 1, f) : 0;
    if (f) fclose(f);
    return n == strlen(text) && memcmp(found, text, n) == 0;
}

static const char *make_model(void)
{
    static const char *const files[] = { "config.json", "model.safetensors", "tokenizer.json",
                                         "tokenizer_config.json" };
    char target[700], link[700];

    mkdir(path_of("m"), 0777);
    mkdir(path_of("m/additional_chat_templates"), 0777);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *real = realpath(test_data("models/pico"), NULL);
        snprintf(target, sizeof target, "%s/%s", real ? real : "", files[i]);
        snprintf(link, sizeof link, "%s/%s", path_of("m"), files[i]);
        CHECK(symlink(target, link) == 0, "%s", link);
        free(real);
    }
    put_file("m/chat_template.jinja", chat);
    put_file("m/additional_chat_templates/tool_use.jinja", tools);
    put_file("m/additional_chat_templates/notes.txt", "no template");
    put_file(
        "d.jsonl",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, "
        "{\"role\": \"assistant\", \"content\": \"b\"}]}\n");
    return path_of("m");
}

static void check_both(const char *dir)
{
    char name[200];

    snprintf(name, sizeof name, "%s/chat_template.jinja", dir);
    CHECK(holds(name, chat), "%s", name);
    snprintf(name, sizeof name, "%s/additional_chat_templates/tool_use.jinja", dir);
    CHECK(holds(name, tools), "%s", name);
    snprintf(name, sizeof name, "%s/additional_chat_templates/notes.txt", dir);
    CHECK(access(path_of(name), F_OK) != 0, "%s was copied", name);
}

static void test_carried(void)
{
    const char *model = make_model();
    program_end end;

    REQUIRE(NIBBLE(&end, "quantize", model, path_of("q"), "--load-in-4bit"));
    CHECK(end.exit_code == 0, "%s", end.said);
    check_both("q");
    REQUIRE(NIBBLE(&end, "finetune", path_of("q"), "--data", path_of("d.jsonl"), "--output-dir",
                   path_of("a"), "--max-steps", "1"));
    CHECK(end.exit_code == 0, "%s", end.said);
    check_both("a");
    check_both("a/checkpoint-1");
    /* over an adapter that is there, in one step */
    REQUIRE(NIBBLE(&end, "finetune", path_of("q"), "--data", path_of("d.jsonl"), "--output-dir",
                   path_of("a"), "--max-steps", "1", "--overwrite"));
    CHECK(end.exit_code == 0 && !strstr(end.said, "one after the other"), "%s", end.said);
    check_both("a");
    REQUIRE(NIBBLE(&end, "merge", path_of("q"), path_of("g"), "--adapter", path_of("a")));
    CHECK(end.exit_code == 0, "%s", end.said);
    check_both("g");
    /* A template of the user's goes with the adapter, and none of the model's beside it. */
    put_file("own.jinja", tools);
    REQUIRE(NIBBLE(&end, "finetune", path_of("q"), "--data", path_of("d.jsonl"), "--output-dir",
                   path_of("b"), "--max-steps", "1", "--chat-template", path_of("own.jinja")));
    CHECK(end.exit_code == 0 && holds("b/chat_template.jinja", tools), "%s", end.said);
    CHECK(access(path_of("b/additional_chat_templates"), F_OK) != 0);
}

static void test_kwargs(void)
{
    static const char kwargs[] = "{\"word\": \" very\"}";
    const char *model = make_model(), *data = path_of("d.jsonl");
    program_end end, plain;

    REQUIRE(NIBBLE(&end, "preview", model, "--data", data, "--chat-template-kwargs", kwargs));
    CHECK(end.exit_code == 0 && strstr(end.out, "b very"), "%s%s", end.out, end.said);
    put_file("r.yaml", "chat_template_kwargs: {word: ' so', n: [1, 2.5, null, true]}\n");
    REQUIRE(
        NIBBLE(&end, "preview", path_of("r.yaml"), "--model-name-or-path", model, "--data", data));
    CHECK(end.exit_code == 0 && strstr(end.out, "b so"), "%s%s", end.out, end.said);
    REQUIRE(NIBBLE(&plain, "evaluate", model, "--data", data));
    REQUIRE(NIBBLE(&end, "evaluate", model, "--data", data, "--chat-template-kwargs", kwargs));
    CHECK(end.exit_code == 0 && strcmp(end.out, plain.out) != 0, "%s%s", end.out, end.said);
    REQUIRE(NIBBLE(&plain, "generate", model, "--chat", "--prompt", "Hello", "--max-new-tokens",
                   "3", "--json"));
    REQUIRE(NIBBLE(&end, "generate", model, "--chat", "--prompt", "Hello", "--max-new-tokens", "3",
                   "--json", "--chat-template-kwargs", kwargs));
    CHECK(end.exit_code == 0 && strstr(end.out, "\"prompt_tokens\""), "%s", end.said);
    CHECK(strncmp(strstr(end.out, "\"prompt_tokens\""), strstr(plain.out, "\"prompt_tokens\""),
                  20) != 0,
          "%s", end.out);
    REQUIRE(NIBBLE(&end, "generate", model, "--chat", "--prompt", "Hello", "--chat-template-kwargs",
                   "[1]"));
    CHECK(end.exit_code == 1 && strstr(end.said, "chat_template_kwargs"), "%d: %s", end.exit_code,
          end.said);
    REQUIRE(NIBBLE(&end, "generate", model, "--prompt", "Hello", "--chat-template-kwargs", kwargs));
    CHECK(end.exit_code == 2, "%d: %s", end.exit_code, end.said);
    REQUIRE(NIBBLE(&end, "finetune", model, "--data", data, "--output-dir", path_of("k"),
                   "--max-steps", "1", "--chat-template-kwargs", kwargs));
    CHECK(end.exit_code == 0 && access(path_of("k/recipe.yaml"), F_OK) == 0, "%s", end.said);
}

int main(void)
{
    static const test_case cases[] = { { "carried", test_carried }, { "kwargs", test_kwargs } };
    return test_main("templates", cases, sizeof cases / sizeof *cases);
}
