/* outdir.c - directories that are there whole or not at all (contract: outfile.h). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <fts.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/outfile.h"
#include "base/outname.h"

enum { MOST_PATTERNS = 16 };

struct nib_outdir {
    nib_ctx *ctx;
    char *path, *temp;
    bool replace, made; /* made: something of ours stands at temp */
    char *drop[MOST_PATTERNS], *deep[MOST_PATTERNS];
    size_t drop_count, deep_count;
};

static nib_status no_memory(const char *path, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
}

/* Whether an error comes of the place and not of the disk: a mount point, a parent that may not be
 * written to. */
static bool is_of_the_place(int error)
{
    return error == EBUSY || error == EXDEV || error == EACCES || error == EPERM || error == EROFS;
}

static FTS *walk(char *root)
{
    char *roots[] = { root, NULL };
    return fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
}

/* Removes a tree of ours, never through a link.  The first failure is reported. */
static nib_status remove_tree(char *root, nib_error *err)
{
    FTS *tree = walk(root);
    nib_status status = NIB_OK;

    if (!tree) return nib_fail(err, NIB_E_IO, "%s: %s", root, strerror(errno));
    for (FTSENT *e; (e = fts_read(tree));) {
        int gone = 0;
        if (e->fts_info == FTS_D) continue;
        if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR) {
            errno = e->fts_errno;
            gone = -1;
        } else {
            gone = e->fts_info == FTS_DP ? rmdir(e->fts_accpath) : unlink(e->fts_accpath);
        }
        if (gone && !status)
            status = nib_fail(err, NIB_E_IO, "%s: cannot be removed: %s", e->fts_path,
                              strerror(errno));
    }
    fts_close(tree);
    return status;
}

/* Syncs every file (unless names_only) and directory of a tree, files before the directory that
 * names them. */
static nib_status sync_tree(char *root, bool names_only, nib_error *err)
{
    FTS *tree = walk(root);
    nib_status status = NIB_OK;

    if (!tree) return nib_fail(err, NIB_E_IO, "%s: %s", root, strerror(errno));
    for (FTSENT *e; !status && (e = fts_read(tree));) {
        int fd;
        if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR) {
            status = nib_fail(err, NIB_E_IO, "%s: %s", e->fts_path, strerror(e->fts_errno));
            continue;
        }
        if (e->fts_info != FTS_DP && (names_only || e->fts_info != FTS_F)) continue;
        fd = open(e->fts_accpath, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || (fsync(fd) && !(errno == EINVAL && e->fts_info == FTS_DP)))
            status = nib_fail(err, NIB_E_IO, "%s: syncing failed: %s", e->fts_path,
                              strerror(errno));
        if (fd >= 0) close(fd);
    }
    fts_close(tree);
    return status;
}

static void destroy(nib_outdir *d)
{
    nib_ctx *ctx;

    if (!d) return;
    ctx = d->ctx;
    if (d->made) remove_tree(d->temp, NULL);
    for (size_t i = 0; i < d->drop_count; i++) nib_free(ctx, d->drop[i]);
    for (size_t i = 0; i < d->deep_count; i++) nib_free(ctx, d->deep[i]);
    nib_free(ctx, d->temp);
    nib_free(ctx, d->path);
    nib_free(ctx, d);
}

/* *nonempty: a directory with entries stands at `path`.  Other things there are refused. */
static nib_status look_at(const char *path, bool *nonempty, nib_error *err)
{
    struct stat info;
    DIR *dir;

    *nonempty = false;
    if (lstat(path, &info)) {
        if (errno == ENOENT) return NIB_OK;
        return nib_fail(err, NIB_E_IO, "%s: %s", path, strerror(errno));
    }
    if (S_ISLNK(info.st_mode))
        return nib_fail(err, NIB_E_IO, "%s: is a symbolic link, and nothing is written through one",
                        path);
    if (!S_ISDIR(info.st_mode))
        return nib_fail(err, NIB_E_IO, "%s: is there and not a directory", path);
    dir = opendir(path);
    if (!dir) return nib_fail(err, NIB_E_IO, "%s: %s", path, strerror(errno));
    for (const struct dirent *e; (e = readdir(dir));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) *nonempty = true;
    closedir(dir);
    return NIB_OK;
}

static nib_status check_target(const nib_outdir *d, bool *nonempty, nib_error *err)
{
    nib_status status = look_at(d->path, nonempty, err);

    if (!status && *nonempty && !d->replace)
        status = nib_fail(err, NIB_E_IO,
                          "%s: is there and not empty; overwrite replaces what nibble writes, or "
                          "name another directory",
                          d->path);
    return status;
}

