/* jinja_template.h - the part of Jinja that chat templates use, as jinja2 3.1 renders it.
 *
 * The environment is the one transformers makes: trim_blocks, lstrip_blocks, loop
 * controls, generation blocks, no autoescape, an immutable sandbox.  docs/formats.md 11.10
 * has the details.  What is not supported is refused with its name and line.
 *
 * A template is hostile until shown otherwise: nesting, steps, memory and output are
 * bounded, so that none loops for ever or eats the machine. */
#ifndef NIB_TEXT_JINJA_TEMPLATE_H
#define NIB_TEXT_JINJA_TEMPLATE_H

#include <jansson.h>
#include <time.h>

#include "base/base.h"

typedef struct nib_jinja nib_jinja;

typedef struct nib_text_span { size_t begin, end; } nib_text_span; /* bytes, end not included */

/* Rendered text, and the ranges its {% generation %} blocks wrote, in order. */
typedef struct nib_jinja_output {
    char *text; /* ends in a zero byte that is not counted */
    size_t bytes;
    nib_text_span *spans;
    size_t span_count;
} nib_jinja_output;

/* Parses; `name` stands in errors.  *out is the caller's: nib_jinja_destroy().
 * NIB_E_FORMAT: a syntax error or something unsupported, with its line. */
nib_status nib_jinja_create(nib_ctx *ctx, const char *name, const char *text, size_t bytes,
                            nib_jinja **out, nib_error *err);
void nib_jinja_destroy(nib_jinja *t); /* NULL is fine */

/* Whether the template has a {% generation %} block anywhere. */
bool nib_jinja_marks_generation(const nib_jinja *t);

/* Renders with the members of the object `variables`.  `now` is what strftime_now prints
 * (NULL: its use is an error).  On success *out is the caller's: nib_jinja_output_free().
 * NIB_E_INVALID: the template raised, or met what jinja2 calls an error or a limit. */
nib_status nib_jinja_render(const nib_jinja *t, const json_t *variables, const struct tm *now,
                            nib_jinja_output *out, nib_error *err);
void nib_jinja_output_free(nib_ctx *ctx, nib_jinja_output *out);

#endif
