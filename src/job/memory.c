/* memory.c - /proc and the control group. */
#include "job/memory.h"

#include <stdio.h>
#include <sys/resource.h>

#include "base/cgroup.h"

/* The number after `key` in a file of "key: number kB" lines, in bytes; 0 when absent. */
static uint64_t read_line(const char *path, const char *key)
{
    char line[256];
    uint64_t value = 0;
    FILE *f = fopen(path, "re");

    if (!f) return 0;
    while (fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0 &&
            sscanf(line + strlen(key), ": %" SCNu64, &value) == 1)
            break;
    fclose(f);
    return value * 1024;
}

uint64_t nib_memory_resident(void) { return read_line("/proc/self/status", "VmRSS"); }
uint64_t nib_memory_peak(void) { return read_line("/proc/self/status", "VmHWM"); }

/* What a limit on a kind of memory leaves of it. */
static uint64_t limit_room(int which, const char *used_key)
{
    struct rlimit limit;
    uint64_t used = read_line("/proc/self/status", used_key);

    if (getrlimit(which, &limit) || limit.rlim_cur == RLIM_INFINITY) return UINT64_MAX;
    return limit.rlim_cur > used ? limit.rlim_cur - used : 0;
}

uint64_t nib_memory_free(void)
{
    uint64_t available = read_line("/proc/meminfo", "MemAvailable");

    if (available == 0) available = UINT64_MAX;
    available = nib_min(available, nib_cgroup_memory_room(""));
    available = nib_min(available, limit_room(RLIMIT_AS, "VmSize"));
    return nib_min(available, limit_room(RLIMIT_DATA, "VmData"));
}
