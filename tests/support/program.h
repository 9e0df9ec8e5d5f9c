/* program.h - running build/nibble as a user does: arguments, standard input, what it says, how it
 * ends. */
#ifndef NIB_TESTS_PROGRAM_H
#define NIB_TESTS_PROGRAM_H

#include "test.h"

typedef struct program_run {
    const char *const *arguments; /* of nibble, NULL at the end */
    const char *input;            /* its standard input; NULL: none */
    const char *out_path; /* where its standard output goes ("/dev/full"); NULL: into `out` */
} program_run;

typedef struct program_end {
    int exit_code;     /* as a shell has it: 128 + n when signal n killed it */
    char out[16384], said[16384]; /* standard output and error, cut */
} program_end;

/* Runs the program to its end.  False (with a failed check): it could not be run. */
bool program_nibble(const program_run *run, program_end *end);

/* In two halves, for what has to happen meanwhile.  *child: the process. */
bool program_start(const program_run *run, int *child);
bool program_wait(const program_run *run, int child, program_end *end);

/* The same in one line: NIBBLE(&end, "inspect", path) */
#define NIBBLE(end, ...) \
    program_nibble(&(program_run){ .arguments = (const char *const[]){ __VA_ARGS__, NULL } }, end)

/* A file of the build this test is part of: "nibble".  `path` holds PATH_MAX. */
void program_path(const char *name, char *path);

#endif