nib_status nib_outdir_create(nib_ctx *ctx, const char *path, bool replace, nib_outdir **out,
                             nib_error *err)
{
    nib_outdir *d = nib_new(ctx, sizeof *d);
    size_t length = strlen(path);
    nib_status status;
    bool nonempty;
    int made = -1;

    if (!d) return no_memory(path, err);
    d->ctx = ctx;
    d->replace = replace;
    while (length > 1 && path[length - 1] == '/') length--;
    d->path = nib_strndup(ctx, path, length);
    if (!d->path) {
        status = no_memory(path, err);
        goto done;
    }
    status = check_target(d, &nonempty, err);
    if (status) goto done;
    for (unsigned tries = 0; tries < 100 && made; tries++) {
        nib_free(ctx, d->temp);
        d->temp = nib_temp_beside(ctx, d->path, err);
        if (!d->temp) {
            status = NIB_E_NOMEM;
            goto done;
        }
        made = mkdir(d->temp, 0777);
        if (made && errno != EEXIST) break;
    }
    if (made) {
        status = nib_fail(err, is_of_the_place(errno) ? NIB_E_UNSUPPORTED : NIB_E_IO,
                          "%s: cannot be created: %s", path, strerror(errno));
        goto done;
    }
    d->made = true;
    *out = d;
    d = NULL; /* handed over */
done:
    destroy(d);
    return status;
}

const char *nib_outdir_path(const nib_outdir *d) { return d->temp; }

nib_status nib_outdir_drop(nib_outdir *d, const char *pattern, nib_error *err)
{
    assert(d->drop_count < MOST_PATTERNS);
    d->drop[d->drop_count] = nib_strdup(d->ctx, pattern);
    if (!d->drop[d->drop_count]) return no_memory(d->path, err);
    d->drop_count++;
    return NIB_OK;
}

nib_status nib_outdir_keep_deep(nib_outdir *d, const char *pattern, nib_error *err)
{
    assert(d->deep_count < MOST_PATTERNS);
    d->deep[d->deep_count] = nib_strdup(d->ctx, pattern);
    if (!d->deep[d->deep_count]) return no_memory(d->path, err);
    d->deep_count++;
    return NIB_OK;
}

static bool matches(char *const *patterns, size_t count, const FTSENT *e)
{
    for (size_t i = 0; i < count; i++)
        if (e->fts_level == 1 && fnmatch(patterns[i], e->fts_name, FNM_PERIOD) == 0) return true;
    return false;
}

/* A directory is made again with links to its files, or left to be moved whole after the swap. */
static void link_directory(const nib_outdir *d, FTS *tree, FTSENT *e, const char *target)
{
    bool ours = e->fts_level > 1 || matches(d->deep, d->deep_count, e);

    if (!ours || mkdir(target, 0777)) fts_set(tree, e, FTS_SKIP);
}


/* Brings what only `from` has into `to`.  Before the swap as a second link (files only: the
 * old directory stays whole), after it by renaming what could not be linked. */
static nib_status carry_over(const nib_outdir *d, char *from, const char *to, bool link_only,
                             nib_error *err)
{
    size_t from_bytes = strlen(from);
    FTS *tree = walk(from);
    nib_status status = NIB_OK;

    if (!tree) return nib_fail(err, NIB_E_IO, "%s: %s", from, strerror(errno));
    for (FTSENT *e; !status && (e = fts_read(tree));) {
        char *target;
        struct stat info;

        if (e->fts_info == FTS_DP || e->fts_level == 0) continue;
        if (matches(d->drop, d->drop_count, e)) {
            fts_set(tree, e, FTS_SKIP);
            continue;
        }
        target = nib_sprintf(d->ctx, "%s%s", to, e->fts_path + from_bytes);
        if (!target) {
            status = no_memory(d->path, err);
        } else if (lstat(target, &info) == 0) {
            /* The new directory has its own; two directories are looked into. */
            if (e->fts_info == FTS_D && !S_ISDIR(info.st_mode))
                status = nib_fail(err, NIB_E_IO, "%s: a directory is in the way of a new file",
                                  e->fts_path);
        } else if (link_only) {
            if (e->fts_info == FTS_D) link_directory(d, tree, e, target);
            else if (linkat(AT_FDCWD, e->fts_path, AT_FDCWD, target, 0) && errno != EPERM &&
                     errno != EOPNOTSUPP && errno != EMLINK && errno != EXDEV && errno != EACCES)
                status = nib_fail(err, NIB_E_IO, "%s: cannot be kept: %s", e->fts_path,
                                  strerror(errno));
        } else {
            if (rename(e->fts_path, target))
                status = nib_fail(err, NIB_E_IO,
                                  "%s: is in place, but %s could not be moved to it: %s", d->path,
                                  e->fts_path, strerror(errno));
            else if (e->fts_info == FTS_D) fts_set(tree, e, FTS_SKIP);
        }
        nib_free(d->ctx, target);
    }
    fts_close(tree);
    return status;
}

