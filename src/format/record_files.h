/* record_files.h - which files hold the records of a path, as `datasets` chooses them.
 *
 * A file is taken as it is.  A name ("org/name", "org/name@revision") that is no path is a data set
 * of the hub, whose snapshot in the hub's cache is a folder (base/hub.h).  A folder that describes
 * itself (record_configs.h) has the files it names, and no others.  Any other folder is searched
 * with its subfolders; hidden names, names of folders that begin with two underscores, and files
 * that describe a data set (README.md, dataset_info.json, state.json, ...) are passed over.  A
 * split is named, in this order, by
 *     data/SPLIT-00000-of-00002.ENDING
 *     a subfolder                       train/, my-test/, ...
 *     a file                            train.jsonl, train-00000-of-00002.parquet, my_val.csv
 * where the name stands alone or between  - . _ space digits,  and may be train, training;
 * validation, valid, val, dev; test, testing, eval, evaluation; or the split asked for.
 *
 * Of several kinds in one split the commonest is used, in a draw parquet, then jsonl, json, csv
 * (json, jsonl and ndjson are one kind); .txt only where there is nothing else, for a folder of
 * tables often has a LICENSE.txt.  What is passed over by this is reported.
 * Source: datasets 5.0.1, data_files.py and load.py; compared in
 * tests/interop/test_containers.py. */
#ifndef NIB_FORMAT_RECORD_FILES_H
#define NIB_FORMAT_RECORD_FILES_H

#include "base/base.h"

typedef enum nib_record_kind {
    NIB_RECORD_LINES,
    NIB_RECORD_JSON,
    NIB_RECORD_CSV,
    NIB_RECORD_TSV,
    NIB_RECORD_PARQUET,
    NIB_RECORD_TEXT
} nib_record_kind;

/* The kind that the name's ending says, in any case, also before ".gz" and ".zst" (but for
 * parquet).
 * False: none of them. */
bool nib_record_kind_of(const char *path, nib_record_kind *out);

typedef struct nib_record_files {
    char **paths; /* [count], sorted */
    size_t count, capacity;
} nib_record_files;

/* Finds the files of `path`; at least one, all of known kinds.  config: of a folder that describes
 * itself; NULL: the only or the default one.  `files` starts zeroed and is the
 * caller's to free, also after a failure. */
nib_status nib_record_files_find(nib_ctx *ctx, const char *path, const char *config,
                                 const char *split,
                                 nib_record_files *files, nib_error *err);
void nib_record_files_free(nib_ctx *ctx, nib_record_files *files);

#endif
