/* shim.c - makes the k-th change of a file system fail, or be the last thing a process does.
 *
 * Loaded with LD_PRELOAD.  Counts write, writev, pwrite, ftruncate, fallocate, fsync, fdatasync,
 * rename, link, unlink, rmdir, mkdir, and open with O_CREAT, when the path lies under a prefix.  It
 * is run by its environment:
 *
 *   NIB_SHIM_UNDER=PREFIX   only paths that begin so count (absolute); without it all do
 *   NIB_SHIM_CALL=K         the call that ACTION meets, counted from 1
 *   NIB_SHIM_ACTION=...     kill    the process is killed before the call
 *                           torn    half of a write is done, then it is killed (others: as kill)
 *                           enospc, eio   the call fails, once
 *                           full    this and every later call that takes room fails with ENOSPC
 *                           short   a write does half of its bytes (others: nothing happens)
 *   NIB_SHIM_COUNT=FILE     gets the number of calls at the end of the process
 *   NIB_SHIM_LOG=FILE       gets a line for each call before it is done: number, name, bytes, path,
 * and for two paths a tab and the second; of a swap of two names: "exchange"
 *
 * What stdio writes is not seen: libc calls itself there. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ROOM = 2 * PATH_MAX };

static struct {
    const char *under, *action;
    long call;
    int log;
} set = { .log = -1 };
static long calls;

/* The function of the same name that comes after this library. */
#define NEXT(name) ((__typeof__(&name))(void *)dlsym(RTLD_NEXT, #name))
/* ISO C has no conversion from void * to a function; POSIX asks for it. */

static void put(const char *path, int flags, const char *text, size_t bytes)
{
    int fd = NEXT(open)(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0666);

    if (fd < 0 || NEXT(write)(fd, text, bytes) != (ssize_t)bytes) _exit(125);
    NEXT(close)(fd);
}

