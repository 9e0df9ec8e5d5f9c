/* record_configs.h - how a data set's folder describes itself: the `configs` of its README.md.
 *
 *     ---
 *     configs:
 *     - config_name: default
 *       default: true              of several, the one that is meant
 *       data_dir: v2               the patterns are below it
 *       data_files:                a pattern, a list of them (all train), or splits:
 *       - split: train
 *         path: good/a*.jsonl      a pattern or a list of them
 *     ---
 *
 * A file .huggingface.yaml with `configs` goes before it.  A config without data_files is a folder
 * with the usual names of splits.  Patterns: * and ? stop at a slash, ** does not.
 * Source: datasets 5.0.1, utils/metadata.py, data_files.py, load.py. */
#ifndef NIB_FORMAT_RECORD_CONFIGS_H
#define NIB_FORMAT_RECORD_CONFIGS_H

#include "format/yaml.h"

typedef struct nib_record_config {
    char *folder;    /* that the patterns are below: the data set's, or its data_dir */
    char *name;      /* of the config; NULL: the folder describes none */
    char *split;     /* that was chosen; NULL: no data_files, the usual names decide */
    char **patterns; /* of the split's files, relative to `folder` */
    size_t count, capacity;
} nib_record_config;

/* Chooses the config `name` (NULL: the only one, or the default) and of it `split` (NULL: train).
 * `out` starts zeroed and is the caller's to free, also after a failure.  NIB_E_INVALID lists the
 * configs or splits when none is chosen; NIB_E_FORMAT names file and line. */
nib_status nib_record_config_choose(nib_ctx *ctx, const char *folder, const char *name,
                                    const char *split, nib_record_config *out, nib_error *err);
void nib_record_config_free(nib_ctx *ctx, nib_record_config *config);

/* Whether a path relative to the folder is what the pattern says. */
bool nib_path_matches(const char *pattern, const char *path);

#endif
