/* rundir.c - making, locking and marking an output directory. */
#include "job/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/filemap.h"
#include "base/outfile.h"
#include "base/outname.h"
#include "format/json.h"

static const char lock_name[] = ".nibble-lock", mark_name[] = ".nibble-run.json";

static nib_status no_memory(const nib_rundir *d, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", d->path);
}

/* --- the lock --- */

static nib_status sync_directory(const nib_rundir *d, nib_error *err)
{
    int fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    nib_status status = NIB_OK;

    if (fd < 0 || (fsync(fd) && errno != EINVAL))
        status = nib_fail(err, NIB_E_IO, "%s: syncing failed: %s", d->path, strerror(errno));
    if (fd >= 0) close(fd);
    return status;
}

/* The file that is locked must still be the one with the name: its holder may have removed it. */
static bool is_the_file(int fd, const char *name)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && lstat(name, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

static nib_status take_lock(nib_rundir *d, nib_error *err)
{
    char *name = nib_sprintf(d->ctx, "%s/%s", d->path, lock_name);
    char holder[256] = "", host[128] = "";
    nib_status status = NIB_OK;

    if (!name) return no_memory(d, err);
    for (int tries = 0; tries < 10; tries++) {
        if (d->lock >= 0) close(d->lock);
        d->lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (d->lock < 0) {
            status = nib_fail(err, NIB_E_IO, "%s: %s", name, strerror(errno));
            goto done;
        }
        if (flock(d->lock, LOCK_EX | LOCK_NB)) {
            ssize_t n = pread(d->lock, holder, sizeof holder - 1, 0);
            holder[n > 0 ? n : 0] = 0;
            status = nib_fail(err, NIB_E_IO, "%s: %s is writing there", d->path,
                              *holder ? holder : "another process");
            close(d->lock); /* not ours: the file stays */
            d->lock = -1;
            goto done;
        }
        if (is_the_file(d->lock, name)) break;
    }
    gethostname(host, sizeof host - 1);
    snprintf(holder, sizeof holder, "process %ld on %s", (long)getpid(), host);
    if (ftruncate(d->lock, 0) || pwrite(d->lock, holder, strlen(holder), 0) < 0)
        status = nib_fail(err, NIB_E_IO, "%s: %s", name, strerror(errno));
done:
    nib_free(d->ctx, name);
    return status;
}

/* --- what is there --- */

typedef struct contents {
    /* something that is neither lock, mark nor temporary; "" when there is none */
    char first[NAME_MAX + 1];
    bool mark, checkpoint, adapter;
} contents;

static nib_status look(const nib_rundir *d, contents *c, nib_error *err)
{
    DIR *dir = opendir(d->path);

    *c = (contents){ .mark = false };
    if (!dir) return nib_fail(err, NIB_E_IO, "%s: %s", d->path, strerror(errno));
    for (const struct dirent *e; (e = readdir(dir));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            strcmp(e->d_name, lock_name) == 0 ||
            fnmatch(".nibble-????????????????.tmp", e->d_name, 0) == 0)
            continue;
        if (strcmp(e->d_name, mark_name) == 0) {
            c->mark = true;
        } else if (!*c->first) {
            snprintf(c->first, sizeof c->first, "%s", e->d_name);
        }
        if (strncmp(e->d_name, "checkpoint-", 11) == 0) c->checkpoint = true;
        if (strcmp(e->d_name, "adapter_config.json") == 0) c->adapter = true;
    }
    closedir(dir);
    return NIB_OK;
}

static nib_status read_mark(nib_rundir *d, nib_error *err)
{
    char *name = nib_sprintf(d->ctx, "%s/%s", d->path, mark_name);
    nib_status status = name ? nib_json_read(d->ctx, name, 0, &d->mark, err) : no_memory(d, err);

    if (!status && !json_is_object(json_object_get(d->mark, "identity")))
        status = nib_fail(err, NIB_E_FORMAT, "%s: identity is missing; --overwrite begins anew",
                          name);
    nib_free(d->ctx, name);
    return status;
}

/* What stands there is no unfinished run: what would continue it, where there is something. */
static nib_status fail_contents(const nib_rundir *d, const contents *c, const char *problem,
                                bool resumes, nib_error *err)
{
    char further[700] = "";

    if (c->adapter)
        snprintf(further, sizeof further, "%s--adapter %.500s with another output_dir trains its "
                 "adapter further with a fresh optimizer; ",
                 resumes && c->checkpoint
                     ? "--resume-from-checkpoint last takes it up for more epochs or steps, where "
                       "its schedule allows; " : "", d->path);
    return nib_fail(err, NIB_E_INVALID, "%s: not empty (it holds %.100s) and %s; %s--overwrite "
                    "replaces what nibble writes", d->path, c->first, problem, further);
}

static nib_status meet_contents(nib_rundir *d, nib_rundir_entry how, nib_error *err)
{
    contents c;
    nib_status status = look(d, &c, err);

    if (status) return status;
    if (c.mark && how != NIB_RUNDIR_OVERWRITE) status = read_mark(d, err);
    else if (*c.first && how == NIB_RUNDIR_NEW)
        status = fail_contents(d, &c, "not an unfinished run", true, err);
    else if (*c.first && how == NIB_RUNDIR_RESUME && !c.checkpoint)
        status = fail_contents(d, &c, "without a checkpoint", false, err);
    return status ? status : nib_tree_remove_stale(d->ctx, d->path, err);
}

