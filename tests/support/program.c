/* program.c - see program.h. */
#include "program.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* .../build/tests/cli/test_commands lies in the build. */
void program_path(const char *name, char *path)
{
    char self[PATH_MAX] = "";
    char *tests;

    if (readlink("/proc/self/exe", self, sizeof self - 1) <= 0 ||
        !(tests = strstr(self, "/tests/")))
        abort();
    for (char *next = tests; (next = strstr(next + 1, "/tests/"));) tests = next;
    *tests = 0;
    if ((size_t)snprintf(path, PATH_MAX, "%s/%s", self, name) >= PATH_MAX) abort();
}

static void become(const program_run *run, const char *in, const char *out, const char *said)
{
    char nibble[PATH_MAX];
    const char *argv[64] = { nibble };
    int from = open(in, O_RDONLY), to = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    int log = open(said, O_WRONLY | O_CREAT | O_TRUNC, 0666), n = 1;

    program_path("nibble", nibble);
    while (n < 63 && (argv[n] = run->arguments[n - 1])) n++;
    if (from < 0 || to < 0 || log < 0) _exit(126);
    dup2(from, 0);
    dup2(to, 1);
    dup2(log, 2);
    execv(nibble, (char *const *)argv);
    _exit(126);
}

static void read_text(const char *path, char *text, size_t room)
{
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(text, 1, room - 1, f) : 0;

    text[n] = 0;
    if (f) fclose(f);
}

typedef struct paths { char in[PATH_MAX], out[PATH_MAX], said[PATH_MAX]; } paths;

static paths paths_of(void)
{
    paths p;

    snprintf(p.in, sizeof p.in, "%s/program.in", test_tmpdir());
    snprintf(p.out, sizeof p.out, "%s/program.out", test_tmpdir());
    snprintf(p.said, sizeof p.said, "%s/program.stderr", test_tmpdir());
    return p;
}

bool program_start(const program_run *run, int *child)
{
    paths p = paths_of();
    FILE *f = fopen(p.in, "wb");

    if (!f || fputs(run->input ? run->input : "", f) < 0 || fclose(f)) {
        test_fail(__FILE__, __LINE__, "%s: cannot be written", p.in);
        return false;
    }
    *child = fork();
    if (*child == 0) become(run, p.in, run->out_path ? run->out_path : p.out, p.said);
    if (*child < 0) test_fail(__FILE__, __LINE__, "nibble cannot be started");
    return *child > 0;
}

bool program_wait(const program_run *run, int child, program_end *end)
{
    paths p = paths_of();
    int status = 0;

    if (waitpid(child, &status, 0) != child || (WIFEXITED(status) && WEXITSTATUS(status) == 126)) {
        test_fail(__FILE__, __LINE__, "nibble cannot be run");
        return false;
    }
    end->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    *end->out = 0;
    if (!run->out_path) read_text(p.out, end->out, sizeof end->out);
    read_text(p.said, end->said, sizeof end->said);
    return true;
}

bool program_nibble(const program_run *run, program_end *end)
{
    int child;

    return program_start(run, &child) && program_wait(run, child, end);
}
