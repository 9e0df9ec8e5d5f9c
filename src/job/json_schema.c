/* json_schema.c - see json_schema.h.  The schema is checked once, so that holding a value to it
 * cannot fail; both go as deep as the schema, which is limited. */
#include "job/json_schema.h"

#include <math.h>
#include <stdio.h>

#include "format/json.h"
#include "text/utf8.h"

enum { DEEPEST = 32, PLACE = 200 };

struct nib_json_schema {
    nib_ctx *ctx;
    json_t *root;
    const char **fields; /* [field_count], of root */
    size_t field_count;
};

static const char *const types[] = { "null",   "boolean", "object", "array",
                                     "number", "string",  "integer" };

/* --- the schema --- */

static nib_status check(const json_t *schema, const char *at, int depth, nib_error *err);

static nib_status wrong(const char *at, const char *key, const char *expected, nib_error *err)
{
    return nib_fail(err, NIB_E_FORMAT, "%s: %s should be %s", at, key, expected);
}

static bool is_type(const json_t *name)
{
    const char *text = json_string_value(name);

    for (size_t i = 0; text && i < NIB_COUNT(types); i++)
        if (strcmp(text, types[i]) == 0) return true;
    return false;
}

static nib_status check_type(const json_t *value, const char *at, const char *key, int depth,
                             nib_error *err)
{
    const json_t *one;
    size_t i;
    bool good = json_is_string(value) ? is_type(value) : json_array_size(value) > 0;

    (void)depth;
    json_array_foreach (value, i, one) good = good && is_type(one);
    return good ? NIB_OK
                : wrong(at, key, "null, boolean, object, array, number, string, integer, or a list "
                        "of them", err);
}

/* As deep as a value may be that is compared. */
static bool is_flat(const json_t *value, int depth)
{
    const char *key;
    json_t *one;
    size_t i;
    bool good = depth < DEEPEST;

    if (!good) return false;
    json_array_foreach (value, i, one) good = good && is_flat(one, depth + 1);
    json_object_foreach ((json_t *)(uintptr_t)value, key, one)
        good = good && is_flat(one, depth + 1);
    return good;
}

static nib_status check_enum(const json_t *value, const char *at, const char *key, int depth,
                             nib_error *err)
{
    if (!json_is_array(value)) return wrong(at, key, "a list", err);
    return is_flat(value, depth)
               ? NIB_OK
               : nib_fail(err, NIB_E_UNSUPPORTED, "%s: %s is nested more than %d deep", at, key,
                          DEEPEST);
}

static nib_status check_names(const json_t *value, const char *at, const char *key, int depth,
                              nib_error *err)
{
    const json_t *one;
    size_t i;
    bool good = json_is_array(value);

    (void)depth;
    json_array_foreach (value, i, one) good = good && json_is_string(one);
    return good ? NIB_OK : wrong(at, key, "a list of names", err);
}

static nib_status check_number(const json_t *value, const char *at, const char *key, int depth,
                               nib_error *err)
{
    (void)depth;
    return json_is_number(value) ? NIB_OK : wrong(at, key, "a number", err);
}

static nib_status check_length(const json_t *value, const char *at, const char *key, int depth,
                               nib_error *err)
{
    (void)depth;
    return json_is_integer(value) && json_integer_value(value) >= 0
               ? NIB_OK
               : wrong(at, key, "an integer of 0 or more", err);
}

static nib_status check_schema(const json_t *value, const char *at, const char *key, int depth,
                               nib_error *err)
{
    char place[PLACE];

    snprintf(place, sizeof place, "%.*s.%.40s", PLACE - 50, at, key);
    return check(value, place, depth + 1, err);
}

static nib_status check_schemas(const json_t *value, const char *at, const char *key, int depth,
                                nib_error *err)
{
    const char *name;
    json_t *one;
    nib_status status = NIB_OK;

    if (!json_is_object(value)) return wrong(at, key, "an object of schemas", err);
    json_object_foreach ((json_t *)(uintptr_t)value, name, one) {
        status = check_schema(one, at, name, depth, err);
        if (status) break;
    }
    return status;
}

/* Of draft 4 and before 1.0 is no integer. */
static nib_status check_draft(const json_t *value, const char *at, const char *key, int depth,
                              nib_error *err)
{
    const char *text = json_string_value(value);

    (void)depth;
    if (!text) return wrong(at, key, "a string", err);
    if (strstr(text, "draft-03") || strstr(text, "draft-04"))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: %s is '%.100s'; known are draft 6 to 2020-12",
                        at, key, text);
    return NIB_OK;
}

