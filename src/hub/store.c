/* store.c - see store.h. */
#include "hub/store.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/outfile.h"
#include "base/outname.h"
#include "hub/checksum.h"

/* --- opening --- */

static nib_status open_cache(nib_hub_store *s, const char *repository, bool dataset, nib_error *err)
{
    char cache[PATH_MAX], path[PATH_MAX];

    if (!nib_hub_cache(cache, sizeof cache) ||
        !nib_hub_repository(repository, dataset, path, sizeof path))
        return nib_fail(err, NIB_E_INVALID, "the cache of the hub has no place: set HF_HOME, or "
                        "download into a directory (--to DIR)");
    s->repository = nib_strdup(s->ctx, path);
    s->locks = nib_sprintf(s->ctx, "%s/.locks/%s", cache, nib_last_part(path));
    s->snapshot = nib_sprintf(s->ctx, "%s/snapshots/%s", path, s->commit);
    return s->repository && s->locks && s->snapshot
               ? NIB_OK
               : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", repository);
}

nib_status nib_hub_store_open(nib_ctx *ctx, const char *repository, bool dataset, const char *to,
                              const char *commit, nib_hub_store *out, nib_error *err)
{
    nib_status status = NIB_OK;

    *out = (nib_hub_store){ .ctx = ctx };
    memcpy(out->commit, commit, sizeof out->commit);
    if (!to) {
        status = open_cache(out, repository, dataset, err);
    } else {
        out->snapshot = nib_beside(ctx, to, "");
        out->locks = nib_beside(ctx, to, "/.cache/huggingface/download");
        if (!out->snapshot || !out->locks)
            status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", to);
    }
    if (status) nib_hub_store_close(out);
    return status;
}

void nib_hub_store_close(nib_hub_store *s)
{
    nib_free(s->ctx, s->repository);
    nib_free(s->ctx, s->locks);
    nib_free(s->ctx, s->snapshot);
    *s = (nib_hub_store){ .ctx = s->ctx };
}

/* --- the places of a file --- */

/* "../../blobs/<hash>" from snapshots/<commit>/<path>. */
static char *link_to_blob(nib_ctx *ctx, const nib_hub_file *file)
{
    size_t up = 2;
    char *text;

    for (const char *p = file->path; *p; p++) up += *p == '/';
    text = nib_alloc(ctx, 3 * up + sizeof "blobs/" + NIB_HUB_HASH);
    if (!text) return NULL;
    for (size_t i = 0; i < up; i++) memcpy(text + 3 * i, "../", 3);
    sprintf(text + 3 * up, "blobs/%s", file->hash);
    return text;
}

/* A short name, for that of the file may have as many characters as a name can. */
static nib_status part_in_directory(const nib_hub_store *s, const nib_hub_file *file, char **out,
                                    nib_error *err)
{
    const char *name = nib_last_part(file->path);
    char *metadata = nib_sprintf(s->ctx, "%s.metadata", name), text[NIB_HUB_SHORT + 1];
    nib_status status = metadata ? nib_checksum_short(metadata, text, err)
                                 : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", file->path);

    if (!status) {
        *out = nib_sprintf(s->ctx, "%s/%.*s%s.%s.incomplete", s->locks, (int)(name - file->path),
                           file->path, text, file->hash);
        if (!*out) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", file->path);
    }
    nib_free(s->ctx, metadata);
    return status;
}

nib_status nib_hub_store_place(const nib_hub_store *s, const nib_hub_file *file,
                               nib_hub_places *out, nib_error *err)
{
    nib_status status = NIB_OK;

    *out = (nib_hub_places){ .part = NULL };
    if (s->repository) {
        out->whole = nib_sprintf(s->ctx, "%s/blobs/%s", s->repository, file->hash);
        out->part = nib_sprintf(s->ctx, "%s/blobs/%s.incomplete", s->repository, file->hash);
        out->lock = nib_sprintf(s->ctx, "%s/%s.lock", s->locks, file->hash);
        out->link = nib_sprintf(s->ctx, "%s/%s", s->snapshot, file->path);
        out->link_text = link_to_blob(s->ctx, file);
    } else {
        out->whole = nib_sprintf(s->ctx, "%s/%s", s->snapshot, file->path);
        status = part_in_directory(s, file, &out->part, err);
        out->lock = nib_sprintf(s->ctx, "%s/%s.lock", s->locks, file->path);
        out->metadata = nib_sprintf(s->ctx, "%s/%s.metadata", s->locks, file->path);
    }
    if (!status && (!out->whole || !out->part || !out->lock ||
        !(s->repository ? out->link && out->link_text : out->metadata != NULL)))
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", file->path);
    if (!status) status = nib_make_parents(out->whole, err);
    if (!status) status = nib_make_parents(out->part, err);
    if (!status) status = nib_make_parents(out->lock, err);
    if (!status && out->link) status = nib_make_parents(out->link, err);
    if (status) nib_hub_places_free(s->ctx, out);
    return status;
}

