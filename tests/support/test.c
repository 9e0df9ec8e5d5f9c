/* test.c - running the cases of one test program (see test.h). */
#include "test.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { MOST_THINGS = 24576, MOST_CONTEXTS = 256 };

static struct {
    bool failed;
    const char *skipped;
    uint32_t random;
    struct { void *base; size_t bytes; } maps[MOST_THINGS];
    size_t maps_count;
    nib_ctx *contexts[MOST_CONTEXTS];
    size_t contexts_count;
    bool tidying, on_disk;
    char tmpdir[128];
} now; /* the state of the case that runs: a test program's one global */

void test_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    printf("  %s:%d: ", file, line);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    now.failed = true;
}

void test_skip(const char *reason) { now.skipped = reason; }

uint32_t test_rand(void)
{
    now.random ^= now.random << 13;
    now.random ^= now.random >> 17;
    now.random ^= now.random << 5;
    return now.random;
}

float test_rand_float(void) { return (float)(test_rand() >> 8) * 0x1p-23f - 1; }

void *test_guarded(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (bytes + page - 1) / page * page + page;
    uint8_t *base = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (base == MAP_FAILED || now.maps_count == MOST_THINGS ||
        mprotect(base + room - page, page, PROT_NONE)) {
        fprintf(stderr, "test_guarded: no memory\n");
        exit(1);
    }
    now.maps[now.maps_count].base = base;
    now.maps[now.maps_count++].bytes = room;
    return base + room - page - bytes;
}

void test_free_guarded(size_t kept)
{
    while (now.maps_count > kept) {
        now.maps_count--;
        munmap(now.maps[now.maps_count].base, now.maps[now.maps_count].bytes);
    }
}

size_t test_guarded_count(void) { return now.maps_count; }

void test_on_disk(void) { now.on_disk = true; }

const char *test_tmpdir(void)
{
    if (!now.tmpdir[0]) {
        const char *memory = now.on_disk ? NULL : getenv("TEST_MEMORY_DIR");
        snprintf(now.tmpdir, sizeof now.tmpdir, "%.80s/nibble-test-XXXXXX",
                 memory && *memory ? memory : "/tmp");
        if (!mkdtemp(now.tmpdir)) {
            perror("mkdtemp");
            exit(1);
        }
    }
    return now.tmpdir;
}

const char *test_data(const char *relative)
{
    static char path[8][512];
    static unsigned next;
    const char *top = getenv("NIBBLE_TOP");
    char *p = path[next++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", top ? top : ".", relative);
    return p;
}

long test_first_of_the_day(long *stride, long shift)
{
    const char *all = getenv("NIBBLE_ALL_CASES");

    if (all && strcmp(all, "1") == 0) *stride = 1;
    return (long)((time(NULL) / (24 * 60 * 60) + shift) % *stride);
}

long test_next_step(long k, long stride, long last)
{
    return k < last && k + stride > last ? last : k + stride;
}

static nib_ctx *keep(const nib_ctx_options *options)
{
    nib_error err;
    nib_ctx *ctx = NULL;
    if (now.contexts_count == MOST_CONTEXTS || nib_ctx_create(options, &ctx, &err) != NIB_OK) {
        fprintf(stderr, "test context: %s\n",
                now.contexts_count == MOST_CONTEXTS ? "too many" : err.message);
        exit(1);
    }
    return now.contexts[now.contexts_count++] = ctx;
}

nib_ctx *test_ctx_threads(int threads, const char *isa)
{
    return keep(&(nib_ctx_options){ .threads = threads, .isa = isa });
}

nib_ctx *test_ctx(void) { return test_ctx_threads(2, NULL); }

static bool heap_fails(test_heap *heap) { return ++heap->calls == heap->fail_at; }

static void *heap_alloc(void *user, size_t bytes)
{
    test_heap *heap = user;
    void *p = heap_fails(heap) ? NULL : malloc(bytes);
    if (p) heap->live++;
    return p;
}

static void *heap_realloc(void *user, void *p, size_t bytes)
{
    test_heap *heap = user;
    void *grown = heap_fails(heap) ? NULL : realloc(p, bytes);
    if (grown && !p) heap->live++;
    return grown;
}

static void heap_free(void *user, void *p)
{
    if (p && !now.tidying) ((test_heap *)user)->live--;
    free(p);
}

nib_ctx *test_ctx_heap(test_heap *heap)
{
    size_t fail_at = heap->fail_at;
    nib_ctx *ctx;

    heap->fail_at = 0; /* the context itself is made */
    ctx = keep(&(nib_ctx_options){ .alloc = heap_alloc, .realloc = heap_realloc, .free = heap_free,
                                   .alloc_user = heap, .threads = 1 });
    *heap = (test_heap){ .fail_at = fail_at };
    return ctx;
}

void test_ctx_release(nib_ctx *ctx)
{
    for (size_t i = 0; i < now.contexts_count; i++)
        if (now.contexts[i] == ctx) now.contexts[i] = now.contexts[--now.contexts_count];
    nib_ctx_destroy(ctx);
}

static void tidy(void)
{
    now.tidying = true; /* what a heap counted in may have been the case's own variable */
    while (now.contexts_count) nib_ctx_destroy(now.contexts[--now.contexts_count]);
    test_free_guarded(0);
    if (now.tmpdir[0]) {
        char command[160];
        snprintf(command, sizeof command, "rm -rf '%s'", now.tmpdir);
        if (system(command)) fprintf(stderr, "%s: not removed\n", now.tmpdir);
    }
    now.tmpdir[0] = 0;
}

int test_main(const char *program, const test_case *cases, size_t count)
{
    int failed = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < count; i++) {
        now.failed = now.tidying = now.on_disk = false;
        now.skipped = NULL;
        now.random = 2463534242u;
        cases[i].run();
        tidy();
        if (now.failed) failed++;
        if (now.failed) printf("FAILED %s.%s\n", program, cases[i].name);
        else if (now.skipped) printf("skipped %s.%s: %s\n", program, cases[i].name, now.skipped);
        else printf("ok %s.%s\n", program, cases[i].name);
    }
    return failed ? 1 : 0;
}

const nib_setting test_four_bit[] = { { "load_in_4bit", "true" }, { NULL, NULL } };
const nib_setting test_four_bit_double[] = { { "load_in_4bit", "true" },
                                             { "bnb_4bit_use_double_quant", "true" },
                                             { NULL, NULL } };
