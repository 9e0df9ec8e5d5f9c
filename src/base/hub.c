/* hub.c - see hub.h and nibble/hub.h. */
#include "base/hub.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_PART = 96, COMMIT = 40 }; /* characters of an organisation or a name, and of a commit */

/* The characters of a part of a name that `p` begins with; 0: it begins with none. */
static size_t part_length(const char *p)
{
    size_t n = 0;

    if (!isalnum((unsigned char)*p) && *p != '_') return 0;
    while (isalnum((unsigned char)p[n]) || (p[n] && strchr("-_.", p[n]))) n++;
    return n <= MOST_PART && p[n - 1] != '.' ? n : 0;
}

/* The revision behind '@', NULL without one; false: no name. */
static bool split(const char *name, size_t *bytes, const char **revision)
{
    size_t n = part_length(name), more;

    if (n && name[n] == '/') {
        more = part_length(name + n + 1);
        n = more ? n + 1 + more : 0;
    }
    *bytes = n;
    *revision = n && name[n] == '@' && name[n + 1] ? name + n + 1 : NULL;
    return n && (!name[n] || *revision) && !(*revision && strstr(*revision, ".."));
}

bool nib_hub_is_name(const char *name)
{
    const char *revision;
    size_t bytes;

    return split(name, &bytes, &revision);
}

static bool exists(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0;
}

/* $`variable` with `below` behind it, where it is set and not empty. */
static bool place(const char *variable, const char *below, char *path, size_t room)
{
    const char *value = getenv(variable);

    return value && *value && (size_t)snprintf(path, room, "%s%s", value, below) < room;
}

bool nib_hub_cache(char *path, size_t room)
{
    return place("HF_HUB_CACHE", "", path, room) ||
           place("HUGGINGFACE_HUB_CACHE", "", path, room) ||
           place("HF_HOME", "/hub", path, room) ||
           place("XDG_CACHE_HOME", "/huggingface/hub", path, room) ||
           place("HOME", "/.cache/huggingface/hub", path, room);
}

/* The commit that a branch or a tag stands at; false: there is no such file, or something else in
 * it. */
static bool read_ref(const char *repository, const char *revision, char commit[COMMIT + 1])
{
    char path[PATH_MAX];
    FILE *f;
    size_t n;

    if (snprintf(path, sizeof path, "%s/refs/%s", repository, revision) >= (int)sizeof path)
        return false;
    f = fopen(path, "rb");
    if (!f) return false;
    n = fread(commit, 1, COMMIT, f);
    fclose(f);
    commit[n] = 0;
    return n == COMMIT && strspn(commit, "0123456789abcdef") == COMMIT;
}

/* .../models--org--name of the cache. */
static bool repository_of(const char *name, size_t bytes, char *path, size_t room)
{
    size_t used;

    if (!nib_hub_cache(path, room)) return false;
    used = strlen(path);
    used += (size_t)snprintf(path + used, room - used, "/models--");
    for (size_t i = 0; i < bytes && used + 3 < room; i++) {
        if (name[i] == '/') path[used++] = '-';
        path[used++] = name[i] == '/' ? '-' : name[i];
    }
    if (used + 3 >= room) return false;
    path[used] = 0;
    return true;
}

bool nib_hub_find(const char *name, char *path, size_t room)
{
    char repository[PATH_MAX], commit[COMMIT + 1];
    const char *revision, *of;
    size_t bytes;

    if (exists(name) || !split(name, &bytes, &revision) ||
        !repository_of(name, bytes, repository, sizeof repository))
        return false;
    revision = revision ? revision : "main";
    of = read_ref(repository, revision, commit) ? commit : revision;
    return (size_t)snprintf(path, room, "%s/snapshots/%s", repository, of) < room && exists(path);
}
