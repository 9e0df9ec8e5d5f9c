/* base.h - the ground floor's everyday things: failing, allocating, sizes.
 *
 * Only alloc.c calls malloc; everything goes through the context's allocator, so
 * that a test can make each allocation fail in turn. */
#ifndef NIB_BASE_BASE_H
#define NIB_BASE_BASE_H

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "nibble/context.h"
#include "nibble/status.h"

#define NIB_PRINTF(string, first) __attribute__((format(printf, string, first)))
#define NIB_COUNT(array) (sizeof(array) / sizeof *(array))

/* Fills `err` (may be NULL) and returns `status`, so that a failure is one line. */
nib_status nib_fail(nib_error *err, nib_status status, const char *format, ...) NIB_PRINTF(3, 4);

/* Puts "text: " before a message that a deeper call left in `err`; returns its status. */
nib_status nib_fail_in(nib_error *err, nib_status status, const char *format, ...) NIB_PRINTF(3, 4);

/* Sends one line to the context's message function.  A note tells what was done; a warning is a
 * thing to look at: it is kept, repeated when the job is prepared, and with `strict` an error.
 * The same text is given once.  nib_warn() has the code "general". */
void nib_note(nib_ctx *ctx, const char *format, ...) NIB_PRINTF(2, 3);
void nib_warn(nib_ctx *ctx, const char *format, ...) NIB_PRINTF(2, 3);
void nib_warn_code(nib_ctx *ctx, const char *code, const char *format, ...) NIB_PRINTF(3, 4);

/* Keys of a file that nobody reads, for one warning (unused-key) that names the first eight. */
typedef struct nib_unused_keys {
    char names[400];
    size_t used, count; /* bytes of names; keys */
} nib_unused_keys;
void nib_unused_key(nib_unused_keys *u, const char *key, int most); /* its first bytes */
void nib_warn_unused_keys(nib_ctx *ctx, const char *where, const nib_unused_keys *u);

/* While it is set notes and warnings are neither sent nor kept: for reading again what this process
 * wrote, or has read before.  What it was. */
bool nib_quiet(nib_ctx *ctx, bool quiet);

/* With `strict`, NIB_E_INVALID when there were warnings since the last repetition.  A job calls it
 * when all is prepared and nothing is computed or written yet. */
nib_status nib_warnings_check(nib_ctx *ctx, nib_error *err);
/* Sends the warnings since the last time as one block, "3 things to look at". */
void nib_warnings_repeat(nib_ctx *ctx);

/* True when the caller of the library has asked to stop. */
bool nib_should_stop(nib_ctx *ctx);

/* --- memory: the context's allocator; 64-byte alignment only from nib_arena --- */
void *nib_alloc(nib_ctx *ctx, size_t bytes);             /* not zeroed; 0 bytes gives 1 */
void *nib_new(nib_ctx *ctx, size_t bytes);               /* zeroed */
void *nib_new_array(nib_ctx *ctx, size_t count, size_t bytes_each); /* zeroed; NULL on overflow */
void *nib_resize(nib_ctx *ctx, void *p, size_t bytes);   /* as realloc; p stays valid on NULL */
void nib_free(nib_ctx *ctx, void *p);                    /* NULL is fine */
char *nib_strdup(nib_ctx *ctx, const char *s);
char *nib_strndup(nib_ctx *ctx, const char *s, size_t bytes);
char *nib_sprintf(nib_ctx *ctx, const char *format, ...) NIB_PRINTF(2, 3); /* NULL: no memory */

/* Makes room for `need` elements in a growing array: *items, *capacity.  False: no memory. */
bool nib_grow(nib_ctx *ctx, void *items_pointer, size_t *capacity, size_t need, size_t bytes_each);

/* --- sizes from outside: checked arithmetic, true on success --- */
static inline bool nib_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool nib_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline size_t nib_min(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t nib_max(size_t a, size_t b) { return a > b ? a : b; }
static inline size_t nib_ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }
static inline size_t nib_round_up(size_t a, size_t b) { return nib_ceil_div(a, b) * b; }

static inline bool nib_ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* --- little-endian loads from any address --- */
static inline uint16_t nib_load_le16(const void *p)
{
    const uint8_t *b = p;
    return (uint16_t)(b[0] | b[1] << 8);
}
static inline uint32_t nib_load_le32(const void *p)
{
    return nib_load_le16(p) | (uint32_t)nib_load_le16((const uint8_t *)p + 2) << 16;
}
static inline uint64_t nib_load_le64(const void *p)
{
    return nib_load_le32(p) | (uint64_t)nib_load_le32((const uint8_t *)p + 4) << 32;
}

/* Seconds on a clock that never jumps. */
double nib_clock_seconds(void);

#endif
