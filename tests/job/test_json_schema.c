/* test_json_schema.c - answers held to schemas, against the Python package jsonschema
 * (tests/golden/make/schema_golden.py), and schemas that are refused. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "job/json_schema.h"
#include "test.h"

static nib_status open_text(const char *text, nib_json_schema **out, nib_error *err)
{
    char path[600];
    FILE *f;

    snprintf(path, sizeof path, "%s/schema.json", test_tmpdir());
    f = fopen(path, "w");
    if (!f) return NIB_E_IO;
    fputs(text, f);
    fclose(f);
    return nib_json_schema_open(test_ctx(), path, out, err);
}

static void check_row(const nib_json_schema *s, const json_t *row)
{
    const json_t *right = json_object_get(row, "fields");
    const char *text = json_string_value(json_object_get(row, "text"));
    bool fields[16] = { false };
    bool valid = nib_json_schema_takes(s, text, fields);

    CHECK(valid == json_is_true(json_object_get(row, "valid")), "'%s': %d", text, valid);
    REQUIRE(nib_json_schema_field_count(s) == json_object_size(right) &&
            json_object_size(right) <= NIB_COUNT(fields));
    for (size_t i = 0; i < json_object_size(right); i++) {
        const char *name = nib_json_schema_field(s, i);
        const json_t *wanted = json_object_get(right, name);
        CHECK(wanted && fields[i] == json_is_true(wanted), "'%s': %s: %d", text, name, fields[i]);
    }
}

static void test_golden(void)
{
    json_t *golden = json_load_file(test_data("tests/golden/schemas.json"), 0, NULL), *one, *row;
    size_t i, k, rows = 0;

    json_array_foreach (golden, i, one) {
        char *text = json_dumps(json_object_get(one, "schema"), JSON_ENCODE_ANY);
        nib_json_schema *s = NULL;
        nib_error err;
        REQUIRE(text);
        REQUIRE_OK(open_text(text, &s, &err), err);
        json_array_foreach (json_object_get(one, "rows"), k, row) check_row(s, row), rows++;
        nib_json_schema_close(s);
        free(text);
    }
    CHECK(rows > 60, "%zu rows", rows);
    json_decref(golden);
}

static void test_refused(void)
{
    static const struct { const char *schema, *error; } cases[] = {
        { "{\"pattern\": \"a\"}", "keyword 'pattern' is not known" },
        { "{\"properties\": {\"a\": {\"items\": {\"$ref\": \"#\"}}}}",
          "schema.json.a.items: the keyword '$ref' is not known here, and an answer that breaks it "
          "would pass; known are type, enum, properties, required, additionalProperties, items" },
        { "{\"type\": \"int\"}", "type should be null, boolean" },
        { "{\"type\": []}", "type should be" },
        { "{\"type\": [\"null\", 3]}", "type should be" },
        { "{\"enum\": 3}", "enum should be a list" },
        { "{\"properties\": []}", "properties should be an object" },
        { "{\"properties\": {\"a\": 1}}", "schema.json.a: a schema should be an object" },
        { "{\"required\": \"a\"}", "required should be a list" },
        { "{\"required\": [1]}", "required should be a list" },
        { "{\"items\": [{}]}", "schema.json.items: a schema should be" },
        { "{\"minimum\": \"3\"}", "minimum should be a number" },
        { "{\"minimum\": null}", "minimum should be a number" },
        { "{\"maxLength\": -1}", "maxLength should be an integer" },
        { "{\"maxLength\": 2.5}", "maxLength should be an integer" },
        { "{\"$schema\": \"http://json-schema.org/draft-04/schema#\"}", "known are draft 6" },
        { "[]", "should be an object, true or false" },
        { "{", "schema.json" },
    };
    char deep[2000] = "", end[100] = "";

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_json_schema *s = NULL;
        nib_error err;
        nib_status status = open_text(cases[i].schema, &s, &err);
        CHECK(status && !s && strstr(err.message, cases[i].error), "%s: %s", cases[i].schema,
              status ? err.message : "taken");
        nib_json_schema_close(s);
    }
    for (int i = 0; i < 40; i++) strcat(deep, "{\"items\": "), strcat(end, "}");
    strcat(strcat(deep, "{}"), end);
    {
        nib_json_schema *s = NULL;
        nib_error err;
        CHECK(open_text(deep, &s, &err) == NIB_E_UNSUPPORTED && strstr(err.message, "32 deep"));
        CHECK(nib_json_schema_open(test_ctx(), "/no/such.json", &s, &err) == NIB_E_IO);
    }
}

int main(void)
{
    static const test_case cases[] = { { "golden", test_golden }, { "refused", test_refused } };
    return test_main("json_schema", cases, NIB_COUNT(cases));
}
