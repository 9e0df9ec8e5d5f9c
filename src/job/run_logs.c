/* run_logs.c - see run_logs.h. */
#include "job/run_logs.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/filemap.h"
#include "base/outfile.h"
#include "base/outname.h"
#include "format/json.h"

nib_status nib_report_to(const char *report_to, unsigned *out, nib_error *err)
{
    static const struct { const char *name; unsigned bits; } known[] = {
        { "none", 0 }, { "jsonl", NIB_REPORT_JSONL }, { "tensorboard", NIB_REPORT_TENSORBOARD },
        { "all", NIB_REPORT_JSONL | NIB_REPORT_TENSORBOARD },
    };
    const char *p = report_to ? report_to : "none";

    *out = 0;
    for (;;) {
        size_t n = strcspn(p, ","), i = 0;
        while (i < NIB_COUNT(known) &&
               !(strlen(known[i].name) == n && strncmp(p, known[i].name, n) == 0))
            i++;
        if (i == NIB_COUNT(known))
            return nib_fail(err, NIB_E_INVALID,
                            "report_to: '%.*s', known are none, jsonl, tensorboard, all",
                            (int)nib_min(n, 100), p);
        *out |= known[i].bits;
        if (!p[n]) return NIB_OK;
        p += n + 1;
    }
}

/* --- log.jsonl --- */

static bool kept(const char *line, size_t bytes, const nib_log_cut *cut)
{
    json_t *o = NULL;
    int64_t step = -1;
    bool keep = nib_json_parse(line, bytes, "log.jsonl", 0, &o, NULL) == NIB_OK &&
                json_is_object(o) &&
                nib_json_get_int(o, "log.jsonl", "step", 0, INT64_MAX, &step, NULL) == NIB_OK &&
                step >= 0 && (uint64_t)step <= cut->step && !json_object_get(o, "train_runtime") &&
                !(cut->before_eval && (uint64_t)step == cut->step &&
                  json_object_get(o, "eval_runtime"));
    json_decref(o);
    return keep;
}

/* Rewrites the file with the lines that stay; a torn last line goes as well. */
static nib_status cut_lines(nib_ctx *ctx, const char *path, const nib_log_cut *cut, nib_error *err)
{
    nib_filemap map = { 0 };
    nib_text t = { .ctx = ctx };
    nib_status status = NIB_OK;

    if (cut->resumed && nib_file_exists(path)) status = nib_filemap_open(path, &map, err);
    for (size_t at = 0; at < map.bytes && !status;) {
        const char *line = (const char *)map.base + at, *end = memchr(line, '\n', map.bytes - at);
        size_t bytes = end ? (size_t)(end - line) : map.bytes - at;
        if (end && kept(line, bytes, cut)) nib_text_put(&t, line, bytes + 1);
        at += bytes + 1;
    }
    nib_filemap_close(&map);
    if (!status && t.failed) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
    if (!status) status = nib_outfile_replace(ctx, path, t.bytes ? t.data : "", t.bytes, err);
    nib_text_free(&t);
    return status;
}

static nib_status open_lines(nib_run_logs *l, const char *output_dir, const nib_log_cut *cut,
                             nib_error *err)
{
    nib_status status;

    l->path = nib_sprintf(l->ctx, "%s/log.jsonl", output_dir);
    if (!l->path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", output_dir);
    status = cut_lines(l->ctx, l->path, cut, err);
    if (status) return status;
    l->lines = open(l->path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
    return l->lines < 0 ? nib_fail(err, NIB_E_IO, "%s: %s", l->path, strerror(errno)) : NIB_OK;
}

static nib_status put_line(nib_run_logs *l, const nib_log_entry *e, nib_error *err)
{
    size_t done = 0;

    l->text.bytes = 0;
    nib_log_entry_put(&l->text, e);
    nib_text_puts(&l->text, "\n");
    if (l->text.failed) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", l->path);
    while (done < l->text.bytes) {
        ssize_t n = write(l->lines, l->text.data + done, l->text.bytes - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return nib_fail(err, NIB_E_IO, "%s: writing failed: %s", l->path,
                            strerror(n ? errno : ENOSPC));
        done += (size_t)n;
    }
    return NIB_OK;
}

/* --- event files --- */

static double wall_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static nib_status open_events(nib_run_logs *l, const char *dir, const nib_log_cut *cut,
                              nib_error *err)
{
    char *inside = nib_sprintf(l->ctx, "%s/", dir); /* made with the directories above it */
    nib_status status = inside ? nib_make_parents(inside, err)
                               : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);

    nib_free(l->ctx, inside);
    if (!status) status = nib_tfevents_create(l->ctx, dir, &l->events, err);
    if (!status && cut->resumed)
        status = nib_tfevents_start(l->events, wall_time(), cut->step + 1, err);
    return status;
}

/* "eval_loss" is eval/loss, "loss" is train/loss: the names of the Trainer's callback. */
static nib_status put_events(nib_run_logs *l, const nib_log_entry *e, nib_error *err)
{
    const char *const *names = nib_log_names(e->kind);
    double now = wall_time();
    nib_status status = nib_tfevents_scalar(l->events, now, e->step, "train/epoch", (float)e->epoch,
                                            err);

    for (size_t i = 0; names[i] && !status; i++) {
        bool eval = strncmp(names[i], "eval_", 5) == 0;
        char tag[100];
        if (!isfinite(e->values[i])) continue;
        snprintf(tag, sizeof tag, "%s%s", eval ? "eval/" : "train/", names[i] + (eval ? 5 : 0));
        status = nib_tfevents_scalar(l->events, now, e->step, tag, (float)e->values[i], err);
    }
    return status;
}

/* --- both --- */

nib_status nib_run_logs_open(nib_ctx *ctx, unsigned to, const char *output_dir,
                             const char *logging_dir, nib_log_cut cut, nib_run_logs *out,
                             nib_error *err)
{
    nib_run_logs l = { .ctx = ctx, .lines = -1, .text = { .ctx = ctx } };
    nib_status status = NIB_OK;

    if (to & NIB_REPORT_JSONL) status = open_lines(&l, output_dir, &cut, err);
    if (!status && to & NIB_REPORT_TENSORBOARD) status = open_events(&l, logging_dir, &cut, err);
    if (status) nib_run_logs_close(&l);
    else *out = l;
    return status;
}

nib_status nib_run_logs_put(nib_run_logs *l, const nib_log_entry *e, nib_error *err)
{
    nib_status status = NIB_OK;

    if (!l->ctx) return NIB_OK;
    if (l->lines >= 0) status = put_line(l, e, err);
    if (!status && l->events) status = put_events(l, e, err);
    return status;
}

nib_status nib_run_logs_sync(nib_run_logs *l, nib_error *err)
{
    if (!l->ctx) return NIB_OK;
    if (l->lines >= 0 && fsync(l->lines))
        return nib_fail(err, NIB_E_IO, "%s: %s", l->path, strerror(errno));
    return l->events ? nib_tfevents_sync(l->events, err) : NIB_OK;
}

void nib_run_logs_close(nib_run_logs *l)
{
    if (!l->ctx) return;
    if (l->lines >= 0) close(l->lines);
    nib_tfevents_close(l->events);
    nib_text_free(&l->text);
    nib_free(l->ctx, l->path);
    *l = (nib_run_logs){ .lines = -1 };
}
