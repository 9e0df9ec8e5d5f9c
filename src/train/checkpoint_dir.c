/* checkpoint_dir.c - which checkpoints an output directory holds, and deleting old ones. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/filemap.h"
#include "base/outfile.h"
#include "train/checkpoint.h"

static bool number_of(const char *name, uint64_t *out)
{
    static const char prefix[] = "checkpoint-";
    const char *p = name + sizeof prefix - 1;
    uint64_t n = 0;

    if (strncmp(name, prefix, sizeof prefix - 1) != 0 || !*p || (*p == '0' && p[1])) return false;
    for (; *p; p++)
        if (*p < '0' || *p > '9' || !nib_mul_u64(n, 10, &n) ||
            !nib_add_u64(n, (uint64_t)(*p - '0'), &n))
            return false;
    *out = n;
    return true;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

nib_status nib_checkpoint_list(nib_ctx *ctx, const char *dir, uint64_t **out, size_t *count,
                               nib_error *err)
{
    DIR *d = opendir(dir);
    uint64_t *numbers = NULL, n;
    size_t used = 0, room = 0;
    nib_status status = NIB_OK;

    if (!d) return nib_fail(err, NIB_E_IO, "%s: %s", dir, strerror(errno));
    for (const struct dirent *e; (e = readdir(d));) {
        struct stat info;
        if (!number_of(e->d_name, &n) || fstatat(dirfd(d), e->d_name, &info, AT_SYMLINK_NOFOLLOW) ||
            !S_ISDIR(info.st_mode))
            continue;
        if (!nib_grow(ctx, &numbers, &room, used + 1, sizeof *numbers)) {
            status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
            goto done;
        }
        numbers[used++] = n;
    }
    if (used) qsort(numbers, used, sizeof *numbers, by_number);
    *out = numbers;
    *count = used;
    numbers = NULL; /* handed over */
done:
    nib_free(ctx, numbers);
    closedir(d);
    return status;
}

static nib_status delete_one(nib_ctx *ctx, const char *dir, uint64_t n, nib_error *err)
{
    char *path = nib_sprintf(ctx, "%s/checkpoint-%" PRIu64, dir, n);
    nib_status status = path ? nib_tree_remove(ctx, path, err)
                             : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);

    nib_free(ctx, path);
    return status;
}

static nib_status is_ours(nib_ctx *ctx, const char *dir, uint64_t n, bool *ours, nib_error *err)
{
    char *path = nib_sprintf(ctx, "%s/checkpoint-%" PRIu64 "/nibble_state.json", dir, n);

    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    *ours = nib_file_exists(path);
    nib_free(ctx, path);
    return NIB_OK;
}

nib_status nib_checkpoint_prune(nib_ctx *ctx, const char *dir, int limit, uint64_t newest,
                                uint64_t best, nib_error *err)
{
    uint64_t *numbers = NULL;
    size_t count = 0, kept;
    nib_status status;

    if (limit <= 0) return NIB_OK;
    status = nib_checkpoint_list(ctx, dir, &numbers, &count, err);
    kept = count;
    for (size_t i = 0; i < count && kept > (size_t)limit && !status; i++) {
        bool ours = false;
        if (numbers[i] == newest || numbers[i] == best) continue;
        status = is_ours(ctx, dir, numbers[i], &ours, err);
        if (!status && ours) {
            status = delete_one(ctx, dir, numbers[i], err);
            kept--;
        }
    }
    nib_free(ctx, numbers);
    return status;
}

nib_status nib_checkpoint_delete_all(nib_ctx *ctx, const char *dir, uint64_t most, nib_error *err)
{
    uint64_t *numbers = NULL;
    size_t count = 0, mine = 0;
    nib_status status = nib_checkpoint_list(ctx, dir, &numbers, &count, err);

    for (size_t i = 0; i < count && !status; i++) {
        bool ours = false;
        status = is_ours(ctx, dir, numbers[i], &ours, err);
        if (!status && !ours && numbers[i] <= most)
            status = nib_fail(err, NIB_E_INVALID,
                              "%s/checkpoint-%" PRIu64 ": another program's checkpoint, which "
                              "--overwrite leaves alone: take another output_dir",
                              dir, numbers[i]);
        if (ours) numbers[mine++] = numbers[i];
    }
    for (size_t i = 0; i < mine && !status; i++) status = delete_one(ctx, dir, numbers[i], err);
    nib_free(ctx, numbers);
    return status;
}
