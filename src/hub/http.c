/* http.c - see http.h: libcurl's multi interface, one thread. */
#include "hub/http.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

#include "hub/answer.h"

enum {
    LONGEST_WAIT = 300,        /* seconds that are waited because a server asks for it */
    SILENCE = 60,              /* seconds without a byte: the connection is taken for broken */
    MOST_TEXT = 256 << 20      /* bytes of an answer that is kept in memory */
};

typedef enum phase { PHASE_READY, PHASE_RUNNING, PHASE_DONE } phase;

typedef struct running {
    const nib_http_job *job;
    nib_http *h;
    phase phase;
    CURL *easy;
    nib_answer answer;
    char problem[CURL_ERROR_SIZE];
    double not_before;   /* of the clock: when it may start */
    int failures;        /* since the last byte that came */
    bool head_seen, told;
    nib_status status;   /* of a function of the job */
    nib_error err;
} running;

struct nib_http {
    nib_ctx *ctx;
    const nib_hub_settings *settings;
    CURLM *multi;
    struct curl_slist *headers;
    int retries;
    bool answered; /* some server has */
    void (*tick)(void *user);
    void *tick_user;
};

nib_status nib_http_open(nib_ctx *ctx, const nib_hub_settings *s, int retries, nib_http **out,
                         nib_error *err)
{
    static const char identity[] = "Accept-Encoding: identity", bearer[] = "Authorization: Bearer ";
    nib_http *h = nib_new(ctx, sizeof *h);
    struct curl_slist *more;
    char *line = NULL;
    nib_status status = NIB_E_NOMEM;

    if (!h) return nib_fail(err, NIB_E_NOMEM, "the hub: out of memory");
    h->ctx = ctx;
    h->settings = s;
    h->retries = retries;
    if (curl_global_init(CURL_GLOBAL_DEFAULT)) goto done;
    h->multi = curl_multi_init();
    h->headers = curl_slist_append(NULL, identity);
    if (!h->multi || !h->headers) goto done;
    if (s->token) {
        line = nib_sprintf(ctx, "%s%s", bearer, s->token);
        more = line ? curl_slist_append(h->headers, line) : NULL;
        if (!more) goto done;
        h->headers = more;
    }
    *out = h;
    h = NULL; /* handed over */
    status = NIB_OK;
done:
    if (line) explicit_bzero(line, strlen(line));
    nib_free(ctx, line);
    nib_http_close(h);
    return status ? nib_fail(err, status, "the hub: libcurl cannot begin") : NIB_OK;
}

void nib_http_close(nib_http *h)
{
    if (!h) return;
    curl_slist_free_all(h->headers);
    curl_multi_cleanup(h->multi);
    curl_global_cleanup();
    nib_free(h->ctx, h);
}

void nib_http_on_tick(nib_http *h, void (*tick)(void *user), void *user)
{
    h->tick = tick;
    h->tick_user = user;
}

/* --- what libcurl calls --- */

static size_t on_header(char *line, size_t one, size_t bytes, void *user)
{
    running *r = user;

    nib_answer_line(&r->answer, line, one * bytes);
    return one * bytes;
}

/* The code of the answer whose bytes come, and what its head says, once. */
static bool take_head(running *r)
{
    curl_off_t wait = 0;

    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &r->answer.head.code);
    curl_easy_getinfo(r->easy, CURLINFO_RETRY_AFTER, &wait);
    if (wait > 0) r->answer.head.wait = (long)wait;
    if (r->head_seen || r->answer.head.code >= 300) return r->answer.head.code < 300;
    r->head_seen = true;
    r->answer.head.partial = r->answer.head.partial && r->answer.head.code == 206;
    if (r->job->head) r->status = r->job->head(r->job->user, &r->answer.head, &r->err);
    return !r->status;
}

