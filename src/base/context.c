/* context.c - making and ending a context: allocator, processor, threads. */
#include "base/context.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cgroup.h"
#include "base/cpu.h"

int nib_threads_allowed(void)
{
    cpu_set_t set;
    unsigned n = 1, quota = nib_cgroup_processors("");

    if (sched_getaffinity(0, sizeof set, &set) == 0) n = (unsigned)CPU_COUNT(&set);
    if (quota > 0 && quota < n) n = quota;
    return n ? (int)n : 1;
}

static unsigned default_threads(void)
{
    unsigned n = (unsigned)nib_threads_allowed();
    const char *omp = getenv("OMP_NUM_THREADS");
    long wanted = omp ? strtol(omp, NULL, 10) : 0;

    if (wanted > 0 && (unsigned long)wanted < n) n = (unsigned)wanted;
    return n;
}

static nib_status choose_cpu(nib_ctx *ctx, nib_error *err)
{
    uint32_t has = nib_cpu_detect(), wanted;
    const char *isa = ctx->options.isa;
    const char *from = "isa";

    if (!isa) {
        isa = getenv("NIBBLE_ISA");
        from = "NIBBLE_ISA";
    }
    ctx->cpu = has;
    if (!isa || !*isa) return NIB_OK;
    if (!nib_cpu_from_name(isa, &wanted))
        return nib_fail(err, NIB_E_INVALID,
                        "%s: '%s' is not one of ref, avx2, avx512, avx512bf16, amx", from, isa);
    if ((has & wanted) != wanted)
        return nib_fail(err, NIB_E_INVALID, "%s: %s is asked for, but this machine has %s", from,
                        isa, nib_cpu_name(has));
    ctx->cpu = wanted;
    return NIB_OK;
}

static void *plain_alloc(void *user, size_t bytes)
{
    (void)user;
    return malloc(bytes);
}
static void *plain_realloc(void *user, void *p, size_t bytes)
{
    (void)user;
    return realloc(p, bytes);
}
static void plain_free(void *user, void *p)
{
    (void)user;
    free(p);
}

nib_status nib_ctx_create(const nib_ctx_options *options, nib_ctx **out, nib_error *err)
{
    nib_ctx_options o = options ? *options : (nib_ctx_options){ 0 };
    nib_ctx *ctx;
    nib_status status;

    if (!o.alloc) {
        o.alloc = plain_alloc;
        o.realloc = plain_realloc;
        o.free = plain_free;
    }
    if (o.threads < 0 || o.threads > 4096)
        return nib_fail(err, NIB_E_INVALID, "threads: %d is not in 0 .. 4096", o.threads);
    ctx = o.alloc(o.alloc_user, sizeof *ctx);
    if (!ctx) return nib_fail(err, NIB_E_NOMEM, "context: out of memory");
    *ctx = (nib_ctx){ .options = o };
    status = choose_cpu(ctx, err);
    if (status) goto done;
    if (ctx->options.threads == 0) ctx->options.threads = (int)default_threads();
    status = nib_pool_create(ctx, (unsigned)ctx->options.threads, &ctx->pool, err);
    if (status) goto done;
    *out = ctx;
    ctx = NULL; /* handed over */
done:
    nib_ctx_destroy(ctx);
    return status;
}

void nib_ctx_destroy(nib_ctx *ctx)
{
    if (!ctx) return;
    nib_pool_destroy(ctx, ctx->pool);
    nib_ctx_warnings_clear(ctx);
    ctx->options.free(ctx->options.alloc_user, ctx);
}

uint32_t nib_ctx_cpu(const nib_ctx *ctx) { return ctx->cpu; }

bool nib_should_stop(nib_ctx *ctx)
{
    return ctx->options.should_stop && ctx->options.should_stop(ctx->options.should_stop_user);
}
