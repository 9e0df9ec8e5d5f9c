/* completion.h - completion for shells, written from the option tables: `nibble completion SHELL`
 * prints a script; each verb adds its part when it is run with --help=SHELL. */
#ifndef NIB_CLI_COMPLETION_H
#define NIB_CLI_COMPLETION_H

#include "options.h"

/* How one shell's script is written, in this order: head, verb() for each, middle, options() for
 * each, tail. */
typedef struct completion_shell {
    const char *name, *head, *middle, *tail;
    void (*verb)(const char *name, const char *summary);
    void (*options)(const verb *v);
} completion_shell;

/* NULL: no such shell is known; the known ones are bash, zsh and fish. */
const completion_shell *completion_find(const char *name);

#endif