static size_t on_data(char *data, size_t one, size_t bytes, void *user)
{
    running *r = user;

    if (!take_head(r)) return r->status ? 0 : one * bytes; /* the text of an error */
    r->status = r->job->write(r->job->user, data, one * bytes, &r->err);
    if (r->status) return 0;
    r->failures = 0;
    return one * bytes;
}

/* --- one try --- */

/* From https no redirect leads to http. */
static CURLcode limit_protocols(CURL *easy, bool https)
{
    CURLcode bad;
#if LIBCURL_VERSION_NUM >= 0x075500 /* 7.85 */
    const char *protocols = https ? "https" : "http,https";

    bad = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, protocols);
    return bad ? bad : curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
#else
    long protocols = CURLPROTO_HTTPS | (https ? 0 : CURLPROTO_HTTP);

    bad = curl_easy_setopt(easy, CURLOPT_PROTOCOLS, protocols);
    return bad ? bad : curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS, protocols);
#endif
}

static bool set_up(running *r, uint64_t first)
{
    const nib_hub_settings *s = r->h->settings;
    const char *authorities = getenv("CURL_CA_BUNDLE");
    CURLcode bad = limit_protocols(r->easy, strncasecmp(s->endpoint, "https", 5) == 0);
    char range[32];

    snprintf(range, sizeof range, "%" PRIu64 "-", first);
    if (!authorities) authorities = getenv("REQUESTS_CA_BUNDLE");
#define SET(option, value) bad = bad ? bad : curl_easy_setopt(r->easy, option, value)
    SET(CURLOPT_URL, r->job->url);
    SET(CURLOPT_FOLLOWLOCATION, 1L);
    SET(CURLOPT_MAXREDIRS, 10L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1); /* a connection for each file */
    SET(CURLOPT_HTTPHEADER, r->h->headers);
    SET(CURLOPT_USERAGENT, "nibble/" NIB_VERSION);
    SET(CURLOPT_RANGE, first ? range : NULL);
    SET(CURLOPT_BUFFERSIZE, 256L << 10);
    SET(CURLOPT_CONNECTTIMEOUT, 30L);
    SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
    SET(CURLOPT_LOW_SPEED_TIME, (long)SILENCE);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_ERRORBUFFER, r->problem);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, r);
    SET(CURLOPT_WRITEFUNCTION, on_data);
    SET(CURLOPT_WRITEDATA, r);
    SET(CURLOPT_PRIVATE, r);
    if (authorities && *authorities) SET(CURLOPT_CAINFO, authorities);
#undef SET
    return !bad;
}

/* Begins a try, where there is something to fetch. */
static nib_status start(running *r, nib_error *err)
{
    uint64_t first = 0;
    nib_http_ready ready = NIB_HTTP_GO;

    if (r->job->begin) ready = r->job->begin(r->job->user, &first, err);
    if (ready == NIB_HTTP_FAILED) return err->status;
    if (ready == NIB_HTTP_NOTHING) r->phase = PHASE_DONE;
    if (ready == NIB_HTTP_LATER) {
        if (!r->told) nib_note(r->h->ctx, "%s: its bytes are being downloaded already; waiting",
                               r->job->what);
        r->told = true;
        r->not_before = nib_clock_seconds() + 0.2;
    }
    if (ready != NIB_HTTP_GO) return NIB_OK;
    r->answer = (nib_answer){ .linked = false };
    r->problem[0] = 0;
    r->head_seen = false;
    r->easy = curl_easy_init();
    if (!r->easy || !set_up(r, first) || curl_multi_add_handle(r->h->multi, r->easy))
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", r->job->what);
    r->phase = PHASE_RUNNING;
    return NIB_OK;
}

static void stop(running *r)
{
    if (!r->easy) return;
    curl_multi_remove_handle(r->h->multi, r->easy);
    curl_easy_cleanup(r->easy);
    r->easy = NULL;
}

/* --- after a try --- */

