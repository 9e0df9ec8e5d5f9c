/* outfile.c - files that are there whole or not at all.
 *
 * One path for every write: bytes go to an offset, and a buffer collects those that
 * follow one another.  The first failure is kept and every later call gives it again,
 * so that a writer may check once, at the commit. */
#include "base/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/outname.h"

/* A huge page: of a file that is written in such pieces, each at a multiple of them, a system may
 * cache and map huge pages, so that a model's start takes a fifth of the page faults. */
enum { BUFFER_BYTES = 2 << 20 };

struct nib_outfile {
    nib_ctx *ctx;
    char *path, *temp;
    int fd;
    bool made;        /* the temporary file exists */
    uint8_t *buffer;  /* holds [at, at + filled) of the file */
    uint64_t at, size;
    size_t filled;
    nib_error failure; /* status != NIB_OK: the first failure */
};

static nib_status failed(nib_outfile *f, nib_error *err)
{
    if (err) *err = f->failure;
    return f->failure.status;
}

static nib_status fail_errno(nib_outfile *f, const char *what, nib_error *err)
{
    nib_fail(&f->failure, NIB_E_IO, "%s: %s failed: %s", f->path, what, strerror(errno));
    return failed(f, err);
}

static void destroy(nib_outfile *f)
{
    nib_ctx *ctx;

    if (!f) return;
    ctx = f->ctx;
    if (f->fd >= 0) close(f->fd);
    if (f->made) unlink(f->temp);
    nib_free(ctx, f->buffer);
    nib_free(ctx, f->temp);
    nib_free(ctx, f->path);
    nib_free(ctx, f);
}

/* What stands at `path` may be replaced: nothing, or a regular file. */
static nib_status check_target(const char *path, nib_error *err)
{
    struct stat info;

    if (lstat(path, &info)) {
        if (errno == ENOENT) return NIB_OK;
        return nib_fail(err, NIB_E_IO, "%s: %s", path, strerror(errno));
    }
    if (S_ISLNK(info.st_mode))
        return nib_fail(err, NIB_E_IO, "%s: is a symbolic link, and nothing is written through one",
                        path);
    if (!S_ISREG(info.st_mode))
        return nib_fail(err, NIB_E_IO, "%s: is there and not a regular file", path);
    return NIB_OK;
}

