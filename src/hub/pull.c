/* pull.c - a repository of the hub, as files: list, choose, download, put in place. */
#include <stdio.h>

#include "base/outfile.h"
#include "hub/choose.h"
#include "hub/download.h"

enum { PARALLEL = 8, RETRIES = 5 };

typedef struct pull {
    nib_ctx *ctx;
    const nib_pull_options *o;
    nib_hub_settings settings;
    nib_hub_parts name;
    nib_http *http;
    char commit[NIB_HUB_COMMIT + 1];
    nib_hub_listing listing;
    bool *chosen;
    nib_hub_store store;
    nib_download *downloads;
    nib_http_job *jobs;
    size_t count;            /* of them */
    uint64_t total;          /* bytes of the chosen files */
    double began;
} pull;

static nib_status no_memory(const pull *p, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", p->name.repository);
}

static const char *kind(const pull *p) { return p->o->dataset ? "datasets" : "models"; }

/* --- what the hub has --- */

/* The commit that the revision stands at now. */
static nib_status ask_commit(pull *p, nib_error *err)
{
    char *revision = nib_http_escape(p->ctx, p->name.revision, false), *text = NULL;
    char *url = revision ? nib_sprintf(p->ctx, "%s/api/%s/%s/revision/%s", p->settings.endpoint,
                                       kind(p), p->name.repository, revision)
                         : NULL;
    char *what = nib_sprintf(p->ctx, "%s@%s", p->name.repository, p->name.revision);
    nib_status status = url && what ? NIB_OK : no_memory(p, err);
    size_t bytes = 0;

    if (!status) status = nib_http_get(p->http, url, what, &text, &bytes, NULL, err);
    if (!status) status = nib_hub_read_commit(text, bytes, what, p->commit, err);
    nib_free(p->ctx, text);
    nib_free(p->ctx, what);
    nib_free(p->ctx, url);
    nib_free(p->ctx, revision);
    return status;
}

/* A page may be at the endpoint only: its address comes from the network, and the token goes with
 * the request. */
static nib_status check_next(const pull *p, const char *next, nib_error *err)
{
    size_t n = strlen(p->settings.endpoint);

    if (strncmp(next, p->settings.endpoint, n) == 0 && next[n] == '/') return NIB_OK;
    return nib_fail(err, NIB_E_IO, "%s: the next page of its list is at another host: %s",
                    p->name.repository, next);
}

static nib_status ask_files(pull *p, nib_error *err)
{
    char next[2048] = "";
    char *url = nib_sprintf(p->ctx, "%s/api/%s/%s/tree/%s?recursive=true&expand=false",
                            p->settings.endpoint, kind(p), p->name.repository, p->commit);
    char *what = nib_sprintf(p->ctx, "%s: its list of files", p->name.repository);
    nib_status status = url && what ? NIB_OK : no_memory(p, err);

    while (!status && url) {
        size_t before = p->listing.count, bytes = 0;
        char *text = NULL;
        status = nib_http_get(p->http, url, what, &text, &bytes, next, err);
        if (!status)
            status = nib_hub_listing_add(p->ctx, &p->listing, text, bytes, what, err);
        nib_free(p->ctx, text);
        nib_free(p->ctx, url);
        url = NULL;
        if (status || !*next) break;
        status = p->listing.count == before
                     ? nib_fail(err, NIB_E_FORMAT, "%s: an empty page, and a next one", what)
                     : check_next(p, next, err);
        if (!status && !(url = nib_strdup(p->ctx, next))) status = no_memory(p, err);
    }
    nib_free(p->ctx, what);
    nib_free(p->ctx, url);
    return status;
}

