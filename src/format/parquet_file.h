/* parquet_file.h - what the footer of a Parquet file says: the schema as a tree, and where each
 * column of each row group lies.
 *
 *     "PAR1" | pages ... | FileMetaData (thrift.h) | u32 LE: its bytes | "PAR1"
 *
 * A row group has a chunk of pages for each leaf of the schema.  A leaf's values carry two levels:
 * how many of the optional and repeated nodes on its path are there (definition), and at which
 * repeated node a new element begins (repetition).
 * Source: apache/parquet-format, README.md, parquet.thrift and LogicalTypes.md. */
#ifndef NIB_FORMAT_PARQUET_FILE_H
#define NIB_FORMAT_PARQUET_FILE_H

#include "format/table_source.h"

/* Type of parquet.thrift: how a value is stored. */
typedef enum nib_parquet_type {
    NIB_PARQUET_BOOLEAN, NIB_PARQUET_INT32, NIB_PARQUET_INT64, NIB_PARQUET_INT96, NIB_PARQUET_FLOAT,
    NIB_PARQUET_DOUBLE, NIB_PARQUET_BYTE_ARRAY, NIB_PARQUET_FIXED, NIB_PARQUET_GROUP = 100
} nib_parquet_type;

/* What it means: LogicalType, or ConvertedType of older files. */
typedef enum nib_parquet_meaning {
    NIB_MEANS_PLAIN,
    NIB_MEANS_STRING,
    NIB_MEANS_JSON,
    NIB_MEANS_LIST,
    NIB_MEANS_MAP,
    NIB_MEANS_DECIMAL,
    NIB_MEANS_DATE,
    NIB_MEANS_TIME,
    NIB_MEANS_TIMESTAMP,
    NIB_MEANS_INTEGER,
    NIB_MEANS_NULL,
    NIB_MEANS_UUID,
    NIB_MEANS_FLOAT16,
    NIB_MEANS_UNKNOWN /* one we do not read; `meaning_name` says which */
} nib_parquet_meaning;

typedef enum nib_parquet_repetition {
    NIB_REQUIRED,
    NIB_OPTIONAL,
    NIB_REPEATED
} nib_parquet_repetition;

/* Nodes stand in the order of the file: a node, then what is below it.  Children of i: i + 1, then
 * `next` of each, up to nodes[i].next. */
typedef struct nib_parquet_node {
    char *name;
    nib_parquet_type type;
    nib_parquet_meaning meaning;
    const char *meaning_name;
    nib_parquet_repetition repetition;
    int32_t width;             /* FIXED: bytes */
    int32_t scale;             /* DECIMAL: digits behind the point */
    int32_t bits;              /* INTEGER: 8, 16, 32, 64 */
    bool is_signed;            /* INTEGER */
    int32_t unit;              /* TIME, TIMESTAMP: digits of a second: 3, 6, 9 */
    bool utc;                  /* TIMESTAMP: of a moment, not of a clock on some wall */
    uint8_t definition, repeats; /* the greatest levels here */
    uint32_t parent, next;
    uint32_t first_leaf, leaf_count;
} nib_parquet_node;

typedef struct nib_parquet_chunk {
    uint64_t begin, end;       /* in the file, checked */
    int64_t values;            /* with nulls */
    int32_t codec;
} nib_parquet_chunk;

typedef struct nib_parquet_file {
    nib_ctx *ctx;
    nib_parquet_node *nodes;   /* 0: the root */
    size_t node_count, node_room;
    uint32_t *leaves;          /* [leaf_count]: their nodes */
    size_t leaf_count, leaf_room;
    uint64_t *group_rows;      /* [group_count] */
    size_t group_count;
    nib_parquet_chunk *chunks; /* [group_count][leaf_count] */
} nib_parquet_file;

enum { NIB_PARQUET_MOST_DEPTH = 32 }; /* of the schema: no list of lists of lists is deeper */

/* Reads the footer.  `file` starts zeroed and is the caller's to free, also after a failure. */
nib_status nib_parquet_file_read(const nib_table_source *source, nib_parquet_file *file,
                                 nib_error *err);
void nib_parquet_file_free(nib_parquet_file *file);

/* "messages.list.element.role", cut to `room`. */
const char *nib_parquet_path(const nib_parquet_file *file, uint32_t node, char *text, size_t room);

/* --- between parquet_footer.c and parquet_schema.c --- */
struct nib_thrift;

/* The `count` SchemaElements that follow in `t`, into file's nodes and leaves. */
nib_status nib_parquet_schema_read(const nib_table_source *source, struct nib_thrift *t,
                                   size_t count, nib_parquet_file *file, nib_error *err);

#endif