nib_status nib_outfile_create(nib_ctx *ctx, const char *path, nib_outfile **out, nib_error *err)
{
    nib_outfile *f = nib_new(ctx, sizeof *f);
    nib_status status;

    if (!f) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
    f->ctx = ctx;
    f->fd = -1;
    f->path = nib_strdup(ctx, path);
    f->buffer = nib_alloc(ctx, BUFFER_BYTES);
    if (!f->path || !f->buffer) {
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
        goto done;
    }
    status = check_target(path, err);
    if (status) goto done;
    for (unsigned tries = 0; tries < 100 && f->fd < 0; tries++) {
        nib_free(ctx, f->temp);
        f->temp = nib_temp_beside(ctx, path, err);
        if (!f->temp) {
            status = NIB_E_NOMEM;
            goto done;
        }
        f->fd = open(f->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (f->fd < 0 && errno != EEXIST) break;
    }
    if (f->fd < 0) {
        status = nib_fail(err, NIB_E_IO, "%s: cannot be created: %s", path, strerror(errno));
        goto done;
    }
    f->made = true;
    *out = f;
    f = NULL; /* handed over */
done:
    destroy(f);
    return status;
}

static nib_status put_through(nib_outfile *f, uint64_t offset, const uint8_t *data, size_t bytes,
                              nib_error *err)
{
    while (bytes) {
        ssize_t put = pwrite(f->fd, data, nib_min(bytes, (size_t)1 << 30), (off_t)offset);
        if (put < 0 && errno == EINTR) continue;
        if (put == 0) errno = ENOSPC; /* pwrite of a regular file never does this */
        if (put <= 0) return fail_errno(f, "writing", err);
        data += put;
        offset += (uint64_t)put;
        bytes -= (size_t)put;
    }
    return NIB_OK;
}

static nib_status flush(nib_outfile *f, nib_error *err)
{
    size_t bytes = f->filled;

    f->filled = 0;
    f->at += bytes;
    return put_through(f, f->at - bytes, f->buffer, bytes, err);
}

/* Behind what was written last; the buffer ends at a multiple of its size. */
static nib_status append(nib_outfile *f, const uint8_t *data, size_t bytes, nib_error *err)
{
    nib_status status = NIB_OK;

    while (bytes && !status) {
        size_t room = BUFFER_BYTES - f->at % BUFFER_BYTES - f->filled, n = nib_min(bytes, room);
        if (room == BUFFER_BYTES && bytes >= room) { /* whole pieces need no copy */
            n = bytes / BUFFER_BYTES * BUFFER_BYTES;
            f->at += n;
            status = put_through(f, f->at - n, data, n, err);
        } else {
            memcpy(f->buffer + f->filled, data, n);
            f->filled += n;
            if (n == room) status = flush(f, err);
        }
        data += n;
        bytes -= n;
    }
    return status;
}

nib_status nib_outfile_write_at(nib_outfile *f, uint64_t offset, const void *data, size_t bytes,
                                nib_error *err)
{
    uint64_t end;
    nib_status status;

    if (f->failure.status) return failed(f, err);
    if (!nib_add_u64(offset, bytes, &end) || end > INT64_MAX) {
        errno = EFBIG;
        return fail_errno(f, "writing", err);
    }
    if (offset != f->at + f->filled) {
        status = flush(f, err);
        if (status) return status;
        f->at = offset;
    }
    status = append(f, data, bytes, err);
    if (status) return status;
    if (end > f->size) f->size = end;
    return NIB_OK;
}

nib_status nib_outfile_write(nib_outfile *f, const void *data, size_t bytes, nib_error *err)
{
    return nib_outfile_write_at(f, f->size, data, bytes, err);
}

nib_status nib_outfile_printf(nib_outfile *f, nib_error *err, const char *format, ...)
{
    char small[512], *text = small;
    va_list args;
    int length;
    nib_status status;

    if (f->failure.status) return failed(f, err);
    va_start(args, format);
    length = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    if (length < 0) return fail_errno(f, "formatting", err);
    if ((size_t)length >= sizeof small) {
        text = nib_alloc(f->ctx, (size_t)length + 1);
        if (!text) {
            nib_fail(&f->failure, NIB_E_NOMEM, "%s: out of memory", f->path);
            return failed(f, err);
        }
        va_start(args, format);
        vsnprintf(text, (size_t)length + 1, format, args);
        va_end(args);
    }
    status = nib_outfile_write(f, text, (size_t)length, err);
    if (text != small) nib_free(f->ctx, text);
    return status;
}

nib_status nib_outfile_commit(nib_outfile *f, nib_error *err)
{
    nib_status status;
    int closed;

    if (f->failure.status) {
        status = failed(f, err);
        goto done;
    }
    status = flush(f, err);
    if (status) goto done;
    if (fsync(f->fd)) {
        status = fail_errno(f, "syncing", err);
        goto done;
    }
    closed = close(f->fd); /* some file systems report a failed write only here */
    f->fd = -1;
    if (closed) {
        status = fail_errno(f, "closing", err);
        goto done;
    }
    status = check_target(f->path, err);
    if (status) goto done;
    if (rename(f->temp, f->path)) {
        status = fail_errno(f, "renaming into place", err);
        goto done;
    }
    f->made = false;
    status = nib_sync_parent(f->ctx, f->path, err);
done:
    destroy(f);
    return status;
}

void nib_outfile_discard(nib_outfile *f) { destroy(f); }

nib_status nib_outfile_replace(nib_ctx *ctx, const char *path, const void *data, size_t bytes,
                               nib_error *err)
{
    nib_outfile *f;
    nib_status status = nib_outfile_create(ctx, path, &f, err);

    if (status) return status;
    status = nib_outfile_write(f, data, bytes, err);
    if (status) {
        nib_outfile_discard(f);
        return status;
    }
    return nib_outfile_commit(f, err);
}
