/* csv.h - separated values as Python's csv module and `datasets` (pandas) read them.
 *
 * The first line that is not blank names the columns.  A field in double quotes may hold the
 * separator, line ends and doubled quotes; a quote inside an unquoted field is a quote.  Lines
 * end with LF, CRLF or CR; blank ones (spaces and tabs only) are skipped; a byte order mark is
 * skipped.  A column without a name is "Unnamed: N" (N from 0), as in pandas, whose files with
 * an index begin with one.
 *
 * Every value is the text in the file; an empty cell, quoted or not, is null.  `datasets` goes
 * further, and differs where it loses text: it makes numbers of columns that look like numbers
 * (007 becomes 7), null of the words NA, N/A, NULL, None, nan and the like, fills short rows with
 * null, and renames a second column `a` to `a.1`.  Here the words stay, and the last two are
 * refused.  Held to it with dtype=str, keep_default_na=False, na_values=[""].
 * Refused too: NUL and bytes that are not UTF-8, a quote that is not closed, a quote after text
 * that follows a closing quote (the two libraries read it differently).
 * Source: RFC 4180; compared in tests/interop/test_containers.py. */
#ifndef NIB_FORMAT_CSV_H
#define NIB_FORMAT_CSV_H

#include "format/table_source.h"

typedef struct nib_csv nib_csv;

/* Reads the header row.  `source` must outlive *out, which the caller ends with nib_csv_close(). */
nib_status nib_csv_open(const nib_table_source *source, char separator, nib_csv **out,
                        nib_error *err);
void nib_csv_close(nib_csv *c); /* NULL is fine */

size_t nib_csv_column_count(const nib_csv *c);
const char *nib_csv_column_name(const nib_csv *c, size_t i);
void nib_csv_use_column(nib_csv *c, size_t i, bool use);

/* The next row: *out is the caller's, NULL at the end; *line where it begins, from 1. */
nib_status nib_csv_next(nib_csv *c, json_t **out, uint64_t *line, nib_error *err);

#endif