void nib_hub_places_free(nib_ctx *ctx, nib_hub_places *p)
{
    nib_free(ctx, p->part);
    nib_free(ctx, p->whole);
    nib_free(ctx, p->lock);
    nib_free(ctx, p->link);
    nib_free(ctx, p->link_text);
    nib_free(ctx, p->metadata);
    *p = (nib_hub_places){ .part = NULL };
}

/* --- what is there --- */

/* Does the metadata say that a download put this file there, unchanged since?  hash: of what, ""
 * when it does not. */
static void read_metadata(const char *path, const struct stat *file, char hash[NIB_HUB_HASH + 1])
{
    char text[256], found[NIB_HUB_HASH + 1] = "";
    double time = 0;
    size_t n;
    FILE *f = fopen(path, "rb");

    *hash = 0;
    if (!f) return;
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    if (sscanf(text, "%*64s %64s %lf", found, &time) == 2 &&
        (double)file->st_mtim.tv_sec - 1 <= time)
        memcpy(hash, found, sizeof found);
}

bool nib_hub_store_has(const nib_hub_file *file, const nib_hub_places *p, bool *foreign)
{
    char hash[NIB_HUB_HASH + 1];
    struct stat info;

    *foreign = false;
    if (stat(p->whole, &info)) return false;
    if (!p->metadata) return S_ISREG(info.st_mode) && (uint64_t)info.st_size == file->size;
    read_metadata(p->metadata, &info, hash);
    *foreign = !*hash;
    return strcmp(hash, file->hash) == 0 && (uint64_t)info.st_size == file->size;
}

/* --- putting a file in its place --- */

static nib_status write_metadata(const nib_hub_store *s, const nib_hub_file *file,
                                 const nib_hub_places *p, nib_error *err)
{
    char text[256];
    struct timespec now;
    int n;

    clock_gettime(CLOCK_REALTIME, &now);
    n = snprintf(text, sizeof text, "%s\n%s\n%lld.%06ld\n", s->commit, file->hash,
                 (long long)now.tv_sec, now.tv_nsec / 1000);
    return nib_outfile_replace(s->ctx, p->metadata, text, (size_t)n, err);
}

/* The link takes its name in one step, also where another stood. */
static nib_status put_link(nib_ctx *ctx, const nib_hub_places *p, nib_error *err)
{
    char now[PATH_MAX];
    ssize_t n = readlink(p->link, now, sizeof now - 1);
    nib_status status = NIB_OK;
    char *temporary;

    if (n >= 0) now[n] = 0;
    if (n >= 0 && strcmp(now, p->link_text) == 0) return NIB_OK;
    temporary = nib_temp_beside(ctx, p->link, err);
    if (!temporary) return NIB_E_NOMEM;
    if (symlink(p->link_text, temporary) || rename(temporary, p->link)) {
        status = nib_fail(err, NIB_E_IO, "%s: %s", p->link, strerror(errno));
        unlink(temporary);
    }
    nib_free(ctx, temporary);
    return status;
}

nib_status nib_hub_store_link(const nib_hub_store *s, const nib_hub_file *file,
                              const nib_hub_places *p, nib_error *err)
{
    return p->link ? put_link(s->ctx, p, err) : write_metadata(s, file, p, err);
}

nib_status nib_hub_store_finish(const nib_hub_store *s, const nib_hub_file *file,
                                const nib_hub_places *p, nib_error *err)
{
    if (rename(p->part, p->whole))
        return nib_fail(err, NIB_E_IO, "%s: %s", p->whole, strerror(errno));
    return nib_hub_store_link(s, file, p, err);
}

/* A directory that is under git keeps the metadata out of it. */
static nib_status write_gitignore(const nib_hub_store *s, nib_error *err)
{
    char *path = nib_sprintf(s->ctx, "%s/.cache/huggingface/.gitignore", s->snapshot);
    nib_status status = NIB_OK;

    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", s->snapshot);
    if (access(path, F_OK)) status = nib_outfile_replace(s->ctx, path, "*", 1, err);
    nib_free(s->ctx, path);
    return status;
}

nib_status nib_hub_store_complete(const nib_hub_store *s, const char *revision, nib_error *err)
{
    nib_status status;
    char *path;

    if (!s->repository) return write_gitignore(s, err);
    if (strcmp(revision, s->commit) == 0) return NIB_OK;
    path = nib_sprintf(s->ctx, "%s/refs/%s", s->repository, revision);
    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", revision);
    status = nib_make_parents(path, err);
    if (!status)
        status = nib_outfile_replace(s->ctx, path, s->commit, NIB_HUB_COMMIT, err);
    nib_free(s->ctx, path);
    return status;
}
