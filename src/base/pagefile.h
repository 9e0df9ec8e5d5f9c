/* pagefile.h - memory that the system may write out instead of killing: a shared map of a file
 * without a name. */
#ifndef NIB_BASE_PAGEFILE_H
#define NIB_BASE_PAGEFILE_H

#include "base/base.h"

typedef struct nib_pagefile { void *base; size_t bytes; } nib_pagefile;

/* Can a file in `dir` be paged out?  NIB_E_INVALID: it lies in memory itself (tmpfs, ramfs);
 * NIB_E_IO. */
nib_status nib_pagefile_check(const char *dir, nib_error *err);

/* Maps `bytes` (above 0) zeros.  The file is made in `dir`, given all its blocks, so that a full
 * disk shows here and not as a bus error later, and unlinked: it goes with the process.
 * NIB_E_INVALID, NIB_E_IO, NIB_E_NOMEM. */
nib_status nib_pagefile_create(nib_ctx *ctx, const char *dir, size_t bytes, nib_pagefile *out,
                               nib_error *err);
void nib_pagefile_close(nib_pagefile *f); /* zeroed is fine */

#endif