__attribute__((constructor)) static void begin(void)
{
    const char *call = getenv("NIB_SHIM_CALL"), *log = getenv("NIB_SHIM_LOG");

    set.under = getenv("NIB_SHIM_UNDER");
    set.action = getenv("NIB_SHIM_ACTION");
    set.call = call && set.action ? atol(call) : 0;
    if (log) set.log = NEXT(open)(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

__attribute__((destructor)) static void end(void)
{
    const char *count = getenv("NIB_SHIM_COUNT");
    char text[32];

    if (count) put(count, O_TRUNC, text, (size_t)snprintf(text, sizeof text, "%ld\n", calls));
}

/* --- what a call is about --- */

static void path_of_fd(int fd, char *path)
{
    char name[64];
    ssize_t n;

    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    n = readlink(name, path, PATH_MAX - 1);
    path[n > 0 ? n : 0] = 0;
}

static void path_at(int dir, const char *name, char *path)
{
    size_t n = 0;

    if (name[0] != '/') {
        if (dir != AT_FDCWD) path_of_fd(dir, path);
        else if (!getcwd(path, PATH_MAX)) path[0] = 0;
        n = strlen(path);
        path[n++] = '/';
    }
    snprintf(path + n, ROOM - n, "%s", name);
}

static bool counts(const char *path)
{
    return path[0] == '/' && (!set.under || strncmp(path, set.under, strlen(set.under)) == 0);
}

typedef enum verdict { GO, FAIL, HALF, HALF_AND_DIE } verdict;

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static verdict judge(long n, bool writes, bool takes_room)
{
    const char *a = set.action;

    if (!set.call || n < set.call) return GO;
    if (strcmp(a, "full") == 0) {
        errno = ENOSPC;
        return takes_room ? FAIL : GO;
    }
    if (n != set.call) return GO;
    if (strcmp(a, "enospc") == 0 || strcmp(a, "eio") == 0) {
        errno = *a == 'e' && a[1] == 'n' ? ENOSPC : EIO;
        return FAIL;
    }
    if (strcmp(a, "short") == 0) return writes ? HALF : GO;
    if (strcmp(a, "torn") == 0 && writes) return HALF_AND_DIE;
    die();
    return GO;
}

/* Counts a call and says what becomes of it.  second: NULL, or the other path. */
static verdict meet(const char *name, const char *path, const char *second, size_t bytes,
                    bool writes, bool takes_room)
{
    char line[2 * ROOM + 128];
    int length;
    long n;

    if (!counts(path) && !(second && counts(second))) return GO;
    n = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    length = snprintf(line, sizeof line, "%ld\t%s\t%zu\t%s%s%s\n", n, name, bytes, path,
                      second ? "\t" : "", second ? second : "");
    if (set.log >= 0 && NEXT(write)(set.log, line, (size_t)length) != length) _exit(125);
    return judge(n, writes, takes_room);
}

static verdict meet_fd(const char *name, int fd, size_t bytes, bool writes, bool takes_room)
{
    char path[ROOM];

    path_of_fd(fd, path);
    return meet(name, path, NULL, bytes, writes, takes_room);
}

static verdict meet_path(const char *name, int dir, const char *at, bool takes_room)
{
    char path[ROOM];

    path_at(dir, at, path);
    return meet(name, path, NULL, 0, false, takes_room);
}

static verdict meet_paths(const char *name, int dir, const char *at, int other_dir,
                          const char *other, bool takes_room)
{
    char path[ROOM], second[ROOM];

    path_at(dir, at, path);
    path_at(other_dir, other, second);
    return meet(name, path, second, 0, false, takes_room);
}

/* --- the calls --- */

static ssize_t write_as(verdict v, int fd, const void *data, size_t bytes)
{
    size_t part = v == GO ? bytes : bytes / 2;
    ssize_t n;

    if (v == FAIL) return -1;
    if (v == HALF && part == 0) part = bytes;
    n = NEXT(write)(fd, data, part);
    if (v == HALF_AND_DIE) die();
    return n;
}

static ssize_t pwrite_as(verdict v, int fd, const void *data, size_t bytes, off_t at)
{
    size_t part = v == GO ? bytes : bytes / 2;
    ssize_t n;

    if (v == FAIL) return -1;
    if (v == HALF && part == 0) part = bytes;
    n = NEXT(pwrite)(fd, data, part, at);
    if (v == HALF_AND_DIE) die();
    return n;
}

ssize_t write(int fd, const void *data, size_t bytes)
{
    return write_as(meet_fd("write", fd, bytes, true, true), fd, data, bytes);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    size_t bytes = 0;
    verdict v;

    for (int i = 0; i < count; i++) bytes += parts[i].iov_len;
    v = meet_fd("write", fd, bytes, true, true);
    if (v == GO || count == 0) return NEXT(writev)(fd, parts, count);
    return write_as(v, fd, parts[0].iov_base, parts[0].iov_len);
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at)
{
    return pwrite_as(meet_fd("pwrite", fd, bytes, true, true), fd, data, bytes, at);
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t at)
{
    return pwrite_as(meet_fd("pwrite", fd, bytes, true, true), fd, data, bytes, at);
}

int ftruncate(int fd, off_t bytes)
{
    return meet_fd("ftruncate", fd, (size_t)bytes, false, true) == FAIL
               ? -1
               : NEXT(ftruncate)(fd, bytes);
}

int ftruncate64(int fd, off64_t bytes)
{
    return meet_fd("ftruncate", fd, (size_t)bytes, false, true) == FAIL
               ? -1
               : NEXT(ftruncate64)(fd, bytes);
}

int fallocate(int fd, int mode, off_t at, off_t bytes)
{
    return meet_fd("fallocate", fd, (size_t)bytes, false, true) == FAIL
               ? -1
               : NEXT(fallocate)(fd, mode, at, bytes);
}

int posix_fallocate(int fd, off_t at, off_t bytes) /* gives the error rather than errno */
{
    return meet_fd("fallocate", fd, (size_t)bytes, false, true) == FAIL
               ? errno
               : NEXT(posix_fallocate)(fd, at, bytes);
}

int fsync(int fd) { return meet_fd("fsync", fd, 0, false, true) == FAIL ? -1 : NEXT(fsync)(fd); }
int fdatasync(int fd)
{
    return meet_fd("fsync", fd, 0, false, true) == FAIL ? -1 : NEXT(fdatasync)(fd);
}

int rename(const char *from, const char *to)
{
    return meet_paths("rename", AT_FDCWD, from, AT_FDCWD, to, false) == FAIL
               ? -1
               : NEXT(rename)(from, to);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return meet_paths("rename", from_dir, from, to_dir, to, false) == FAIL
               ? -1
               : NEXT(renameat)(from_dir, from, to_dir, to);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    const char *name = flags & RENAME_EXCHANGE ? "exchange" : "rename";
    verdict v = meet_paths(name, from_dir, from, to_dir, to, false);
    return v == FAIL ? -1 : NEXT(renameat2)(from_dir, from, to_dir, to, flags);
}

int link(const char *from, const char *to)
{
    return meet_paths("link", AT_FDCWD, from, AT_FDCWD, to, true) == FAIL ? -1
                                                                          : NEXT(link)(from, to);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    verdict v = meet_paths("link", from_dir, from, to_dir, to, true);
    return v == FAIL ? -1 : NEXT(linkat)(from_dir, from, to_dir, to, flags);
}

int unlink(const char *path)
{
    return meet_path("unlink", AT_FDCWD, path, false) == FAIL ? -1 : NEXT(unlink)(path);
}

int unlinkat(int dir, const char *path, int flags)
{
    verdict v = meet_path(flags & AT_REMOVEDIR ? "rmdir" : "unlink", dir, path, false);
    return v == FAIL ? -1 : NEXT(unlinkat)(dir, path, flags);
}

int rmdir(const char *path)
{
    return meet_path("rmdir", AT_FDCWD, path, false) == FAIL ? -1 : NEXT(rmdir)(path);
}

int mkdir(const char *path, mode_t mode)
{
    return meet_path("mkdir", AT_FDCWD, path, true) == FAIL ? -1 : NEXT(mkdir)(path, mode);
}

int mkdirat(int dir, const char *path, mode_t mode)
{
    return meet_path("mkdir", dir, path, true) == FAIL ? -1 : NEXT(mkdirat)(dir, path, mode);
}

/* open and its kin: only what may make or cut a file counts. */
#define OPEN_BODY(next, dir, ...)                                                            \
    mode_t mode = 0;                                                                         \
    if (flags & O_CREAT) {                                                                   \
        va_list args;                                                                        \
        va_start(args, flags);                                                               \
        mode = va_arg(args, mode_t);                                                         \
        va_end(args);                                                                        \
    }                                                                                        \
    if (flags & (O_CREAT | O_TRUNC) && meet_path("create", dir, path, true) == FAIL) return -1; \
    return NEXT(next)(__VA_ARGS__, flags, mode);

int open(const char *path, int flags, ...) { OPEN_BODY(open, AT_FDCWD, path) }
int open64(const char *path, int flags, ...) { OPEN_BODY(open64, AT_FDCWD, path) }
int openat(int dir, const char *path, int flags, ...) { OPEN_BODY(openat, dir, dir, path) }
int openat64(int dir, const char *path, int flags, ...) { OPEN_BODY(openat64, dir, dir, path) }
