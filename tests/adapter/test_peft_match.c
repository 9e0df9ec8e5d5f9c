/* test_peft_match.c - module matching against the answers of PEFT 0.21.2
 * (tests/golden/adapter/matching.tsv and condense.tsv, made by peft_golden.py). */
#pragma GCC diagnostic ignored "-Wformat-zero-length" /* CHECK without a message */
#include <stdlib.h>
#include <string.h>

#include "adapter/peft_match.h"
#include "base/python_regex.h"
#include "base/filemap.h"
#include "test.h"

/* The cases of peft_golden.py, as configs. */
static const struct { const char *name, *json; } cases_json[] = {
    { "suffix", "'target_modules':['q_proj','attn.v_proj']" },
    { "dotted", "'target_modules':['self_attn.v_proj','lm_head','1.q_proj']" },
    { "regex", "'target_modules':'.*\\\\.(q|v)_proj|lm_head'" },
    { "alternatives", "'target_modules':'model\\\\.layers\\\\.\\\\d+\\\\.mlp\\\\.(?!down).*'" },
    { "exclude-list",
      "'target_modules':['q_proj','v_proj'],'exclude_modules':['0.self_attn.q_proj','q_proj']" },
    { "exclude-regex",
      "'target_modules':['q_proj','v_proj'],'exclude_modules':'model\\\\.layers\\\\.1.*'" },
    { "saved",
      "'target_modules':['q_proj','score','dense','lm_head'],'modules_to_save':['score',"
      "'layers.1']" },
    { "layers-list", "'target_modules':['q_proj','up_proj'],'layers_to_transform':[1,11]" },
    { "layers-one", "'target_modules':['q_proj','up_proj'],'layers_to_transform':1" },
    { "layers-pattern",
      "'target_modules':['q_proj','up_proj','c_attn'],'layers_to_transform':[1,3],"
      "'layers_pattern':['h','layers']" },
    { "layers-experts",
      "'target_modules':['up_proj'],'layers_to_transform':[1],'layers_pattern':'experts'" },
    { "rank", "'rank_pattern':{'q_proj':1,'^model.layers.1.*':2,'.*\\\\.v_proj':3,"
              "'0.mlp.down_proj':4,'o|proj':5},'r':99" },
};

static nib_status parse(nib_ctx *ctx, const char *fields, nib_peft_config *cfg, nib_error *err)
{
    char text[1024];
    snprintf(text, sizeof text, "{'peft_type':'LORA',%s}", fields);
    for (char *p = text; *p; p++)
        if (*p == '\'') *p = '"';
    return nib_peft_config_parse(ctx, text, strlen(text), "config", cfg, err);
}

static void test_peft_answers(void)
{
    nib_ctx *ctx = test_ctx();
    nib_peft_config cfg[NIB_COUNT(cases_json)];
    nib_peft_matcher *m[NIB_COUNT(cases_json)];
    size_t bytes, questions = 0;
    char *text, *save = NULL;
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(cases_json); i++) {
        REQUIRE_OK(parse(ctx, cases_json[i].json, &cfg[i], &err), err);
        REQUIRE_OK(nib_peft_matcher_create(ctx, &cfg[i], NULL, 0, &m[i], &err), err);
    }
    REQUIRE_OK(nib_file_read(ctx, test_data("tests/golden/adapter/matching.tsv"), 1 << 20, &text,
                             &bytes, &err),
               err);
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char name[64], module[128];
        int want;
        size_t i = 0;
        REQUIRE(sscanf(line, "%63[^\t]\t%127[^\t]\t%d", name, module, &want) == 3, "%s", line);
        while (i < NIB_COUNT(cases_json) && strcmp(cases_json[i].name, name)) i++;
        REQUIRE(i < NIB_COUNT(cases_json), "case %s", name);
        if (strcmp(name, "rank") == 0) {
            int64_t r;
            double alpha;
            REQUIRE_OK(nib_peft_rank(m[i], module, &r, &alpha, &err), err);
            CHECK(r == want && alpha == 8, "%s: rank %d, not %d", module, (int)r, want);
        } else {
            bool yes;
            REQUIRE_OK(nib_peft_match(m[i], module, true, false, &yes, &err), err);
            CHECK(yes == (want != 0), "%s: %s: %d", name, module, yes);
        }
        questions++;
    }
    CHECK(questions > 300, "%zu questions", questions);
    for (size_t i = 0; i < NIB_COUNT(cases_json); i++) {
        nib_peft_matcher_destroy(m[i]);
        nib_peft_config_free(ctx, &cfg[i]);
    }
    nib_free(ctx, text);
}

