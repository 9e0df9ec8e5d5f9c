/* template.h - "{field} text" made into a text from a record. */
#ifndef NIB_TRAIN_TEMPLATE_H
#define NIB_TRAIN_TEMPLATE_H

#include <jansson.h>

#include "base/base.h"

typedef struct nib_text { char *bytes; size_t count, capacity; } nib_text; /* reused from record to record */

/* Appends to `out`: {field} inserts a string field (null: nothing), {{ and }} are braces, \n and \t
 * are understood.  NIB_E_INVALID names an unknown field or a stray brace; `where` names the record. */
nib_status nib_template_fill(nib_ctx *ctx, const char *format, const json_t *record, const char *where,
                             nib_text *out, nib_error *err);
bool nib_text_add(nib_ctx *ctx, nib_text *t, const char *bytes, size_t count);

#endif
