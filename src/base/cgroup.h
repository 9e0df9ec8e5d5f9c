/* cgroup.h - the control groups this process is in: limits of memory and processors that containers
 * and services have.  A limit counts on every level, from the process's own group up to the root.
 *
 * Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst; /proc/self/cgroup holds
 * a line "0::/path" for v2 and "N:controllers:/path" for each hierarchy of v1. */
#ifndef NIB_BASE_CGROUP_H
#define NIB_BASE_CGROUP_H

#include "base/base.h"

/* What the groups still let this process take of memory, in bytes: the least over them of the limit
 * less what is used.  Pages of files that nobody uses just now are not counted as used: they are
 * given up first.  UINT64_MAX: no limit.  `root` stands before every path: "" but in tests. */
uint64_t nib_cgroup_memory_room(const char *root);

/* Processors the groups allow, rounded up to whole ones; 0: no limit. */
unsigned nib_cgroup_processors(const char *root);

#endif
