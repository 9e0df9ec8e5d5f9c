/* json_schema.h - answers held to a JSON Schema (draft 6 to 2020-12), whole and field by field.
 *
 *   type, enum                  minimum, maximum      minLength, maxLength (characters)
 *   properties, required, additionalProperties       items (one schema for all)
 *   true and false as schemas;  $schema, $id, $comment, title, description, default, examples: not
 *                               looked at
 *
 * Any other keyword is refused, for an answer that breaks it would pass.  Values are compared as
 * the Python package jsonschema does: 1.0 is an integer and equals 1, true is no number; keywords
 * of objects, lists, numbers and texts hold for values of that kind alone. */
#ifndef NIB_JOB_JSON_SCHEMA_H
#define NIB_JOB_JSON_SCHEMA_H

#include "base/base.h"

typedef struct nib_json_schema nib_json_schema;

/* *out is the caller's: nib_json_schema_close().  NIB_E_IO, NIB_E_FORMAT, NIB_E_NOMEM;
 * NIB_E_UNSUPPORTED: a keyword that is not known, with the list of those that are. */
nib_status nib_json_schema_open(nib_ctx *ctx, const char *path, nib_json_schema **out,
                                nib_error *err);
/* The same of a text; `where` names it in errors. */
nib_status nib_json_schema_parse(nib_ctx *ctx, const char *text, size_t bytes, const char *where,
                                 nib_json_schema **out, nib_error *err);
void nib_json_schema_close(nib_json_schema *s); /* NULL is fine */

/* The fields: the members of `properties`, in their order. */
size_t nib_json_schema_field_count(const nib_json_schema *s);
const char *nib_json_schema_field(const nib_json_schema *s, size_t i); /* borrowed */

/* Whether the text is JSON that the schema takes; fields [field_count]: whether the answer is an
 * object that has this one as its own schema takes it, or lacks it where it is not required. */
bool nib_json_schema_takes(const nib_json_schema *s, const char *text, bool *fields);

#endif
