/* faulty.h - running build/nibble with the shim, and the files it leaves. */
#ifndef NIB_TESTS_FAULTY_H
#define NIB_TESTS_FAULTY_H

#include "test.h"

typedef struct faulty_run {
    const char *const *arguments; /* of nibble, NULL at the end */
    const char *under;            /* absolute: only paths that begin so count */
    long call;                    /* 0: nothing happens */
    const char *action;
    const char *log;              /* a file for the calls, or NULL */
} faulty_run;

typedef struct faulty_end {
    int exit_code; /* -1: killed */
    long calls;    /* -1: killed before it could say */
    char said[2000]; /* the end of its stderr */
} faulty_end;

/* Runs the program to its end.  False (with a failed check): it could not be run. */
bool faulty_nibble(const faulty_run *run, faulty_end *end);

/* Whether both are there and hold the same, or neither is. */
bool faulty_same_file(const char *a, const char *b);
/* Entries of a directory whose names begin and end so; 0 when it cannot be read. */
size_t faulty_count(const char *dir, const char *begin, const char *ending);

#endif
