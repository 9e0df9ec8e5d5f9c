/* jsontext.h - JSON as the Python libraries write it, byte for byte, into a growing text.
 *
 * jansson's own writer differs in floats (17 digits instead of the shortest that reads
 * back) and in the case of its \u escapes. */
#ifndef NIB_FORMAT_JSONTEXT_H
#define NIB_FORMAT_JSONTEXT_H

#include "base/base.h"

/* Starts as { .ctx = ctx }.  After a failed allocation `failed` stays true and the calls do
 * nothing, so that a writer checks once.  data is NUL-terminated once something was put. */
typedef struct nib_text {
    nib_ctx *ctx;
    char *data;
    size_t bytes, room;
    bool failed;
} nib_text;

void nib_text_free(nib_text *t);
void nib_text_put(nib_text *t, const char *s, size_t bytes);
void nib_text_puts(nib_text *t, const char *s);
void nib_text_printf(nib_text *t, const char *format, ...) NIB_PRINTF(2, 3); /* at most 511 bytes */

/* A string in quotes.  `ascii`: everything outside ASCII as \uXXXX, as json.dumps does unless
 * asked otherwise; else raw UTF-8, as Rust's writer does.  s is valid UTF-8. */
void nib_text_json_string(nib_text *t, const char *s, bool ascii);

/* A finite number as Python's repr() of a float: 0.05, 1e-05, 16.0. */
void nib_text_json_float(nib_text *t, double value);

#endif
