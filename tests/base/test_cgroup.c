/* test_cgroup.c - limits of control groups, from trees of files as the kernel shows them. */
#include "base/cgroup.h"

#include <sys/stat.h>

#include "test.h"

/* Writes a file below the case's directory, its folders too. */
static void put(const char *path, const char *text)
{
    char full[600];
    FILE *f;

    snprintf(full, sizeof full, "%s/%s", test_tmpdir(), path);
    for (char *p = full + strlen(test_tmpdir()) + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        mkdir(full, 0777);
        *p = '/';
    }
    f = fopen(full, "w");
    REQUIRE(f && fputs(text, f) >= 0 && fclose(f) == 0, "%s", full);
}

static void check(uint64_t room, unsigned processors)
{
    uint64_t got = nib_cgroup_memory_room(test_tmpdir());
    unsigned cores = nib_cgroup_processors(test_tmpdir());

    CHECK(got == room, "%" PRIu64 " bytes, expected %" PRIu64, got, room);
    CHECK(cores == processors, "%u processors, expected %u", cores, processors);
}

static void test_none(void)
{
    check(UINT64_MAX, 0);
    put("proc/self/cgroup", "0::/\n");
    put("sys/fs/cgroup/cpu.stat", "usage_usec 1\n");
    check(UINT64_MAX, 0);
}

/* The tightest level counts; idle file pages can be had back. */
static void test_v2(void)
{
    put("proc/self/cgroup", "0::/user.slice/app.service\n");
    put("sys/fs/cgroup/user.slice/memory.max", "5000000\n");
    put("sys/fs/cgroup/user.slice/memory.current", "4500000\n");
    put("sys/fs/cgroup/user.slice/memory.stat",
        "anon 100\nfile 4000000\ninactive_file 3900000\nactive_file 5\n");
    put("sys/fs/cgroup/user.slice/cpu.max", "250000 100000\n");
    put("sys/fs/cgroup/user.slice/app.service/memory.max", "max\n");
    put("sys/fs/cgroup/user.slice/app.service/memory.current", "7\n");
    put("sys/fs/cgroup/user.slice/app.service/cpu.max", "max 100000\n");
    check(5000000 - (4500000 - 3900000), 3);
    put("sys/fs/cgroup/user.slice/app.service/memory.max", "1000\n");
    put("sys/fs/cgroup/user.slice/app.service/cpu.max", "50000 100000\n");
    check(993, 1);
    put("sys/fs/cgroup/user.slice/app.service/memory.current", "2000\n");
    check(0, 1);
}

/* In a container the path may be the host's and not be there: its own root is. */
static void test_container(void)
{
    put("proc/self/cgroup", "0::/docker/0123\n");
    put("sys/fs/cgroup/memory.max", "800\n");
    put("sys/fs/cgroup/memory.current", "300\n");
    put("sys/fs/cgroup/cpu.max", "400000 100000\n");
    check(500, 4);
}

static void test_v1(void)
{
    put("proc/self/cgroup", "12:cpuset:/x\n5:cpu,cpuacct:/a\n4:memory:/a/b\n0::/\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("sys/fs/cgroup/memory/memory.usage_in_bytes", "100\n");
    put("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "150000\n");
    put("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
    check(UINT64_MAX, 2);
    put("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "70000\n");
    put("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "60000\n");
    put("sys/fs/cgroup/memory/a/memory.stat", "inactive_file 1\ntotal_inactive_file 5000\n");
    put("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n");
    check(15000, 0);
}

int main(void)
{
    static const test_case cases[] = {
        { "none", test_none }, { "v2", test_v2 }, { "container", test_container },
        { "v1", test_v1 },
    };
    return test_main("cgroup", cases, sizeof cases / sizeof *cases);
}
