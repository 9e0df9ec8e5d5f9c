/* records.h - one door to the records of a data file, or of a folder of data files.
 *
 *   .jsonl .ndjson   an object a line; blank lines are skipped; or, as `datasets` reads them,
 *                    several objects on a line, objects over several lines, or one array
 *   .json            an array of records, an object that holds one, one record, or as above
 *   .csv .tsv .parquet   rows (table.h)
 *   .txt             a stream: one record {"text": the whole file}, to be cut into windows
 *
 * All but Parquet may be packed with gzip or Zstandard (NAME.jsonl.gz, NAME.jsonl.zst); a byte
 * order mark is passed over.  In JSON \u0000 is taken in texts, and NaN is null.
 *
 * One record is held at a time beside the file's map, whose pages are given back as reading goes
 * on; only a .json file that is not lines is parsed whole.  Records come in the order of the files'
 * names and, within a file, as they stand.  Which files of a folder: record_files.h. */
#ifndef NIB_FORMAT_RECORDS_H
#define NIB_FORMAT_RECORDS_H

#include <jansson.h>

#include "format/table.h"

typedef struct nib_records nib_records;

/* Strings are borrowed until nib_records_open() returns. */
typedef struct nib_records_options {
    const char *path;   /* a file or a folder */
    const char *config; /* of a folder whose README.md names several; NULL: the only one, or the
                           default */
    const char *split;  /* of a folder: the files of this split; NULL: train, or all if no file
                           names a split */
    const char *field;  /* of .json files that hold an object: the member with the records, which
                           must be there; NULL: its only array.  Other kinds of files take no
                           field. */
    /* Of a Parquet file, before its first row: may leave out columns (nib_table_use_column), which
     * are then not decoded at all; NULL: all are read. */
    nib_status (*choose_columns)(void *user, nib_table *table, nib_error *err);
    void *user;
} nib_records_options;

/* Finds the files and opens the first.  On success *out is the caller's, who ends it with
 * nib_records_close(); on failure it is left as it was.  NIB_E_IO, NIB_E_FORMAT (an empty file,
 * something wrong with its beginning), NIB_E_UNSUPPORTED (no kind of file we know: lists what is
 * there), NIB_E_INVALID (no such split or no use for a field) or NIB_E_NOMEM. */
nib_status nib_records_open(nib_ctx *ctx, const nib_records_options *options, nib_records **out,
                            nib_error *err);
void nib_records_close(nib_records *r); /* NULL is fine */

/* The next record: *out is the caller's (json_decref), NULL after the last.  It may be any JSON
 * value: that it is an object is for the caller to check.  Messages name file and line, record or
 * row. */
nib_status nib_records_next(nib_records *r, json_t **out, nib_error *err);

/* After a failure: whether the next call continues behind the record that failed (a line of JSON
 * that is none).  Where false, the records can only be closed. */
bool nib_records_can_go_on(const nib_records *r);

/* "data.jsonl: line 12", "data.json: record 3", "data.parquet: row 12" (all from 1), or only the
 * file: the record last given or refused.  Borrowed until the next call. */
const char *nib_records_where(const nib_records *r);

/* The files, sorted by name: the data's identity is their bytes.  Borrowed. */
size_t nib_records_file_count(const nib_records *r);
const char *nib_records_file(const nib_records *r, size_t i);

/* The files are .txt. */
bool nib_records_is_stream(const nib_records *r);

#endif
