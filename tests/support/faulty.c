/* faulty.c - see faulty.h. */
#include "faulty.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct place { char s[PATH_MAX + 64]; } place;

/* A file of the build this test is part of: .../build/tests/fault/test_save lies in it. */
static place in_build(const char *name)
{
    char self[PATH_MAX] = "";
    char *tests;
    place p = { "" };

    if (readlink("/proc/self/exe", self, sizeof self - 1) <= 0 ||
        !(tests = strstr(self, "/tests/")))
        abort();
    for (char *next = tests; (next = strstr(next + 1, "/tests/"));) tests = next;
    snprintf(p.s, sizeof p.s, "%.*s/%s", (int)(tests - self), self, name);
    return p;
}

static void become(const faulty_run *run, const char *count, const char *said)
{
    place nibble = in_build("nibble"), shim = in_build("tests/fault/shim.so");
    const char *argv[64] = { nibble.s };
    const char *options = getenv("ASAN_OPTIONS");
    char call[32], more[600];
    int fd = open(said, O_WRONLY | O_CREAT | O_TRUNC, 0666), n = 1;

    while (n < 63 && (argv[n] = run->arguments[n - 1])) n++;
    dup2(fd, 1);
    dup2(fd, 2);
    snprintf(call, sizeof call, "%ld", run->call);
    snprintf(more, sizeof more, "%s%sverify_asan_link_order=0", options ? options : "",
             options ? ":" : "");
    /* the shim comes before the sanitizer's library, and does no harm there */
    setenv("ASAN_OPTIONS", more, 1);
    setenv("NIB_SHIM_UNDER", run->under, 1);
    setenv("NIB_SHIM_COUNT", count, 1);
    if (run->log) setenv("NIB_SHIM_LOG", run->log, 1);
    if (run->call) {
        setenv("NIB_SHIM_CALL", call, 1);
        setenv("NIB_SHIM_ACTION", run->action, 1);
    }
    setenv("LD_PRELOAD", shim.s, 1);
    execv(nibble.s, (char *const *)argv);
    _exit(126);
}

static void read_end(const char *path, char *text, size_t room)
{
    FILE *f = fopen(path, "rb");
    size_t n = 0;

    text[0] = 0;
    if (!f) return;
    if (fseek(f, -(long)(room - 1), SEEK_END)) rewind(f);
    n = fread(text, 1, room - 1, f);
    text[n] = 0;
    fclose(f);
}

bool faulty_nibble(const faulty_run *run, faulty_end *end)
{
    char count[600], said[600], number[32];
    int status = 0;
    pid_t child;

    snprintf(count, sizeof count, "%s/shim-count", test_tmpdir());
    snprintf(said, sizeof said, "%s/stderr", test_tmpdir());
    unlink(count);
    fflush(stdout);
    child = fork();
    if (child == 0) become(run, count, said);
    if (child < 0 || waitpid(child, &status, 0) != child) {
        test_fail(__FILE__, __LINE__, "the program could not be run");
        return false;
    }
    read_end(count, number, sizeof number);
    read_end(said, end->said, sizeof end->said);
    end->calls = number[0] ? atol(number) : -1;
    end->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (end->exit_code >= 0 && end->calls < 0) {
        test_fail(__FILE__, __LINE__, "exit %d without a count: %s", end->exit_code, end->said);
        return false;
    }
    if (end->exit_code < 0 && WTERMSIG(status) != 9) {
        test_fail(__FILE__, __LINE__, "signal %d: %s", WTERMSIG(status), end->said);
        return false;
    }
    return true;
}

bool faulty_same_file(const char *a, const char *b)
{
    FILE *f = fopen(a, "rb"), *g = fopen(b, "rb");
    bool same = !f == !g;

    while (same && f) {
        char x[4096], y[4096];
        size_t n = fread(x, 1, sizeof x, f), m = fread(y, 1, sizeof y, g);
        same = n == m && memcmp(x, y, n) == 0;
        if (n < sizeof x) break;
    }
    if (f) fclose(f);
    if (g) fclose(g);
    return same;
}

size_t faulty_count(const char *dir, const char *begin, const char *ending)
{
    DIR *d = opendir(dir);
    const struct dirent *e;
    size_t count = 0;

    while (d && (e = readdir(d))) {
        size_t n = strlen(e->d_name), m = strlen(ending);
        count += strncmp(e->d_name, begin, strlen(begin)) == 0 && n >= m &&
                 strcmp(e->d_name + n - m, ending) == 0;
    }
    if (d) closedir(d);
    return count;
}
