/* merge_judge.c - see merge_judge.h. */
#include "job/merge_judge.h"

#include <math.h>

#include "base/filemap.h"
#include "base/outfile.h"
#include "format/json.h"
#include "job/python_json.h"

static const double usual_least = .8; /* of what is kept, before it is warned of */
/* What a matrix may be short of, or beyond, its change, and the noise that it may have beside. */
static const double damage = .1, most_noise = .5;
static const char page_title[] = "# A merged model\n";

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "the report of a merge: out of memory");
}

/* --- finding --- */

static nib_status render(nib_merge_judged *j, const nib_merge_measured *found,
                         const nib_merge_facts *f, nib_error *err)
{
    nib_merge_report_text(found, &j->text);
    nib_merge_report_page(found, f, &j->page);
    nib_merge_report_advice(found, f, &j->advice);
    j->json = nib_merge_report_json(found, f);
    return j->text.failed || j->page.failed || j->advice.failed || !j->json ? no_memory(err)
                                                                           : NIB_OK;
}

static nib_status list_damaged(nib_merge_judged *j, const nib_survivors *s, nib_error *err)
{
    j->damaged = nib_new_array(j->ctx, s->count, sizeof *j->damaged);
    if (!j->damaged) return no_memory(err);
    for (size_t i = 0; i < s->count; i++) {
        nib_survival one = nib_survival_of(&s->items[i].sums);
        if (isnan(one.survived) || !s->items[i].linear) continue;
        if (fabs(1 - one.survived) <= damage && one.noise <= most_noise) continue;
        j->damaged[j->damaged_count] = nib_strdup(j->ctx, s->items[i].name);
        if (!j->damaged[j->damaged_count++]) return no_memory(err);
    }
    return NIB_OK;
}

nib_status nib_merge_judge(const nib_merge_measuring *m, const nib_merge_facts *f,
                           nib_merge_judged *out, nib_error *err)
{
    nib_ctx *ctx = m->model->ctx;
    double asked = f->options->min_retained;
    nib_merge_measured found;
    nib_status status = nib_merge_measure(m, &found, err);

    *out = (nib_merge_judged){ .ctx = ctx, .route = f->route, .text = { .ctx = ctx },
                               .page = { .ctx = ctx }, .advice = { .ctx = ctx } };
    if (!status && found.verified) {
        out->records = nib_strdup(ctx, found.records.name);
        if (!out->records) status = no_memory(err);
    }
    if (!status) status = render(out, &found, f, err);
    if (!status) status = list_damaged(out, &found.survivors, err);
    if (!status) {
        out->enough = nib_merge_is_enough(&found, asked > 0 ? asked : usual_least);
        out->report = (nib_merge_report){ .survival = found.all, .records = out->records,
                                          .losses = found.losses,
                                          .enough = out->enough || asked <= 0 };
    }
    nib_merge_measured_free(&found);
    return status;
}

void nib_merge_judged_free(nib_merge_judged *j)
{
    if (!j->ctx) return;
    json_decref(j->json);
    nib_text_free(&j->text);
    nib_text_free(&j->page);
    nib_text_free(&j->advice);
    for (size_t i = 0; i < j->damaged_count; i++) nib_free(j->ctx, j->damaged[i]);
    nib_free(j->ctx, j->damaged);
    nib_free(j->ctx, j->records);
    *j = (nib_merge_judged){ 0 };
}

bool nib_merge_judged_better(const nib_merge_judged *a, const nib_merge_judged *b)
{
    if (a->records) return a->report.losses.merged < b->report.losses.merged;
    return a->report.survival.noise < b->report.survival.noise;
}

/* --- the end --- */

static void put_route(const nib_merge_judged *j, const char *used, nib_text *t)
{
    nib_text_printf(t, "%s into the %s weights: ", used, j->route);
    if (j->records) nib_text_printf(t, "loss %.4f", j->report.losses.merged);
    else nib_text_printf(t, "noise %.3f", j->report.survival.noise);
}