static const struct keyword {
    const char *name; /* without a check: not looked at */
    nib_status (*check)(const json_t *value, const char *at, const char *key, int depth,
                        nib_error *err);
} keywords[] = {
    { "type", check_type },          { "enum", check_enum },
    { "properties", check_schemas }, { "required", check_names },
    { "additionalProperties", check_schema },
    { "items", check_schema },       { "minimum", check_number },
    { "maximum", check_number },     { "minLength", check_length },
    { "maxLength", check_length },   { "$schema", check_draft },
    { "$id", NULL },                 { "$comment", NULL },
    { "title", NULL },               { "description", NULL },
    { "default", NULL },             { "examples", NULL },
};

static nib_status refuse_keyword(const char *at, const char *key, nib_error *err)
{
    char known[300] = "";

    for (size_t i = 0, used = 0; i < NIB_COUNT(keywords) && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "",
                                 keywords[i].name);
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s: the keyword '%.60s' is not known here, and an "
                    "answer that breaks it would pass; known are %s", at, key, known);
}

static nib_status check(const json_t *schema, const char *at, int depth, nib_error *err)
{
    const char *key;
    json_t *value;
    nib_status status = NIB_OK;

    if (depth == DEEPEST)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: schemas in schemas, more than %d deep", at,
                        DEEPEST);
    if (json_is_boolean(schema)) return NIB_OK;
    if (!json_is_object(schema))
        return nib_fail(err, NIB_E_FORMAT, "%s: a schema should be an object, true or false", at);
    json_object_foreach ((json_t *)(uintptr_t)schema, key, value) {
        size_t i = 0;
        while (i < NIB_COUNT(keywords) && strcmp(keywords[i].name, key) != 0) i++;
        if (i == NIB_COUNT(keywords)) status = refuse_keyword(at, key, err);
        else if (keywords[i].check) status = keywords[i].check(value, at, key, depth, err);
        if (status) break;
    }
    return status;
}

/* Takes over `root`. */
static nib_status make(nib_ctx *ctx, json_t *root, const char *where, nib_json_schema **out,
                       nib_error *err)
{
    nib_json_schema *s = nib_new(ctx, sizeof *s);
    const json_t *properties = json_object_get(root, "properties");
    const char *key;
    json_t *value;
    nib_status status;

    if (!s) {
        json_decref(root);
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    }
    *s = (nib_json_schema){ .ctx = ctx, .root = root };
    status = check(root, where, 0, err);
    if (status) goto done;
    s->fields = nib_new_array(ctx, json_object_size(properties) + 1, sizeof *s->fields);
    if (!s->fields) {
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
        goto done;
    }
    json_object_foreach ((json_t *)(uintptr_t)properties, key, value)
        s->fields[s->field_count++] = key;
    *out = s;
    s = NULL; /* handed over */
done:
    nib_json_schema_close(s);
    return status;
}

nib_status nib_json_schema_open(nib_ctx *ctx, const char *path, nib_json_schema **out,
                                nib_error *err)
{
    json_t *root = NULL;
    nib_status status = nib_json_read(ctx, path, NIB_JSON_ANY_VALUE, &root, err);

    return status ? status : make(ctx, root, path, out, err);
}

nib_status nib_json_schema_parse(nib_ctx *ctx, const char *text, size_t bytes, const char *where,
                                 nib_json_schema **out, nib_error *err)
{
    json_t *root = NULL;
    nib_status status = nib_json_parse(text, bytes, where, NIB_JSON_ANY_VALUE, &root, err);

    return status ? status : make(ctx, root, where, out, err);
}

void nib_json_schema_close(nib_json_schema *s)
{
    if (!s) return;
    json_decref(s->root);
    nib_free(s->ctx, s->fields);
    nib_free(s->ctx, s);
}

size_t nib_json_schema_field_count(const nib_json_schema *s)
{
    return s->field_count;
}

const char *nib_json_schema_field(const nib_json_schema *s, size_t i)
{
    return s->fields[i];
}

/* --- values --- */

static long double number(const json_t *value)
{
    return json_is_integer(value) ? (long double)json_integer_value(value)
                                  : (long double)json_real_value(value);
}

static bool equal(const json_t *a, const json_t *b)
{
    const char *key;
    json_t *one;
    size_t i;
    bool same = true;

    if (json_is_number(a) && json_is_number(b)) return number(a) == number(b);
    if (json_typeof(a) != json_typeof(b)) return false;
    if (json_is_array(a)) {
        same = json_array_size(a) == json_array_size(b);
        json_array_foreach (a, i, one) same = same && equal(one, json_array_get(b, i));
        return same;
    }
    if (!json_is_object(a)) return json_equal(a, b);
    same = json_object_size(a) == json_object_size(b);
    json_object_foreach ((json_t *)(uintptr_t)a, key, one)
        same = same && json_object_get(b, key) && equal(one, json_object_get(b, key));
    return same;
}

