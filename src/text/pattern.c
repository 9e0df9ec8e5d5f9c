/* pattern.c - regular expressions of tokenizer files under PCRE2, within limits.
 *
 * The files are written for Oniguruma.  \s, \d and \w are spelled out, for the two engines'
 * Unicode classes differ; constructs that they read differently are refused. */
#include <stdio.h>

#include "text/parts.h"

#define SPACES                                                                                     \
    "\\x{9}-\\x{D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"
#define WORDS "\\p{L}\\p{M}\\p{Nd}\\p{Pc}"

typedef struct text { char *p; size_t n, capacity; } text;

static bool put(nib_ctx *ctx, text *t, const char *s, size_t n)
{
    if (!nib_grow(ctx, &t->p, &t->capacity, t->n + n + 1, 1)) return false;
    memcpy(t->p + t->n, s, n);
    t->p[t->n += n] = 0;
    return true;
}

/* What a class escape stands for, inside or outside brackets; NULL: leave it. */
static const char *spelled(char c, bool inside)
{
    switch (c) {
    case 's': return inside ? SPACES : "[" SPACES "]";
    case 'S': return inside ? NULL : "[^" SPACES "]";
    case 'w': return inside ? WORDS : "[" WORDS "]";
    case 'W': return inside ? NULL : "[^" WORDS "]";
    case 'd': return "\\p{Nd}";
    case 'D': return "\\P{Nd}";
    default: return NULL;
    }
}

static nib_status translate(nib_tokenizer *t, const char *from, const char *where, text *to,
                            nib_error *err)
{
    bool inside = false, first = false;

    for (const char *p = from; *p; p++) {
        const char *s;
        bool opens = *p == '[' && !inside, good;

        if (inside && *p == '[' && p[1] != ':')
            return nib_fail(err, NIB_E_UNSUPPORTED, "%s: pattern %s: a class inside a class", where,
                            from);
        if (inside && p[0] == '&' && p[1] == '&')
            return nib_fail(err, NIB_E_UNSUPPORTED, "%s: pattern %s: an intersection of classes",
                            where, from);
        if (*p == '\\' && p[1]) {
            s = spelled(p[1], inside);
            if (!s && inside && (p[1] == 'S' || p[1] == 'W'))
                return nib_fail(err, NIB_E_UNSUPPORTED, "%s: pattern %s: \\%c inside a class",
                                where, from, p[1]);
            good = s ? put(t->ctx, to, s, strlen(s)) : put(t->ctx, to, p, 2);
            p++;
            first = false;
        } else {
            if (*p == ']' && inside && !first) inside = false;
            good = put(t->ctx, to, p, 1);
            first = opens || (first && *p == '^');
            if (opens) inside = true;
        }
        if (!good) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    }
    return NIB_OK;
}

nib_status nib_pattern_compile(nib_tokenizer *t, const char *pattern, bool literal,
                               const char *where, pcre2_code **out, nib_error *err)
{
    pcre2_compile_context *context = pcre2_compile_context_create(t->pcre);
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK | (literal ? PCRE2_LITERAL : 0);
    text translated = { 0 };
    int code;
    PCRE2_SIZE at;
    nib_status status = NIB_OK;

    if (!context || !put(t->ctx, &translated, "", 0)) {
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
        goto done;
    }
    status = literal ? (put(t->ctx, &translated, pattern, strlen(pattern)) ? NIB_OK
                            : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where))
                     : translate(t, pattern, where, &translated, err);
    if (status) goto done;
    pcre2_set_max_pattern_length(context, 1 << 16);
    if (literal) options &= ~(uint32_t)PCRE2_UCP;
    *out = pcre2_compile((PCRE2_SPTR)translated.p, translated.n, options, &code, &at, context);
    if (!*out) {
        PCRE2_UCHAR message[200];
        pcre2_get_error_message(code, message, sizeof message);
        status = nib_fail(err,
                          code == PCRE2_ERROR_HEAP_FAILED || code == PCRE2_ERROR_NOMEMORY
                              ? NIB_E_NOMEM
                              : NIB_E_FORMAT,
                          "%s: pattern %s: %s", where, pattern, (const char *)message);
        goto done;
    }
    pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE); /* where there is none the interpreter runs */
done:
    pcre2_compile_context_free(context);
    nib_free(t->ctx, translated.p);
    return status;
}

nib_status nib_pattern_next(nib_tokenizer *t, const pcre2_code *code, const char *s, size_t bytes,
                            size_t from, nib_range *found, bool *yes, nib_error *err)
{
    *yes = false;
    while (from <= bytes) {
        int n = pcre2_match(code, (PCRE2_SPTR)s, bytes, from, PCRE2_NO_UTF_CHECK, t->match,
                            t->match_context);
        PCRE2_SIZE *v = pcre2_get_ovector_pointer(t->match);

        if (n == PCRE2_ERROR_NOMATCH) return NIB_OK;
        if (n == PCRE2_ERROR_NOMEMORY)
            return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
        if (n < 0)
            return nib_fail(err, NIB_E_FORMAT,
                            "tokenizer.json: a pattern passed its match limits (code %d)", n);
        if (v[1] > v[0]) {
            *found = (nib_range){ v[0], v[1] };
            *yes = true;
            return NIB_OK;
        }
        from = v[1] + 1; /* an empty match: go on behind the next character */
        while (from < bytes && ((uint8_t)s[from] & 0xc0) == 0x80) from++;
    }
    return NIB_OK;
}
