/* memory.h - what the process uses and what the machine has free. */
#ifndef NIB_JOB_MEMORY_H
#define NIB_JOB_MEMORY_H

#include "base/base.h"

uint64_t nib_memory_resident(void);  /* VmRSS, bytes */
uint64_t nib_memory_peak(void);      /* VmHWM, bytes */
/* The least of MemAvailable and of what the control groups and the process's limits (address space,
 * data) still allow. */
uint64_t nib_memory_free(void);

#endif
