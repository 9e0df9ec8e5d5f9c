/* tfevents.c - see tfevents.h. */
#include "format/tfevents.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"

struct nib_tfevents {
    nib_ctx *ctx;
    char *path;
    int file;
};

/* --- messages --- */

static uint8_t *put_le(uint8_t *p, uint64_t n, int bytes)
{
    for (int i = 0; i < bytes; i++) *p++ = (uint8_t)(n >> 8 * i);
    return p;
}

static uint8_t *put_varint(uint8_t *p, uint64_t n)
{
    for (; n >= 0x80; n >>= 7) *p++ = (uint8_t)(n | 0x80);
    *p++ = (uint8_t)n;
    return p;
}

static uint8_t *put_bytes(uint8_t *p, uint8_t tag, const void *data, size_t bytes)
{
    *p++ = tag;
    p = put_varint(p, bytes);
    memcpy(p, data, bytes);
    return p + bytes;
}

static uint32_t masked(const void *data, size_t bytes)
{
    uint32_t crc = nib_crc32c(0, data, bytes);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* Summary { value { tag, simple_value } } */
static uint8_t *put_summary(uint8_t *p, const char *tag, float value)
{
    uint8_t inner[256], outer[264], *q = put_bytes(inner, 0x0a, tag, strlen(tag)), *r;
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    *q++ = 0x15;
    q = put_le(q, bits, 4);
    r = put_bytes(outer, 0x0a, inner, (size_t)(q - inner));
    return put_bytes(p, 0x2a, outer, (size_t)(r - outer));
}

size_t nib_tfevents_record(uint8_t *out, double wall_time, uint64_t step, const char *tag,
                           const float *value)
{
    static const uint8_t start[] = { 0x08, 0x01 }; /* SessionLog { status: START } */
    static const char version[] = "brain.Event:2";
    uint8_t *data = out + 12, *p = data;
    uint64_t bits;

    assert(!tag || strlen(tag) <= 200);
    memcpy(&bits, &wall_time, sizeof bits);
    *p++ = 0x09;
    p = put_le(p, bits, 8);
    if (step) { /* 0 is the default, and left out */
        *p++ = 0x10;
        p = put_varint(p, step);
    }
    if (!tag) p = put_bytes(p, 0x1a, version, sizeof version - 1);
    else if (!value) p = put_bytes(p, 0x3a, start, sizeof start);
    else p = put_summary(p, tag, *value);
    put_le(out, (uint64_t)(p - data), 8);
    put_le(out + 8, masked(out, 8), 4);
    p = put_le(p, masked(data, (size_t)(p - data)), 4);
    return (size_t)(p - out);
}

/* --- the file --- */

static nib_status put_event(nib_tfevents *w, double wall_time, uint64_t step, const char *tag,
                            const float *value, nib_error *err)
{
    uint8_t record[NIB_TFEVENTS_RECORD];
    size_t bytes = nib_tfevents_record(record, wall_time, step, tag, value), done = 0;

    while (done < bytes) {
        ssize_t n = write(w->file, record + done, bytes - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return nib_fail(err, NIB_E_IO, "%s: writing failed: %s", w->path,
                            strerror(n ? errno : ENOSPC));
        done += (size_t)n;
    }
    return NIB_OK;
}

/* A second that is later than those of the event files in `dir`. */
static nib_status find_second(const char *dir, int64_t *out, nib_error *err)
{
    static const char prefix[] = "events.out.tfevents.";
    DIR *d = opendir(dir);

    if (!d) return nib_fail(err, NIB_E_IO, "%s: %s", dir, strerror(errno));
    *out = (int64_t)time(NULL);
    for (const struct dirent *e; (e = readdir(d));) {
        int64_t there;
        if (strncmp(e->d_name, prefix, sizeof prefix - 1) != 0) continue;
        there = strtoll(e->d_name + sizeof prefix - 1, NULL, 10);
        if (there >= *out && there < INT64_C(9999999999)) *out = there + 1;
    }
    closedir(d);
    return NIB_OK;
}

nib_status nib_tfevents_create(nib_ctx *ctx, const char *dir, nib_tfevents **out, nib_error *err)
{
    nib_tfevents *w = nib_new(ctx, sizeof *w);
    char host[128] = "";
    int64_t second = 0;
    nib_status status;

    if (!w) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    w->ctx = ctx;
    w->file = -1;
    gethostname(host, sizeof host - 1);
    for (char *p = host; *p; p++)
        if (*p == '/') *p = '_';
    status = find_second(dir, &second, err);
    if (status) goto done;
    w->path = nib_sprintf(ctx, "%s/events.out.tfevents.%010" PRId64 ".%s.%ld.0", dir, second,
                          *host ? host : "localhost", (long)getpid());
    if (!w->path) {
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
        goto done;
    }
    w->file = open(w->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (w->file < 0) {
        status = nib_fail(err, NIB_E_IO, "%s: %s", w->path, strerror(errno));
        goto done;
    }
    status = put_event(w, (double)second, 0, NULL, NULL, err);
    if (status) goto done;
    *out = w;
    w = NULL; /* handed over */
done:
    nib_tfevents_close(w);
    return status;
}

nib_status nib_tfevents_start(nib_tfevents *w, double wall_time, uint64_t step, nib_error *err)
{
    return put_event(w, wall_time, step, "", NULL, err);
}

nib_status nib_tfevents_scalar(nib_tfevents *w, double wall_time, uint64_t step, const char *tag,
                               float value, nib_error *err)
{
    return put_event(w, wall_time, step, tag, &value, err);
}

nib_status nib_tfevents_sync(nib_tfevents *w, nib_error *err)
{
    return fsync(w->file) && errno != EINVAL
               ? nib_fail(err, NIB_E_IO, "%s: %s", w->path, strerror(errno))
               : NIB_OK;
}

void nib_tfevents_close(nib_tfevents *w)
{
    if (!w) return;
    if (w->file >= 0) close(w->file);
    nib_free(w->ctx, w->path);
    nib_free(w->ctx, w);
}
