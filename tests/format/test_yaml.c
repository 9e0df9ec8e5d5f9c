/* test_yaml.c - the tree of a YAML file: values as written, where each stands, what is refused,
 * every allocation failing once, and the seeds of the fuzz target. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "format/yaml.h"
#include "test.h"

static nib_status parse(const char *text, nib_yaml **y, nib_error *err)
{
    return nib_yaml_parse(test_ctx(), text, strlen(text), "f", y, err);
}

static const nib_yaml_node *member(const nib_yaml_node *map, const char *key)
{
    for (const nib_yaml_node *n = map->first; n; n = n->next)
        if (strcmp(n->key, key) == 0) return n;
    return NULL;
}

static void test_tree(void)
{
    static const char text[] =
        "# a recipe\nr: 16\n\"learning_rate\": 2e-4\nbias: no   # a text\ntarget_modules:\n  - "
        "q_proj\n  - 'v_proj'\n"
        "rank_pattern: {k_proj: 4, \xc3\xa9: \"8\"}\nblock: |\n  one\n  two\nempty:\nnothing: ~\n";
    nib_yaml *y = NULL;
    nib_error err;
    const nib_yaml_node *root, *n;

    REQUIRE_OK(parse(text, &y, &err), err);
    root = nib_yaml_root(y);
    REQUIRE(root && root->kind == NIB_YAML_MAP && root->count == 8 && !root->key, "the root");
    n = member(root, "r");
    CHECK(n && strcmp(n->text, "16") == 0 && n->line == 2 && n->column == 4 && n->key_column == 1 &&
              !n->quoted,
          "r");
    n = member(root, "learning_rate");
    CHECK(n && strcmp(n->text, "2e-4") == 0 && n->key_line == 3, "a number is text");
    n = member(root, "bias");
    CHECK(n && strcmp(n->text, "no") == 0, "no is text");
    n = member(root, "target_modules");
    REQUIRE(n && n->kind == NIB_YAML_LIST && n->count == 2 && n->line == 6 && n->column == 3,
            "a list");
    CHECK(strcmp(n->first->text, "q_proj") == 0 && n->first->next->quoted &&
              n->first->next->line == 7,
          "its items");
    n = member(root, "rank_pattern");
    REQUIRE(n && n->kind == NIB_YAML_MAP && n->count == 2, "a map");
    CHECK(strcmp(n->first->next->key, "\xc3\xa9") == 0 && n->first->next->column == 30 &&
              n->first->next->quoted,
          "columns count characters");
    n = member(root, "block");
    CHECK(n && strcmp(n->text, "one\ntwo\n") == 0 && n->quoted, "a block");
    CHECK(nib_yaml_is_null(member(root, "empty")) && nib_yaml_is_null(member(root, "nothing")) &&
              !nib_yaml_is_null(n),
          "nulls");
    nib_yaml_close(y);
}

static void test_whole_documents(void)
{
    static const char *const good[] = { "",
                                        "\n# nothing\n",
                                        "---\nr: 1\n...\n",
                                        "\xef\xbb\xbfr: 1\n",
                                        "%YAML 1.1\n---\nr: 1\n",
                                        "- 1\n",
                                        "text" };

    for (size_t i = 0; i < NIB_COUNT(good); i++) {
        nib_yaml *y = NULL;
        nib_error err;
        REQUIRE_OK(parse(good[i], &y, &err), err);
        CHECK((nib_yaml_root(y) != NULL) == (i > 1), "%s", good[i]);
        nib_yaml_close(y);
    }
}

static void test_refusals(void)
{
    static const struct { const char *text, *says; } bad[] = {
        { "r: 1\nr: 2\n", "f:2:1: r is given a second time, the first is in line 1" },
        { "a: &x 1\n", "f:1:4: anchors (&x)" },
        { "a: 1\nb: *x\n", "f:2:4: aliases (*x)" },
        { "a: !!int 1\n", "f:1:4: tags (tag:yaml.org,2002:int)" },
        { "a: ! 1\n", "f:1:4: tags" },
        { "%TAG !e! tag:e.org,2000:\n---\na: 1\n", "tag directives" },
        { "a: 1\n---\nb: 2\n", "f:2:1: a second document" },
        { "a: {<<: {b: 1}}\n", "f:1:5: merge keys" },
        { "[1]: 2\n", "f:1:1: a key must be text" },
        { "{1: 2}: 2\n", "f:1:1: a key must be text" },
        { "a:\n  b: 1\n c: 2\n", "f:3:2: not YAML" },
        { "a: [1, 2\n", "not YAML" },
        { "a: \"x\n", "not YAML" },
        { "\ta: 1\n", "f:1:1: not YAML" },
        { "a: 1\nb: \x01\n", "f:2:4: not YAML: control characters" },
        { "a: 1\nb: \xff\n", "f:2:4: not YAML" },
        { "a: \"\\0\"\n", "zero byte" },
        { "'': 1\n", "a key is empty" },
        { "a: [[[[[[[[1]]]]]]]]\n", "nested deeper than 8" },
    };

    for (size_t i = 0; i < NIB_COUNT(bad); i++) {
        nib_yaml *y = NULL;
        nib_error err;
        nib_status status = parse(bad[i].text, &y, &err);
        CHECK(status == NIB_E_FORMAT && strstr(err.message, bad[i].says), "%s: %s", bad[i].text,
              status ? err.message : "accepted");
        CHECK(!y, "nothing is handed out");
    }
}

static void test_limits(void)
{
    size_t n = NIB_YAML_MOST_BYTES + 1;
    char *text = test_guarded(n);
    nib_yaml *y = NULL;
    nib_error err;

    memset(text, '#', n);
    CHECK(nib_yaml_parse(test_ctx(), text, n, "f", &y, &err) == NIB_E_FORMAT &&
              strstr(err.message, "at most"),
          "too long");
    for (size_t i = 1; i + 2 <= n; i += 2) memcpy(text + i, "1,", 2);
    text[0] = '[';
    CHECK(nib_yaml_parse(test_ctx(), text, n - 1, "f", &y, &err) == NIB_E_FORMAT &&
              strstr(err.message, "more than 5000 values"),
          "too many");
    memset(text, '[', n);
    CHECK(nib_yaml_parse(test_ctx(), text, n - 1, "f", &y, &err) == NIB_E_FORMAT, "too deep");
}

/* Windows' editors put one there; libyaml by itself stumbles over it before a first key. */
static void test_byte_order_mark(void)
{
    nib_yaml *y = NULL;
    nib_error err;

    REQUIRE_OK(parse("\xef\xbb\xbfmodel: a\nseed: 1\n", &y, &err), err);
    CHECK(member(nib_yaml_root(y), "model") && member(nib_yaml_root(y), "seed"));
    nib_yaml_close(y);
}

