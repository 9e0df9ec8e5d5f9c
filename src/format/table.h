/* table.h - a data file of rows (.csv, .tsv, .parquet), one record at a time as a JSON object.
 *
 * Opening maps the file and checks what can be checked without reading the rows.  Memory holds
 * one record and, of a Parquet file, one page and one dictionary per column; the file's pages
 * are given back as reading proceeds.
 *
 * Values.  csv and tsv: strings, an empty cell is null (csv.h).  Parquet: what the column says
 * (parquet_value.h).  Every record has all columns, in the file's order. */
#ifndef NIB_FORMAT_TABLE_H
#define NIB_FORMAT_TABLE_H

#include <jansson.h>

#include "base/base.h"

typedef struct nib_table nib_table;

typedef enum nib_table_kind { NIB_TABLE_CSV, NIB_TABLE_TSV, NIB_TABLE_PARQUET } nib_table_kind;

/* The kind that the name's ending says, in any case: .csv, .tsv, .parquet.  False: none of them. */
bool nib_table_kind_of(const char *path, nib_table_kind *out);

/* Opens `path`.  On success *out is the caller's, who ends it with nib_table_close(); on failure
 * it is left as it was.  NIB_E_IO (cannot be opened or mapped), NIB_E_FORMAT (what is wrong, with
 * the line or the column), NIB_E_UNSUPPORTED (an encoding, codec or type we do not read, by
 * name) or NIB_E_NOMEM. */
nib_status nib_table_open(nib_ctx *ctx, const char *path, nib_table_kind kind, nib_table **out,
                          nib_error *err);
/* The same on bytes in memory, which must outlive the table; `name` stands in messages. */
nib_status nib_table_open_memory(nib_ctx *ctx, const void *data, size_t bytes, const char *name,
                                 nib_table_kind kind, nib_table **out, nib_error *err);
void nib_table_close(nib_table *t); /* NULL is fine */

/* The columns at the top, in the file's order.  Names are valid UTF-8 and differ; borrowed. */
size_t nib_table_column_count(const nib_table *t);
const char *nib_table_column_name(const nib_table *t, size_t i);

/* Leaves column i out of the records (or takes it in again); all are in at first.  Before the
 * first nib_table_next().  A column that is out is not read: it costs nothing, and a type we
 * cannot read does no harm there. */
void nib_table_use_column(nib_table *t, size_t i, bool use);

/* The next record: *out is the caller's (json_decref), NULL after the last.  After a failure
 * the table can only be closed.  A record of more than 64 MiB is refused. */
nib_status nib_table_next(nib_table *t, json_t **out, nib_error *err);

/* "data.csv: line 12" (where the record begins, from 1), "data.parquet: row 12" (from 1): the
 * record last given.  Borrowed until the next call. */
const char *nib_table_where(const nib_table *t);

#endif
