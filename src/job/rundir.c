/* rundir.c - making and locking an output directory. */
#include "job/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char lock_name[] = ".nibble-lock";

static nib_status refuse_contents(const char *path, nib_error *err)
{
    DIR *d = opendir(path);
    struct dirent *e;
    nib_status status = NIB_OK;

    if (!d) return nib_fail(err, NIB_E_IO, "%s: %s", path, strerror(errno));
    while (!status && (e = readdir(d)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && strcmp(e->d_name, lock_name) != 0)
            status = nib_fail(err, NIB_E_INVALID, "%s: not empty (it holds %s); --overwrite replaces what "
                              "nibble writes", path, e->d_name);
    closedir(d);
    return status;
}

static nib_status take_lock(nib_rundir *d, nib_error *err)
{
    char *name = nib_sprintf(d->ctx, "%s/%s", d->path, lock_name);
    char holder[256] = "", host[128] = "";
    nib_status status = NIB_OK;

    if (!name) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", d->path);
    d->lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (d->lock < 0) {
        status = nib_fail(err, NIB_E_IO, "%s: %s", name, strerror(errno));
        goto done;
    }
    if (flock(d->lock, LOCK_EX | LOCK_NB)) {
        ssize_t n = pread(d->lock, holder, sizeof holder - 1, 0);
        holder[n > 0 ? n : 0] = 0;
        status = nib_fail(err, NIB_E_IO, "%s: %s is writing there", d->path, *holder ? holder : "another process");
        goto done;
    }
    gethostname(host, sizeof host - 1);
    snprintf(holder, sizeof holder, "process %ld on %s", (long)getpid(), host);
    if (ftruncate(d->lock, 0) || pwrite(d->lock, holder, strlen(holder), 0) < 0)
        status = nib_fail(err, NIB_E_IO, "%s: %s", name, strerror(errno));
done:
    nib_free(d->ctx, name);
    return status;
}

nib_status nib_rundir_open(nib_ctx *ctx, const char *path, bool overwrite, nib_rundir *out, nib_error *err)
{
    nib_rundir d = { .ctx = ctx, .lock = -1 };
    nib_status status;

    d.path = nib_strdup(ctx, path);
    if (!d.path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
    if (mkdir(path, 0777) && errno != EEXIST) {
        status = nib_fail(err, NIB_E_IO, "%s: %s", path, strerror(errno));
        goto done;
    }
    status = overwrite ? NIB_OK : refuse_contents(path, err);
    if (!status) status = take_lock(&d, err);
    if (status) goto done;
    *out = d;
    d = (nib_rundir){ .lock = -1 }; /* handed over */
done:
    nib_rundir_close(&d);
    return status;
}

void nib_rundir_close(nib_rundir *d)
{
    if (!d->ctx) return;
    if (d->lock >= 0) {
        char *name = nib_sprintf(d->ctx, "%s/%s", d->path, lock_name);
        if (name) unlink(name); /* while it is held, so that nobody else's is removed */
        nib_free(d->ctx, name);
        close(d->lock);
    }
    nib_free(d->ctx, d->path);
    *d = (nib_rundir){ .lock = -1 };
}
