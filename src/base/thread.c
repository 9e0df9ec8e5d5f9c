/* thread.c - workers, tile shares, bounded spinning (see thread.h).
 *
 * A loop is open while `generation` is odd.  Worker w takes tiles from share w first, then
 * from the others' parts in order.  A worker that finds nothing to do spins for some
 * microseconds and then sleeps on a condition variable.
 *
 * The caller waits for workers that are inside the loop only: one that a busy neighbour keeps
 * from its processor between two loops is not missed.  A worker first says that it is inside,
 * then looks whether the loop is still open; the caller first closes it, then looks who is
 * inside: one of them sees the other. */
#include "base/thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/context.h"

enum {
    SPINS = 4000, /* about 30 microseconds of pause instructions */
    ALONE = 8     /* times as long as a stall the caller then works alone */
};
static const double
    STALL = 200e-6; /* seconds that the caller waited for others: a processor was taken away */

typedef struct share {
    _Alignas(64) atomic_size_t next; /* first tile not yet taken */
    size_t end;
} share;

typedef struct worker {
    nib_pool *pool;
    unsigned index;
    pthread_t thread;
} worker;

struct nib_pool {
    unsigned threads; /* the caller is worker 0 */
    unsigned started;
    worker *workers;
    share *shares;
    void *shares_memory;
    nib_tile_fn fn;
    void *arg;
    char apart[64]; /* the two counters that all threads watch lie on lines of their own */
    atomic_uint generation;
    char apart_too[64];
    atomic_uint inside; /* workers that may run tiles */
    atomic_bool stop;
    atomic_uint sleepers;
    pthread_mutex_t mutex;
    pthread_cond_t wake;   /* workers wait for a loop */
    pthread_cond_t finish; /* the caller waits for workers */
    atomic_bool caller_sleeps;
    double alone_until; /* when the workers take part again */
};

static inline void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void run_tiles(nib_pool *pool, unsigned index)
{
    for (unsigned i = 0; i < pool->threads; i++) {
        share *s = &pool->shares[(index + i) % pool->threads];
        for (;;) {
            size_t tile;
            if (atomic_load_explicit(&s->next, memory_order_relaxed) >= s->end) break;
            tile = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed);
            if (tile >= s->end) break;
            pool->fn(pool->arg, tile, index);
        }
    }
}

/* Whether there is something to do for a worker that knows the loop `seen`. */
static bool is_called(nib_pool *pool, unsigned seen)
{
    unsigned now = atomic_load(&pool->generation);
    return atomic_load(&pool->stop) || (now % 2 && now != seen);
}

static void wait_for_loop(nib_pool *pool, unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (is_called(pool, seen)) return;
        pause_cpu();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (!is_called(pool, seen)) pthread_cond_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void *worker_main(void *arg)
{
    worker *w = arg;
    nib_pool *pool = w->pool;
    unsigned seen = 0;

    for (;;) {
        wait_for_loop(pool, seen);
        if (atomic_load(&pool->stop)) return NULL;
        atomic_fetch_add(&pool->inside, 1);
        seen = atomic_load(&pool->generation);
        if (seen % 2) run_tiles(pool, w->index);
        if (atomic_fetch_sub(&pool->inside, 1) == 1 && atomic_load(&pool->caller_sleeps)) {
            pthread_mutex_lock(&pool->mutex);
            pthread_cond_signal(&pool->finish);
            pthread_mutex_unlock(&pool->mutex);
        }
    }
}

/* `began`: when this loop did.  A loop of short tiles waits for a worker whose processor is taken
 * away in the middle of one, each time as long as a neighbour may run: for a while it is faster to
 * do without. */
static void wait_for_workers(nib_pool *pool, double began)
{
    double now, waited;

    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&pool->inside) == 0) return;
        pause_cpu();
    }
    now = nib_clock_seconds();
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->caller_sleeps, true);
    while (atomic_load(&pool->inside) != 0) pthread_cond_wait(&pool->finish, &pool->mutex);
    atomic_store(&pool->caller_sleeps, false);
    pthread_mutex_unlock(&pool->mutex);
    waited = nib_clock_seconds() - now;
    if (waited > STALL && waited > ALONE * (now - began))
        pool->alone_until = now + (1 + ALONE) * waited;
}

void nib_parallel_for(nib_ctx *ctx, size_t tiles, nib_tile_fn fn, void *arg)
{
    nib_pool *pool = ctx->pool;
    unsigned n = pool->threads;
    bool alone = n == 1 || tiles <= 1;
    double began = alone ? 0 : nib_clock_seconds();

    if (alone || began < pool->alone_until) {
        for (size_t i = 0; i < tiles; i++) fn(arg, i, 0);
        return;
    }
    pool->fn = fn;
    pool->arg = arg;
    for (unsigned i = 0; i < n; i++) {
        atomic_store_explicit(&pool->shares[i].next, tiles * i / n, memory_order_relaxed);
        pool->shares[i].end = tiles * (i + 1) / n;
    }
    atomic_fetch_add(&pool->generation, 1); /* open */
    if (atomic_load(&pool->sleepers)) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
    run_tiles(pool, 0);
    atomic_fetch_add(&pool->generation, 1); /* closed: no tile is left to take */
    wait_for_workers(pool, began);
}

unsigned nib_threads(const nib_ctx *ctx) { return ctx->pool->threads; }

nib_status nib_pool_create(nib_ctx *ctx, unsigned threads, nib_pool **out, nib_error *err)
{
    nib_pool *pool = nib_new(ctx, sizeof *pool);
    nib_status status = NIB_OK;
    nib_pool *made = pool;

    if (!pool) return nib_fail(err, NIB_E_NOMEM, "threads: out of memory");
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->finish, NULL);
    pool->threads = threads;
    pool->workers = nib_new_array(ctx, threads, sizeof *pool->workers);
    pool->shares_memory = nib_new_array(ctx, threads + 1, sizeof *pool->shares);
    if (!pool->workers || !pool->shares_memory) {
        status = nib_fail(err, NIB_E_NOMEM, "threads: out of memory");
        goto done;
    }
    pool->shares = (share *)(((uintptr_t)pool->shares_memory + 63) & ~(uintptr_t)63);
    for (unsigned i = 1; i < threads; i++) {
        worker *w = &pool->workers[i];
        int code;
        *w = (worker){ .pool = pool, .index = i };
        code = pthread_create(&w->thread, NULL, worker_main, w);
        if (code) {
            status = nib_fail(err, NIB_E_IO,
                              "thread %u of %u cannot be started: %s; lower --threads", i, threads,
                              strerror(code));
            goto done;
        }
        pool->started = i;
    }
    *out = pool;
    made = NULL; /* handed over */
done:
    nib_pool_destroy(ctx, made);
    return status;
}

void nib_pool_destroy(nib_ctx *ctx, nib_pool *pool)
{
    if (!pool) return;
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->stop, true);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (unsigned i = 1; i <= pool->started; i++) pthread_join(pool->workers[i].thread, NULL);
    pthread_mutex_destroy(&pool->mutex);
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->finish);
    nib_free(ctx, pool->workers);
    nib_free(ctx, pool->shares_memory);
    nib_free(ctx, pool);
}
