/* json.h - JSON as nibble reads it: jansson, with this house's rules and errors.
 *
 * Integers keep their digits, duplicate keys are refused, UTF-8 is checked, nesting is limited; a
 * byte order mark is passed over.  \u0000 and NaN are refused but in data.  Every getter names the
 * file and the key. */
#ifndef NIB_FORMAT_JSON_H
#define NIB_FORMAT_JSON_H

#include <jansson.h>

#include "base/base.h"

enum {
    NIB_JSON_BIG_NUMBERS = 1, /* integers may pass 64 bits and are read as doubles */
    NIB_JSON_ANY_VALUE = 2, /* a text, a number, ... by itself is taken too, not only an object or a
                               list */
    NIB_JSON_ONE_LINE = 4,  /* `where` names the line already: errors name the column alone */
    NIB_JSON_DATA = 8, /* a record of data: \u0000 is taken, NaN (as Python writes it) is null */
};

/* Parses a file (at most 512 MiB) or a piece of text; `where` names it in errors
 * ("config.json", "data.jsonl: line 12").  *out is the caller's: json_decref(). */
nib_status nib_json_read(nib_ctx *ctx, const char *path, unsigned flags, json_t **out,
                         nib_error *err);
nib_status nib_json_parse(const char *text, size_t bytes, const char *where, unsigned flags,
                          json_t **out, nib_error *err);

/* The first value of a text that may continue behind it: *used bytes of it were read. */
nib_status nib_json_parse_first(const char *text, size_t bytes, const char *where, unsigned flags,
                                json_t **out, size_t *used, nib_error *err);

/* The value as text, with jansson's flags.  The caller's to free with nib_free(); NULL: no memory,
 * or value is NULL. */
char *nib_json_dump(nib_ctx *ctx, const json_t *value, size_t flags);

/* A key of an object.  Absent or null: *out keeps the value it had (the default).
 * Of another type, or out of [lo, hi]: NIB_E_FORMAT naming where, key and value. */
nib_status nib_json_get_int(const json_t *object, const char *where, const char *key, int64_t lo,
                            int64_t hi, int64_t *out, nib_error *err);
nib_status nib_json_get_float(const json_t *object, const char *where, const char *key, double *out,
                              nib_error *err); /* takes integers too; finite */
nib_status nib_json_get_bool(const json_t *object, const char *where, const char *key, bool *out,
                             nib_error *err);
/* Borrowed from the object. */
nib_status nib_json_get_string(const json_t *object, const char *where, const char *key,
                               const char **out, nib_error *err);

#endif
