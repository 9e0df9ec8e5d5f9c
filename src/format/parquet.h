/* parquet.h - the rows of a Parquet file as JSON objects, behind table.h.
 *
 * A struct is an object with all its members, a list an array, a map with text keys an object;
 * what is null is null.  Values: parquet_value.h.  Lists in each of the forms that LogicalTypes.md
 * lists for older writers.  Compared with pyarrow in tests/interop/test_containers.py. */
#ifndef NIB_FORMAT_PARQUET_H
#define NIB_FORMAT_PARQUET_H

#include "format/table_source.h"

typedef struct nib_parquet nib_parquet;

/* Reads the footer.  `source` must outlive *out, which the caller ends with nib_parquet_close(). */
nib_status nib_parquet_open(const nib_table_source *source, nib_parquet **out, nib_error *err);
void nib_parquet_close(nib_parquet *p); /* NULL is fine */

size_t nib_parquet_column_count(const nib_parquet *p);
const char *nib_parquet_column_name(const nib_parquet *p, size_t i);
void nib_parquet_use_column(nib_parquet *p, size_t i, bool use);

/* The next row: *out is the caller's, NULL at the end; *row its number, from 1. */
nib_status nib_parquet_next(nib_parquet *p, json_t **out, uint64_t *row, nib_error *err);

#endif
