/* warnings.c - notes and warnings: each sent when it arises; warnings are also kept, so that they
 * can be repeated where a person sees them and counted by a program. */
#include <stdio.h>

#include "base/context.h"

enum { LINE_BYTES = 1024 };

static void NIB_PRINTF(3, 0)
    send(nib_ctx *ctx, nib_message_kind kind, const char *format, va_list args)
{
    char text[LINE_BYTES];

    if (!ctx->options.message || ctx->quiet) return;
    vsnprintf(text, sizeof text, format, args);
    ctx->options.message(ctx->options.message_user, kind, text);
}

bool nib_quiet(nib_ctx *ctx, bool quiet)
{
    bool before = ctx->quiet;

    ctx->quiet = quiet;
    return before;
}

void nib_note(nib_ctx *ctx, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    send(ctx, NIB_MESSAGE_NOTE, format, args);
    va_end(args);
}

static bool is_known(const nib_warnings *w, const char *text)
{
    for (size_t i = w->repeated; i < w->count; i++)
        if (strcmp(w->items[i].text, text) == 0) return true;
    return false;
}

/* A warning for which there is no memory is sent all the same; only the summary lacks it. */
static void keep(nib_ctx *ctx, const char *code, const char *text)
{
    nib_warnings *w = &ctx->warnings;
    char *own_code = nib_strdup(ctx, code), *own_text = nib_strdup(ctx, text);

    if (own_code && own_text &&
        nib_grow(ctx, &w->items, &w->capacity, w->count + 1, sizeof *w->items)) {
        w->items[w->count++] = (nib_warning){ own_code, own_text };
        return;
    }
    nib_free(ctx, own_code);
    nib_free(ctx, own_text);
}

static void NIB_PRINTF(3, 0) warn(nib_ctx *ctx, const char *code, const char *format, va_list args)
{
    char text[LINE_BYTES];

    vsnprintf(text, sizeof text, format, args);
    if (ctx->quiet || is_known(&ctx->warnings, text)) return;
    keep(ctx, code, text);
    if (ctx->options.message)
        ctx->options.message(ctx->options.message_user, NIB_MESSAGE_WARNING, text);
}

void nib_warn(nib_ctx *ctx, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    warn(ctx, "general", format, args);
    va_end(args);
}

void nib_warn_code(nib_ctx *ctx, const char *code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    warn(ctx, code, format, args);
    va_end(args);
}

void nib_unused_key(nib_unused_keys *u, const char *key, int most)
{
    if (u->count++ < 8 && u->used < sizeof u->names)
        u->used += (size_t)snprintf(u->names + u->used, sizeof u->names - u->used, "%s%.*s",
                                    u->used ? ", " : "", most, key);
}

void nib_warn_unused_keys(nib_ctx *ctx, const char *where, const nib_unused_keys *u)
{
    if (u->count)
        nib_warn_code(ctx, "unused-key", "%s: %zu key%s not used: %s%s", where, u->count,
                      u->count == 1 ? "" : "s", u->names, u->count > 8 ? ", ..." : "");
}

void nib_ctx_warnings_clear(nib_ctx *ctx)
{
    nib_warnings *w = &ctx->warnings;

    for (size_t i = 0; i < w->count; i++) {
        nib_free(ctx, (char *)(uintptr_t)w->items[i].code);
        nib_free(ctx, (char *)(uintptr_t)w->items[i].text);
    }
    nib_free(ctx, w->items);
    *w = (nib_warnings){ 0 };
}

size_t nib_ctx_warning_count(const nib_ctx *ctx)
{
    return ctx->warnings.count;
}
nib_warning nib_ctx_warning(const nib_ctx *ctx, size_t i)
{
    return ctx->warnings.items[i];
}

nib_status nib_warnings_check(nib_ctx *ctx, nib_error *err)
{
    const nib_warnings *w = &ctx->warnings;
    size_t count = w->count - w->repeated;

    if (!ctx->options.strict || !count) return NIB_OK;
    return nib_fail(err, NIB_E_INVALID, "strict: %zu warning%s; the first: %.800s", count,
                    count == 1 ? "" : "s", w->items[w->repeated].text);
}

void nib_warnings_repeat(nib_ctx *ctx)
{
    nib_warnings *w = &ctx->warnings;
    size_t count = w->count - w->repeated, room = 64, used;
    char *text;

    if (!count || !ctx->options.message) return;
    for (size_t i = w->repeated; i < w->count; i++) room += strlen(w->items[i].text) + 8;
    text = nib_alloc(ctx, room);
    if (!text) return; /* each was sent when it arose */
    used = (size_t)snprintf(text, room, "%zu thing%s to look at:", count, count == 1 ? "" : "s");
    for (size_t i = w->repeated; i < w->count; i++)
        used += (size_t)snprintf(text + used, room - used, "\n  - %s", w->items[i].text);
    w->repeated = w->count;
    ctx->options.message(ctx->options.message_user, NIB_MESSAGE_SUMMARY, text);
    nib_free(ctx, text);
}
