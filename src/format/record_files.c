/* record_files.c - the files below a folder, then those of the split, then those of one kind. */
#include "format/record_files.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/hub.h"
#include "format/record_configs.h"

enum { MOST_FILES = 65536, MOST_FOLDERS = 4096 };

bool nib_record_kind_of(const char *path, nib_record_kind *out)
{
    static const struct { const char *ending; nib_record_kind kind; } kinds[] = {
        { ".jsonl", NIB_RECORD_LINES },     { ".ndjson", NIB_RECORD_LINES },
        { ".json", NIB_RECORD_JSON },       { ".csv", NIB_RECORD_CSV },
        { ".tsv", NIB_RECORD_TSV },         { ".parquet", NIB_RECORD_PARQUET },
        { ".txt", NIB_RECORD_TEXT },
    };
    size_t length = strlen(path);
    bool packed = length > 3 && !strcasecmp(path + length - 3, ".gz");

    if (packed) length -= 3;
    else if (length > 4 && !strcasecmp(path + length - 4, ".zst")) packed = true, length -= 4;
    for (size_t i = 0; i < NIB_COUNT(kinds); i++) {
        size_t n = strlen(kinds[i].ending);
        if (length >= n && !strncasecmp(path + length - n, kinds[i].ending, n) &&
            !(packed && kinds[i].kind == NIB_RECORD_PARQUET))
            return *out = kinds[i].kind, true;
    }
    return false;
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static nib_status no_memory(const char *path, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
}

/* Takes over `path`, which may be NULL: no memory. */
static nib_status add(nib_ctx *ctx, nib_record_files *files, char *path, size_t most,
                      const char *top, nib_error *err)
{
    nib_status status = NIB_OK;

    if (!path ||
        !nib_grow(ctx, &files->paths, &files->capacity, files->count + 1, sizeof *files->paths))
        status = no_memory(top, err);
    else if (files->count == most)
        status = nib_fail(err, NIB_E_UNSUPPORTED, "%s: more than %zu files or folders", top, most);
    if (status) nib_free(ctx, path);
    else files->paths[files->count++] = path;
    return status;
}

void nib_record_files_free(nib_ctx *ctx, nib_record_files *files)
{
    for (size_t i = 0; i < files->count; i++) nib_free(ctx, files->paths[i]);
    nib_free(ctx, files->paths);
    *files = (nib_record_files){ 0 };
}

/* Keeps the files for which keep() is true, in their order. */
static void filter(nib_ctx *ctx, nib_record_files *files,
                   bool (*keep)(const char *path, const void *what), const void *what)
{
    size_t kept = 0;

    for (size_t i = 0; i < files->count; i++) {
        if (keep(files->paths[i], what)) files->paths[kept++] = files->paths[i];
        else nib_free(ctx, files->paths[i]);
    }
    files->count = kept;
}

/* --- what is there --- */

static bool is_about_the_data(const char *name)
{
    static const char *const names[] = { "README.md",         "config.json",
                                         "dataset_info.json", "dataset_infos.json",
                                         "dummy_data.zip",    "dataset_dict.json",
                                         "state.json" };

    for (size_t i = 0; i < NIB_COUNT(names); i++)
        if (!strcmp(name, names[i])) return true;
    return false;
}

/* One folder: its files to `files`, its folders to `folders`.  Links to files are followed, as in a
 * hub cache; links to folders are not, so that there is no circle. */
static nib_status list_folder(nib_ctx *ctx, const char *top, const char *folder,
                              nib_record_files *files, nib_record_files *folders, nib_error *err)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    nib_status status = NIB_OK;

    if (!dir) return nib_fail(err, NIB_E_IO, "%s: %s", folder, strerror(errno));
    while (!status && (errno = 0, entry = readdir(dir))) {
        const char *name = entry->d_name;
        size_t length = strlen(folder);
        struct stat own, target;
        char *path;

        if (name[0] == '.') continue;
        path = nib_sprintf(ctx, "%s%s%s", folder, length && folder[length - 1] == '/' ? "" : "/",
                           name);
        if (!path) {
            status = no_memory(top, err);
        } else if (lstat(path, &own) == 0 && S_ISDIR(own.st_mode) && strncmp(name, "__", 2) != 0) {
            status = add(ctx, folders, path, MOST_FOLDERS, top, err);
        } else if (stat(path, &target) == 0 && S_ISREG(target.st_mode) &&
                   !is_about_the_data(name)) {
            status = add(ctx, files, path, MOST_FILES, top, err);
        } else {
            nib_free(ctx, path);
        }
    }
    if (!status && errno) status = nib_fail(err, NIB_E_IO, "%s: %s", folder, strerror(errno));
    closedir(dir);
    return status;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static nib_status list_all(nib_ctx *ctx, const char *top, nib_record_files *files, nib_error *err)
{
    nib_record_files folders = { 0 };
    nib_status status = add(ctx, &folders, nib_strdup(ctx, top), MOST_FOLDERS, top, err);

    for (size_t i = 0; i < folders.count && !status; i++)
        status = list_folder(ctx, top, folders.paths[i], files, &folders, err);
    nib_record_files_free(ctx, &folders);
    if (!status && files->count)
        qsort(files->paths, files->count, sizeof *files->paths, compare_paths);
    return status;
}

/* "a.x, b.y, c.z and 4 more", names below the folder. */
static const char *list_text(const nib_record_files *files, size_t top_bytes, char *text,
                             size_t room)
{
    size_t used = 0;

    text[0] = 0;
    for (size_t i = 0; i < files->count; i++) {
        const char *name = files->paths[i] + top_bytes;

        name += strspn(name, "/");
        if (used + strlen(name) + 40 > room) {
            snprintf(text + used, room - used, "%s%zu more", i ? " and " : "", files->count - i);
            break;
        }
        used += (size_t)snprintf(text + used, room - used, "%s%s", i ? ", " : "", name);
    }
    return text;
}

/* --- splits --- */

typedef enum split_place { IN_DATA_SHARDS, IN_FOLDERS, IN_FILES, NOWHERE } split_place;

typedef struct split_query {
    size_t top_bytes;    /* of the folder's path, before the names that are looked at */
    const char *name;    /* of the split; NULL: any that is known */
    split_place place;
} split_query;

static const char *const split_words[][4] = {
    { "train", "training" }, { "validation", "valid", "val", "dev" },
    { "test", "testing", "eval", "evaluation" },
};

static bool is_separator(char c)
{
    return c && strchr("-._ 0123456789", c);
}

/* Whether `word` stands in name [0, bytes), between separators; a file's name ends with one. */
static bool has_word(const char *name, size_t bytes, const char *word, bool is_file)
{
    size_t length = strlen(word);

    for (size_t i = 0; i + length <= bytes; i++) {
        bool begins = i == 0 || is_separator(name[i - 1]);
        bool ends = i + length == bytes ? !is_file : is_separator(name[i + length]);

        if (begins && ends && !memcmp(name + i, word, length)) return true;
    }
    return false;
}

/* `name` as one of the words of the split; NULL: of any split. */
static bool names_split(const char *name, size_t bytes, const char *split, bool is_file)
{
    for (size_t s = 0; s < NIB_COUNT(split_words); s++) {
        bool asked = !split, found = false;

        for (size_t w = 0; w < NIB_COUNT(split_words[s]) && split_words[s][w]; w++) {
            asked = asked || !strcmp(split, split_words[s][w]);
            found = found || has_word(name, bytes, split_words[s][w], is_file);
        }
        if (asked && found) return true;
    }
    return split && has_word(name, bytes, split, is_file);
}

/* The length of SPLIT in "SPLIT-00000-of-00002...", 0 if it is not so. */
static size_t shard_split(const char *name)
{
    const char *dash = strstr(name, "-of-");
    size_t at = dash ? (size_t)(dash - name) : 0;

    if (at < 7 || name[at - 6] != '-' || strspn(name + at - 5, "0123456789") != 5) return 0;
    return strspn(dash + 4, "0123456789") >= 5 && strchr(dash, '.') ? at - 6 : 0;
}

static bool same_split(const char *name, size_t bytes, const char *split)
{
    if (strlen(split) == bytes && !memcmp(name, split, bytes)) return true;
    for (size_t s = 0; s < NIB_COUNT(split_words); s++) {
        bool one = false, other = false;

        for (size_t w = 0; w < NIB_COUNT(split_words[s]) && split_words[s][w]; w++) {
            one = one || !strcmp(split, split_words[s][w]);
            other = other ||
                    (strlen(split_words[s][w]) == bytes && !memcmp(name, split_words[s][w], bytes));
        }
        if (one && other) return true;
    }
    return false;
}

static bool is_of_split(const char *path, const void *what)
{
    const split_query *q = what;
    const char *name = path + q->top_bytes + strspn(path + q->top_bytes, "/"), *slash;
    size_t split_bytes;

    switch (q->place) {
    case IN_DATA_SHARDS:
        if (strncmp(name, "data/", 5) != 0 || strchr(name + 5, '/')) return false;
        split_bytes = shard_split(name + 5);
        return split_bytes && (!q->name || same_split(name + 5, split_bytes, q->name));
    case IN_FOLDERS:
        for (; (slash = strchr(name, '/')) != NULL; name = slash + 1)
            if (names_split(name, (size_t)(slash - name), q->name, false)) return true;
        return false;
    case IN_FILES:
        return names_split(name_of(name), strlen(name_of(name)), q->name, true);
    case NOWHERE: break;
    }
    return true;
}

/* The first place where some file names a split: that asked for, or any. */
static split_place find_place(const nib_record_files *files, size_t top_bytes, const char *split)
{
    split_query q = { top_bytes, split, IN_DATA_SHARDS };

    for (; q.place != NOWHERE; q.place++)
        for (size_t i = 0; i < files->count; i++)
            if (is_of_split(files->paths[i], &q)) return q.place;
    return NOWHERE;
}

static nib_status choose_split(nib_ctx *ctx, const char *top, const char *split,
                               nib_record_files *files, nib_error *err)
{
    split_query q = { strlen(top), split ? split : "train", find_place(files, strlen(top), NULL) };
    bool none = true;
    char found[600];

    /* A split with a name of its own ("random") shows only when it is asked for. */
    if (q.place == NOWHERE && split) q.place = find_place(files, q.top_bytes, split);
    for (size_t i = 0; i < files->count && none; i++) none = !is_of_split(files->paths[i], &q);
    if (none && split && q.place != NOWHERE) {
        q.place = find_place(files, q.top_bytes, split);
        none = q.place == NOWHERE;
    }
    /* all are train */
    if (q.place == NOWHERE && (!split || !strcmp(split, "train"))) return NIB_OK;
    if (none || q.place == NOWHERE)
        return nib_fail(err, NIB_E_INVALID, "%s: no file of the split %s: there are %s", top,
                        q.name, list_text(files, q.top_bytes, found, sizeof found));
    filter(ctx, files, is_of_split, &q);
    return NIB_OK;
}

/* --- kinds --- */

static bool is_record_file(const char *path, const void *what)
{
    nib_record_kind kind;
    return (void)what, nib_record_kind_of(path, &kind);
}

/* .json and .jsonl are read as one kind. */
static nib_record_kind one_kind(nib_record_kind kind)
{
    return kind == NIB_RECORD_JSON ? NIB_RECORD_LINES : kind;
}

static bool is_of_kind(const char *path, const void *what)
{
    const nib_record_kind *wanted = what;
    nib_record_kind kind;

    return nib_record_kind_of(path, &kind) && one_kind(kind) == *wanted;
}

/* The commonest, in a draw the earlier in `order`; text only alone. */
static void choose_kind(nib_ctx *ctx, const char *top, nib_record_files *files)
{
    static const nib_record_kind order[] = { NIB_RECORD_PARQUET, NIB_RECORD_LINES, NIB_RECORD_JSON,
                                             NIB_RECORD_CSV, NIB_RECORD_TSV };
    size_t counts[NIB_RECORD_TEXT + 1] = { 0 }, best = 0, all = files->count;
    nib_record_kind kind = NIB_RECORD_TEXT, chosen = NIB_RECORD_TEXT;
    char names[600];

    for (size_t i = 0; i < files->count; i++)
        if (nib_record_kind_of(files->paths[i], &kind)) counts[kind]++;
    for (size_t i = 0; i < NIB_COUNT(order); i++)
        if (counts[order[i]] > best) best = counts[order[i]], chosen = one_kind(order[i]);
    filter(ctx, files, is_of_kind, &chosen);
    if (files->count < all)
        nib_note(ctx, "%s: files of several kinds; %zu of %zu are used: %s", top, files->count, all,
                 list_text(files, strlen(top), names, sizeof names));
}

static nib_status refuse_unknown(const char *path, const char *found, nib_error *err)
{
    static const char *const packed[] = { ".gz",  ".zst", ".bz2", ".xz",
                                          ".lz4", ".zip", ".tar", ".7z" };
    const char *dot = strrchr(name_of(path), '.');

    for (size_t i = 0; dot && i < NIB_COUNT(packed); i++)
        if (!strcasecmp(dot, packed[i]))
            return nib_fail(err, NIB_E_UNSUPPORTED,
                            "%s: a compressed file or archive: unpack it first", path);
    if (dot && !strcasecmp(dot, ".arrow"))
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: an Arrow file of save_to_disk(): write the data set with "
                        "to_parquet() or to_json()",
                        path);
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "%s: known are .jsonl, .ndjson, .json, .csv, .tsv, .txt (each also as .gz "
                    "and .zst) and .parquet%s%s",
                    path,
                    found ? "; there are " : "", found ? found : "");
}

