/* answer.h - what a server says of itself: the lines before the bytes, and errors in words. */
#ifndef NIB_HUB_ANSWER_H
#define NIB_HUB_ANSWER_H

#include "hub/http.h"

/* Takes one line of a head, "Name: value\r\n" or "HTTP/1.1 200 OK\r\n"; a new answer (a redirect
 * came before it) begins with the latter and keeps only the hub's own etag.
 * linked: whether the etag is the one of the file behind a redirect. */
typedef struct nib_answer {
    nib_http_head head;
    char etag[80];           /* of this answer */
    bool linked, from_hub;   /* the hub names its commit, another host does not */
} nib_answer;
void nib_answer_line(nib_answer *a, const char *line, size_t bytes);

/* Fails with the message for a code of 300 and more. */
nib_status nib_answer_fail(const nib_answer *a, const nib_hub_settings *s, const char *what,
                           nib_error *err);

#endif
