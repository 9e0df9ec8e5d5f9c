/* test_jinja.c - the template engine against texts rendered by transformers' environment,
 * and what it must refuse. */
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "test.h"
#include "text/jinja_template.h"

static nib_status render_in(nib_ctx *ctx, const char *text, const json_t *variables,
                            nib_jinja_output *out, nib_error *err)
{
    nib_jinja *t = NULL;
    nib_status status = nib_jinja_create(ctx, "t", text, strlen(text), &t, err);
    if (!status) status = nib_jinja_render(t, variables, NULL, out, err);
    nib_jinja_destroy(t);
    return status;
}

static nib_status render(const char *text, const json_t *variables, nib_jinja_output *out,
                         nib_error *err)
{
    return render_in(test_ctx(), text, variables, out, err);
}

static void test_golden(void)
{
    json_t *all = NULL, *one;
    size_t i;
    nib_error err;

    REQUIRE_OK(nib_json_read(test_ctx(), test_data("tests/golden/chat/jinja.json"), 0, &all, &err),
               err);
    json_array_foreach(json_object_get(all, "cases"), i, one) {
        const char *text = json_string_value(json_object_get(one, "template"));
        const char *want = json_string_value(json_object_get(one, "text"));
        nib_jinja_output out = { 0 };
        nib_status status = render(text, json_object_get(all, "variables"), &out, &err);
        CHECK(!status, "case %zu: %s", i, err.message);
        if (!status)
            CHECK(out.bytes == strlen(want) && !strcmp(out.text, want),
                  "case %zu:\n got  %s\n want %s", i, out.text, want);
        nib_jinja_output_free(test_ctx(), &out);
    }
    CHECK(i > 15);
    json_decref(all);
}

/* Every builtin with its arguments (make/jinja_calls_golden.py); null: jinja2 raises, and so does
 * this. */
static void test_calls(void)
{
    json_t *all = NULL, *one;
    size_t i;
    nib_ctx *ctx = test_ctx();
    nib_error err;

    REQUIRE_OK(
        nib_json_read(test_ctx(), test_data("tests/golden/chat/jinja_calls.json"), 0, &all, &err),
        err);
    json_array_foreach(json_object_get(all, "cases"), i, one)
    {
        const char *text = json_string_value(json_object_get(one, "template"));
        const char *want = json_string_value(json_object_get(one, "text"));
        nib_jinja_output out = { 0 };
        nib_status status = render_in(ctx, text, json_object_get(all, "variables"), &out, &err);
        CHECK((status != NIB_OK) == (want == NULL), "%s: %s, expected %s", text,
              status ? err.message : out.text, want ? want : "an error");
        if (!status && want)
            CHECK(out.bytes == strlen(want) && !strcmp(out.text, want), "%s:\n got  %s\n want %s",
                  text, out.text, want);
        nib_jinja_output_free(ctx, &out);
    }
    CHECK(i > 700, "%zu cases", i);
    json_decref(all);
}

/* Spans hold exactly what the blocks wrote. */
static void test_generation(void)
{
    const char *text =
        "a{% for i in [1, 2] %}x{% generation %}é{{ i }}{% endgeneration %}{% endfor %}z";
    json_t *none = json_object();
    nib_jinja_output out = { 0 };
    nib_error err;

    REQUIRE_OK(render(text, none, &out, &err), err);
    CHECK(!strcmp(out.text, "axé1xé2z") && out.span_count == 2);
    CHECK(out.spans[0].begin == 2 && out.spans[0].end == 5 && out.spans[1].begin == 6 &&
          out.spans[1].end == 9);
    nib_jinja_output_free(test_ctx(), &out);
    json_decref(none);
}

