/* test_modelfile.c - the Modelfile beside an exported file: chat templates that repeat a text for
 * each role become templates of Go, others are named with the reason and never written wrong. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/filemap.h"
#include "job/modelfile.h"
#include "nibble/export.h"
#include "test.h"

#define TURN "'<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n'"

static const struct { const char *name, *template, *go, *why; } cases_of_templates[] = {
    { "a system message of its own",
      "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}"
      "{% endif %}{% for m in messages %}{{ " TURN " }}{% endfor %}"
      "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
      "{{ if ne (index .Messages 0).Role \"system\" }}<|im_start|>system\nBe kind.<|im_end|>\n"
      "{{ end }}{{ range .Messages }}{{ if eq .Role \"system\" }}<|im_start|>system\n"
      "{{ .Content }}<|im_end|>\n{{ else if eq .Role \"user\" }}<|im_start|>user\n{{ .Content }}"
      "<|im_end|>\n<|im_start|>assistant\n{{ else if eq .Role \"assistant\" }}{{ .Content }}"
      "<|im_end|>\n{{ end }}{{ end }}", NULL },
    { "no system message",
      "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}"
      "{{ '[' + m.role[0] + ']' + m.content }}{% endfor %}{% if add_generation_prompt %}[a]"
      "{% endif %}",
      "{{ range .Messages }}{{ if eq .Role \"user\" }}[u]{{ .Content }}[a]{{ else if eq .Role "
      "\"assistant\" }}{{ .Content }}{{ end }}{{ end }}", NULL },
    { "a system message inside the user's",
      "{% set s = messages[0].content if messages[0].role == 'system' else '' %}"
      "{% for m in messages %}{% if m.role == 'user' %}[INST] {% if s %}<<{{ s }}>>"
      "{% set s = '' %}{% endif %}{{ m.content }} [/INST]{% elif m.role == 'assistant' %} "
      "{{ m.content }}</s>{% endif %}{% endfor %}",
      NULL, "a system message is not one of its own" },
    { "the last turn is another",
      "{% for m in messages %}{% if loop.last %}last: {% endif %}{{ m.role + ':' + m.content + "
      "'\n' }}{% endfor %}", NULL, "a turn depends on those around it" },
    { "capitals", "{% for m in messages %}{{ m.content | upper }}{% endfor %}", NULL,
      "it does not repeat the contents" },
    { "the date",
      "{{ strftime_now('%d %B %Y') }}{% for m in messages %}{{ m.content }}{% endfor %}", NULL,
      "it prints the date" },
    { "braces", "{% for m in messages %}{{ '{{' + m.content }}{% endfor %}", NULL, "it holds {{" },
};

/* The model in the repository with another chat template. */
static void make_model(const char *dir, const char *template)
{
    char command[3000], path[700];
    FILE *f;

    snprintf(command, sizeof command, "rm -rf %s && mkdir %s && cp %s/* %s/", dir, dir,
             test_data("models/pico"), dir);
    snprintf(path, sizeof path, "%s/chat_template.jinja", dir);
    f = system(command) ? NULL : fopen(path, "wb");
    REQUIRE(f, "%s", path);
    fputs(template, f);
    fclose(f);
}

static void test_templates(void)
{
    nib_ctx *ctx = test_ctx();
    char dir[600];
    nib_error err;

    snprintf(dir, sizeof dir, "%s/model", test_tmpdir());
    for (size_t i = 0; i < NIB_COUNT(cases_of_templates); i++) {
        const char *name = cases_of_templates[i].name, *want = cases_of_templates[i].go;
        nib_tokenizer *t = NULL;
        nib_go_template g = { 0 };
        make_model(dir, cases_of_templates[i].template);
        REQUIRE_OK(nib_tokenizer_open(ctx, dir, &t, &err), err);
        REQUIRE_OK(nib_go_template_make(ctx, dir, t, &g, &err), err);
        if (want) CHECK(g.text && strcmp(g.text, want) == 0, "%s: %s", name,
                        g.text ? g.text : g.why);
        else CHECK(!g.text && strstr(g.why, cases_of_templates[i].why), "%s: %s", name,
                   g.text ? g.text : g.why);
        nib_go_template_free(ctx, &g);
        nib_tokenizer_close(t);
    }
}

static void check_file(nib_ctx *ctx, const char *path, const char *const *says)
{
    char *text = NULL;
    size_t bytes;
    nib_error err;

    REQUIRE_OK(nib_file_read(ctx, path, 1 << 20, &text, &bytes, &err), err);
    for (; *says; says++) CHECK(strstr(text, *says), "'%s' is not in: %s", *says, text);
    nib_free(ctx, text);
}

static void test_file(void)
{
    static const char *const says[] = {
        "FROM ./m.gguf\nTEMPLATE \"\"\"{{ range .Messages }}", "PARAMETER stop \"<|im_end|>\"\n",
        "PARAMETER stop \"<|endoftext|>\"\n", "PARAMETER temperature 0.7\n", NULL,
    };
    static const char *const of_adapter[] = { "tests/golden/models/llama\nADAPTER ./a.gguf\n",
                                              "# no TEMPLATE of the chat template: there is none",
                                              NULL };
    nib_ctx *ctx = test_ctx();
    char out[600], adapter[600], file[600];
    nib_export_options o = { .model = test_data("models/pico"), .out = out, .modelfile = true,
                             .no_verify = true };
    nib_export_result r;
    nib_error err = { 0 };

    snprintf(out, sizeof out, "%s/m.gguf", test_tmpdir());
    snprintf(file, sizeof file, "%s/Modelfile", test_tmpdir());
    REQUIRE_OK(nib_export(ctx, &o, &r, &err), err);
    check_file(ctx, file, says);
    unlink(out);
    CHECK(nib_export(ctx, &o, &r, &err) == NIB_E_INVALID &&
          strstr(err.message, "Modelfile is there"), "%s", err.message);
    snprintf(adapter, sizeof adapter, "%s", test_data("tests/golden/models/llama/adapter"));
    snprintf(out, sizeof out, "%s/a.gguf", test_tmpdir());
    o.model = adapter;
    o.base = test_data("tests/golden/models/llama");
    o.overwrite = true;
    REQUIRE_OK(nib_export(ctx, &o, &r, &err), err);
    check_file(ctx, file, of_adapter);
}

static const test_case cases[] = { { "templates", test_templates }, { "file", test_file } };

int main(void) { return test_main("test_modelfile", cases, NIB_COUNT(cases)); }
