/* memory.c - /proc and the control group. */
#include "job/memory.h"

#include <stdio.h>
#include <sys/resource.h>

/* The number after `key` in a file of "key: number kB" lines, in bytes; 0 when absent. */
static uint64_t read_line(const char *path, const char *key)
{
    char line[256];
    uint64_t value = 0;
    FILE *f = fopen(path, "re");

    if (!f) return 0;
    while (fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), ": %" SCNu64, &value) == 1) break;
    fclose(f);
    return value * 1024;
}

static bool read_number(const char *path, uint64_t *out)
{
    FILE *f = fopen(path, "re");
    bool good;

    if (!f) return false;
    good = fscanf(f, "%" SCNu64, out) == 1; /* "max" is no number */
    fclose(f);
    return good;
}

uint64_t nib_memory_resident(void) { return read_line("/proc/self/status", "VmRSS"); }
uint64_t nib_memory_peak(void) { return read_line("/proc/self/status", "VmHWM"); }

uint64_t nib_memory_free(void)
{
    uint64_t least = read_line("/proc/meminfo", "MemAvailable"), limit, used;
    struct rlimit space;

    if (least == 0) least = UINT64_MAX;
    if ((read_number("/sys/fs/cgroup/memory.max", &limit) && read_number("/sys/fs/cgroup/memory.current", &used)) ||
        (read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes", &limit) &&
         read_number("/sys/fs/cgroup/memory/memory.usage_in_bytes", &used))) {
        uint64_t room = limit > used ? limit - used : 0;
        if (room < least) least = room;
    }
    if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY && space.rlim_cur < least)
        least = space.rlim_cur;
    return least;
}
