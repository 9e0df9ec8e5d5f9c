/* template.h - "{field} text" made into a text from a record. */
#ifndef NIB_TRAIN_TEMPLATE_H
#define NIB_TRAIN_TEMPLATE_H

#include <jansson.h>

#include "format/jsontext.h"

/* Appends to `out`: {field} inserts a string or a number (null: nothing), {{ and }} are braces, \n
 * and \t are understood.  NIB_E_INVALID: a stray brace; NIB_E_FORMAT names an unknown field, or one
 * that is neither; `where` names the record.  No memory: out->failed. */
nib_status nib_template_fill(const char *format, const json_t *record, const char *where,
                             nib_text *out, nib_error *err);

/* Sets each field that the template inserts to `value` in the record; their number, equal names
 * counted once. */
size_t nib_template_list(const char *format, const char *value, json_t *record);

/* Does the template insert the field `key`? */
bool nib_template_names(const char *format, const char *key);

#endif