/* --- a folder that describes itself --- */

/* Puts the files of the config's patterns first, pattern by pattern, and frees the others. */
static void choose_matching(nib_ctx *ctx, const nib_record_config *config, nib_record_files *files)
{
    size_t top_bytes = strlen(config->folder), kept = 0;

    for (size_t p = 0; p < config->count; p++)
        for (size_t i = kept; i < files->count; i++) {
            const char *name = files->paths[i] + top_bytes;
            char *path = files->paths[i];

            if (!nib_path_matches(config->patterns[p], name + strspn(name, "/"))) continue;
            memmove(files->paths + kept + 1, files->paths + kept,
                    (i - kept) * sizeof *files->paths);
            files->paths[kept++] = path;
        }
    for (size_t i = kept; i < files->count; i++) nib_free(ctx, files->paths[i]);
    files->count = kept;
}

static nib_status find_described(nib_ctx *ctx, const nib_record_config *config,
                                 nib_record_files *files, nib_error *err)
{
    char found[600] = "";
    nib_status status = list_all(ctx, config->folder, files, err);
    size_t all = files->count;

    if (status) return status;
    choose_matching(ctx, config, files);
    if (files->count == 0)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: config %s names for split %s '%.200s'%s, which is none of its %zu "
                        "files",
                        config->folder, config->name, config->split, config->patterns[0],
                        config->count > 1 ? " and more" : "", all);
    nib_note(ctx, "%s: config %s, split %s: %zu of %zu files: %s", config->folder, config->name,
             config->split, files->count, all,
             list_text(files, strlen(config->folder), found, sizeof found));
    filter(ctx, files, is_record_file, NULL);
    if (files->count == 0) return refuse_unknown(config->folder, found, err);
    choose_kind(ctx, config->folder, files);
    return NIB_OK;
}

