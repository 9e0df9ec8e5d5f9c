/* context.h - what every call shares: allocator, threads, instruction set, and
 * where warnings go.  A context is used by one thread at a time; two contexts
 * know nothing of each other. */
#ifndef NIBBLE_CONTEXT_H
#define NIBBLE_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "nibble/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nib_ctx nib_ctx;

typedef enum nib_message_kind {
    NIB_MESSAGE_NOTE,
    NIB_MESSAGE_WARNING,
    NIB_MESSAGE_SUMMARY /* a job is prepared: its warnings again, as one text of lines */
} nib_message_kind;

/* A thing that a person should look at.  The code is for programs and stays the same while the
 * wording may change: "unused-fields".  Codes: docs/conventions.md, "Warnings". */
typedef struct nib_warning {
    const char *code, *text; /* borrowed from the context */
} nib_warning;

typedef struct nib_ctx_options {
    /* NULL: malloc, realloc and free of the C library.  All three or none.  The context's threads
     * call them at once. */
    void *(*alloc)(void *user, size_t bytes);
    void *(*realloc)(void *user, void *p, size_t bytes);
    void (*free)(void *user, void *p);
    void *alloc_user;
    /* 0: as many as affinity, cgroup quota and OMP_NUM_THREADS allow; more than that is as asked
     * for. */
    int threads;
    /* NULL: the best the processor and the operating system have, lowered by the
     * environment's NIBBLE_ISA; else "ref", "avx2", "avx512", "avx512bf16" or "amx". */
    const char *isa;
    /* Every warning of a job's preparation makes the job fail before it runs. */
    bool strict;
    /* Notes and warnings, one line each without a newline (a summary has several); NULL: none. */
    void (*message)(void *user, nib_message_kind kind, const char *text);
    void *message_user;
    /* Asked between units of work; true ends the call in an orderly way.  NULL: never. */
    int (*should_stop)(void *user);
    void *should_stop_user;
} nib_ctx_options;

/* options NULL: all defaults.  Starts the threads.  Fails with NIB_E_NOMEM,
 * NIB_E_INVALID (an isa that is unknown or that the machine lacks, negative
 * threads) or NIB_E_IO (a thread cannot be started).  *out is the caller's, who
 * ends it with nib_ctx_destroy() after everything made with it. */
nib_status nib_ctx_create(const nib_ctx_options *options, nib_ctx **out, nib_error *err);
void nib_ctx_destroy(nib_ctx *ctx); /* NULL is fine */

/* The warnings given so far, in their order, each text once. */
size_t nib_ctx_warning_count(const nib_ctx *ctx);
nib_warning nib_ctx_warning(const nib_ctx *ctx, size_t i);
void nib_ctx_warnings_clear(nib_ctx *ctx); /* for a context that serves many jobs */

/* As many threads as affinity and cgroup quota let run at once; at least 1. */
int nib_threads_allowed(void);

#ifdef __cplusplus
}
#endif
#endif
