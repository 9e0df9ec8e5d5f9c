/* verb_pull.c - nibble pull: a model or a data set of the hub into its cache or a directory. */
#include <string.h>

#include "session.h"


/* "pull 3 of 12 files, 1.2 of 4.5 GB, 35 MB/s, 1:35 left  27 %" */
static void on_progress(void *user, const nib_pull_progress *p)
{
    double unit = p->total_bytes >= 1000000000 ? 1e9 : 1e6, left = p->seconds_left;
    char text[160], time[40] = "";

    if (left >= 0 && left < 3600e3)
        snprintf(time, sizeof time, ", %d:%02d:%02d left", (int)(left / 3600),
                 (int)(left / 60) % 60, (int)left % 60);
    snprintf(text, sizeof text, "pull: %zu of %zu files, %.1f of %.1f %s, %.1f MB/s%s,",
             p->files_done, p->files, (double)p->done_bytes / unit, (double)p->total_bytes / unit,
             unit > 1e6 ? "GB" : "MB", p->bytes_per_second / 1e6, time);
    session_progress(user, text,
                     p->total_bytes ? (double)p->done_bytes / (double)p->total_bytes : 1);
}

static void print_result(session *s, const nib_pull_result *r)
{
    if (s->json) {
        printf("{\"path\": ");
        print_json_string(stdout, r->path, strlen(r->path));
        printf(", \"commit\": ");
        print_json_string(stdout, r->commit, strlen(r->commit));
        printf(", \"files\": %zu, \"bytes\": %llu, \"fetched_bytes\": %llu, \"left_out\": %zu, "
               "\"left_out_bytes\": %llu, \"offline\": %s", r->files,
               (unsigned long long)r->bytes, (unsigned long long)r->fetched_bytes, r->left_out,
               (unsigned long long)r->left_out_bytes, r->offline ? "true" : "false");
        print_json_member_warnings(stdout, s);
        printf("}\n");
        return;
    }
    if (r->offline)
        session_line(s, "HF_HUB_OFFLINE is set: this is what the cache has");
    else
        session_line(s, "%zu files, %.1f MB, %.1f MB of them fetched now and checked", r->files,
                     (double)r->bytes / 1e6, (double)r->fetched_bytes / 1e6);
    if (r->left_out)
        session_line(s, "left out: %zu other files, %.1f MB (--include '*' takes all)", r->left_out,
                     (double)r->left_out_bytes / 1e6);
    print_text(stdout, r->path, strlen(r->path));
    printf("\n");
}

int verb_pull(int argc, char **argv)
{
    session s = { .threads = 1 };
    nib_pull_options o = { .on_progress = on_progress, .user = &s };
    option_list include = { .count = 0 };
    int retries = 5;
    nib_pull_result r;
    nib_status status;
    option options[] = {
        { "include", OPTION_LIST, &include, "PATTERN",
          "only files that match, such as '*.json' or folder/; may be repeated; default: a model's "
          "weights in one form (safetensors before .bin), and what is no weight" },
        { "to", OPTION_STRING, &o.to, "DIR", "a directory for the files; default: the cache" },
        { "dataset", OPTION_FLAG, &o.dataset, NULL, "the name is a data set's" },
        { "parallel", OPTION_COUNT, &o.parallel, "8", "files at once; default: 8" },
        { "retries", OPTION_NATURAL, &retries, "5",
          "tries after a failure that brought nothing; default: 5" },
        { "json", OPTION_FLAG, &s.json, NULL, "results for programs, as JSON" },
    };
    verb v = { .name = "pull", .arguments = "NAME",
               .summary = "A model of the hub (org/name, org/name@revision, org/name:Q4_K_M for a "
                          "GGUF file) into its cache, where every verb finds it by that name.",
               .options = options, .option_count = sizeof options / sizeof *options,
               .positional_wanted = 1 };
    int code = options_parse(&v, argc, argv);

    if (code) return code;
    o.name = v.positional[0];
    o.include = include.items;
    o.include_count = include.count;
    o.retries = retries ? retries : -1;
    if ((code = session_begin(&s))) return code;
    status = nib_pull(s.ctx, &o, &r, &s.err);
    if (!status) print_result(&s, &r);
    return session_end(&s, status);
}
