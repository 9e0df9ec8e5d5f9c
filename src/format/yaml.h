/* yaml.h - YAML as nibble reads it: libyaml's events made into a small checked tree.
 *
 * Every key and value knows its line and column.  Scalars stay text: what reads the tree knows the
 * type its key asks for, so 2e-4 can be a number and `no` a string.  One document; anchors,
 * aliases, tags, merge keys, duplicate keys and keys that are no text are refused with their place.
 * Source: YAML 1.1 as libyaml reads it; conventions.md, "Readers". */
#ifndef NIB_FORMAT_YAML_H
#define NIB_FORMAT_YAML_H

#include "base/base.h"

enum { NIB_YAML_MOST_BYTES = 256 * 1024, NIB_YAML_MOST_DEPTH = 8, NIB_YAML_MOST_NODES = 5000 };

typedef enum nib_yaml_kind { NIB_YAML_SCALAR, NIB_YAML_LIST, NIB_YAML_MAP } nib_yaml_kind;

typedef struct nib_yaml_node nib_yaml_node;
struct nib_yaml_node {
    nib_yaml_kind kind;
    unsigned line, column;      /* from 1; columns count characters */
    const char *key;            /* of a member of a map, else NULL */
    unsigned key_line, key_column;
    const char *text;           /* of a scalar: UTF-8 without a zero byte, else NULL */
    bool quoted;                /* "8" and not 8; block scalars count as quoted */
    nib_yaml_node *first, *next;/* children of a list or a map, in order */
    size_t count;
};

typedef struct nib_yaml nib_yaml; /* owns the tree */

/* Reads a file of at most NIB_YAML_MOST_BYTES, or text; `where` names it in errors, which read
 * "where:line:column: what".  NIB_E_IO, NIB_E_FORMAT or NIB_E_NOMEM.  An empty document gives a
 * root of NULL. */
nib_status nib_yaml_read(nib_ctx *ctx, const char *path, nib_yaml **out, nib_error *err);
nib_status nib_yaml_parse(nib_ctx *ctx, const char *text, size_t bytes, const char *where,
                          nib_yaml **out, nib_error *err);
void nib_yaml_close(nib_yaml *y); /* NULL is fine */
const nib_yaml_node *nib_yaml_root(const nib_yaml *y);
const char *nib_yaml_where(const nib_yaml *y);

/* null, ~ or nothing, unquoted. */
bool nib_yaml_is_null(const nib_yaml_node *n);

#endif