static nib_status choose(pull *p, nib_pull_result *r, nib_error *err)
{
    nib_hub_wish wish = { p->name.repository, p->o->include, p->o->include_count, p->name.quant,
                          p->o->dataset };
    nib_status status;

    p->chosen = nib_new_array(p->ctx, p->listing.count + 1, sizeof *p->chosen);
    if (!p->chosen) return no_memory(p, err);
    status = nib_hub_choose(&p->listing, &wish, p->chosen, err);
    for (size_t i = 0; !status && i < p->listing.count; i++) {
        uint64_t *sum = p->chosen[i] ? &p->total : &r->left_out_bytes;
        if (p->chosen[i]) p->count++;
        else r->left_out++;
        if (!nib_add_u64(*sum, p->listing.files[i].size, sum))
            status = nib_fail(err, NIB_E_FORMAT, "%s: more bytes than 64 bits count",
                              p->name.repository);
    }
    return status;
}

/* --- fetching it --- */

static void tick(void *user)
{
    pull *p = user;
    nib_pull_progress now = { .total_bytes = p->total, .files = p->count, .seconds_left = -1 };
    double passed = nib_clock_seconds() - p->began;
    uint64_t fetched = 0;

    for (size_t i = 0; i < p->count; i++) {
        const nib_download *d = &p->downloads[i];
        now.done_bytes += d->here;
        now.files_done += d->done;
        fetched += d->fetched;
    }
    if (passed > 0) now.bytes_per_second = (double)fetched / passed;
    if (now.bytes_per_second > 0)
        now.seconds_left = (double)(p->total - nib_min(p->total, now.done_bytes)) /
                           now.bytes_per_second;
    p->o->on_progress(p->o->user, &now);
}

/* The places of all files, and whether the disk has room for what is missing. */
static nib_status prepare(pull *p, nib_error *err)
{
    char *address = nib_sprintf(p->ctx, "%s/%s%s/resolve/%s", p->settings.endpoint,
                                p->o->dataset ? "datasets/" : "", p->name.repository, p->commit);
    nib_status status = NIB_OK;
    uint64_t there = 0; /* of an earlier run */
    size_t n = 0;

    p->downloads = nib_new_array(p->ctx, p->count + 1, sizeof *p->downloads);
    p->jobs = nib_new_array(p->ctx, p->count + 1, sizeof *p->jobs);
    if (!address || !p->downloads || !p->jobs) status = no_memory(p, err);
    if (!status)
        status = nib_hub_store_open(p->ctx, p->name.repository, p->o->dataset, p->o->to, p->commit,
                                    &p->store, err);
    for (size_t i = 0; !status && i < p->listing.count; i++) {
        nib_download *d = &p->downloads[n];
        if (!p->chosen[i]) continue;
        status = nib_download_open(&p->store, &p->listing.files[i], p->name.repository, address, d,
                                   err);
        if (status) break;
        there += nib_download_there(d);
        p->jobs[n++] = nib_download_job(d);
    }
    nib_free(p->ctx, address);
    if (status || there >= p->total) return status;
    return nib_disk_check(p->ctx, p->downloads[0].places.part, p->total - there, err);
}

static nib_status fetch(pull *p, nib_pull_result *r, nib_error *err)
{
    nib_status status;

    p->began = nib_clock_seconds();
    if (p->o->on_progress) nib_http_on_tick(p->http, tick, p);
    status = nib_http_run(p->http, p->jobs, p->count,
                          p->o->parallel > 0 ? p->o->parallel : PARALLEL, err);
    for (size_t i = 0; i < p->count; i++) r->fetched_bytes += p->downloads[i].fetched;
    if (!status) status = nib_hub_store_complete(&p->store, p->name.revision, err);
    return status;
}

/* The directory, or the GGUF file where one was chosen. */
static nib_status take_path(const pull *p, nib_pull_result *r, nib_error *err)
{
    const char *file = NULL;
    int n;

    for (size_t i = 0; i < p->listing.count; i++) {
        const char *path = p->listing.files[i].path;
        if (p->chosen[i] && nib_hub_is_quant(path, p->name.quant) && nib_hub_shard(path) <= 1 &&
            !p->o->include_count && !p->o->dataset)
            file = path;
    }
    n = snprintf(r->path, sizeof r->path, "%s%s%s", p->store.snapshot, file ? "/" : "",
                 file ? file : "");
    return n < (int)sizeof r->path
               ? NIB_OK
               : nib_fail(err, NIB_E_INVALID, "%s: its path is longer than %zu characters",
                          p->name.repository, sizeof r->path - 1);
}

