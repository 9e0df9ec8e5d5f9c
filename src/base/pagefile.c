/* pagefile.c - a file that is made, filled, unlinked and mapped. */
#include "base/pagefile.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/outname.h"

nib_status nib_pagefile_check(const char *dir, nib_error *err)
{
    struct statfs info;
    bool tmpfs;

    if (statfs(dir, &info)) return nib_fail(err, NIB_E_IO, "%s: %s", dir, strerror(errno));
    tmpfs = (uint32_t)info.f_type == TMPFS_MAGIC;
    if (!tmpfs && (uint32_t)info.f_type != RAMFS_MAGIC) return NIB_OK;
    return nib_fail(
        err, NIB_E_INVALID,
        "%s: lies on %s, which is memory: nothing can be paged out to it, a directory on a "
        "disk is needed",
        dir, tmpfs ? "tmpfs" : "ramfs");
}

/* A new file in `dir` that has no name any more. */
static nib_status open_nameless(nib_ctx *ctx, const char *dir, int *fd, nib_error *err)
{
    char *beside = nib_sprintf(ctx, "%s/x", dir), *path = NULL;
    nib_status status = beside ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);

    *fd = -1;
    while (!status && *fd < 0) {
        nib_free(ctx, path);
        path = nib_temp_beside(ctx, beside, err);
        if (!path) {
            status = NIB_E_NOMEM;
            break;
        }
        *fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (*fd < 0 && errno != EEXIST)
            status = nib_fail(err, NIB_E_IO, "%s: %s", path, strerror(errno));
    }
    if (*fd >= 0 && unlink(path)) {
        status = nib_fail(err, NIB_E_IO, "%s: cannot be unlinked: %s", path, strerror(errno));
        close(*fd);
    }
    nib_free(ctx, path);
    nib_free(ctx, beside);
    return status;
}

nib_status nib_pagefile_create(nib_ctx *ctx, const char *dir, size_t bytes, nib_pagefile *out,
                               nib_error *err)
{
    void *base = MAP_FAILED;
    int fd, failed;
    nib_status status = nib_pagefile_check(dir, err);

    assert(bytes > 0);
    if (!status) status = open_nameless(ctx, dir, &fd, err);
    if (status) return status;
    do failed = posix_fallocate(fd, 0, (off_t)bytes);
    while (failed == EINTR);
    if (!failed) base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (!failed && base == MAP_FAILED) failed = errno;
    close(fd);
    if (failed)
        return nib_fail(err, NIB_E_IO, "%s: no file of %zu MiB for memory that is paged out: %s",
                        dir, (bytes >> 20) + 1, strerror(failed));
    *out = (nib_pagefile){ base, bytes };
    return NIB_OK;
}

void nib_pagefile_close(nib_pagefile *f)
{
    if (f->base) munmap(f->base, f->bytes);
    *f = (nib_pagefile){ 0 };
}
