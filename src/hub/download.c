/* download.c - see download.h. */
#include "hub/download.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 1 << 20, MOST_RESTARTS = 5 };

nib_status nib_download_open(const nib_hub_store *store, const nib_hub_file *file,
                             const char *name, const char *address, nib_download *out,
                             nib_error *err)
{
    nib_ctx *ctx = store->ctx;
    char *path = nib_http_escape(ctx, file->path, true);
    nib_status status = NIB_OK;

    *out = (nib_download){ .store = store, .file = file, .part = -1, .lock = -1 };
    out->url = path ? nib_sprintf(ctx, "%s/%s", address, path) : NULL;
    out->what = nib_sprintf(ctx, "%s: %s", name, file->path);
    nib_free(ctx, path);
    if (!out->url || !out->what)
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", file->path);
    if (!status) status = nib_hub_store_place(store, file, &out->places, err);
    if (!status) status = nib_checksum_create(ctx, file->sha256, file->size, &out->sum, err);
    if (status) nib_download_close(out);
    return status;
}

/* Ends what only a download under way holds. */
static void release(nib_download *d)
{
    if (d->part >= 0) close(d->part);
    if (d->lock >= 0) close(d->lock); /* and flock's hold on it */
    d->part = d->lock = -1;
}

void nib_download_close(nib_download *d)
{
    if (!d->store) return;
    release(d);
    nib_checksum_destroy(d->sum);
    nib_hub_places_free(d->store->ctx, &d->places);
    nib_free(d->store->ctx, d->url);
    nib_free(d->store->ctx, d->what);
    *d = (nib_download){ .part = -1, .lock = -1 };
}

uint64_t nib_download_there(const nib_download *d)
{
    struct stat info;
    bool foreign;

    if (nib_hub_store_has(d->file, &d->places, &foreign)) return d->file->size;
    if (stat(d->places.part, &info) || (uint64_t)info.st_size > d->file->size) return 0;
    return (uint64_t)info.st_size;
}

static nib_status fail_file(const char *path, nib_error *err)
{
    return nib_fail(err, NIB_E_IO, "%s: %s", path, strerror(errno));
}

/* --- what an earlier run left --- */

/* Hashes the bytes that `fd` holds from its start. */
static nib_status hash_there(nib_download *d, int fd, const char *path, nib_error *err)
{
    nib_status status = nib_checksum_restart(d->sum, err);
    char *piece = nib_alloc(d->store->ctx, PIECE);
    ssize_t n = 1;

    d->here = 0;
    if (!piece) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
    while (!status && n) {
        n = read(fd, piece, PIECE);
        if (n < 0 && errno != EINTR) status = fail_file(path, err);
        if (!status && nib_should_stop(d->store->ctx)) /* a large file takes minutes */
            status = nib_fail(err, NIB_E_INTERRUPTED, "stopped; what came is kept: the same "
                              "command fetches the rest");
        if (status || n <= 0) continue;
        status = nib_checksum_add(d->sum, piece, (size_t)n, err);
        d->here += (uint64_t)n;
    }
    nib_free(d->store->ctx, piece);
    return status;
}

/* All is asked for once more. */
static nib_status empty(nib_download *d, nib_error *err)
{
    if (ftruncate(d->part, 0) || lseek(d->part, 0, SEEK_SET) < 0)
        return fail_file(d->places.part, err);
    d->here = 0;
    d->resumed = false;
    return nib_checksum_restart(d->sum, err);
}

