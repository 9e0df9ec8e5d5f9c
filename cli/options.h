/* options.h - command lines by table: names, kinds, where the value goes, help. */
#ifndef NIB_CLI_OPTIONS_H
#define NIB_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum option_kind {
    OPTION_FLAG,    /* bool: --x, --x true|false, --no-x */
    OPTION_CHOICE,  /* int: -1 unset, 0 or 1, given as a flag */
    OPTION_INT,     /* int */
    OPTION_LONG,    /* int64_t */
    OPTION_SIZE,    /* uint64_t bytes: 512MiB, 6GiB, 1000 */
    OPTION_FLOAT,   /* double */
    OPTION_STRING,  /* const char * */
    OPTION_LIST     /* option_list: comma-separated, may be repeated */
} option_kind;

enum { OPTION_LIST_ROOM = 256 };
typedef struct option_list { const char *items[OPTION_LIST_ROOM]; size_t count; bool commas; } option_list;

typedef struct option {
    const char *name;    /* with dashes, without the leading ones */
    option_kind kind;
    void *target;
    const char *example; /* of a value, for the usage; NULL for flags */
    const char *help;
} option;

typedef struct verb {
    const char *name, *arguments, *summary;
    option *options;
    size_t option_count;
    const char *positional[4]; /* filled */
    size_t positional_count, positional_wanted;
} verb;

/* Reads argv behind the verb.  0: go on; otherwise the exit status (help printed, or misuse). */
int options_parse(verb *v, int argc, char **argv);
int options_misuse(const verb *v, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
