/* alloc.c - the context's allocator, and strings and arrays made with it. */
#include <stdio.h>

#include "base/context.h"

void *nib_alloc(nib_ctx *ctx, size_t bytes)
{
    return ctx->options.alloc(ctx->options.alloc_user, bytes ? bytes : 1);
}

void *nib_new(nib_ctx *ctx, size_t bytes)
{
    void *p = nib_alloc(ctx, bytes);
    if (p) memset(p, 0, bytes);
    return p;
}

void *nib_new_array(nib_ctx *ctx, size_t count, size_t bytes_each)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, bytes_each, &bytes)) return NULL;
    return nib_new(ctx, bytes);
}

void *nib_resize(nib_ctx *ctx, void *p, size_t bytes)
{
    return ctx->options.realloc(ctx->options.alloc_user, p, bytes ? bytes : 1);
}

void nib_free(nib_ctx *ctx, void *p)
{
    if (p) ctx->options.free(ctx->options.alloc_user, p);
}

char *nib_strndup(nib_ctx *ctx, const char *s, size_t bytes)
{
    char *copy = nib_alloc(ctx, bytes + 1);
    if (!copy) return NULL;
    memcpy(copy, s, bytes);
    copy[bytes] = 0;
    return copy;
}

char *nib_strdup(nib_ctx *ctx, const char *s) { return nib_strndup(ctx, s, strlen(s)); }

char *nib_sprintf(nib_ctx *ctx, const char *format, ...)
{
    va_list args;
    int length;
    char *text;

    va_start(args, format);
    length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0) return NULL;
    text = nib_alloc(ctx, (size_t)length + 1);
    if (!text) return NULL;
    va_start(args, format);
    vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    return text;
}

bool nib_grow(nib_ctx *ctx, void *items_pointer, size_t *capacity, size_t need, size_t bytes_each)
{
    void *items, *grown;
    size_t room = *capacity ? *capacity : 16, bytes;

    if (need <= *capacity) return true;
    while (room < need)
        if (__builtin_mul_overflow(room, 2, &room)) return false;
    if (__builtin_mul_overflow(room, bytes_each, &bytes)) return false;
    memcpy(&items, items_pointer, sizeof items); /* any pointer type: no aliasing through void ** */
    grown = nib_resize(ctx, items, bytes);
    if (!grown) return false;
    memcpy(items_pointer, &grown, sizeof grown);
    *capacity = room;
    return true;
}
