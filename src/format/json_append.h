/* json_append.h - members added to the text of a JSON file, whose other bytes all stay.
 *
 * For files that others wrote and that may be large: numbers keep their digits, members their
 * order. */
#ifndef NIB_FORMAT_JSON_APPEND_H
#define NIB_FORMAT_JSON_APPEND_H

#include "format/jsontext.h"

/* Puts into `out`, which is empty, the object `text` (parsed before, so that it is valid) with
 * `items` behind what its member `key` holds, an array ('[') or an object ('{'), which is put
 * where there is none or null.  Each of the items begins with its own line feed and spaces; commas
 * lie between them.  NIB_E_FORMAT: the member is something else; NIB_E_NOMEM. */
nib_status nib_json_append(const char *text, const char *where, const char *key, char kind,
                           const char *items, nib_text *out, nib_error *err);

#endif
