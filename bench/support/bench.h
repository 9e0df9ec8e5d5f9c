/* bench.h - what every benchmark shares: rounds, the peak of the machine, lines of results.
 *
 * A figure is printed with the fraction of what this machine can do, measured beside it in the
 * same run: register-only loops for arithmetic, a read of memory for bandwidth. */
#ifndef NIB_BENCH_H
#define NIB_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/base.h"
#include "base/cpu.h"
#include "base/dtype.h"
#include "nibble/nibble.h"

typedef void bench_fn(void *arg);

/* Ends the program with the error's message, unless the status is NIB_OK. */
void bench_demand(nib_status status, const nib_error *err);

/* Seconds of one call: the least of `rounds` rounds, each of as many calls as take 5 ms.  The least
 * is the figure of the program; the rest is what other processes took. */
double bench_best(int rounds, bench_fn *run, void *arg);

/* A context of `threads` threads, lowered to the instruction set that NIBBLE_ISA names. */
nib_ctx *bench_ctx(int threads);
const char *bench_isa(const nib_ctx *ctx);

/* Floating-point operations a second of a loop that touches registers only, with the best
 * instructions `ctx` may use for the type: multiply-adds of floats, or of pairs of bfloat16
 * where the processor has them (else floats: there bfloat16 is only stored). */
double bench_peak(nib_ctx *ctx, nib_dtype type);
/* Bytes a second read from memory by all threads of ctx. */
double bench_read_bandwidth(nib_ctx *ctx);

/* Another process that keeps the last processor of this one busy until it is stopped. */
pid_t bench_neighbour_start(void);
void bench_neighbour_stop(pid_t neighbour);

void bench_title(const nib_ctx *ctx, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* name, GF/s and the fraction of `peak`. */
void bench_line(const char *name, double work, double seconds, double peak);

void *bench_numbers(nib_dtype type, size_t count,
                    uint32_t seed); /* in [-1, 1); for as long as the program runs */
void *bench_bytes(size_t count, uint32_t seed);

typedef double bench_loop_fn(uint64_t rounds); /* the operations that were done */
bench_loop_fn bench_loop_ref, bench_loop_avx2, bench_loop_avx512, bench_loop_avx512bf16,
    bench_loop_amx;
typedef uint64_t bench_read_fn(const void *bytes, size_t count);
bench_read_fn bench_read_ref, bench_read_avx2;

#endif
