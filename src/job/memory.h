/* memory.h - what the process uses and what the machine has free. */
#ifndef NIB_JOB_MEMORY_H
#define NIB_JOB_MEMORY_H

#include "base/base.h"

uint64_t nib_memory_resident(void);  /* VmRSS, bytes */
uint64_t nib_memory_peak(void);      /* VmHWM, bytes */
/* The least of MemAvailable, what the cgroup (v2, v1) still allows, and RLIMIT_AS. */
uint64_t nib_memory_free(void);

#endif