static nib_status find_in_folder(nib_ctx *ctx, const char *top, const char *split,
                                 nib_record_files *files, nib_error *err)
{
    char found[600] = "";
    size_t known = 0;
    nib_record_kind kind;
    nib_status status = list_all(ctx, top, files, err);

    if (status) return status;
    for (size_t i = 0; i < files->count; i++) known += nib_record_kind_of(files->paths[i], &kind);
    if (files->count == 0)
        return nib_fail(err, NIB_E_FORMAT, "%s: a folder without a data file", top);
    if (known == 0 && files->count == 1) return refuse_unknown(files->paths[0], NULL, err);
    if (known == 0)
        return refuse_unknown(top, list_text(files, strlen(top), found, sizeof found), err);
    filter(ctx, files, is_record_file, NULL);
    status = choose_split(ctx, top, split, files, err);
    if (!status) choose_kind(ctx, top, files);
    return status;
}

/* A path that is not there: perhaps a data set that has to be fetched. */
static nib_status fail_missing(const char *path, int why, nib_error *err)
{
    char cache[PATH_MAX];
    nib_hub_parts parts;
    nib_record_kind kind;

    if ((why != ENOENT && why != ENOTDIR) || !strchr(path, '/') || !nib_hub_parse(path, &parts) ||
        *parts.quant || nib_record_kind_of(path, &kind))
        return nib_fail(err, NIB_E_IO, "%s: %s", path, strerror(why));
    if (!nib_hub_cache(cache, sizeof cache)) strcpy(cache, "it has no place: HF_HOME is not set");
    return nib_fail(err, NIB_E_IO, "%s: there is no such file or folder, nor is it a data set in "
                    "the cache of the hub (%s); it is fetched with: nibble pull --dataset %s", path,
                    cache, path);
}