/* Puts the new directory at path and the old one at temp. */
static nib_status swap(nib_outdir *d, nib_error *err)
{
    nib_status status = NIB_OK;
    char *aside;

    if (renameat2(AT_FDCWD, d->temp, AT_FDCWD, d->path, RENAME_EXCHANGE) == 0) return NIB_OK;
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
        return nib_fail(err, is_of_the_place(errno) ? NIB_E_UNSUPPORTED : NIB_E_IO,
                        "%s: renaming into place failed: %s", d->path, strerror(errno));
    aside = nib_temp_beside(d->ctx, d->path, err);
    if (!aside) return NIB_E_NOMEM;
    if (rename(d->path, aside)) {
        status = nib_fail(err, is_of_the_place(errno) ? NIB_E_UNSUPPORTED : NIB_E_IO,
                          "%s: renaming aside failed: %s", d->path, strerror(errno));
    } else if (rename(d->temp, d->path)) {
        status = nib_fail(err, NIB_E_IO, "%s: renaming into place failed: %s", d->path,
                          strerror(errno));
        if (rename(aside, d->path))
            status = nib_fail_in(err, status, "%s: the old directory now lies at %s", d->path,
                                 aside);
    } else {
        nib_free(d->ctx, d->temp);
        d->temp = aside;
        aside = NULL;
    }
    nib_free(d->ctx, aside);
    return status;
}

static nib_status replace_old(nib_outdir *d, nib_error *err)
{
    nib_status status = carry_over(d, d->path, d->temp, true, err);

    /* A name that is not on the disk yet must not be the only one left of an old file. */
    if (!status) status = sync_tree(d->temp, true, err);
    if (!status) status = swap(d, err);
    if (status) return status;
    d->made = false; /* from here on temp holds the old directory: kept on failure */
    status = carry_over(d, d->temp, d->path, false, err);
    if (!status) status = sync_tree(d->path, true, err);
    if (!status) status = nib_sync_parent(d->ctx, d->path, err);
    if (status) return status;
    return remove_tree(d->temp, err);
}

nib_status nib_outdir_commit(nib_outdir *d, nib_error *err)
{
    bool nonempty;
    nib_status status = check_target(d, &nonempty, err);

    if (status) goto done;
    status = sync_tree(d->temp, false, err);
    if (status) goto done;
    if (nonempty) {
        status = replace_old(d, err);
        goto done;
    }
    if (rename(d->temp, d->path)) { /* over nothing, or over an empty directory */
        status = nib_fail(err, NIB_E_IO, "%s: renaming into place failed: %s", d->path,
                          strerror(errno));
        goto done;
    }
    d->made = false;
    status = nib_sync_parent(d->ctx, d->path, err);
done:
    destroy(d);
    return status;
}

void nib_outdir_discard(nib_outdir *d) { destroy(d); }

nib_status nib_tree_remove(nib_ctx *ctx, const char *path, nib_error *err)
{
    char *aside = nib_temp_beside(ctx, path, err);
    nib_status status = NIB_E_NOMEM;

    if (!aside) return status;
    if (rename(path, aside))
        status = nib_fail(err, NIB_E_IO, "%s: cannot be removed: %s", path, strerror(errno));
    else status = remove_tree(aside, err);
    nib_free(ctx, aside);
    return status;
}

nib_status nib_tree_remove_stale(nib_ctx *ctx, const char *dir, nib_error *err)
{
    DIR *d = opendir(dir);
    nib_status status = NIB_OK;

    if (!d) return nib_fail(err, NIB_E_IO, "%s: %s", dir, strerror(errno));
    for (const struct dirent *e; !status && (e = readdir(d));) {
        char *path;
        if (fnmatch(".nibble-????????????????.tmp", e->d_name, 0) != 0) continue;
        path = nib_sprintf(ctx, "%s/%s", dir, e->d_name);
        status = path ? remove_tree(path, err) : no_memory(dir, err);
        nib_free(ctx, path);
    }
    closedir(d);
    return status;
}
