/* yaml_flow.h - values as YAML on one line: [a, b], {a: 1}, texts in quotes where they need it. */
#ifndef NIB_RECIPE_YAML_FLOW_H
#define NIB_RECIPE_YAML_FLOW_H

#include "format/yaml.h"

typedef struct nib_flow { /* all zero but ctx: empty */
    nib_ctx *ctx;
    char *text; /* NULL as long as nothing was written; nib_free() ends it */
    size_t used, capacity;
    bool failed; /* no memory */
} nib_flow;

void nib_flow_put(nib_flow *f, const char *text, size_t bytes);
void nib_flow_printf(nib_flow *f, const char *format, ...) NIB_PRINTF(2, 3);
/* A text, plain where YAML reads it back as the same text or number. */
void nib_flow_text(nib_flow *f, const char *text, bool quoted);
void nib_flow_node(nib_flow *f, const nib_yaml_node *n);

#endif