static void test_defaults_and_all_linear(void)
{
    static const char *const defaults[] = { "q_proj", "v_proj" };
    nib_ctx *ctx = test_ctx();
    nib_peft_config cfg;
    nib_peft_matcher *m;
    nib_error err;
    bool yes;

    REQUIRE_OK(parse(ctx, "'target_modules':null", &cfg, &err), err);
    REQUIRE_OK(nib_peft_matcher_create(ctx, &cfg, defaults, 2, &m, &err), err);
    CHECK(nib_peft_match(m, "a.v_proj", true, false, &yes, &err) == NIB_OK && yes);
    CHECK(nib_peft_match(m, "a.k_proj", true, false, &yes, &err) == NIB_OK && !yes);
    nib_peft_matcher_destroy(m);
    nib_peft_config_free(ctx, &cfg);
    REQUIRE_OK(parse(ctx, "'target_modules':'All-Linear','exclude_modules':['k']", &cfg, &err),
               err);
    REQUIRE_OK(nib_peft_matcher_create(ctx, &cfg, defaults, 2, &m, &err), err);
    CHECK(nib_peft_match(m, "a.x", true, false, &yes, &err) == NIB_OK && yes);
    CHECK(nib_peft_match(m, "a.k", true, false, &yes, &err) == NIB_OK && !yes);
    CHECK(nib_peft_match(m, "a.norm", false, false, &yes, &err) == NIB_OK && !yes);
    CHECK(nib_peft_match(m, "lm_head", true, true, &yes, &err) == NIB_OK && !yes);
    nib_peft_matcher_destroy(m);
    nib_peft_config_free(ctx, &cfg);
    REQUIRE_OK(parse(ctx, "'modules_to_save':['head']", &cfg, &err), err);
    CHECK(nib_peft_saves(&cfg, "lm_head") && nib_peft_saves(&cfg, "head.x")); /* all inside */
    CHECK(!nib_peft_saves(&cfg, "header") && !nib_peft_saves(&cfg, "head_x.y"));
    nib_peft_config_free(ctx, &cfg);
}

static void condense_case(nib_ctx *ctx, const char *which, char **names, size_t count,
                          const char *const *left_out)
{
    const char *targets[64], *others[64];
    size_t target_count = 0, other_count = 0, bytes, at = 0;
    nib_peft_names got = { 0 };
    char *text, *save = NULL;
    nib_error err;

    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(names[i]);
        bool is_target = n > 6 && (strcmp(names[i] + n - 6, "q_proj") == 0 ||
                                   strcmp(names[i] + n - 6, "v_proj") == 0);
        for (size_t j = 0; left_out[j]; j++) is_target &= strcmp(names[i], left_out[j]) != 0;
        if (is_target) targets[target_count++] = names[i];
        else others[other_count++] = names[i];
    }
    REQUIRE_OK(nib_peft_condense(ctx, targets, target_count, others, other_count, &got, &err), err);
    REQUIRE_OK(nib_file_read(ctx, test_data("tests/golden/adapter/condense.tsv"), 1 << 20, &text,
                             &bytes, &err),
               err);
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char name[64], suffix[128];
        REQUIRE(sscanf(line, "%63[^\t]\t%127s", name, suffix) == 2);
        if (strcmp(name, which)) continue;
        REQUIRE(at < got.count, "%s: only %zu", which, got.count);
        CHECK(strcmp(got.names[at], suffix) == 0, "%s: %s, PEFT has %s", which, got.names[at],
              suffix);
        at++;
    }
    CHECK(at == got.count && at > 0, "%s: %zu, PEFT has %zu", which, got.count, at);
    nib_peft_names_free(ctx, &got);
    nib_free(ctx, text);
}