static void test_allocations(void)
{
    static const char text[] = "a: 1\nb: [x, y]\nc: {d: 2}\n";
    bool ended = false;

    for (size_t k = 1; k < 100 && !ended; k++) {
        test_heap heap = { .fail_at = k };
        nib_ctx *ctx = test_ctx_heap(&heap);
        nib_yaml *y = NULL;
        nib_error err;
        nib_status status = nib_yaml_parse(ctx, text, sizeof text - 1, "f", &y, &err);

        ended = heap.calls < k;
        CHECK(status == (ended ? NIB_OK : NIB_E_NOMEM), "allocation %zu", k);
        nib_yaml_close(y);
        CHECK(heap.live == 0, "allocation %zu: %zu blocks leaked", k, heap.live);
        test_ctx_release(ctx);
    }
    CHECK(ended, "never ended");
}

static void test_seeds(void)
{
    const char *dir = test_data("fuzz/seeds/yaml");
    DIR *d = opendir(dir);
    size_t count = 0;

    REQUIRE(d, "%s", dir);
    for (const struct dirent *e; (e = readdir(d));) {
        char path[600];
        nib_yaml *y = NULL;
        nib_error err;
        if (*e->d_name == '.') continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        (void)nib_yaml_read(test_ctx(), path, &y, &err);
        nib_yaml_close(y);
        count++;
    }
    closedir(d);
    CHECK(count >= 3, "%zu seeds", count);
}

int main(void)
{
    static const test_case cases[] = { { "tree", test_tree },
                                       { "whole_documents", test_whole_documents },
                                       { "refusals", test_refusals },
                                       { "limits", test_limits },
                                       { "byte_order_mark", test_byte_order_mark },
                                       { "allocations", test_allocations },
                                       { "seeds", test_seeds } };
    return test_main("yaml", cases, NIB_COUNT(cases));
}
