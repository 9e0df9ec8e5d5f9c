/* version.h - which nibble this is, what it was built from, and what it found.  No context is
 * needed: these are constants, and questions to the processor and the linked libraries. */
#ifndef NIBBLE_VERSION_H
#define NIBBLE_VERSION_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

const char *nib_version(void); /* "0.1.0" */

/* The commit of the sources, short; "-dirty" behind it when files differed from it; "unknown" when
 * they came without git's and without a release's mark. */
const char *nib_commit(void);

/* The i-th instruction set with kernels of its own that processor and operating system both have,
 * the better after the worse; NULL: there are no more. */
const char *nib_instruction_set(size_t i);

typedef struct nib_library_version {
    const char *name; /* "pcre2" */
    char version[32]; /* "10.42" */
} nib_library_version;

/* The i-th of the libraries that nibble runs with; false: there are no more. */
bool nib_library_at(size_t i, nib_library_version *out);

#ifdef __cplusplus
}
#endif
#endif
