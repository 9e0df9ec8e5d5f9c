/* finetune_header.h - what finetune prints of a run before its first step. */
#ifndef NIB_CLI_FINETUNE_HEADER_H
#define NIB_CLI_FINETUNE_HEADER_H

#include "session.h"

static inline double mib(uint64_t bytes) { return (double)bytes / 1048576; }

/* Five lines to standard error: the base, the data, what is trained, memory and time, and where the
 * result goes.  verbose: then every setting, all counts and the parts of the memory plan. */
void print_run_header(session *s, const nib_finetune_options *o, const nib_run_report *r,
                      bool verbose);

#endif
