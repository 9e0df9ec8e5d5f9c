/* bench.c - the clock, the peaks and the lines of a benchmark. */
#include "bench.h"

#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "base/thread.h"

void bench_demand(nib_status status, const nib_error *err)
{
    if (!status) return;
    fprintf(stderr, "%s\n", err->message);
    exit(1);
}

double bench_best(int rounds, bench_fn *run, void *arg)
{
    double start = nib_clock_seconds(), once, best;
    int calls;

    run(arg);
    once = nib_clock_seconds() - start;
    calls = once > 0.005 ? 1 : (int)(0.005 / (once + 1e-7)) + 1;
    best = once;
    for (int r = 0; r < rounds; r++) {
        start = nib_clock_seconds();
        for (int i = 0; i < calls; i++) run(arg);
        best = fmin(best, (nib_clock_seconds() - start) / calls);
    }
    return best;
}

nib_ctx *bench_ctx(int threads)
{
    nib_ctx_options options = { .threads = threads, .isa = getenv("NIBBLE_ISA") };
    nib_error err;
    nib_ctx *ctx;

    bench_demand(nib_ctx_create(&options, &ctx, &err), &err);
    return ctx;
}

const char *bench_isa(const nib_ctx *ctx) { return nib_cpu_name(nib_ctx_cpu(ctx)); }

/* --- peaks --- */

double bench_loop_ref(uint64_t rounds)
{
    volatile float s = 0; /* a machine without the vectors below: one chain of scalars */
    for (uint64_t r = 0; r < rounds; r++) s = s * 0.999f + 1e-3f;
    return (double)rounds * 2;
}

uint64_t bench_read_ref(const void *bytes, size_t count)
{
    const uint64_t *p = bytes;
    uint64_t s = 0;
    for (size_t i = 0; i < count / 8; i++) s ^= p[i];
    return s;
}

typedef struct loop_work { bench_loop_fn *loop; uint64_t rounds; double done; } loop_work;

static void loop_tile(void *arg, size_t tile, unsigned worker)
{
    const loop_work *w = arg;
    (void)tile;
    (void)worker;
    if (w->loop(w->rounds) <= 0) abort();
}

typedef struct peak_work { nib_ctx *ctx; loop_work loop; } peak_work;

static void run_loops(void *arg)
{
    peak_work *p = arg;
    nib_parallel_for(p->ctx, nib_threads(p->ctx), loop_tile, &p->loop);
}

double bench_peak(nib_ctx *ctx, nib_dtype type)
{
    peak_work p = { ctx, { bench_loop_ref, 400000, 0 } };
    double one; /* operations of one round */

#if NIB_ARCH_X86
    uint32_t cpu = nib_ctx_cpu(ctx);
    if (cpu & NIB_CPU_AVX2) p.loop.loop = bench_loop_avx2;
    if (cpu & NIB_CPU_AVX512) p.loop.loop = bench_loop_avx512;
    if (type == NIB_BF16 && cpu & NIB_CPU_AVX512BF16) p.loop.loop = bench_loop_avx512bf16;
    if (type == NIB_BF16 && cpu & NIB_CPU_AMX) p.loop.loop = bench_loop_amx;
#endif
    one = p.loop.loop(1);
    return one * (double)p.loop.rounds * nib_threads(ctx) / bench_best(8, run_loops, &p);
}

/* A run reads as much as a product of one row does: what the memory gives in a moment in which
 * nobody else has it, for both. */
enum { READ_BYTES = 512 << 20, READ_RUN = 16 << 20, READ_PIECE = 256 << 10 };
typedef struct read_work {
    nib_ctx *ctx;
    bench_read_fn *read;
    const char *bytes;
    size_t next;
    uint64_t sink[64];
} read_work;

static void read_tile(void *arg, size_t tile, unsigned worker)
{
    read_work *w = arg;
    w->sink[worker % 64] ^= w->read(w->bytes + w->next + tile * READ_PIECE, READ_PIECE);
}

static void run_read(void *arg)
{
    read_work *w = arg;
    nib_parallel_for(w->ctx, READ_RUN / READ_PIECE, read_tile, w);
    w->next = (w->next + READ_RUN) % READ_BYTES;
}

double bench_read_bandwidth(nib_ctx *ctx)
{
    read_work w = { .ctx = ctx, .read = bench_read_ref,
                    .bytes = bench_bytes(READ_BYTES + 8192, 1) };
    double seconds;

#if NIB_ARCH_X86
    if (nib_ctx_cpu(ctx) & NIB_CPU_AVX2) w.read = bench_read_avx2;
#endif
    seconds = bench_best(4 * (READ_BYTES / READ_RUN), run_read, &w);
    free((void *)(uintptr_t)w.bytes);
    return READ_RUN / seconds;
}

/* --- numbers and lines --- */

void *bench_bytes(size_t count, uint32_t seed)
{
    uint32_t *p = aligned_alloc(64, nib_round_up(count, 64));
    uint32_t x = seed * 2654435761u + 1;

    if (!p) abort();
    for (size_t i = 0; i < nib_round_up(count, 64) / 4; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        p[i] = x;
    }
    return p;
}

void *bench_numbers(nib_dtype type, size_t count, uint32_t seed)
{
    uint32_t *bits = bench_bytes(count * sizeof(float), seed);

    for (size_t i = 0; i < count; i++) {
        float x = (float)(int32_t)bits[i] * 0x1p-31f;
        if (type == NIB_BF16) ((uint16_t *)bits)[i] = nib_f32_to_bf16(x);
        else ((float *)bits)[i] = x;
    }
    return bits;
}

/* --- a busy neighbour --- */

pid_t bench_neighbour_start(void)
{
    pid_t child = fork();

    if (child < 0) {
        perror("fork");
        exit(1);
    }
    if (child == 0) {
        cpu_set_t cpus, last;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        CPU_ZERO(&last);
        if (sched_getaffinity(0, sizeof cpus, &cpus) == 0)
            for (int i = CPU_SETSIZE - 1; i >= 0 && CPU_COUNT(&last) == 0; i--)
                if (CPU_ISSET(i, &cpus)) CPU_SET(i, &last);
        sched_setaffinity(0, sizeof last, &last);
        for (volatile uint64_t i = 0;; i++) {}
    }
    return child;
}

void bench_neighbour_stop(pid_t neighbour)
{
    kill(neighbour, SIGKILL);
    waitpid(neighbour, NULL, 0);
}

void bench_title(const nib_ctx *ctx, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    printf("\n");
    vprintf(format, args);
    printf("  [%s, %d thread%s]\n", bench_isa(ctx), (int)nib_threads(ctx),
           nib_threads(ctx) == 1 ? "" : "s");
    va_end(args);
    fflush(stdout);
}

void bench_line(const char *name, double work, double seconds, double peak)
{
    printf("  %-44s %9.3f ms %8.1f GF/s  %.2f of peak\n", name, seconds * 1e3,
           work / seconds * 1e-9, work / seconds / peak);
    fflush(stdout);
}