nib_status nib_rundir_open(nib_ctx *ctx, const char *path, nib_rundir_entry how, nib_rundir *out,
                           nib_error *err)
{
    nib_rundir d = { .ctx = ctx, .lock = -1 };
    struct stat info;
    nib_status status = NIB_OK;

    d.path = nib_strdup(ctx, path);
    if (!d.path) {
        nib_free(ctx, d.path);
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
    }
    for (size_t n = strlen(d.path); n > 1 && d.path[n - 1] == '/'; n--) d.path[n - 1] = 0;
    if (mkdir(d.path, 0777) == 0) {
        d.made = true;
        status = nib_sync_parent(ctx, d.path, err);
    } else if (errno != EEXIST) {
        status = nib_fail(err, NIB_E_IO, "%s: %s", path, strerror(errno));
    } else if (lstat(d.path, &info) == 0 && S_ISLNK(info.st_mode)) {
        status = nib_fail(err, NIB_E_IO,
                          "%s: is a symbolic link, and nothing is written through one", path);
    }
    if (!status) status = take_lock(&d, err);
    if (!status) status = meet_contents(&d, how, err);
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
        if (d->made) rmdir(d->path); /* fails where something lies in it */
        close(d->lock);
    }
    json_decref(d->mark);
    nib_free(d->ctx, d->path);
    *d = (nib_rundir){ .lock = -1 };
}

nib_status nib_rundir_remove(nib_rundir *d, nib_error *err)
{
    nib_status status = nib_tree_remove(d->ctx, d->path, err);

    if (d->lock >= 0) close(d->lock); /* its file is gone; one of that name is another's */
    json_decref(d->mark);
    nib_free(d->ctx, d->path);
    *d = (nib_rundir){ .lock = -1 };
    return status;
}

/* --- the mark --- */

nib_status nib_rundir_look(nib_ctx *ctx, const char *path, nib_rundir_state *out, nib_error *err)
{
    char *lock = nib_sprintf(ctx, "%s/%s", path, lock_name),
         *mark = nib_sprintf(ctx, "%s/%s", path, mark_name);
    nib_status status = NIB_OK;
    int fd = -1;

    if (!lock || !mark) {
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
        goto done;
    }
    *out = nib_file_exists(mark) ? NIB_RUNDIR_UNFINISHED : NIB_RUNDIR_FREE;
    fd = open(lock, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && flock(fd, LOCK_SH | LOCK_NB)) *out = NIB_RUNDIR_HELD;
done:
    if (fd >= 0) close(fd);
    nib_free(ctx, lock);
    nib_free(ctx, mark);
    return status;
}

nib_status nib_rundir_begin(nib_rundir *d, json_t *identity, int64_t started,
                            const char *logging_dir, nib_error *err)
{
    char *name = nib_sprintf(d->ctx, "%s/%s", d->path, mark_name), *text = NULL;
    json_t *mark = json_pack("{s:O, s:I, s:s?}", "identity", identity, "started",
                             (json_int_t)started, "logging_dir", logging_dir);
    nib_status status;

    text = nib_json_dump(d->ctx, mark, JSON_INDENT(2) | JSON_SORT_KEYS);
    status = name && text ? nib_outfile_replace(d->ctx, name, text, strlen(text), err)
                          : no_memory(d, err);
    d->began = !status;
    nib_free(d->ctx, text);
    json_decref(mark);
    nib_free(d->ctx, name);
    return status;
}

nib_status nib_rundir_finish(nib_rundir *d, nib_error *err)
{
    char *name = nib_sprintf(d->ctx, "%s/%s", d->path, mark_name);
    nib_status status = NIB_OK;

    if (!name) return no_memory(d, err);
    if (unlink(name) && errno != ENOENT)
        status = nib_fail(err, NIB_E_IO, "%s: cannot be removed: %s", name, strerror(errno));
    nib_free(d->ctx, name);
    return status ? status : sync_directory(d, err);
}

/* --- the result --- */

/* A directory where one of that name stands: its files go one by one. */
static nib_status move_into(const nib_rundir *d, const char *from, const char *to, nib_error *err)
{
    DIR *dir = opendir(from);
    nib_status status = NIB_OK;

    if (!dir) return nib_fail(err, NIB_E_IO, "%s: %s", from, strerror(errno));
    for (const struct dirent *e; !status && (e = readdir(dir));) {
        char *a, *b;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        a = nib_sprintf(d->ctx, "%s/%s", from, e->d_name);
        b = nib_sprintf(d->ctx, "%s/%s", to, e->d_name);
        if (!a || !b)
            status = no_memory(d, err);
        else if (rename(a, b))
            status = nib_fail(err, NIB_E_IO, "%s: renaming into place failed: %s", b,
                              strerror(errno));
        nib_free(d->ctx, a);
        nib_free(d->ctx, b);
    }
    closedir(dir);
    if (!status && rmdir(from))
        status = nib_fail(err, NIB_E_IO, "%s: cannot be removed: %s", from, strerror(errno));
    return status;
}

