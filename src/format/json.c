/* json.c - jansson with this house's rules, and its errors in words that say what to look for.
 *
 * jansson rather than cJSON: it keeps integers as integers, refuses duplicate keys and bad UTF-8
 * itself, and names line and column. */
#include "format/json.h"

#include <math.h>
#include <stdio.h>

#include "base/filemap.h"

enum { LARGEST_FILE = 512 << 20 };

/* --- errors --- */

/* What jansson had before it when it stopped: "... near 'TEXT'"; or a byte that it names. */
static void find_near(const json_error_t *problem, char *near, size_t room)
{
    const char *begin = strstr(problem->text, " near '");
    size_t length;
    unsigned byte;

    *near = 0;
    if (sscanf(problem->text, "unable to decode byte 0x%x", &byte) == 1) {
        snprintf(near, room, " (0x%02x)", byte);
        return;
    }
    if (!begin) return;
    length = strlen(begin + 7);
    snprintf(near, room, " at '%.*s'", (int)(length ? length - 1 : 0), begin + 7);
}

static const char *explain(const json_error_t *problem)
{
    static const char *const constants[] = { "NaN", "Infinity", "-I" };

    switch (json_error_code(problem)) {
    case json_error_premature_end_of_input: return "the text ends before the value does";
    case json_error_end_of_input_expected: return "more text follows the value";
    case json_error_invalid_utf8: return "a byte that is not UTF-8 text";
    case json_error_null_character:
    case json_error_null_byte_in_key:
        return "the character \\u0000, which is taken in the texts of data only";
    case json_error_duplicate_key: return "the same key a second time";
    case json_error_numeric_overflow: return "a number beyond what 64 bits hold";
    case json_error_stack_overflow: return "lists and objects nested too deeply";
    case json_error_invalid_format: return "neither an object nor a list";
    default: break;
    }
    for (size_t i = 0; i < NIB_COUNT(constants); i++)
        if (strstr(problem->text, constants[i]))
            return "a number that JSON does not have (write null, or leave it out)";
    if (strstr(problem->text, " near ''")) return "single quotes, where JSON has double quotes";
    if (strstr(problem->text, " near '<")) return "not JSON; it may be a page of HTML";
    if (strstr(problem->text, "control character") || strstr(problem->text, "newline"))
        return "a line break or control character within a text";
    return "not JSON: a value, a comma or a bracket is missing, or one too many";
}

static nib_status fail(const json_error_t *problem, const char *where, unsigned flags,
                       nib_error *err)
{
    char near[JSON_ERROR_TEXT_LENGTH + 8];

    if (json_error_code(problem) == json_error_out_of_memory)
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    find_near(problem, near, sizeof near);
    if (flags & NIB_JSON_ONE_LINE)
        return nib_fail(err, NIB_E_FORMAT, "%s, column %d: %s%s", where, problem->column,
                        explain(problem), near);
    return nib_fail(err, NIB_E_FORMAT, "%s: line %d, column %d: %s%s", where, problem->line,
                    problem->column, explain(problem), near);
}

/* --- NaN --- */

/* A text in which NaN, outside of strings, reads as null; a byte a call, so that `at` is where the
 * parser stands. */
typedef struct nan_text {
    const char *text;
    size_t bytes, at;
    const char *pending; /* what is left of "null" */
    bool in_string, escaped;
} nan_text;

static size_t next_byte(void *buffer, size_t room, void *user)
{
    nan_text *t = user;
    char c;

    if (!room) return 0;
    if (*t->pending) {
        *(char *)buffer = *t->pending++;
        return 1;
    }
    if (t->at == t->bytes) return 0;
    c = t->text[t->at];
    if (!t->in_string && t->bytes - t->at >= 3 && !memcmp(t->text + t->at, "NaN", 3)) {
        t->at += 3;
        t->pending = "ull";
        *(char *)buffer = 'n';
        return 1;
    }
    if (t->escaped)
        t->escaped = false;
    else if (c == '"')
        t->in_string = !t->in_string;
    else if (c == '\\')
        t->escaped = t->in_string;
    t->at++;
    *(char *)buffer = c;
    return 1;
}

/* --- reading --- */

