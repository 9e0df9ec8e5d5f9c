/* verb_runs.c - nibble runs. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "option_words.h"
#include "session.h"

/* --sort takes the words of the command line too: -lr is -learning_rate. */
static const char *sort_key(const char *given, char *room, size_t bytes)
{
    bool down = given && *given == '-';
    const char *other = given ? option_word_alias(given + down, 0) : NULL;

    if (!given) return NULL;
    snprintf(room, bytes, "%s%s", down ? "-" : "", other ? other : given + down);
    for (char *p = room + down; *p; p++)
        if (*p == '-') *p = '_';
    return room;
}

typedef struct watch {
    session s;
    nib_runs_options o;
    char *shown;     /* the report that stands there */
    size_t running;
    int failures;    /* one after the other, of reading what is being replaced */
} watch;

static void print_report(watch *w, const char *report)
{
    bool again = w->shown != NULL, screen = again && isatty(1) && !w->s.json;

    if (screen) printf("\033[H\033[2J"); /* the last one makes room */
    else if (again && !w->s.json) putchar('\n');
    print_text(stdout, report, strlen(report));
    if (*report && report[strlen(report) - 1] != '\n') putchar('\n');
    fflush(stdout);
}

/* Prints the report, when it is another than the one that stands there. */
static nib_status look(watch *w)
{
    char *report = NULL;
    nib_status status = nib_runs(w->s.ctx, &w->o,
                                 w->s.json ? NIB_REPORT_JSON : NIB_REPORT_TEXT, &report, &w->s.err);

    if (status) return status;
    w->failures = 0;
    if (w->shown && strcmp(report, w->shown) == 0) {
        nib_report_free(w->s.ctx, report);
        return NIB_OK;
    }
    print_report(w, report);
    nib_report_free(w->s.ctx, w->shown);
    w->shown = report;
    return NIB_OK;
}

/* Until no run is running any more, or somebody ends it.  A checkpoint may be replaced while it is
 * read, so that a failure counts when it lasts. */
static nib_status follow(watch *w)
{
    enum { MOST_FAILURES = 5 };
    nib_status status = look(w);

    while (!status && w->running && !session_stopped() && !session_pipe_closed()) {
        nanosleep(&(struct timespec){ .tv_sec = 1 }, NULL); /* a signal ends it */
        if (session_stopped()) break;
        status = look(w);
        if (status && ++w->failures < MOST_FAILURES) status = NIB_OK;
    }
    return status;
}

/* Can the terminal show braille?  By the locale, as the C library reads it, but for the console,
 * whose font has none; NO_UNICODE set to anything: it cannot. */
static bool shows_braille(void)
{
    static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };
    const char *no = getenv("NO_UNICODE"), *terminal = getenv("TERM"), *locale = NULL;

    for (size_t i = 0; i < sizeof names / sizeof *names && (!locale || !*locale); i++)
        locale = getenv(names[i]);
    if ((no && *no) || (terminal && strcmp(terminal, "linux") == 0) || !locale) return false;
    return strcasestr(locale, "utf-8") || strcasestr(locale, "utf8");
}

static int screen_columns(void)
{
    enum { USUAL = 80 };
    struct winsize size;

    return isatty(1) && ioctl(1, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : USUAL;
}

int verb_runs(int argc, char **argv)
{
    watch w = { .failures = 0 };
    bool watches = false, plots = false;
    option options[] = {
        { "watch", OPTION_FLAG, &watches, NULL,
          "print the table again when it changes, until none of the runs is running" },
        { "sort", OPTION_STRING, &w.o.sort, "eval_loss",
          "by a column or a key of recipes, the least first; -eval_f1: the greatest first" },
        { "plot", OPTION_FLAG, &plots, NULL,
          "plot the losses below the table; in ASCII where the locale is not UTF-8 or NO_UNICODE "
          "is set" },
        SESSION_OPTIONS(&w.s),
    };
    verb v = { .name = "runs", .arguments = "DIR...",
               .summary = "Training runs side by side: state, steps, the settings that differ, "
                          "losses, scores, time, memory.\nDIR is an output directory, or a folder "
                          "of them.",
               .options = options, .option_count = sizeof options / sizeof *options,
               .positional_wanted = 1, .positional_most = OPTION_POSITIONAL_ROOM };
    char key[128];
    nib_status status;
    int code = options_parse(&v, argc, argv);

    if (code) return code;
    if ((code = session_begin(&w.s))) return code;
    w.o.sort = sort_key(w.o.sort, key, sizeof key);
    w.o.dirs = v.positional;
    w.o.dir_count = v.positional_count;
    w.o.running = &w.running;
    w.o.plot_columns = plots ? screen_columns() : 0;
    w.o.ascii = !shows_braille();
    status = watches ? follow(&w) : look(&w);
    nib_report_free(w.s.ctx, w.shown);
    code = session_end(&w.s, status);
    return !code && session_stopped() ? 128 + session_stopped() : code;
}
