/* answer.c - see answer.h. */
#include "hub/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* Printable ASCII only: it goes into messages. */
static void take_text(char *to, size_t room, const char *value, size_t bytes)
{
    size_t used = 0;

    for (size_t i = 0; i < bytes && used + 1 < room; i++)
        to[used++] = value[i] >= ' ' && value[i] < 127 ? value[i] : '?';
    to[used] = 0;
}

/* "abc", W/"abc" -> abc */
static void take_etag(char to[80], const char *value, size_t bytes)
{
    if (bytes > 2 && value[0] == 'W' && value[1] == '/') value += 2, bytes -= 2;
    if (bytes >= 2 && *value == '"' && value[bytes - 1] == '"') value++, bytes -= 2;
    take_text(to, 80, value, bytes);
}

/* <address>; rel="next", ... */
static void take_link(nib_http_head *h, const char *value, size_t bytes)
{
    char text[4096];
    char *end, *begin;

    h->next_too_long = bytes >= sizeof text;
    if (h->next_too_long) return;
    take_text(text, sizeof text, value, bytes);
    for (begin = text; (begin = strchr(begin, '<')) && (end = strchr(begin, '>')); begin = end) {
        const char *comma = strchr(end, ','), *rel = strstr(end, "rel=\"next\"");
        if (!rel || (comma && comma < rel)) continue;
        h->next_too_long = (size_t)(end - begin) > sizeof h->next;
        if (!h->next_too_long)
            snprintf(h->next, sizeof h->next, "%.*s", (int)(end - begin - 1), begin + 1);
        return;
    }
}

static void take_value(nib_answer *a, const char *name, size_t n, const char *value, size_t bytes)
{
    nib_http_head *h = &a->head;
    char number[64];
    const char *left;

#define IS(text) (n == strlen(text) && strncasecmp(name, text, n) == 0)
    if (IS("etag")) {
        take_etag(a->etag, value, bytes);
    } else if (IS("x-linked-etag")) {
        take_etag(h->etag, value, bytes);
        a->linked = true;
    } else if (IS("x-repo-commit")) {
        a->from_hub = true;
    } else if (IS("x-error-code")) {
        take_text(h->problem, sizeof h->problem, value, bytes);
    } else if (IS("x-error-message")) {
        take_text(h->message, sizeof h->message, value, bytes);
    } else if (IS("link")) {
        take_link(h, value, bytes);
    } else if (IS("content-range")) {
        take_text(number, sizeof number, value, bytes);
        h->partial = sscanf(number, "bytes %" SCNu64 "-%*u/%" SCNu64, &h->first, &h->total) == 2;
    } else if (IS("ratelimit") && !h->wait) { /* "api";r=0;t=55 */
        take_text(number, sizeof number, value, bytes);
        left = strstr(number, ";t=");
        if (left) h->wait = strtol(left + 3, NULL, 10);
    }
#undef IS
}

void nib_answer_line(nib_answer *a, const char *line, size_t bytes)
{
    const char *colon;

    while (bytes && (line[bytes - 1] == '\r' || line[bytes - 1] == '\n')) bytes--;
    if (bytes > 5 && strncasecmp(line, "HTTP/", 5) == 0) {
        nib_answer next = { .linked = a->linked };
        memcpy(next.head.etag, a->head.etag, sizeof next.head.etag);
        *a = next;
        return;
    }
    if (bytes == 0) { /* the head ends */
        if (!a->linked && a->from_hub) memcpy(a->head.etag, a->etag, sizeof a->etag);
        return;
    }
    colon = memchr(line, ':', bytes);
    if (!colon) return;
    bytes -= (size_t)(colon + 1 - line);
    for (const char *value = colon + 1;; value++, bytes--)
        if (!bytes || (*value != ' ' && *value != '\t')) {
            take_value(a, line, (size_t)(colon - line), value, bytes);
            return;
        }
}

static nib_status fail_access(const nib_answer *a, const nib_hub_settings *s, const char *what,
                              nib_error *err)
{
    const char *where = s->token_path ? s->token_path : "the cache's token file";

    if (s->withheld)
        return nib_fail(err, NIB_E_IO, "%s: HTTP %ld: there is no such repository, or it wants a "
                        "token, and HF_HUB_DISABLE_IMPLICIT_TOKEN is set: none is sent", what,
                        a->head.code);
    if (strcmp(a->head.problem, "GatedRepo") == 0)
        return nib_fail(err, NIB_E_IO, "%s: HTTP %ld: its owner gives access to those who ask for "
                        "it on its page at %s%s%s", what, a->head.code, s->endpoint,
                        s->token ? "" : ", and a token says who you are: HF_TOKEN, or ",
                        s->token ? "" : where);
    if (s->token)
        return nib_fail(err, NIB_E_IO, "%s: HTTP %ld: there is no such repository, or the token "
                        "that was sent does not open it (from HF_TOKEN, or %s)", what,
                        a->head.code, where);
    return nib_fail(err, NIB_E_IO, "%s: HTTP %ld: there is no such repository, or it is private "
                    "and wants a token: set HF_TOKEN, or put it into %s", what, a->head.code,
                    where);
}

nib_status nib_answer_fail(const nib_answer *a, const nib_hub_settings *s, const char *what,
                           nib_error *err)
{
    const char *problem = a->head.problem, *message = a->head.message;

    if (a->head.code == 401 || a->head.code == 403) return fail_access(a, s, what, err);
    if (a->head.code == 404)
        return nib_fail(err, NIB_E_IO, "%s: HTTP 404: %s%s%s", what,
                        strcmp(problem, "RevisionNotFound") == 0
                            ? "the repository has no such branch, tag or commit"
                        : strcmp(problem, "EntryNotFound") == 0
                            ? "the file was in the list and is not there"
                            : "there is no such repository",
                        *message ? ": " : "", message);
    if (a->head.code == 429 && a->head.wait)
        return nib_fail(err, NIB_E_IO, "%s: HTTP 429: too many requests; the hub asks to wait "
                        "%ld s", what, a->head.wait);
    return nib_fail(err, NIB_E_IO, "%s: HTTP %ld%s%s%s", what, a->head.code,
                    a->head.code == 429 ? ": too many requests" : "", *message ? ": " : "",
                    message);
}
