/* filemap.c - mapping files and reading small ones. */
#include "base/filemap.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int64_t mtime_of(const struct stat *s)
{
    return (int64_t)s->st_mtim.tv_sec * 1000000000 + s->st_mtim.tv_nsec;
}

/* Opens a regular file and reads what it is; *fd is the caller's on success. */
static nib_status open_regular(const char *path, int *fd, struct stat *info, nib_error *err)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe is refused, not waited for */
    if (*fd < 0) return nib_fail(err, NIB_E_IO, "%s: %s", path, strerror(errno));
    if (fstat(*fd, info) == 0 && S_ISREG(info->st_mode)) return NIB_OK;
    nib_fail(err, NIB_E_IO, "%s: not a regular file", path);
    close(*fd);
    return NIB_E_IO;
}

nib_status nib_filemap_open(const char *path, nib_filemap *out, nib_error *err)
{
    struct stat info;
    void *base = NULL;
    int fd;
    nib_status status = open_regular(path, &fd, &info, err);

    if (status) return status;
    if (info.st_size > 0) {
        base = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (base == MAP_FAILED) {
            status = nib_fail(err, NIB_E_IO, "%s: cannot be mapped: %s", path, strerror(errno));
            goto done;
        }
    }
    *out = (nib_filemap){ .base = base, .bytes = (size_t)info.st_size, .device = info.st_dev,
                          .inode = info.st_ino, .mtime_ns = mtime_of(&info) };
done:
    close(fd);
    return status;
}

nib_status nib_filemap_memory(size_t bytes, nib_filemap *out, nib_error *err)
{
    /* Shared: of private pages MADV_DONTNEED would throw away the values. */
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return nib_fail(err, NIB_E_NOMEM, "no memory for %zu bytes: %s", bytes, strerror(errno));
    *out = (nib_filemap){ .base = p, .bytes = bytes };
    return NIB_OK;
}

void nib_filemap_close(nib_filemap *map)
{
    if (map->base) munmap((void *)map->base, map->bytes);
    *map = (nib_filemap){ 0 };
}

void nib_filemap_release(const nib_filemap *map, const void *p, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = nib_round_up((uintptr_t)p, page), last = ((uintptr_t)p + bytes) / page * page;

    assert((const uint8_t *)p >= map->base && (const uint8_t *)p + bytes <= map->base + map->bytes);
    if (last > first) madvise((void *)first, last - first, MADV_DONTNEED);
}

void nib_filemap_sparse(const nib_filemap *map, const void *p, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = nib_round_up((uintptr_t)p, page), last = ((uintptr_t)p + bytes) / page * page;

    assert((const uint8_t *)p >= map->base && (const uint8_t *)p + bytes <= map->base + map->bytes);
    if (last <= first) return;
    madvise((void *)first, last - first, MADV_RANDOM); /* wishes, both */
#ifdef MADV_NOHUGEPAGE
    madvise((void *)first, last - first, MADV_NOHUGEPAGE);
#endif
}

nib_status nib_filemap_unchanged(const nib_filemap *map, const char *path, nib_error *err)
{
    struct stat info;

    if (stat(path, &info))
        return nib_fail(err, NIB_E_IO, "%s: was there when it was opened, now: %s", path,
                        strerror(errno));
    if (info.st_dev != map->device || info.st_ino != map->inode ||
        (uint64_t)info.st_size != map->bytes || mtime_of(&info) != map->mtime_ns)
        return nib_fail(err, NIB_E_IO, "%s: changed since it was opened", path);
    return NIB_OK;
}

nib_status nib_file_read(nib_ctx *ctx, const char *path, size_t limit, char **out,
                         size_t *out_bytes, nib_error *err)
{
    struct stat info;
    size_t have = 0, size;
    char *text = NULL;
    int fd;
    nib_status status = open_regular(path, &fd, &info, err);

    if (status) return status;
    size = (size_t)info.st_size;
    if (size > limit) {
        status = nib_fail(err, NIB_E_FORMAT, "%s: %zu bytes, more than the %zu allowed", path, size,
                          limit);
        goto done;
    }
    text = nib_alloc(ctx, size + 1);
    if (!text) {
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
        goto done;
    }
    while (have < size) {
        ssize_t got = read(fd, text + have, size - have);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            status = nib_fail(err, NIB_E_IO, "%s: %s", path,
                              got ? strerror(errno) : "shorter than when it was opened");
            goto done;
        }
        have += (size_t)got;
    }
    text[size] = 0;
    *out = text;
    *out_bytes = size;
    text = NULL; /* handed over */
done:
    nib_free(ctx, text);
    close(fd);
    return status;
}

/* Source: git-lfs, docs/spec.md: the first line of a pointer, at most 1024 bytes long. */
bool nib_file_is_lfs_pointer(const char *path)
{
    static const char first[] = "version https://git-lfs.github.com/spec/";
    char text[sizeof first - 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool is = fd >= 0 && read(fd, text, sizeof text) == (ssize_t)sizeof text &&
              !memcmp(text, first, sizeof text);

    if (fd >= 0) close(fd);
    return is;
}

bool nib_file_exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}
