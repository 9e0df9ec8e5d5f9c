/* hub.c - see hub.h and nibble/hub.h. */
#include "base/hub.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/base.h"

enum {
    MOST_PART = 96,    /* characters of an organisation or a name */
    MOST_FOLDERS = 512 /* of one another: what fits into a path of a repository, 1024 characters */
};

/* --- names --- */

/* The characters of a part of a name that `p` begins with; 0: it begins with none. */
static size_t part_length(const char *p)
{
    size_t n = 0;

    if (!isalnum((unsigned char)*p) && *p != '_') return 0;
    while (isalnum((unsigned char)p[n]) || (p[n] && strchr("-_.", p[n]))) n++;
    return n <= MOST_PART && p[n - 1] != '.' ? n : 0;
}

/* The characters of "org/name" or "name". */
static size_t repository_length(const char *name)
{
    size_t n = part_length(name), more;

    if (!n || name[n] != '/') return n;
    more = part_length(name + n + 1);
    return more ? n + 1 + more : 0;
}

static bool take(char *to, size_t room, const char *from, size_t bytes)
{
    if (bytes >= room) return false;
    memcpy(to, from, bytes);
    to[bytes] = 0;
    return true;
}

/* A branch, a tag or a commit: no control character, and nothing that leads out of refs/. */
static bool is_revision(const char *text)
{
    if (!*text || *text == '/' || strstr(text, "..")) return false;
    for (; *text; text++)
        if ((unsigned char)*text <= ' ' || *text == 127 || *text == '\\') return false;
    return true;
}

bool nib_hub_parse(const char *name, nib_hub_parts *parts)
{
    nib_hub_parts p = { .revision = "main" };
    size_t bytes = repository_length(name);
    const char *rest = name + bytes, *colon = strchr(rest, ':');

    if (!bytes || !take(p.repository, sizeof p.repository, name, bytes)) return false;
    if (colon && (!part_length(colon + 1) || colon[1 + part_length(colon + 1)] ||
                  !take(p.quant, sizeof p.quant, colon + 1, strlen(colon + 1))))
        return false;
    if (*rest == '@') {
        size_t length = colon ? (size_t)(colon - rest) - 1 : strlen(rest) - 1;
        if (!take(p.revision, sizeof p.revision, rest + 1, length) || !is_revision(p.revision))
            return false;
    } else if (*rest && rest != colon) {
        return false;
    }
    if (parts) *parts = p;
    return true;
}

bool nib_hub_is_name(const char *name) { return nib_hub_parse(name, NULL); }

static bool is_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

bool nib_hub_ends_with(const char *path, const char *ending)
{
    size_t n = strlen(path), e = strlen(ending);

    return n >= e && strcasecmp(path + n - e, ending) == 0;
}

bool nib_hub_is_quant(const char *path, const char *quant)
{
    size_t n = strlen(quant);

    if (!nib_hub_ends_with(path, ".gguf") || strcasestr(path, "mmproj")) return false;
    for (const char *p = path; n && (p = strcasestr(p, quant)); p++)
        if ((p == path || !is_word(p[-1])) && !is_word(p[n])) return true;
    return !n;
}

unsigned nib_hub_shard(const char *path)
{
    const char *of = NULL;
    unsigned number, count;

    for (const char *p = path; (p = strstr(p, "-of-")); p++) of = p;
    if (!of || of - path < 6 || sscanf(of - 6, "-%5u-of-%5u.", &number, &count) != 2) return 0;
    return number <= count ? number : 0;
}

/* --- places --- */

static bool exists(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0;
}

