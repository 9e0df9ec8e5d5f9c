/* json.c - jansson with this house's rules.
 *
 * jansson rather than cJSON: it keeps integers as integers, refuses duplicate keys,
 * \u0000 and bad UTF-8 itself, and names line and column. */
#include "format/json.h"

#include <math.h>

#include "base/filemap.h"

enum { LARGEST_FILE = 512 << 20 };

nib_status nib_json_parse(const char *text, size_t bytes, const char *where, unsigned flags,
                          json_t **out, nib_error *err)
{
    size_t how = JSON_REJECT_DUPLICATES;
    json_error_t problem;
    json_t *value;

    if (flags & NIB_JSON_BIG_NUMBERS) how |= JSON_DECODE_INT_AS_REAL;
    if (flags & NIB_JSON_ANY_VALUE) how |= JSON_DECODE_ANY;
    value = json_loadb(text, bytes, how, &problem);
    if (!value) {
        if (json_error_code(&problem) == json_error_out_of_memory)
            return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
        if (flags & NIB_JSON_ONE_LINE)
            return nib_fail(err, NIB_E_FORMAT, "%s, column %d: %s", where, problem.column,
                            problem.text);
        return nib_fail(err, NIB_E_FORMAT, "%s: line %d, column %d: %s", where, problem.line,
                        problem.column, problem.text);
    }
    *out = value;
    return NIB_OK;
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
