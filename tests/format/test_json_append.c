/* test_json_append.c - members added to JSON as it stands: the bytes around them stay. */
#include "test.h"

#include <string.h>

#include "format/json_append.h"

typedef struct example {
    const char *text, *key;
    char kind;
    const char *want; /* NULL: refused */
} example;

static const example examples[] = {
    { "{\n  \"a\": 1,\n  \"list\": [\n    1\n  ],\n  \"b\": 1e5\n}\n", "list", '[',
      "{\n  \"a\": 1,\n  \"list\": [\n    1,\n    9\n  ],\n  \"b\": 1e5\n}\n" },
    { "{\"list\":[1]}", "list", '[', "{\"list\":[1,\n    9\n  ]}" },
    { "{\"list\": [], \"b\": 2}", "list", '[', "{\"list\": [\n    9\n  ], \"b\": 2}" },
    { "{\"list\": [ \n ]}", "list", '[', "{\"list\": [\n    9 \n ]}" },
    { "{\"list\": null, \"b\": 2}", "list", '[', "{\"list\": [\n    9\n  ], \"b\": 2}" },
    { "{\"b\": \"]\\\"[\"}", "list", '[', "{\"b\": \"]\\\"[\",\n  \"list\": [\n    9\n  ]}" },
    { "{\"b\": {\"list\": [1, {\"list\": []}]}, \"list\": [[2]]}", "list", '[',
      "{\"b\": {\"list\": [1, {\"list\": []}]}, \"list\": [[2],\n    9\n  ]}" },
    { "\xef\xbb\xbf{\"b\": 1}", "list", '[',
      "\xef\xbb\xbf{\"b\": 1,\n  \"list\": [\n    9\n  ]}" },
    { " {}", "list", '[', " {\n  \"list\": [\n    9\n  ]}" },
    { "{\n}\n", "list", '[', "{\n  \"list\": [\n    9\n  ]\n}\n" },
    { "{\"listed\": [1], \"o\": {\"x\": 1}}", "o", '{',
      "{\"listed\": [1], \"o\": {\"x\": 1,\n    9\n  }}" },
    { "{\"list\": {}}", "list", '[', NULL },
    { "{\"list\": \"[]\"}", "list", '[', NULL },
    { "{\"list\": 12}", "list", '[', NULL },
};

static void test_examples(void)
{
    for (size_t i = 0; i < NIB_COUNT(examples); i++) {
        const example *e = &examples[i];
        nib_text out = { .ctx = test_ctx() };
        nib_error err = { 0 };
        nib_status got = nib_json_append(e->text, "file", e->key, e->kind, "\n    9", &out, &err);

        if (e->want) {
            REQUIRE(got == NIB_OK, "%s: %s", e->text, err.message);
            CHECK(strcmp(out.data, e->want) == 0, "%s became\n%s", e->text, out.data);
        } else CHECK(got == NIB_E_FORMAT && strstr(err.message, "file: "), "%s: %d %s", e->text,
                     got, err.message);
        nib_text_free(&out);
    }
}

static void test_memory(void)
{
    const example *e = &examples[0];
    test_heap heap = { 0 };
    nib_ctx *ctx = test_ctx_heap(&heap);
    nib_text out = { .ctx = ctx };
    nib_error err = { 0 };

    heap.fail_at = heap.calls + 1;
    CHECK(nib_json_append(e->text, "file", e->key, e->kind, "\n    9", &out, &err) == NIB_E_NOMEM,
          "%s", err.message);
    nib_text_free(&out);
    test_ctx_release(ctx);
}

int main(void)
{
    static const test_case cases[] = { { "examples", test_examples }, { "memory", test_memory } };
    return test_main("json_append", cases, NIB_COUNT(cases));
}