static void end(pull *p)
{
    for (size_t i = 0; p->downloads && i < p->count; i++) nib_download_close(&p->downloads[i]);
    nib_free(p->ctx, p->downloads);
    nib_free(p->ctx, p->jobs);
    if (p->store.ctx) nib_hub_store_close(&p->store);
    nib_free(p->ctx, p->chosen);
    nib_hub_listing_free(p->ctx, &p->listing);
    nib_http_close(p->http);
    nib_hub_settings_free(p->ctx, &p->settings);
}

/* --- the verb --- */

/* HF_HUB_OFFLINE: what the cache has. */
static nib_status look_up(const pull *p, nib_pull_result *r, nib_error *err)
{
    char repository[4096];

    r->offline = true;
    if (p->o->to)
        return nib_fail(err, NIB_E_INVALID, "%s: HF_HUB_OFFLINE is set: nothing is downloaded to "
                        "%s", p->o->name, p->o->to);
    if (p->o->dataset ? nib_hub_repository(p->name.repository, true, repository,
                                           sizeof repository) &&
                            nib_hub_snapshot(repository, p->name.revision, r->path, sizeof r->path)
                      : nib_hub_find(p->o->name, r->path, sizeof r->path))
        return NIB_OK;
    return nib_fail(err, NIB_E_IO, "%s: not in the cache, and HF_HUB_OFFLINE is set: nothing is "
                    "downloaded", p->o->name);
}

static nib_status take_options(pull *p, nib_error *err)
{
    if (!nib_hub_parse(p->o->name, &p->name))
        return nib_fail(err, NIB_E_INVALID, "'%s' is no name of the hub: org/name, "
                        "org/name@revision, or org/name:Q4_K_M for a GGUF file", p->o->name);
    if (p->o->dataset && *p->name.quant)
        return nib_fail(err, NIB_E_INVALID, "%s: a data set has no quantization :%s", p->o->name,
                        p->name.quant);
    if (p->o->to && !*p->o->to)
        return nib_fail(err, NIB_E_INVALID, "%s: the directory to download to (--to) has an empty "
                        "name: give one, or none for the cache", p->o->name);
    if (p->o->include_count && *p->name.quant)
        return nib_fail(err, NIB_E_INVALID, "%s: the quantization :%s and --include both choose "
                        "files: give one of them", p->o->name, p->name.quant);
    return nib_hub_settings_read(p->ctx, &p->settings, err);
}

nib_status nib_pull(nib_ctx *ctx, const nib_pull_options *o, nib_pull_result *result,
                    nib_error *err)
{
    pull p = { .ctx = ctx, .o = o };
    nib_pull_result r = { .files = 0 };
    int retries = o->retries < 0 ? 0 : o->retries ? o->retries : RETRIES;
    nib_status status = take_options(&p, err);

    if (!status && p.settings.offline) {
        status = look_up(&p, &r, err);
    } else {
        if (!status) status = nib_http_open(ctx, &p.settings, retries, &p.http, err);
        if (!status) status = ask_commit(&p, err);
        if (!status) status = ask_files(&p, err);
        if (!status) status = choose(&p, &r, err);
        if (!status) status = prepare(&p, err);
        if (!status) status = fetch(&p, &r, err);
        if (!status) status = take_path(&p, &r, err);
        r.files = p.count;
        r.bytes = p.total;
        memcpy(r.commit, p.commit, sizeof p.commit);
    }
    end(&p);
    if (!status) *result = r;
    return status;
}
