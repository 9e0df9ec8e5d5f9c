/* status.h - how every call of the library says that it failed, and why. */
#ifndef NIBBLE_STATUS_H
#define NIBBLE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum nib_status {
    NIB_OK = 0,
    NIB_E_NOMEM,       /* an allocation failed */
    NIB_E_IO,          /* the operating system refused: open, read, write, sync, rename */
    NIB_E_FORMAT,      /* a file is not what its format demands */
    NIB_E_INVALID,     /* an option or argument has a value that makes no sense */
    NIB_E_UNSUPPORTED, /* understood, but nibble cannot compute it and will not guess */
    NIB_E_MISMATCH,    /* two things that must fit each other do not: adapter and model, ... */
    NIB_E_NUMERIC,     /* a value that must be finite is not */
    NIB_E_INTERRUPTED  /* the caller asked to stop; what was finished is saved */
} nib_status;

/* Filled on failure, untouched on success.  `message` is one line without a
 * newline: what, where, and the two things that disagree. */
typedef struct nib_error {
    nib_status status;
    char message[1024];
} nib_error;

#ifdef __cplusplus
}
#endif
#endif
