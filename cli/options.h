/* options.h - command lines by table: names, kinds, where the value goes, help. */
#ifndef NIB_CLI_OPTIONS_H
#define NIB_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "nibble/model.h"

typedef enum option_kind {
    OPTION_FLAG,    /* bool: --x, --x true|false (any case), --x=yes, --no-x */
    OPTION_CHOICE,  /* int: -1 unset, 0 or 1, given as a flag */
    OPTION_COUNT,   /* int, 1 or more */
    OPTION_NATURAL, /* int, 0 or more */
    OPTION_SEED,    /* uint64_t */
    OPTION_SIZE,    /* uint64_t, bytes, 1 or more: 3.9GB, 800MB, 1GiB, 123 */
    OPTION_FLOAT,   /* double, finite, in decimal */
    OPTION_STRING,  /* const char * */
    OPTION_PLACE,   /* the same: a directory or file, or a name in the cache of the hub */
    OPTION_LIST,    /* option_list: comma-separated, may be repeated */
    OPTION_PAIR,    /* option_pairs: name and value as given, read by somebody else */
    OPTION_PAIR_FLAG /* the same, true or false */
} option_kind;

enum { OPTION_LIST_ROOM = 256 };
typedef struct option_list {
    const char *items[OPTION_LIST_ROOM];
    size_t count;
    bool commas;
} option_list;

enum { OPTION_PLACES = 16384 }; /* characters: some 66 names, a model, another and 64 adapters */
enum { OPTION_PAIR_ROOM = 512, OPTION_POSITIONAL_ROOM = 256 };
typedef struct option_pairs {
    nib_setting items[OPTION_PAIR_ROOM + 1]; /* the last has no key */
    size_t count;
} option_pairs;

typedef struct option {
    const char *name;    /* with dashes, without the leading ones */
    option_kind kind;
    void *target;
    const char *example; /* of a value, for the usage; NULL for flags */
    const char *help;    /* NULL: understood, not listed in the usage */
} option;

typedef struct verb {
    const char *name, *arguments, *summary;
    option *options;
    size_t option_count;
    const char *positional[OPTION_POSITIONAL_ROOM]; /* filled */
    size_t positional_count, positional_wanted;
    bool model_first; /* the first may be a name in the cache of the hub */
    /* Where such names lead to. */
    char places[OPTION_PLACES]; /* one behind the other */
    size_t places_used;
    /* of the group that an option begins, or NULL; may be NULL */
    const char *(*heading)(const char *name);
    /* may the option come again with another value; NULL: lists only */
    bool (*repeats)(const char *name);
    /* Names of the options that a plain --help lists, ended by NULL; NULL: all have room there. */
    const char *const *common;
    const char *model, *output; /* MODEL and OUT, where -m and -o gave them; put among the others */
    size_t positional_most; /* when more may come than are wanted; 0: no */
} verb;

/* Reads argv behind the verb.  0: continue; otherwise the exit status, -1 when help was printed. */
int options_parse(verb *v, int argc, char **argv);
/* Where a name in the cache of the hub leads; anything else as it is: who opens it reports what is
 * wrong. */
const char *options_place(verb *v, const char *name);
/* The usage in one line, then the error, the last that is printed; 2, the exit status. */
int options_misuse(const verb *v, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