/* May the same request succeed a moment later? */
static bool may_pass(const running *r, CURLcode result)
{
    switch (result) {
    case CURLE_COULDNT_RESOLVE_HOST: case CURLE_COULDNT_RESOLVE_PROXY: case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
        return r->h->answered;
    case CURLE_PARTIAL_FILE: case CURLE_OPERATION_TIMEDOUT: case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR: case CURLE_RECV_ERROR: case CURLE_HTTP2: case CURLE_HTTP2_STREAM:
        return true;
    case CURLE_OK:
        return r->answer.head.code == 408 || r->answer.head.code == 429 ||
               (r->answer.head.code >= 500 && r->answer.head.code <= 504);
    default: return false;
    }
}

static nib_status give_up(const running *r, CURLcode result, nib_error *err)
{
    if (result == CURLE_OK && r->answer.head.code >= 300)
        return nib_answer_fail(&r->answer, r->h->settings, r->job->what, err);
    return nib_fail(err, NIB_E_IO, "%s: %s%s", r->job->what,
                    r->problem[0] ? r->problem
                    : result      ? curl_easy_strerror(result)
                                  : "the connection ended too early",
                    r->h->answered ? "; what came is kept: the same command fetches the rest"
                                   : " (HF_ENDPOINT names another hub, HF_HUB_OFFLINE=1 stays with "
                                     "the cache)");
}

/* Later once more, or never. */
static nib_status fail_try(running *r, CURLcode result, nib_error *err)
{
    double wait = r->failures ? (double)(1 << nib_min((size_t)r->failures - 1, 5)) : 0.1;
    bool asked = result == CURLE_OK && r->answer.head.code >= 400 && r->answer.head.wait > 0;

    if (r->failures >= r->h->retries || (asked && r->answer.head.wait > LONGEST_WAIT))
        return give_up(r, result, err);
    if (asked) wait = (double)r->answer.head.wait;
    if (asked) nib_note(r->h->ctx, "%s: HTTP %ld: the hub asks to wait %ld s", r->job->what,
                        r->answer.head.code, r->answer.head.wait);
    r->failures++;
    r->not_before = nib_clock_seconds() + wait;
    r->phase = PHASE_READY;
    return NIB_OK;
}

static nib_status finish(running *r, CURLcode result, nib_error *err)
{
    nib_http_verdict verdict = NIB_HTTP_GOOD;
    bool good = result == CURLE_OK && take_head(r);

    if (result == CURLE_OK) r->h->answered = true;
    stop(r);
    if (r->status) {
        *err = r->err;
        return r->status;
    }
    if (!good && may_pass(r, result)) return fail_try(r, result, err);
    if (!good) return give_up(r, result, err);
    if (r->job->end) verdict = r->job->end(r->job->user, err);
    if (verdict == NIB_HTTP_BAD) return err->status;
    if (verdict == NIB_HTTP_SHORT) return fail_try(r, result, err);
    r->phase = verdict == NIB_HTTP_AGAIN ? PHASE_READY : PHASE_DONE;
    return NIB_OK;
}

/* --- all --- */

static nib_status start_some(running *all, size_t count, int parallel, nib_error *err)
{
    nib_status status = NIB_OK;
    double now = nib_clock_seconds();
    int runs = 0;

    for (size_t i = 0; i < count; i++) runs += all[i].phase == PHASE_RUNNING;
    for (size_t i = 0; !status && i < count && runs < parallel; i++) {
        if (all[i].phase != PHASE_READY || all[i].not_before > now) continue;
        status = start(&all[i], err);
        runs += all[i].phase == PHASE_RUNNING;
    }
    return status;
}

static nib_status finish_some(nib_http *h, nib_error *err)
{
    nib_status status = NIB_OK;
    CURLMsg *message;
    int left;

    while (!status && (message = curl_multi_info_read(h->multi, &left))) {
        running *r = NULL;
        if (message->msg != CURLMSG_DONE) continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &r);
        status = finish(r, message->data.result, err);
    }
    return status;
}

static bool all_done(const running *all, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (all[i].phase != PHASE_DONE) return false;
    return true;
}

