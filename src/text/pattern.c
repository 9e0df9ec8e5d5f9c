/* pattern.c - regular expressions of tokenizer files under PCRE2, within limits. */
#include <stdio.h>

#include "text/oniguruma.h"
#include "text/parts.h"

/* --- PCRE2's memory through the context --- */

static void *pcre_alloc(PCRE2_SIZE bytes, void *user) { return nib_alloc(user, bytes); }
static void pcre_free(void *p, void *user) { nib_free(user, p); }

nib_status nib_pattern_open(nib_tokenizer *t, nib_error *err)
{
    t->pcre = pcre2_general_context_create(pcre_alloc, pcre_free, t->ctx);
    t->match_context = t->pcre ? pcre2_match_context_create(t->pcre) : NULL;
    t->match = t->pcre ? pcre2_match_data_create(4, t->pcre) : NULL;
    if (!t->match_context || !t->match)
        return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
    pcre2_set_match_limit(t->match_context, 10000000);
    pcre2_set_depth_limit(t->match_context, 10000);
    pcre2_set_heap_limit(t->match_context, 64 << 10);
    return NIB_OK;
}

/* --- patterns --- */

nib_status nib_pattern_compile(nib_tokenizer *t, const char *pattern, bool literal,
                               const char *where, pcre2_code **out, nib_error *err)
{
    pcre2_compile_context *context = pcre2_compile_context_create(t->pcre);
    uint32_t options = PCRE2_UTF | PCRE2_NO_UTF_CHECK |
                       (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE);
    char *translated = NULL;
    int code;
    PCRE2_SIZE at;
    nib_status status = NIB_OK;

    if (!context) {
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
        goto done;
    }
    if (!literal) status = nib_oniguruma_translate(t->ctx, pattern, where, &translated, err);
    if (status) goto done;
    pcre2_set_max_pattern_length(context, 1 << 16);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    *out = pcre2_compile((PCRE2_SPTR)(literal ? pattern : translated), PCRE2_ZERO_TERMINATED,
                         options, &code, &at, context);
    if (!*out) {
        PCRE2_UCHAR message[200];
        pcre2_get_error_message(code, message, sizeof message);
        status = nib_fail(err,
                          code == PCRE2_ERROR_HEAP_FAILED || code == PCRE2_ERROR_NOMEMORY
                              ? NIB_E_NOMEM
                              : NIB_E_FORMAT,
                          "%s: '%.300s' cannot be read as a pattern, at its byte %zu (PCRE2 "
                          "reports: %s); take the file as it was published",
                          where, pattern, at, (const char *)message);
        goto done;
    }
    pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE); /* where there is none the interpreter runs */
done:
    pcre2_compile_context_free(context);
    nib_free(t->ctx, translated);
    return status;
}

nib_status nib_pattern_next(nib_tokenizer *t, const pcre2_code *code, const char *s, size_t bytes,
                            nib_matches *at, nib_range *found, bool *yes, nib_error *err)
{
    *yes = false;
    while (at->from <= bytes) {
        int n = pcre2_match(code, (PCRE2_SPTR)s, bytes, at->from, PCRE2_NO_UTF_CHECK, t->match,
                            t->match_context);
        PCRE2_SIZE *v = pcre2_get_ovector_pointer(t->match);

        if (n == PCRE2_ERROR_NOMATCH) return NIB_OK;
        if (n == PCRE2_ERROR_NOMEMORY)
            return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
        if (n < 0)
            return nib_fail(err, NIB_E_FORMAT,
                            "tokenizer.json: a pattern takes more steps on a text of %zu bytes "
                            "than are tried (PCRE2's match, depth and heap limits, code %d): "
                            "break the text into lines", bytes, n);
        if (v[0] == v[1] && at->any && at->last == v[1]) { /* an empty one, found already */
            at->from++;
            while (at->from < bytes && ((uint8_t)s[at->from] & 0xc0) == 0x80) at->from++;
            continue;
        }
        *at = (nib_matches){ v[1], v[1], true };
        *found = (nib_range){ v[0], v[1] };
        *yes = true;
        return NIB_OK;
    }
    return NIB_OK;
}