nib_status nib_record_files_find(nib_ctx *ctx, const char *path, const char *config,
                                 const char *split, nib_record_files *files, nib_error *err)
{
    nib_record_config chosen = { 0 };
    nib_record_kind kind;
    struct stat info;
    char snapshot[PATH_MAX];
    nib_status status;

    if (stat(path, &info)) {
        int why = errno;
        if (!nib_hub_find_dataset(path, snapshot, sizeof snapshot) || stat(snapshot, &info))
            return fail_missing(path, why, err);
        nib_note(ctx, "%s: of the hub's cache, %s", path, snapshot);
        path = snapshot;
    }
    if (S_ISDIR(info.st_mode)) {
        status = nib_record_config_choose(ctx, path, config, split, &chosen, err);
        if (!status && chosen.split) status = find_described(ctx, &chosen, files, err);
        else if (!status) status = find_in_folder(ctx, chosen.folder, split, files, err);
        nib_record_config_free(ctx, &chosen);
        return status;
    }
    if (config)
        return nib_fail(err, NIB_E_INVALID, "%s: dataset_config is for folders, this is a file",
                        path);
    if (!nib_record_kind_of(path, &kind)) return refuse_unknown(path, NULL, err);
    return add(ctx, files, nib_strdup(ctx, path), 1, path, err);
}
