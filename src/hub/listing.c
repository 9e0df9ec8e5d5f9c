/* listing.c - see listing.h. */
#include "hub/listing.h"

#include "format/json.h"

enum { MOST_PATH = 1024 };

static bool is_hash(const char *text, size_t characters)
{
    return text && strlen(text) == characters &&
           strspn(text, "0123456789abcdef") == characters;
}

nib_status nib_hub_read_commit(const char *text, size_t bytes, const char *where,
                               char commit[NIB_HUB_COMMIT + 1], nib_error *err)
{
    json_t *root = NULL;
    const char *sha = NULL;
    nib_status status = nib_json_parse(text, bytes, where, NIB_JSON_BIG_NUMBERS | NIB_JSON_DATA,
                                       &root, err);

    if (!status) status = nib_json_get_string(root, where, "sha", &sha, err);
    if (!status && !is_hash(sha, NIB_HUB_COMMIT))
        status = nib_fail(err, NIB_E_FORMAT, "%s: its 'sha' is no commit of %d hexadecimal digits",
                          where, NIB_HUB_COMMIT);
    if (!status) memcpy(commit, sha, NIB_HUB_COMMIT + 1);
    json_decref(root);
    return status;
}

/* A path of parts that stay inside the repository, without control characters. */
static bool is_path(const char *path)
{
    size_t part = 0;

    if (strlen(path) > MOST_PATH) return false;
    for (const char *p = path;; p++) {
        if (*p == '/' || !*p) {
            if (part == 0 || (part == 1 && p[-1] == '.') || (part == 2 && !memcmp(p - 2, "..", 2)))
                return false;
            part = 0;
        } else if ((unsigned char)*p < ' ' || *p == 127) {
            return false;
        } else {
            part++;
        }
        if (!*p) return true;
    }
}

/* The hash that the file's bytes must have, and its size. */
static nib_status read_hash(const json_t *entry, const char *where, nib_hub_file *file,
                            nib_error *err)
{
    const json_t *lfs = json_object_get(entry, "lfs");
    const json_t *of = json_is_object(lfs) ? lfs : entry;
    const char *hash = NULL;
    int64_t size = -1;
    nib_status status = nib_json_get_string(of, where, "oid", &hash, err);

    file->sha256 = of == lfs;
    if (!status) status = nib_json_get_int(of, where, "size", 0, INT64_MAX, &size, err);
    if (status) return status;
    if (size < 0 || !is_hash(hash, file->sha256 ? NIB_HUB_HASH : 40))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s: no 'size', or an 'oid' that is not %d "
                        "hexadecimal digits", where, file->path, file->sha256 ? NIB_HUB_HASH : 40);
    file->size = (uint64_t)size;
    memcpy(file->hash, hash, strlen(hash) + 1);
    return NIB_OK;
}

static nib_status add_file(nib_ctx *ctx, nib_hub_listing *l, const json_t *entry, const char *where,
                           nib_error *err)
{
    const char *type = NULL, *path = NULL;
    nib_hub_file file = { 0 };
    nib_status status = nib_json_get_string(entry, where, "type", &type, err);

    if (!status && type && strcmp(type, "file") != 0) return NIB_OK; /* a directory */
    if (!status) status = nib_json_get_string(entry, where, "path", &path, err);
    if (status) return status;
    if (!type || !path || !is_path(path))
        return nib_fail(err, NIB_E_FORMAT, "%s: entry %zu: '%.200s' is no path of a file in a "
                        "repository", where, l->count + 1, path ? path : "");
    if (!nib_grow(ctx, &l->files, &l->capacity, l->count + 1, sizeof *l->files) ||
        !(file.path = nib_strdup(ctx, path)))
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    status = read_hash(entry, where, &file, err);
    if (status) nib_free(ctx, file.path);
    else l->files[l->count++] = file;
    return status;
}

nib_status nib_hub_listing_add(nib_ctx *ctx, nib_hub_listing *l, const char *text, size_t bytes,
                               const char *where, nib_error *err)
{
    json_t *root = NULL;
    nib_status status = nib_json_parse(text, bytes, where, NIB_JSON_DATA, &root, err);

    if (!status && !json_is_array(root))
        status = nib_fail(err, NIB_E_FORMAT, "%s: no list of files", where);
    for (size_t i = 0; !status && i < json_array_size(root); i++) {
        const json_t *entry = json_array_get(root, i);
        status = json_is_object(entry)
                     ? add_file(ctx, l, entry, where, err)
                     : nib_fail(err, NIB_E_FORMAT, "%s: entry %zu is no object", where, i + 1);
    }
    json_decref(root);
    return status;
}

void nib_hub_listing_free(nib_ctx *ctx, nib_hub_listing *l)
{
    for (size_t i = 0; i < l->count; i++) nib_free(ctx, l->files[i].path);
    nib_free(ctx, l->files);
    *l = (nib_hub_listing){ 0 };
}
