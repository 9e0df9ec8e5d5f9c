/* test_thread.c - the parallel loop: every tile once, by a worker that exists, and done when the
 * call returns; loops one after the other, short and long, beside sleeping and beside busy
 * workers. */
#include "base/thread.h"

#include <stdatomic.h>
#include <time.h>

#include "test.h"

enum { MOST_TILES = 300 };

typedef struct loop {
    atomic_uint runs[MOST_TILES];
    atomic_uint strangers; /* calls by workers that there are not */
    size_t tiles;
    unsigned threads;
    void (*work)(size_t tile, unsigned worker);
    /* written without atomics: visible to the caller when the loop returns */
    uint64_t plain[MOST_TILES];
} loop;

static void run_tile(void *arg, size_t tile, unsigned worker)
{
    loop *l = arg;

    if (worker >= l->threads || tile >= l->tiles) atomic_fetch_add(&l->strangers, 1);
    else atomic_fetch_add(&l->runs[tile], 1);
    if (l->work) l->work(tile, worker);
    if (tile < l->tiles) l->plain[tile] = tile + 1;
}

static bool once_each(nib_ctx *ctx, loop *l, size_t tiles)
{
    size_t wrong = 0;

    l->tiles = tiles;
    l->threads = nib_threads(ctx);
    for (size_t i = 0; i < MOST_TILES; i++) atomic_store(&l->runs[i], 0), l->plain[i] = 0;
    atomic_store(&l->strangers, 0);
    nib_parallel_for(ctx, tiles, run_tile, l);
    for (size_t i = 0; i < MOST_TILES; i++)
        wrong += atomic_load(&l->runs[i]) != (i < tiles) || l->plain[i] != (i < tiles ? i + 1 : 0);
    CHECK(!wrong && !atomic_load(&l->strangers),
          "%zu tiles on %u threads: %zu not run once, %u strange calls", tiles, l->threads, wrong,
          atomic_load(&l->strangers));
    return !wrong;
}

static void nap(long nanoseconds) { nanosleep(&(struct timespec){ .tv_nsec = nanoseconds }, NULL); }

static void spin(size_t rounds)
{
    for (volatile size_t i = 0; i < rounds; i++) {}
}

/* Hundreds of loops, some after a pause in which the workers fell asleep. */
static void test_loops(void)
{
    static loop l;

    for (int threads = 1; threads <= 5; threads++) {
        nib_ctx *ctx = test_ctx_threads(threads, NULL);
        for (size_t i = 0; i < 400; i++) {
            if (!once_each(ctx, &l, i % 7 == 0 ? i % MOST_TILES : i % 13)) break;
            if (i % 50 == 0) nap(300000);
        }
        test_ctx_release(ctx);
    }
}

static void late_worker(size_t tile, unsigned worker)
{
    (void)tile;
    if (worker) nap(1000000); /* as if its processor had been taken away */
}

/* A worker stalls inside a tile again and again: the caller waits, then does without, then asks it
 * again. */
static void test_stalls(void)
{
    static loop l = { .work = late_worker };
    nib_ctx *ctx = test_ctx_threads(3, NULL);

    for (size_t i = 0; i < 150 && once_each(ctx, &l, 2 + i % 9); i++) {}
}

static void uneven(size_t tile, unsigned worker)
{
    (void)worker;
    spin(tile % 5 * 3000);
}

static void test_uneven(void)
{
    static loop l = { .work = uneven };
    nib_ctx *ctx = test_ctx_threads(4, NULL);

    for (size_t i = 0; i < 60 && once_each(ctx, &l, MOST_TILES); i++) {}
}

/* More threads than processors: each is kept waiting by others. */
static void test_crowd(void)
{
    static loop l;
    nib_ctx *ctx = test_ctx_threads(16, NULL);

    for (size_t i = 0; i < 200 && once_each(ctx, &l, 40); i++) {}
}

int main(void)
{
    static const test_case cases[] = {
        { "loops", test_loops }, { "stalls", test_stalls }, { "uneven", test_uneven },
        { "crowd", test_crowd },
    };
    return test_main("thread", cases, sizeof cases / sizeof *cases);
}