static void test_condense(void)
{
    static const char *const parts[] = { "q_proj", "k_proj", "v_proj" };
    nib_ctx *ctx = test_ctx();
    char store[38][64], *names[38];
    size_t count = 0;

    for (int i = 0; i < 12; i++)
        for (int j = 0; j < 3; j++)
            snprintf(store[count++], 64, "model.layers.%d.self_attn.%s", i, parts[j]);
    strcpy(store[count++], "lm_head");
    strcpy(store[count++], "model.norm");
    for (size_t i = 0; i < count; i++) names[i] = store[i];
    condense_case(ctx, "all", names, count, (const char *const[]){ NULL });
    condense_case(ctx, "hole", names, count,
                  (const char *const[]){ "model.layers.3.self_attn.v_proj", NULL });
    condense_case(ctx, "eleven", names, count,
                  (const char *const[]){ "model.layers.1.self_attn.q_proj",
                                         "model.layers.11.self_attn.v_proj", NULL });
}

/* What PCRE2 would take otherwise than Python, and what is no expression at all. */
static void test_refuses_patterns(void)
{
    static const char *const outside[] = { "a\\Z",      "\\v",   "\\h+",  "a{,3}",   "[[:alpha:]]",
                                           "(*ACCEPT)", "(?R)",  "(?i)a", "\\Qa\\E", "\\p{L}",
                                           "(?<n>a)",   "(?|a)", "\\K",   "[\\b]",   "\\01",
                                           "[a--b]",    "\\" };
    static const char *const wrong[] = { "(", "a)", "[a", "*a", "(?P<1>a)" };
    nib_ctx *ctx = test_ctx();
    nib_python_regex *re;
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(outside); i++)
        CHECK(nib_python_regex_create(ctx, "p", "", outside[i], "", &re, &err) == NIB_E_UNSUPPORTED,
              "%s", outside[i]);
    for (size_t i = 0; i < NIB_COUNT(wrong); i++)
        CHECK(nib_python_regex_create(ctx, "p", "", wrong[i], "", &re, &err) == NIB_E_FORMAT, "%s",
              wrong[i]);
}

static void test_limits(void)
{
    nib_ctx *ctx = test_ctx();
    nib_python_regex *re;
    nib_error err;
    bool yes;

    REQUIRE_OK(nib_python_regex_create(ctx, "p", "", "(a|aa)+", "", &re, &err), err);
    CHECK(nib_python_regex_match(
              re, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", true, &yes,
              NULL, &err) == NIB_E_FORMAT);
    CHECK(strstr(err.message, "limit"), "%s", err.message);
    nib_python_regex_destroy(ctx, re);
}

static void test_allocations(void)
{
    for (size_t n = 1; n < 200; n++) {
        test_heap heap = { .fail_at = n };
        nib_ctx *ctx = test_ctx_heap(&heap);
        nib_peft_config cfg = { 0 };
        nib_peft_matcher *m = NULL;
        nib_error err;
        bool yes;
        nib_status status = parse(
            ctx,
            "'target_modules':'a.*','modules_to_save':['b'],'rank_pattern':{'x':3},'task_type':'T'",
            &cfg, &err);

        if (!status) status = nib_peft_matcher_create(ctx, &cfg, NULL, 0, &m, &err);
        if (!status)
            CHECK(nib_peft_match(m, "abc", true, false, &yes, &err) == NIB_OK || heap.calls >= n);
        nib_peft_matcher_destroy(m);
        nib_peft_config_free(ctx, &cfg);
        CHECK(heap.live == 0, "allocation %zu: %zu blocks left", n, heap.live);
        if (heap.calls < n) return;
    }
    CHECK(false, "more allocations than this test knows");
}

int main(void)
{
    static const test_case cases[] = {
        { "peft_answers", test_peft_answers },
        { "defaults_and_all_linear", test_defaults_and_all_linear },
        { "condense", test_condense },
        { "refuses_patterns", test_refuses_patterns },
        { "limits", test_limits },
        { "allocations", test_allocations },
    };
    return test_main("peft_match", cases, NIB_COUNT(cases));
}