static nib_status open_part(nib_download *d, nib_error *err)
{
    nib_status status;

    d->part = open(d->places.part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (d->part < 0) return fail_file(d->places.part, err);
    status = hash_there(d, d->part, d->places.part, err);
    if (!status && d->here > d->file->size) status = empty(d, err);
    d->resumed = d->here > 0;
    return status;
}

/* A file in the directory that no download vouches for: it is the hub's, or it is the user's. */
static nib_status check_foreign(nib_download *d, nib_error *err)
{
    char hash[NIB_HUB_HASH + 1];
    int fd = open(d->places.whole, O_RDONLY | O_CLOEXEC);
    nib_status status = fd < 0 ? fail_file(d->places.whole, err)
                               : hash_there(d, fd, d->places.whole, err);

    if (fd >= 0) close(fd);
    if (!status) status = nib_checksum_end(d->sum, hash, err);
    if (!status && (d->here != d->file->size || strcmp(hash, d->file->hash) != 0))
        status = nib_fail(err, NIB_E_INVALID, "%s: a file of yours is there, which is not the "
                          "hub's (%" PRIu64 " bytes, %" PRIu64 " there): move it away, or download "
                          "into another directory", d->places.whole, d->here, d->file->size);
    return status;
}

/* --- one try --- */

static nib_http_verdict finish(nib_download *d, nib_error *err);

/* LATER: another download holds the lock. */
static nib_http_ready take_lock(nib_download *d, nib_error *err)
{
    if (d->lock >= 0) return NIB_HTTP_GO;
    d->lock = open(d->places.lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (d->lock < 0) {
        fail_file(d->places.lock, err);
        return NIB_HTTP_FAILED;
    }
    if (flock(d->lock, LOCK_EX | LOCK_NB) == 0 || errno == ENOLCK || errno == EOPNOTSUPP)
        return NIB_HTTP_GO; /* a file system without locks: the client does the same */
    if (errno == EWOULDBLOCK || errno == EINTR) {
        release(d);
        return NIB_HTTP_LATER;
    }
    fail_file(d->places.lock, err);
    return NIB_HTTP_FAILED;
}

static nib_http_ready begin(void *user, uint64_t *first, nib_error *err)
{
    nib_download *d = user;
    nib_http_ready ready = take_lock(d, err);
    nib_status status = NIB_OK;
    bool foreign;

    if (ready != NIB_HTTP_GO) return ready;
    if (d->part < 0) {
        bool has = nib_hub_store_has(d->file, &d->places, &foreign);
        if (!has && foreign) status = check_foreign(d, err);
        if (!status && (has || foreign)) {
            status = nib_hub_store_link(d->store, d->file, &d->places, err);
            d->here = d->file->size;
            d->done = true;
            release(d);
            return status ? NIB_HTTP_FAILED : NIB_HTTP_NOTHING;
        }
        if (!status) status = open_part(d, err);
    }
    if (status) return NIB_HTTP_FAILED;
    *first = d->here;
    if (d->here < d->file->size) return NIB_HTTP_GO;
    switch (finish(d, err)) { /* an earlier run ended just before the last step, or it is empty */
    case NIB_HTTP_GOOD: return NIB_HTTP_NOTHING;
    case NIB_HTTP_BAD: return NIB_HTTP_FAILED;
    default: *first = 0; return NIB_HTTP_GO;
    }
}

static nib_status take_head(void *user, const nib_http_head *head, nib_error *err)
{
    nib_download *d = user;

    if (*head->etag && strcmp(head->etag, d->file->hash) != 0)
        return nib_fail(err, NIB_E_IO, "%s: the hub listed it as %s and now sends %s: run the same "
                        "command again", d->what, d->file->hash, head->etag);
    if (head->partial && (head->first != d->here || head->total != d->file->size))
        return nib_fail(err, NIB_E_IO, "%s: bytes %" PRIu64 " on of %" PRIu64 " were asked for, "
                        "and the server sends %" PRIu64 " on of %" PRIu64, d->what, d->here,
                        d->file->size, head->first, head->total);
    if (head->partial || !d->here) return NIB_OK;
    if (d->restarts++ == MOST_RESTARTS)
        return nib_fail(err, NIB_E_IO, "%s: the server sends no rest of a file, and broke off %d "
                        "times", d->what, MOST_RESTARTS);
    return empty(d, err);
}

static nib_status take(void *user, const void *data, size_t bytes, nib_error *err)
{
    nib_download *d = user;
    const char *p = data;
    nib_status status;

    if (bytes > d->file->size - d->here)
        return nib_fail(err, NIB_E_IO, "%s: more than the %" PRIu64 " bytes that the hub listed "
                        "arrive", d->what, d->file->size);
    for (size_t left = bytes; left;) {
        ssize_t n = write(d->part, p, left);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return nib_fail(err, NIB_E_IO, "%s: %s; of %" PRIu64 " bytes %" PRIu64 " are there and "
                            "stay: the same command fetches the rest", d->places.part,
                            strerror(errno), d->file->size, d->here + (uint64_t)(p - (char *)data));
        p += n;
        left -= (size_t)n;
    }
    status = nib_checksum_add(d->sum, data, bytes, err);
    d->here += bytes;
    d->fetched += bytes;
    return status;
}

static nib_http_verdict finish(nib_download *d, nib_error *err)
{
    char hash[NIB_HUB_HASH + 1];
    bool resumed = d->resumed;

    if (d->here < d->file->size) return NIB_HTTP_SHORT;
    if (nib_checksum_end(d->sum, hash, err)) return NIB_HTTP_BAD;
    if (strcmp(hash, d->file->hash) != 0) {
        if (empty(d, err)) return NIB_HTTP_BAD;
        if (resumed) { /* the bytes of the earlier run may be what is wrong */
            nib_note(d->store->ctx, "%s: what an earlier run left does not fit; all of it is "
                     "fetched again", d->what);
            return NIB_HTTP_AGAIN;
        }
        unlink(d->places.part);
        nib_fail(err, NIB_E_IO, "%s: its %s is %s, the hub lists %s: it was damaged on the way and "
                 "is not kept; run the same command again", d->what,
                 d->file->sha256 ? "SHA-256" : "git SHA-1", hash, d->file->hash);
        return NIB_HTTP_BAD;
    }
    if (fdatasync(d->part) && errno != EINVAL) {
        fail_file(d->places.part, err);
        return NIB_HTTP_BAD;
    }
    if (nib_hub_store_finish(d->store, d->file, &d->places, err)) return NIB_HTTP_BAD;
    d->done = true;
    release(d);
    return NIB_HTTP_GOOD;
}

static nib_http_verdict end(void *user, nib_error *err) { return finish(user, err); }

nib_http_job nib_download_job(nib_download *d)
{
    return (nib_http_job){ .url = d->url, .what = d->what, .user = d, .begin = begin,
                           .head = take_head, .write = take, .end = end };
}