static nib_status move_one(const nib_rundir *d, const char *from, const char *name, nib_error *err)
{
    char *a = nib_sprintf(d->ctx, "%s/%s", from, name),
         *b = nib_sprintf(d->ctx, "%s/%s", d->path, name);
    nib_status status = a && b ? NIB_OK : no_memory(d, err);

    if (!status && rename(a, b)) {
        if (errno == ENOTEMPTY || errno == EEXIST)
            status = move_into(d, a, b, err);
        else
            status = nib_fail(err, NIB_E_IO, "%s: renaming into place failed: %s", b,
                              strerror(errno));
    }
    nib_free(d->ctx, a);
    nib_free(d->ctx, b);
    return status;
}

static nib_status move_others(const nib_rundir *d, const char *from, const char *key,
                              nib_error *err)
{
    DIR *dir = opendir(from);
    nib_status status = NIB_OK;

    if (!dir) return nib_fail(err, NIB_E_IO, "%s: %s", from, strerror(errno));
    for (const struct dirent *e; !status && (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
            strcmp(e->d_name, key) != 0)
            status = move_one(d, from, e->d_name, err);
    closedir(dir);
    return status;
}

/* deep: `from` may hold directories of files. */
static nib_status link_all(const nib_rundir *d, const char *from, const char *to, bool deep,
                           nib_error *err)
{
    DIR *dir = opendir(from);
    nib_status status = NIB_OK;

    if (!dir) return nib_fail(err, NIB_E_IO, "%s: %s", from, strerror(errno));
    for (const struct dirent *e; !status && (e = readdir(dir));) {
        struct stat info;
        char *a, *b;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        a = nib_sprintf(d->ctx, "%s/%s", from, e->d_name);
        b = nib_sprintf(d->ctx, "%s/%s", to, e->d_name);
        if (!a || !b) status = no_memory(d, err);
        else if (deep && lstat(a, &info) == 0 && S_ISDIR(info.st_mode)) {
            if (mkdir(b, 0777))
                status = nib_fail(err, NIB_E_IO, "%s: %s", b, strerror(errno));
            else
                status = link_all(d, a, b, false, err);
        } else if (link(a, b))
            status = nib_fail(err,
                              errno == EPERM || errno == EOPNOTSUPP || errno == EMLINK
                                  ? NIB_E_UNSUPPORTED
                                  : NIB_E_IO,
                              "%s: linking failed: %s", b, strerror(errno));
        nib_free(d->ctx, a);
        nib_free(d->ctx, b);
    }
    closedir(dir);
    return status;
}

/* Over an adapter that is there: a directory with the new files and links to all others changes
 * places with this one, so that the old adapter stands there or the new one, and checkpoints are
 * never away. */
static nib_status replace_adapter(nib_rundir *d, const char *from, nib_error *err)
{
    nib_outdir *out = NULL;
    nib_status status = nib_outdir_create(d->ctx, d->path, true, &out, err);

    /* `from` is one */
    if (!status) status = nib_outdir_drop(out, ".nibble-????????????????.tmp", err);
    if (!status) status = nib_outdir_keep_deep(out, "checkpoint-*", err);
    if (!status) status = nib_outdir_keep_deep(out, "runs", err);
    if (!status) status = link_all(d, from, nib_outdir_path(out), true, err);
    if (status) nib_outdir_discard(out);
    else status = nib_outdir_commit(out, err);
    return status;
}

/* The key goes first and comes last: without it nothing takes the files in between for an
 * adapter. */
static nib_status move_in(nib_rundir *d, const char *from, const char *key, const char *config,
                          nib_error *err)
{
    nib_status status = NIB_OK;

    if (unlink(config) == 0) status = sync_directory(d, err);
    else if (errno != ENOENT)
        status = nib_fail(err, NIB_E_IO, "%s: cannot be replaced: %s", config, strerror(errno));
    if (!status) status = move_others(d, from, key, err);
    if (!status) status = sync_directory(d, err);
    if (!status) status = move_one(d, from, key, err);
    if (!status) status = sync_directory(d, err);
    if (!status && rmdir(from))
        status = nib_fail(err, NIB_E_IO, "%s: cannot be removed: %s", from, strerror(errno));
    return status;
}

nib_status nib_rundir_publish(nib_rundir *d, const char *from, const char *key, nib_error *err)
{
    char *config = nib_sprintf(d->ctx, "%s/%s", d->path, key);
    nib_status status = NIB_E_UNSUPPORTED;
    nib_error why;

    if (!config) return no_memory(d, err);
    if (nib_file_exists(config)) {
        status = replace_adapter(d, from, &why);
        if (status == NIB_E_UNSUPPORTED)
            nib_warn(d->ctx, "%s; its files are replaced one after the other", why.message);
        else if (status && err) *err = why;
    }
    if (status == NIB_E_UNSUPPORTED) status = move_in(d, from, key, config, err);
    nib_free(d->ctx, config);
    return status;
}