const char *nib_hub_variable(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

bool nib_hub_home(const char *below, char *path, size_t room)
{
    static const struct { const char *variable, *folder; } homes[] = {
        { "HF_HOME", "" }, { "XDG_CACHE_HOME", "/huggingface" }, { "HOME", "/.cache/huggingface" },
    };
    const char *at = NULL;
    size_t i = 0;

    while (i < NIB_COUNT(homes) && !(at = nib_hub_variable(homes[i].variable))) i++;
    return at && (size_t)snprintf(path, room, "%s%s%s", at, homes[i].folder, below) < room;
}

bool nib_hub_cache(char *path, size_t room)
{
    const char *cache = nib_hub_variable("HF_HUB_CACHE");

    if (!cache) cache = nib_hub_variable("HUGGINGFACE_HUB_CACHE");
    return cache ? take(path, room, cache, strlen(cache)) : nib_hub_home("/hub", path, room);
}

/* The commit that a branch or a tag stands at; false: there is no such file, or something else in
 * it. */
static bool read_ref(const char *repository, const char *revision, char commit[NIB_HUB_COMMIT + 1])
{
    char path[PATH_MAX];
    FILE *f;
    size_t n;

    if (snprintf(path, sizeof path, "%s/refs/%s", repository, revision) >= (int)sizeof path)
        return false;
    f = fopen(path, "rb");
    if (!f) return false;
    n = fread(commit, 1, NIB_HUB_COMMIT, f);
    fclose(f);
    commit[n] = 0;
    return n == NIB_HUB_COMMIT && strspn(commit, "0123456789abcdef") == NIB_HUB_COMMIT;
}

bool nib_hub_repository(const char *repository, bool dataset, char *path, size_t room)
{
    size_t used;

    if (!nib_hub_cache(path, room)) return false;
    used = strlen(path);
    if (used + 16 >= room) return false;
    used += (size_t)snprintf(path + used, room - used, dataset ? "/datasets--" : "/models--");
    for (const char *p = repository; *p && used + 3 < room; p++) {
        if (*p == '/') path[used++] = '-';
        path[used++] = *p == '/' ? '-' : *p;
    }
    if (used + 3 >= room) return false;
    path[used] = 0;
    return true;
}

bool nib_hub_snapshot(const char *repository_dir, const char *revision, char *path, size_t room)
{
    char commit[NIB_HUB_COMMIT + 1];
    const char *of = read_ref(repository_dir, revision, commit) ? commit : revision;

    return (size_t)snprintf(path, room, "%s/snapshots/%s", repository_dir, of) < room &&
           exists(path);
}

/* --- GGUF files of a snapshot --- */

typedef struct gguf_search {
    const char *quant;
    size_t top;           /* characters of the snapshot's path */
    char path[PATH_MAX];  /* where it is */
    char found[PATH_MAX];
    int count;
} gguf_search;

/* The files of the folder s->path and of those below it, `depth` folders deep.  Links to folders
 * are not followed: a snapshot has none. */
static void search_gguf(gguf_search *s, int depth)
{
    size_t used = strlen(s->path);
    struct dirent *entry;
    struct stat info;
    DIR *d = opendir(s->path);

    while (d && (entry = readdir(d))) {
        size_t bytes = strlen(entry->d_name) + 1;
        if (entry->d_name[0] == '.' || bytes >= sizeof s->path - used) continue;
        s->path[used] = '/';
        memcpy(s->path + used + 1, entry->d_name, bytes);
        if (lstat(s->path, &info)) continue;
        if (S_ISDIR(info.st_mode)) {
            if (depth) search_gguf(s, depth - 1);
        } else if (nib_hub_is_quant(s->path + s->top + 1, s->quant) &&
                   nib_hub_shard(s->path) <= 1 && !stat(s->path, &info) && S_ISREG(info.st_mode)) {
            s->count++;
            memcpy(s->found, s->path, used + 1 + bytes);
        }
    }
    s->path[used] = 0;
    if (d) closedir(d);
}

/* Does the snapshot `path` hold a model's directory: config.json with weights beside it?  A
 * repository of GGUF files may hold config.json alone. */
static bool is_model_directory(const char *path)
{
    char config[PATH_MAX];
    struct dirent *entry;
    bool weights = false;
    DIR *d;

    if (snprintf(config, sizeof config, "%s/config.json", path) >= (int)sizeof config ||
        !exists(config))
        return false;
    d = opendir(path);
    while (d && !weights && (entry = readdir(d)))
        weights = nib_hub_ends_with(entry->d_name, ".safetensors") ||
                  nib_hub_ends_with(entry->d_name, ".bin");
    if (d) closedir(d);
    return weights;
}

/* `path`, a snapshot, becomes its GGUF file: the one of `quant`, or the only one where the snapshot
 * is no directory of a model.  False: there is none of `quant`, or several. */
static bool choose_gguf(const char *quant, char *path, size_t room)
{
    gguf_search s = { .quant = quant, .top = strlen(path) };

    if (s.top >= sizeof s.path || (!*quant && is_model_directory(path))) return true;
    memcpy(s.path, path, s.top + 1);
    search_gguf(&s, MOST_FOLDERS);
    if (s.count != 1) return !*quant;
    return (size_t)snprintf(path, room, "%s", s.found) < room;
}

bool nib_hub_find(const char *name, char *path, size_t room)
{
    char repository[PATH_MAX];
    nib_hub_parts parts;

    return !exists(name) && nib_hub_parse(name, &parts) &&
           nib_hub_repository(parts.repository, false, repository, sizeof repository) &&
           nib_hub_snapshot(repository, parts.revision, path, room) &&
           choose_gguf(parts.quant, path, room);
}

bool nib_hub_find_dataset(const char *name, char *path, size_t room)
{
    char repository[PATH_MAX];
    nib_hub_parts parts;

    return !exists(name) && nib_hub_parse(name, &parts) && !*parts.quant &&
           nib_hub_repository(parts.repository, true, repository, sizeof repository) &&
           nib_hub_snapshot(repository, parts.revision, path, room);
}
