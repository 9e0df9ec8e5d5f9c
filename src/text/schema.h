/* schema.h - which keys an object of tokenizer.json has, and of which types.
 *
 * A schema is one string, "key:types key:types ...".  Types are letters, any of which will do:
 *
 *     b  true or false     s  text      c  text of one character    u  integer from 0 on
 *     n  number            a  list      o  object                   x  anything
 *     ?  may be absent     ~  may be null
 *
 * What the `tokenizers` library refuses is refused here: null is a value and no synonym for an
 * absent key.  The library passes over keys that it does not know; here they are refused too, for
 * they say something that would not be done. */
#ifndef NIB_TEXT_SCHEMA_H
#define NIB_TEXT_SCHEMA_H

#include <jansson.h>

#include "base/base.h"

/* NIB_E_FORMAT: `what` in the file `where` lacks a key or has one of another type;
 * NIB_E_UNSUPPORTED: it has a key that the schema lacks.  Messages list the known keys. */
nib_status nib_schema_check(const json_t *object, const char *where, const char *what,
                            const char *schema, nib_error *err);

#endif