nib_status nib_json_parse_first(const char *text, size_t bytes, const char *where, unsigned flags,
                                json_t **out, size_t *used, nib_error *err)
{
    size_t how = JSON_REJECT_DUPLICATES, mark = 0;
    json_error_t problem = { .line = 0 };
    json_t *value;

    /* jansson leaves the code as it is where its first allocation fails */
    problem.text[JSON_ERROR_TEXT_LENGTH - 1] = json_error_out_of_memory;
    if (bytes >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) mark = 3;
    if (flags & NIB_JSON_BIG_NUMBERS) how |= JSON_DECODE_INT_AS_REAL;
    if (flags & NIB_JSON_ANY_VALUE) how |= JSON_DECODE_ANY;
    if (flags & NIB_JSON_DATA) how |= JSON_ALLOW_NUL;
    if (used) how |= JSON_DISABLE_EOF_CHECK;
    value = json_loadb(text + mark, bytes - mark, how, &problem);
    if (value && used) *used = mark + (size_t)problem.position;
    if (!value && (flags & NIB_JSON_DATA) &&
        json_error_code(&problem) == json_error_invalid_syntax && memmem(text, bytes, "NaN", 3)) {
        nan_text t = { .text = text, .bytes = bytes, .at = mark, .pending = "" };
        value = json_load_callback(next_byte, &t, how, &problem);
        if (value && used) *used = t.at;
    }
    if (!value) return fail(&problem, where, flags, err);
    *out = value;
    return NIB_OK;
}

nib_status nib_json_parse(const char *text, size_t bytes, const char *where, unsigned flags,
                          json_t **out, nib_error *err)
{
    return nib_json_parse_first(text, bytes, where, flags, out, NULL, err);
}

char *nib_json_dump(nib_ctx *ctx, const json_t *value, size_t flags)
{
    size_t bytes = value ? json_dumpb(value, NULL, 0, flags) : 0;
    char *text = bytes ? nib_alloc(ctx, bytes + 1) : NULL;

    if (!text || json_dumpb(value, text, bytes, flags) != bytes) {
        nib_free(ctx, text);
        return NULL;
    }
    text[bytes] = 0;
    return text;
}

nib_status nib_json_read(nib_ctx *ctx, const char *path, unsigned flags, json_t **out,
                         nib_error *err)
{
    char *text;
    size_t bytes;
    nib_status status = nib_file_read(ctx, path, LARGEST_FILE, &text, &bytes, err);

    if (status) return status;
    status = nib_json_parse(text, bytes, path, flags, out, err);
    nib_free(ctx, text);
    return status;
}

static const char *kind_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number with a fraction";
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    case JSON_NULL: break;
    }
    return "null";
}

/* The value of a key that is there and not null. */
static const json_t *present(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return value && !json_is_null(value) ? value : NULL;
}

nib_status nib_json_get_int(const json_t *object, const char *where, const char *key, int64_t lo,
                            int64_t hi, int64_t *out, nib_error *err)
{
    const json_t *value = present(object, key);

    if (!value) return NIB_OK;
    if (!json_is_integer(value))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is %s, expected an integer", where, key,
                        kind_of(value));
    if (json_integer_value(value) < lo || json_integer_value(value) > hi)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: %s is %" PRId64 ", expected %" PRId64 " to %" PRId64, where, key,
                        (int64_t)json_integer_value(value), lo, hi);
    *out = json_integer_value(value);
    return NIB_OK;
}

nib_status nib_json_get_float(const json_t *object, const char *where, const char *key, double *out,
                              nib_error *err)
{
    const json_t *value = present(object, key);

    if (!value) return NIB_OK;
    if (!json_is_number(value))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is %s, expected a number", where, key,
                        kind_of(value));
    if (!isfinite(json_number_value(value)))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is not finite", where, key);
    *out = json_number_value(value);
    return NIB_OK;
}

nib_status nib_json_get_bool(const json_t *object, const char *where, const char *key, bool *out,
                             nib_error *err)
{
    const json_t *value = present(object, key);

    if (!value) return NIB_OK;
    if (!json_is_boolean(value))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is %s, expected true or false", where, key,
                        kind_of(value));
    *out = json_is_true(value);
    return NIB_OK;
}

nib_status nib_json_get_string(const json_t *object, const char *where, const char *key,
                               const char **out, nib_error *err)
{
    const json_t *value = present(object, key);

    if (!value) return NIB_OK;
    if (!json_is_string(value))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is %s, expected a string", where, key,
                        kind_of(value));
    *out = json_string_value(value);
    return NIB_OK;
}
