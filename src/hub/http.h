/* http.h - requests to the hub, several at once, repeated when a connection breaks.
 *
 * The one door to the network: libcurl is used in http.c and nowhere else.  One thread; the
 * caller's functions are called from within nib_http_run().
 *
 * The token goes to the endpoint's host only: libcurl drops the header where a redirect leads to
 * another host, port or protocol.  From https no redirect leads to http. */
#ifndef NIB_HUB_HTTP_H
#define NIB_HUB_HTTP_H

#include "hub/environment.h"

typedef struct nib_http nib_http;

/* What a server says before the bytes; texts are cut to their room, "" where it says nothing. */
typedef struct nib_http_head {
    long code;
    char etag[80];     /* of the hub itself, without quotes */
    char problem[48];  /* "RepoNotFound", ... */
    char message[240]; /* printable ASCII */
    char next[2048];   /* the address of the next page */
    bool next_too_long; /* there may be a next page, whose address does not fit */
    bool partial;      /* the answer is bytes first.. of `total` */
    uint64_t first, total;
    long wait;         /* seconds that the server asks to wait; 0: it does not */
} nib_http_head;

typedef enum nib_http_ready {
    NIB_HTTP_GO,
    NIB_HTTP_LATER,  /* ask again soon: another process is at it */
    NIB_HTTP_NOTHING, /* there is nothing left to do */
    NIB_HTTP_FAILED
} nib_http_ready;

typedef enum nib_http_verdict {
    NIB_HTTP_GOOD,
    NIB_HTTP_SHORT, /* bytes are missing: the rest is asked for */
    NIB_HTTP_AGAIN, /* what came is of no use: all is asked for */
    NIB_HTTP_BAD
} nib_http_verdict;

/* One GET.  Of the functions begin, head and end may be NULL. */
typedef struct nib_http_job {
    const char *url;
    const char *what; /* begins its errors */
    void *user;
    /* Before each try: the first byte that is missing. */
    nib_http_ready (*begin)(void *user, uint64_t *first, nib_error *err);
    /* Before the first byte of an answer below 300. */
    nib_status (*head)(void *user, const nib_http_head *head, nib_error *err);
    nib_status (*write)(void *user, const void *data, size_t bytes, nib_error *err);
    nib_http_verdict (*end)(void *user, nib_error *err);
} nib_http_job;

/* Reads nothing yet.  retries: tries after a failure that brought nothing (waiting 1, 2, 4, ... s);
 * s is borrowed. */
nib_status nib_http_open(nib_ctx *ctx, const nib_hub_settings *s, int retries, nib_http **out,
                         nib_error *err);
void nib_http_close(nib_http *h); /* NULL is fine */

/* Called ten times a second while jobs run. */
void nib_http_on_tick(nib_http *h, void (*tick)(void *user), void *user);

/* Runs the jobs, at most `parallel` at once, begun in their order; the first that fails for good
 * ends all.  NIB_E_IO: no connection, or an answer that is none (the message says of 401, 403, 404
 * and 429 what to do); NIB_E_INTERRUPTED: the caller asked to stop. */
nib_status nib_http_run(nib_http *h, const nib_http_job *jobs, size_t count, int parallel,
                        nib_error *err);

/* An answer of at most 256 MiB as text.  *text is the caller's.  next: the address of the next
 * page, "" when there is none (one that does not fit is NIB_E_FORMAT); may be NULL. */
nib_status nib_http_get(nib_http *h, const char *url, const char *what, char **text, size_t *bytes,
                        char next[2048], nib_error *err);

/* `text` as part of an address; slashes stay where `path`. */
char *nib_http_escape(nib_ctx *ctx, const char *text, bool path);

#endif
