/* test_outfile.c - files and directories that appear whole or not at all.
 *
 * The system calls that write, sync and rename are defined here and take precedence over
 * the C library's, so that the k-th of them can be made to fail. */
#pragma GCC diagnostic ignored "-Wformat-zero-length" /* CHECK without a message */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/filemap.h"
#include "base/outfile.h"
#include "test.h"

static int calls, fail_at; /* fail_at 0: never */
static bool no_exchange;   /* a file system without RENAME_EXCHANGE */
static bool whole;         /* no short writes */
static int between;        /* writes that begin between multiples of a huge page */

enum { PIECE = 2 << 20 };

static bool fails(int number)
{
    if (++calls != fail_at) return false;
    errno = number;
    return true;
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    if (fails(ENOSPC)) return -1;
    if (whole) between += offset % PIECE != 0;
    else if (bytes > 3) bytes /= 2; /* short writes too */
    return syscall(SYS_pwrite64, fd, data, bytes, offset);
}

int fsync(int fd) { return fails(EIO) ? -1 : (int)syscall(SYS_fsync, fd); }

int rename(const char *from, const char *to)
{
    return fails(EACCES) ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    if (no_exchange) {
        errno = EINVAL;
        return -1;
    }
    return fails(EACCES) ? -1 : (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

static void reset(int at) { calls = 0; fail_at = at; }

static const char *in(const char *dir, const char *name)
{
    static char path[8][600];
    static unsigned next;
    char *p = path[next++ % 8];
    if (snprintf(p, sizeof path[0], "%s/%s", dir, name) >= (int)sizeof path[0]) abort();
    return p;
}

static bool holds(const char *path, const char *want)
{
    char got[64] = { 0 };
    FILE *f = fopen(path, "r");
    bool same = f && fread(got, 1, sizeof got - 1, f) == strlen(want) && strcmp(got, want) == 0;
    if (f) fclose(f);
    return same;
}

static int entries(const char *path)
{
    DIR *dir = opendir(path);
    int count = 0;
    while (dir && readdir(dir)) count++;
    if (dir) closedir(dir);
    return count - 2;
}

static void test_file(void)
{
    nib_ctx *ctx = test_ctx();
    const char *path = in(test_tmpdir(), "file");
    nib_outfile *f;
    nib_error err;

    reset(0);
    REQUIRE_OK(nib_outfile_create(ctx, path, &f, &err), err);
    REQUIRE_OK(nib_outfile_write(f, "0000", 4, &err), err);
    REQUIRE_OK(nib_outfile_printf(f, &err, "-%d-", 42), err);
    REQUIRE_OK(nib_outfile_write_at(f, 1, "ab", 2, &err), err);
    REQUIRE_OK(nib_outfile_write_at(f, 10, "z", 1, &err), err);
    REQUIRE_OK(nib_outfile_write(f, "!", 1, &err), err);
    CHECK(!nib_file_exists(path), "there before the commit");
    REQUIRE_OK(nib_outfile_commit(f, &err), err);
    {
        char got[16] = { 0 };
        FILE *in_file = fopen(path, "r");
        REQUIRE(in_file);
        CHECK(fread(got, 1, 16, in_file) == 12 && memcmp(got, "0ab0-42-\0\0z!", 12) == 0);
        fclose(in_file);
    }
    REQUIRE_OK(nib_outfile_create(ctx, path, &f, &err), err);
    nib_outfile_discard(f);
    CHECK(entries(test_tmpdir()) == 1, "a discarded file left something");
}

/* Pieces of any size arrive in order, in writes that begin at multiples of a huge page. */
static void test_pieces(void)
{
    static const size_t sizes[] = { 5, PIECE - 5, 1, PIECE - 2, 3 * PIECE + 7, 300000, PIECE, 9 };
    enum { ALL = 8 * PIECE };
    nib_ctx *ctx = test_ctx();
    const char *path = in(test_tmpdir(), "pieces");
    uint8_t *bytes = test_guarded(ALL);
    nib_filemap map;
    nib_outfile *f;
    nib_error err;
    size_t at = 0;

    for (size_t i = 0; i < ALL; i++) bytes[i] = (uint8_t)test_rand();
    for (int shortened = 0; shortened < 2; shortened++, at = 0) {
        reset(0);
        whole = !shortened;
        between = 0;
        REQUIRE_OK(nib_outfile_create(ctx, path, &f, &err), err);
        for (size_t i = 0; i < NIB_COUNT(sizes); at += sizes[i++])
            REQUIRE_OK(nib_outfile_write(f, bytes + at, sizes[i], &err), err);
        REQUIRE_OK(nib_outfile_commit(f, &err), err);
        whole = false;
        REQUIRE_OK(nib_filemap_open(path, &map, &err), err);
        CHECK(map.bytes == at && memcmp(map.base, bytes, at) == 0, "other bytes");
        CHECK(between == 0, "%d writes begin between pieces", between);
        nib_filemap_close(&map);
    }
}

/* Whatever step fails, the old file is there unless the new one is, and nothing else. */
static void test_every_failure_keeps_the_old_file(void)
{
    nib_ctx *ctx = test_ctx();
    const char *path = in(test_tmpdir(), "file");
    nib_error err;

    for (int k = 1; k < 50; k++) {
        nib_status status;
        reset(0);
        REQUIRE_OK(nib_outfile_replace(ctx, path, "old", 3, &err), err);
        reset(k);
        status = nib_outfile_replace(ctx, path, "newer", 5, &err);
        if (calls < k) {
            CHECK(k > 4, "only %d steps", k);
            CHECK(status == NIB_OK && holds(path, "newer"));
            return;
        }
        CHECK(status == NIB_E_IO && strstr(err.message, path), "step %d: %s", k, err.message);
        CHECK(strstr(err.message, strerror(ENOSPC)) || strstr(err.message, strerror(EIO)) ||
              strstr(err.message, strerror(EACCES)), "step %d: %s", k, err.message);
        CHECK(holds(path, "old") || (strstr(err.message, "power cut") && holds(path, "newer")),
              "step %d", k);
        CHECK(entries(test_tmpdir()) == 1, "step %d: %d entries", k, entries(test_tmpdir()));
    }
}

static void test_refuses_links(void)
{
    nib_ctx *ctx = test_ctx();
    const char *target = in(test_tmpdir(), "target"), *link_path = in(test_tmpdir(), "link");
    nib_error err;
    nib_outdir *d;

    reset(0);
    REQUIRE_OK(nib_outfile_replace(ctx, target, "old", 3, &err), err);
    REQUIRE(symlink(target, link_path) == 0);
    CHECK(nib_outfile_replace(ctx, link_path, "new", 3, &err) == NIB_E_IO &&
          strstr(err.message, "symbolic link"));
    CHECK(nib_outdir_create(ctx, link_path, true, &d, &err) == NIB_E_IO);
    CHECK(nib_outdir_create(ctx, target, true, &d, &err) == NIB_E_IO, "a file is no directory");
    CHECK(nib_outfile_replace(ctx, test_tmpdir(), "new", 3, &err) == NIB_E_IO,
          "a directory is no file");
    CHECK(nib_outfile_replace(ctx, in(test_tmpdir(), "no/file"), "new", 3, &err) == NIB_E_IO);
    CHECK(holds(target, "old") && entries(test_tmpdir()) == 2);
}

/* Builds a directory at path with config "new" and weights "new". */
static nib_status build(nib_ctx *ctx, const char *path, bool replace, nib_error *err)
{
    nib_outdir *d;
    nib_status status = nib_outdir_create(ctx, path, replace, &d, err);

    if (status) return status;
    status = nib_outfile_replace(ctx, in(nib_outdir_path(d), "config"), "new", 3, err);
    if (!status)
        status = nib_outfile_replace(ctx, in(nib_outdir_path(d), "weights"), "new", 3, err);
    if (!status) status = nib_outdir_drop(d, "weights-*", err);
    if (!status) return nib_outdir_commit(d, err);
    nib_outdir_discard(d);
    return status;
}

static void lay_old(nib_ctx *ctx, const char *path)
{
    static const char *const names[] = { "config", "weights", "weights-1", "notes", "sub/deep" };
    nib_error err = { 0 };

    mkdir(path, 0777);
    mkdir(in(path, "sub"), 0777);
    for (size_t i = 0; i < NIB_COUNT(names); i++)
        CHECK(nib_outfile_replace(ctx, in(path, names[i]), "old", 3, &err) == NIB_OK, "%s",
              err.message);
}

static bool is_new(const char *path)
{
    return holds(in(path, "config"), "new") && holds(in(path, "weights"), "new");
}
static bool is_old(const char *path)
{
    return holds(in(path, "config"), "old") && holds(in(path, "weights"), "old");
}

static void directory_case(bool without_exchange)
{
    nib_ctx *ctx = test_ctx();
    const char *path = in(test_tmpdir(), "out");
    char keep[600], command[700];
    nib_error err;
    bool done = false;

    strcpy(keep, path);
    reset(0);
    no_exchange = without_exchange;
    REQUIRE_OK(build(ctx, keep, false, &err), err);
    CHECK(is_new(keep) && entries(keep) == 2 && entries(test_tmpdir()) == 1);
    CHECK(build(ctx, keep, false, &err) == NIB_E_IO && strstr(err.message, "not empty"), "%s",
          err.message);
    for (int k = 1; k < 100 && !done; k++) {
        nib_status status;
        snprintf(command, sizeof command, "rm -rf '%s'/* '%s'/.nibble*", test_tmpdir(),
                 test_tmpdir());
        REQUIRE(system(command) == 0);
        reset(0);
        lay_old(ctx, keep);
        reset(k);
        status = build(ctx, keep, true, &err);
        done = calls < k;
        CHECK((status == NIB_OK) == done, "step %d: status %d", k, status);
        CHECK(is_new(keep) || is_old(keep), "step %d: neither old nor new stands there", k);
        CHECK(holds(in(keep, "notes"), "old"), "step %d: a file of another was lost", k);
        if (done) {
            CHECK(is_new(keep) && holds(in(keep, "sub/deep"), "old"));
            CHECK(!nib_file_exists(in(keep, "weights-1")), "dropped, and still there");
            CHECK(entries(test_tmpdir()) == 1, "%d entries", entries(test_tmpdir()));
        } else if (is_old(keep)) {
            CHECK(holds(in(keep, "sub/deep"), "old"), "step %d", k);
            CHECK(entries(test_tmpdir()) == 1, "step %d: %d entries", k, entries(test_tmpdir()));
        }
    }
    CHECK(done, "more steps than this test knows");
    no_exchange = false;
}

static void test_directory(void) { directory_case(false); }
static void test_directory_without_exchange(void) { directory_case(true); }

int main(void)
{
    static const test_case cases[] = {
        { "file", test_file },
        { "pieces", test_pieces },
        { "every_failure_keeps_the_old_file", test_every_failure_keeps_the_old_file },
        { "refuses_links", test_refuses_links },
        { "directory", test_directory },
        { "directory_without_exchange", test_directory_without_exchange },
    };
    return test_main("outfile", cases, NIB_COUNT(cases));
}
