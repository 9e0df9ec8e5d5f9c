/* verb_runs.c - nibble runs. */
#include <string.h>

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

int verb_runs(int argc, char **argv)
{
    session s = { 0 };
    nib_runs_options o = { 0 };
    option options[] = {
        { "sort", OPTION_STRING, &o.sort, "eval_loss",
          "by a column or a key of recipes, the least first; -eval_f1: the greatest first" },
        SESSION_OPTIONS(&s),
    };
    verb v = { .name = "runs", .arguments = "DIR...",
               .summary = "Training runs side by side: state, steps, the settings that differ, "
                          "losses, scores, time, memory.\nDIR is an output directory, or a folder "
                          "of them.",
               .options = options, .option_count = sizeof options / sizeof *options,
               .positional_wanted = 1, .positional_most = OPTION_POSITIONAL_ROOM };
    char *report = NULL, key[128];
    nib_status status;
    int code = options_parse(&v, argc, argv);

    if (code) return code;
    if ((code = session_begin(&s))) return code;
    o.sort = sort_key(o.sort, key, sizeof key);
    o.dirs = v.positional;
    o.dir_count = v.positional_count;
    status = nib_runs(s.ctx, &o, s.json ? NIB_REPORT_JSON : NIB_REPORT_TEXT, &report, &s.err);
    if (!status) {
        print_text(stdout, report, strlen(report));
        if (*report && report[strlen(report) - 1] != '\n') putchar('\n');
        nib_report_free(s.ctx, report);
    }
    return session_end(&s, status);
}