nib_status nib_http_run(nib_http *h, const nib_http_job *jobs, size_t count, int parallel,
                        nib_error *err)
{
    running *all = nib_new_array(h->ctx, count, sizeof *all);
    nib_error local = { .message = "" };
    nib_status status = all ? NIB_OK : nib_fail(&local, NIB_E_NOMEM, "the hub: out of memory");
    int active;

    for (size_t i = 0; !status && i < count; i++) all[i].job = &jobs[i], all[i].h = h;
    while (!status) {
        status = start_some(all, count, parallel, &local);
        if (status || all_done(all, count)) break;
        if (curl_multi_perform(h->multi, &active) || curl_multi_poll(h->multi, NULL, 0, 100, NULL))
            status = nib_fail(&local, NIB_E_IO, "the hub: libcurl cannot wait for connections");
        if (!status) status = finish_some(h, &local);
        if (h->tick) h->tick(h->tick_user);
        if (!status && nib_should_stop(h->ctx))
            status = nib_fail(&local, NIB_E_INTERRUPTED, "stopped; what came is kept: the same "
                              "command fetches the rest");
    }
    for (size_t i = 0; all && i < count; i++) stop(&all[i]);
    nib_free(h->ctx, all);
    if (status && err) *err = local;
    return status;
}

/* --- texts --- */

typedef struct text {
    nib_ctx *ctx;
    const char *what;
    char *data, *next;
    size_t used, room;
} text;

static nib_http_ready begin_text(void *user, uint64_t *first, nib_error *err)
{
    text *t = user;

    (void)err;
    t->used = 0; /* of a try that failed */
    *first = 0;
    return NIB_HTTP_GO;
}

static nib_status take_text_head(void *user, const nib_http_head *head, nib_error *err)
{
    text *t = user;

    if (t->next && head->next_too_long)
        return nib_fail(err, NIB_E_FORMAT, "%s: the address of its next page has more than %zu "
                        "characters", t->what, sizeof head->next - 1);
    if (t->next) memcpy(t->next, head->next, sizeof head->next);
    return NIB_OK;
}

static nib_status take_text(void *user, const void *data, size_t bytes, nib_error *err)
{
    text *t = user;

    if (bytes > MOST_TEXT - t->used)
        return nib_fail(err, NIB_E_FORMAT, "%s: an answer of more than %d MiB", t->what,
                        MOST_TEXT >> 20);
    if (!nib_grow(t->ctx, &t->data, &t->room, t->used + bytes + 1, 1))
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", t->what);
    memcpy(t->data + t->used, data, bytes);
    t->used += bytes;
    t->data[t->used] = 0;
    return NIB_OK;
}

nib_status nib_http_get(nib_http *h, const char *url, const char *what, char **out, size_t *bytes,
                        char next[2048], nib_error *err)
{
    text t = { .ctx = h->ctx, .what = what, .next = next };
    nib_http_job job = { .url = url, .what = what, .user = &t, .begin = begin_text,
                         .head = take_text_head, .write = take_text };
    nib_status status = nib_http_run(h, &job, 1, 1, err);

    if (!status && !t.used)
        status = nib_fail(err, NIB_E_FORMAT, "%s: an empty answer", what);
    if (status) {
        nib_free(h->ctx, t.data);
        return status;
    }
    *out = t.data;
    *bytes = t.used;
    return NIB_OK;
}

char *nib_http_escape(nib_ctx *ctx, const char *in, bool path)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = strlen(in) < SIZE_MAX / 4 ? nib_alloc(ctx, 3 * strlen(in) + 1) : NULL, *p = out;

    for (; out && *in; in++) {
        unsigned char c = (unsigned char)*in;
        if ((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
            strchr(path ? "-._~/" : "-._~", c)) {
            *p++ = (char)c;
            continue;
        }
        *p++ = '%';
        *p++ = hex[c >> 4];
        *p++ = hex[c & 15];
    }
    if (out) *p = 0;
    return out;
}
