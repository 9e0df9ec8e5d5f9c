/* schema.c - see schema.h. */
#include "text/schema.h"

#include <stdio.h>

#include "text/utf8.h"

/* One entry of a schema: its key and its letters, both borrowed from it. */
typedef struct entry { const char *key, *types; size_t key_bytes, type_count; } entry;

/* Takes the next entry off *schema; false: there is none. */
static bool next_entry(const char **schema, entry *e)
{
    const char *p = *schema + strspn(*schema, " ");

    if (!*p) return false;
    e->key = p;
    e->key_bytes = strcspn(p, ":");
    e->types = p + e->key_bytes + 1;
    e->type_count = strcspn(e->types, " ");
    *schema = e->types + e->type_count;
    return true;
}

static bool allows(const entry *e, char type) { return memchr(e->types, type, e->type_count); }

static bool is_one_character(const json_t *value)
{
    const char *s = json_string_value(value);
    return s && *s && nib_utf8_length(*s) == json_string_length(value);
}

static bool fits(const entry *e, const json_t *value)
{
    if (!value) return allows(e, '?');
    switch (json_typeof(value)) {
    case JSON_NULL: return allows(e, '~') || allows(e, 'x');
    case JSON_TRUE: case JSON_FALSE: return allows(e, 'b') || allows(e, 'x');
    case JSON_STRING:
        return allows(e, 's') || allows(e, 'x') || (allows(e, 'c') && is_one_character(value));
    case JSON_INTEGER:
        return allows(e, 'n') || allows(e, 'x') ||
               (allows(e, 'u') && json_integer_value(value) >= 0);
    case JSON_REAL: return allows(e, 'n') || allows(e, 'x');
    case JSON_ARRAY: return allows(e, 'a') || allows(e, 'x');
    case JSON_OBJECT: return allows(e, 'o') || allows(e, 'x');
    }
    return false;
}

/* "true or false, text or null" */
static void describe_types(const entry *e, char *to, size_t room)
{
    static const struct { char letter; const char *name; } names[] = {
        { 'b', "true or false" }, { 's', "a string" }, { 'c', "one character" },
        { 'u', "an integer from 0 on" }, { 'n', "a number" }, { 'a', "a list" },
        { 'o', "an object" }, { '~', "null" },
    };
    size_t used = 0;

    *to = 0;
    for (size_t i = 0; i < NIB_COUNT(names) && used < room; i++)
        if (allows(e, names[i].letter))
            used += (size_t)snprintf(to + used, room - used, "%s%s", used ? " or " : "",
                                     names[i].name);
}

static const char *kind_of(const json_t *value)
{
    if (!value) return "missing";
    switch (json_typeof(value)) {
    case JSON_NULL: return "null";
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: case JSON_REAL: return "a number";
    case JSON_ARRAY: return "a list";
    case JSON_OBJECT: return "an object";
    }
    return "unknown";
}

static void list_keys(const char *schema, char *to, size_t room)
{
    size_t used = 0;
    entry e;

    *to = 0;
    while (next_entry(&schema, &e) && used < room)
        used += (size_t)snprintf(to + used, room - used, "%s%.*s", used ? ", " : "",
                                 (int)e.key_bytes, e.key);
}

static bool is_known(const char *schema, const char *key)
{
    entry e;

    while (next_entry(&schema, &e))
        if (strlen(key) == e.key_bytes && memcmp(key, e.key, e.key_bytes) == 0) return true;
    return false;
}

nib_status nib_schema_check(const json_t *object, const char *where, const char *what,
                            const char *schema, nib_error *err)
{
    const char *at = schema, *key;
    char name[64], text[256];
    json_t *value;
    entry e;

    if (!json_is_object(object))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is %s, expected an object", where, what,
                        kind_of(object));
    while (next_entry(&at, &e)) {
        snprintf(name, sizeof name, "%.*s", (int)e.key_bytes, e.key);
        value = json_object_get(object, name);
        if (fits(&e, value)) continue;
        describe_types(&e, text, sizeof text);
        return nib_fail(err, NIB_E_FORMAT, "%s: %s: %s is %s, expected %s", where, what, name,
                        kind_of(value), text);
    }
    json_object_foreach((json_t *)(uintptr_t)object, key, value) if (!is_known(schema, key))
    {
        list_keys(schema, text, sizeof text);
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: %s: unknown key '%s'; known: %s", where, what,
                        key, text);
    }
    return NIB_OK;
}
