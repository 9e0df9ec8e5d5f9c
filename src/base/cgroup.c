/* cgroup.c - see cgroup.h. */
#include "base/cgroup.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>

typedef struct group { char dir[PATH_MAX]; bool v2; } group;

/* The number that a small file begins with; -1 when it is not there or has a word ("max"). */
static double read_number(const group *g, const char *name, double *second)
{
    char path[PATH_MAX + 64];
    double first = -1, next = -1;
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", g->dir, name);
    f = fopen(path, "re");
    if (!f) return -1;
    if (fscanf(f, "%lf %lf", &first, &next) < 1) first = -1;
    fclose(f);
    if (second) *second = next;
    return first;
}

/* The number behind `key` in a file of "key number" lines; 0 when it is not there. */
static double read_key(const group *g, const char *name, const char *key)
{
    char path[PATH_MAX + 64], word[128];
    double value, found = 0;
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", g->dir, name);
    f = fopen(path, "re");
    while (f && fscanf(f, "%127s %lf", word, &value) == 2)
        if (strcmp(word, key) == 0) found = value;
    if (f) fclose(f);
    return found;
}

static bool names_controller(const char *list, size_t bytes, const char *controller)
{
    size_t n = strlen(controller);

    for (const char *p = list, *end; p <= list + bytes; p = end + 1) {
        end = memchr(p, ',', (size_t)(list + bytes - p));
        if (!end) end = list + bytes;
        if ((size_t)(end - p) == n && memcmp(p, controller, n) == 0) return true;
    }
    return false;
}

/* Takes a line of /proc/self/cgroup apart: the group's directory, if it is of v2 or of the
 * controller. */
static bool read_line(char *line, const char *root, const char *controller, group *g, size_t *top)
{
    char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
    int n;

    if (!path) return false;
    line[strcspn(line, "\n")] = 0;
    g->v2 = path == list + 1;
    if (!g->v2 && !names_controller(list + 1, (size_t)(path - list - 1), controller)) return false;
    n = snprintf(g->dir, sizeof g->dir, "%s/sys/fs/cgroup%s%s", root, g->v2 ? "" : "/",
                 g->v2 ? "" : controller);
    *top = (size_t)n;
    if (n < 0 || (size_t)n + strlen(path + 1) + 1 > sizeof g->dir) return false;
    if (strcmp(path + 1, "/") != 0) strcpy(g->dir + n, path + 1);
    return true;
}

typedef double group_limit(const group *g);

/* The least that `limit` gives for the groups from the process's own up to the root; negative:
 * none. */
static double least(const char *root, const char *controller, group_limit *limit)
{
    char path[PATH_MAX], line[PATH_MAX + 256];
    double found = -1;
    group g;
    size_t top;
    FILE *f;

    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        if (!read_line(line, root, controller, &g, &top)) continue;
        for (;;) {
            double here = limit(&g);
            char *slash;
            if (here >= 0 && (found < 0 || here < found)) found = here;
            if (strlen(g.dir) <= top || !(slash = strrchr(g.dir, '/'))) break;
            *slash = 0;
        }
    }
    if (f) fclose(f);
    return found;
}

static double memory_room(const group *g)
{
    double most = read_number(g, g->v2 ? "memory.max" : "memory.limit_in_bytes", NULL);
    double used = read_number(g, g->v2 ? "memory.current" : "memory.usage_in_bytes", NULL);

    if (most < 0 || used < 0) return -1;
    used -= read_key(g, "memory.stat", g->v2 ? "inactive_file" : "total_inactive_file");
    return fmax(most - fmax(used, 0), 0);
}

static double processors(const group *g)
{
    double period = -1, quota = read_number(g, g->v2 ? "cpu.max" : "cpu.cfs_quota_us", &period);

    if (!g->v2) period = read_number(g, "cpu.cfs_period_us", NULL);
    return quota > 0 && period > 0 ? quota / period : -1;
}

uint64_t nib_cgroup_memory_room(const char *root)
{
    double room = least(root, "memory", memory_room);
    /* v1's "no limit" is a huge number */
    return room < 0 || room >= 9e18 ? UINT64_MAX : (uint64_t)room;
}

unsigned nib_cgroup_processors(const char *root)
{
    double n = ceil(least(root, "cpu", processors));
    return n < 1 ? 0 : n > 4096 ? 4096 : (unsigned)n;
}