static bool has_type(const json_t *value, const char *type)
{
    switch (json_typeof(value)) {
    case JSON_NULL: return strcmp(type, "null") == 0;
    case JSON_TRUE: case JSON_FALSE: return strcmp(type, "boolean") == 0;
    case JSON_OBJECT: return strcmp(type, "object") == 0;
    case JSON_ARRAY: return strcmp(type, "array") == 0;
    case JSON_STRING: return strcmp(type, "string") == 0;
    case JSON_INTEGER: case JSON_REAL: break;
    }
    return strcmp(type, "number") == 0 ||
           (strcmp(type, "integer") == 0 && number(value) == floorl(number(value)));
}

static bool is_of_type(const json_t *types_wanted, const json_t *value)
{
    const json_t *one;
    size_t i;

    if (json_is_string(types_wanted)) return has_type(value, json_string_value(types_wanted));
    json_array_foreach (types_wanted, i, one)
        if (has_type(value, json_string_value(one))) return true;
    return false;
}

static bool is_listed(const json_t *list, const json_t *value)
{
    const json_t *one;
    size_t i;

    json_array_foreach (list, i, one)
        if (equal(one, value)) return true;
    return false;
}

static json_int_t character_count(const json_t *text)
{
    return (json_int_t)nib_utf8_count(json_string_value(text), json_string_length(text));
}

static bool takes(const json_t *schema, const json_t *value);

static bool takes_object(const json_t *schema, const json_t *value)
{
    const json_t *properties = json_object_get(schema, "properties"),
                 *others = json_object_get(schema, "additionalProperties"), *name;
    const char *key;
    json_t *one;
    size_t i;

    json_array_foreach (json_object_get(schema, "required"), i, name)
        if (!json_object_get(value, json_string_value(name))) return false;
    json_object_foreach ((json_t *)(uintptr_t)value, key, one) {
        const json_t *own = json_object_get(properties, key);
        if (!own) own = others;
        if (own && !takes(own, one)) return false;
    }
    return true;
}

static bool takes_scalar(const json_t *schema, const json_t *value)
{
    const json_t *low = json_object_get(schema, "minimum"),
                 *high = json_object_get(schema, "maximum"),
                 *shortest = json_object_get(schema, "minLength"),
                 *longest = json_object_get(schema, "maxLength");

    if (json_is_number(value))
        return !(low && number(value) < number(low)) && !(high && number(value) > number(high));
    if (!json_is_string(value)) return true;
    return !(shortest && character_count(value) < json_integer_value(shortest)) &&
           !(longest && character_count(value) > json_integer_value(longest));
}

static bool takes(const json_t *schema, const json_t *value)
{
    const json_t *type = json_object_get(schema, "type"), *list = json_object_get(schema, "enum"),
                 *items = json_object_get(schema, "items"), *one;
    size_t i;

    if (json_is_boolean(schema)) return json_is_true(schema);
    if (type && !is_of_type(type, value)) return false;
    if (list && !is_listed(list, value)) return false;
    if (json_is_object(value)) return takes_object(schema, value);
    if (!json_is_array(value)) return takes_scalar(schema, value);
    json_array_foreach (value, i, one)
        if (items && !takes(items, one)) return false;
    return true;
}

static bool is_required(const json_t *schema, const char *key)
{
    const json_t *name;
    size_t i;

    json_array_foreach (json_object_get(schema, "required"), i, name)
        if (strcmp(json_string_value(name), key) == 0) return true;
    return false;
}

/* NULL: it is no JSON.  Only a text with an integer of more than 64 bits is read in doubles. */
static json_t *parse(const char *text)
{
    json_t *value = NULL;
    nib_error none;
    size_t bytes = strlen(text);

    if (nib_json_parse(text, bytes, "an answer", NIB_JSON_ANY_VALUE, &value, &none))
        (void)nib_json_parse(text, bytes, "an answer", NIB_JSON_ANY_VALUE | NIB_JSON_BIG_NUMBERS,
                             &value, &none);
    return value;
}

bool nib_json_schema_takes(const nib_json_schema *s, const char *text, bool *fields)
{
    json_t *value = parse(text);
    bool good = value && takes(s->root, value);

    for (size_t i = 0; i < s->field_count; i++) {
        const json_t *own = json_object_get(json_object_get(s->root, "properties"), s->fields[i]),
                     *there = json_object_get(value, s->fields[i]);
        fields[i] = json_is_object(value) &&
                    (there ? takes(own, there) : !is_required(s->root, s->fields[i]));
    }
    json_decref(value);
    return good;
}
