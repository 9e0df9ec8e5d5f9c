/* outname.c - temporary names, and making a rename last. */
#include "base/outname.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

char *nib_parent_of(nib_ctx *ctx, const char *path)
{
    const char *slash = strrchr(path, '/');

    if (!slash) return nib_strdup(ctx, ".");
    return nib_strndup(ctx, path, slash == path ? 1 : (size_t)(slash - path));
}

char *nib_beside(nib_ctx *ctx, const char *path, const char *ending)
{
    size_t length = strlen(path);

    while (length > 1 && path[length - 1] == '/') length--;
    return nib_sprintf(ctx, "%.*s%s", (int)length, path, ending);
}

const char *nib_last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash[1] ? slash + 1 : path;
}

nib_status nib_make_folder(const char *path, nib_error *err)
{
    if (!mkdir(path, 0777) || errno == EEXIST) return NIB_OK;
    return nib_fail(err, NIB_E_IO, "%s: %s", path, strerror(errno));
}

nib_status nib_make_parents(char *path, nib_error *err)
{
    nib_status status = NIB_OK;

    for (char *p = path + 1; !status && (p = strchr(p, '/')); p++) {
        *p = 0;
        status = nib_make_folder(path, err);
        *p = '/';
    }
    return status;
}

char *nib_temp_beside(nib_ctx *ctx, const char *path, nib_error *err)
{
    const char *slash = strrchr(path, '/');
    int directory_bytes = slash ? (int)(slash - path) + 1 : 0;
    uint64_t number;
    char *name;

    if (getrandom(&number, sizeof number, GRND_NONBLOCK) != (ssize_t)sizeof number) {
        struct timespec now; /* early boot: any number does, the file is made with O_EXCL */
        clock_gettime(CLOCK_REALTIME, &now);
        number = ((uint64_t)now.tv_nsec << 32) ^ (uint64_t)now.tv_sec ^ (uint64_t)getpid() << 20;
    }
    name = nib_sprintf(ctx, "%.*s.nibble-%016" PRIx64 ".tmp", directory_bytes, path, number);
    if (!name) nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
    return name;
}

nib_status nib_sync_parent(nib_ctx *ctx, const char *path, nib_error *err)
{
    nib_status status = NIB_OK;
    char *parent = nib_parent_of(ctx, path);
    int fd = -1;

    if (!parent) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
    fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* EINVAL: a file system that does not sync directories; it has no more to give. */
    if (fd < 0 || (fsync(fd) && errno != EINVAL))
        status = nib_fail(err, NIB_E_IO,
                          "%s: written, but its directory could not be synced, so a power cut may "
                          "undo it: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    nib_free(ctx, parent);
    return status;
}