/* As jinja2 3.1.6 prints it. */
static void test_falsy_sequences(void)
{
    json_t *none = json_object();
    nib_jinja_output out = { 0 };
    nib_error err;

    REQUIRE_OK(
        render(
            "{{ none|selectattr('x')|list }}{{ none|map('upper')|list }}{{ nothing|reject|list }}"
            "{{ [3, 1, 2]|min }}{{ ['b', 'C']|max }}{{ []|min is defined }}{{ '<&'|safe + '<b>' }}"
            "{{ '\"\\'' + 'é'|safe + '&' }}",
            none, &out, &err),
        err);
    CHECK(!strcmp(out.text, "[][][]1CFalse<&&lt;b&gt;&#34;&#39;é&amp;"), "%s", out.text);
    nib_jinja_output_free(test_ctx(), &out);
    json_decref(none);
}

/* Each is refused, with the line and the name in the message. */
static void test_refusals(void)
{
    static const struct { const char *text, *says;
    } cases[] = {
        { "a\n{{ x.y }}", "line 2: 'x' is undefined" },
        { "{{ 1 | nosuch }}", "'nosuch'" },
        { "{{ 1 is nosuch }}", "'nosuch'" },
        { "\n\n{% nosuch %}", "line 3: the tag 'nosuch'" },
        { "{% if 1 %}", "template ends" },
        { "{{ raise_exception('why') }}", "why" },
        { "{{ [].append(1) }}", "append" },
        { "{{ strftime_now('%Y') }}", "no time" },
        { "{{ 1 // 0 }}", "zero" },
        { "{{ 'a' + 1 }}", "string + integer" },
        { "{% for a in range(2000) %}{% for b in range(2000) %}{% endfor %}{% endfor %}",
          "more than" },
        { "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested" },
        { "{% set n = namespace(s='abcdefgh') %}{% for a in range(99) %}{% set n.s = n.s + n.s %}"
          "{% endfor %}",
          "MiB" },
        { "{{ 9223372036854775807 }}", "digits" },
        { "{{ \"abc }}", "does not end" },
        { "{{ (1 }}", "closes nothing" },
        { "{{ 1 + }}", "unexpected" },
        { "{{ '%c' % 1 }}", "is not supported" },
        { "{{ 'a'.find('a', 1, 2, 3) }}", "4 arguments" },
        { "{{ 1 | int(bas=2) }}", "'bas'" },
        { "{{ 'a'.find() }}", "'sub'" },
        { "{{ 'x' * 999999999 }}", "MiB" },
        { "{{ nosuch() }}", "'nosuch'" },
    };
    json_t *none = json_object();

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nib_jinja_output out = { 0 };
        nib_error err = { 0 };
        nib_status status = render(cases[i].text, none, &out, &err);
        CHECK(status && strstr(err.message, cases[i].says), "%s: \"%s\"", cases[i].text,
              err.message);
        nib_jinja_output_free(test_ctx(), &out);
    }
    json_decref(none);
}

static void test_no_memory(void)
{
    const char *text =
        "{% macro f(x) %}{{ x | upper }}{% endmacro %}{% set n = namespace(a=[1]) %}"
        "{% for i in range(900) %}{{ f('a' ~ i) }}{% endfor %}";
    json_t *none = json_object();
    bool done = false;

    for (size_t at = 1; !done && at < 200; at++) {
        test_heap heap = { .fail_at = at };
        nib_ctx *ctx = test_ctx_heap(&heap);
        nib_jinja *t = NULL;
        nib_jinja_output out = { 0 };
        if (!ctx) continue;
        done = !nib_jinja_create(ctx, "t", text, strlen(text), &t, NULL) &&
               !nib_jinja_render(t, none, NULL, &out, NULL);
        nib_jinja_output_free(ctx, &out);
        nib_jinja_destroy(t);
        test_ctx_release(ctx);
    }
    CHECK(done);
    json_decref(none);
}

int main(void)
{
    static const test_case cases[] = {
        { "golden", test_golden },         { "calls", test_calls },
        { "generation", test_generation }, { "falsy_sequences", test_falsy_sequences },
        { "refusals", test_refusals },     { "no_memory", test_no_memory }
    };
    return test_main("jinja", cases, sizeof cases / sizeof *cases);
}