static nib_status add_routes(nib_merge_judged *j, const nib_merge_judged *other, nib_error *err)
{
    const nib_merge_judged *const both[] = { j, other };
    nib_text line = { .ctx = j->ctx };
    json_t *list = json_array();
    bool failed;

    for (size_t i = 0; i < 2; i++) {
        const nib_merge_report *r = &both[i]->report;
        double value = both[i]->records ? r->losses.merged : r->survival.noise;
        /* an adapter that changes nothing has no noise beside its change */
        json_t *shown = isfinite(value) ? json_real(value) : json_null();
        json_array_append_new(list, json_pack("{s:s, s:o, s:b}", "route", both[i]->route,
                                              both[i]->records ? "loss" : "noise", shown, "used",
                                              i == 0));
    }
    put_route(j, "merged", &line);
    put_route(other, "; rather than", &line);
    nib_text_puts(&line, "\n");
    failed = line.failed || json_array_size(list) != 2 || json_object_set(j->json, "routes", list);
    if (!failed) {
        nib_text_puts(&j->text, line.data);
        nib_text_puts(&j->page, "\n");
        nib_text_puts(&j->page, line.data);
    }
    json_decref(list);
    nib_text_free(&line);
    return failed || j->text.failed || j->page.failed ? no_memory(err) : NIB_OK;
}

/* Somebody may have written a page of his own. */
static bool is_ours(nib_ctx *ctx, const char *dir)
{
    char *path = nib_sprintf(ctx, "%s/README.md", dir);
    nib_filemap map = { 0 };
    bool ours = true;

    if (path && nib_file_exists(path) && !nib_filemap_open(path, &map, NULL)) {
        const char *text = (const char *)map.base;
        size_t n = sizeof page_title - 1;
        ours = false;
        for (size_t i = 0; !ours && i + n <= map.bytes; i++)
            ours = memcmp(text + i, page_title, n) == 0;
        nib_filemap_close(&map);
    }
    nib_free(ctx, path);
    return ours;
}

static nib_status write_files(nib_merge_judged *j, const char *earlier, const char *dir,
                              nib_error *err)
{
    char *page = nib_sprintf(j->ctx, "%s/README.md", dir),
         *json = nib_sprintf(j->ctx, "%s/merge_report.json", dir);
    nib_status status = page && json ? NIB_OK : no_memory(err);

    if (!status && is_ours(j->ctx, earlier))
        status = nib_outfile_replace(j->ctx, page, j->page.data, j->page.bytes, err);
    if (!status) status = nib_python_json_write(j->ctx, json, j->json, err);
    nib_free(j->ctx, page);
    nib_free(j->ctx, json);
    return status;
}

static nib_status tell(nib_merge_judged *j, const nib_merge_options *o, nib_error *err)
{
    nib_merge_report report = j->report;
    char *json;

    if (!o->on_report) return NIB_OK;
    report.text = j->text.data;
    report.json = json = nib_json_dump(j->ctx, j->json, JSON_PRESERVE_ORDER);
    if (!json) return no_memory(err);
    o->on_report(o->user, &report);
    nib_free(j->ctx, json);
    return NIB_OK;
}

nib_status nib_merge_judged_end(nib_merge_judged *j, const nib_merge_judged *other,
                                const nib_merge_options *o, const char *dir, nib_error *err)
{
    nib_status status = other ? add_routes(j, other, err) : NIB_OK;

    if (!status) status = tell(j, o, err);
    if (status) return status;
    if (!j->report.enough)
        return nib_fail(err, NIB_E_MISMATCH, "refused, nothing is written (min_retained %g): %s",
                        o->min_retained, j->advice.data);
    if (!j->enough) nib_warn_code(j->ctx, "little-survived", "%s", j->advice.data);
    return write_files(j, o->out, dir, err);
}
