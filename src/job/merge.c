/* merge.c - adapters' changes put into the weights: W0 + s B A.
 *
 * Every tensor of the source is written in its order under its own name.  A weight's rows are
 * decoded to float, the product is added in float, and the sum is rounded once; a few rows are
 * in memory at a time.  The packed tensors of a low-bit weight become one dense tensor, or, where a
 * format is asked for, each linear's sum is encoded, a matrix at a time.
 * Experts of MXFP4 that the adapter does not change are copied as they are, unless --dtype is
 * given.
 * A head tied to the embedding becomes a tensor of its own when the two differ afterwards.
 * A classifier that the adapter brings stands behind the others, and its labels in config.json.
 * Where the weights before and after the base's quantization are at hand, both are tried. */
#include "job/merge_check.h"

#include <stdio.h>

#include "job/merge_forecast.h"
#include "job/merge_route.h"
#include "job/merge_unmerge.h"
#include "job/other_form.h"
#include "job/quantize_config.h"

static const char original[] = "original", decoded[] = "decoded";

typedef struct run {
    nib_merge_job job;
    nib_settings trained; /* that quantize a dense MODEL as it was while the adapter was trained */
    nib_merge_route routes[2];
    nib_merge_result forms;
} run;

static nib_status read_dtype(nib_merge_job *j, nib_error *err)
{
    static const nib_dtype known[] = { NIB_F32, NIB_F16, NIB_BF16 };
    const char *name = j->options->dtype;

    j->convert = name != NULL;
    if (!name) return NIB_OK;
    for (size_t i = 0; i < NIB_COUNT(known); i++)
        if (strcmp(name, nib_dtype_name(known[i])) == 0) {
            j->dtype = known[i];
            return NIB_OK;
        }
    return nib_fail(err, NIB_E_INVALID, "dtype '%s'; float32, float16 and bfloat16 are known",
                    name);
}

/* Taking out is adding the opposite. */
static nib_status negate(nib_merge_job *j, const nib_merge_format *format, nib_error *err)
{
    if (format->held.format)
        return nib_fail(err, NIB_E_INVALID, "unmerge: gives a dense model; quantize it afterwards");
    if (j->options->route)
        return nib_fail(err, NIB_E_INVALID, "unmerge: goes one way, route is without use");
    for (size_t i = 0; i < j->count; i++)
        j->less[i] = (nib_merge_adapter){ j->list[i].dir, -j->list[i].weight };
    j->list = j->less;
    return NIB_OK;
}

/* What needs no file to be opened. */
static nib_status read_options(nib_merge_job *j, nib_error *err)
{
    const nib_merge_options *o = j->options;
    nib_merge_format format;
    nib_status status = read_dtype(j, err);

    if (!status && !(o->min_retained >= 0 && o->min_retained <= 1))
        status = nib_fail(err, NIB_E_INVALID,
                          "min_retained: expected a fraction above 0 and at most 1, got %g",
                          o->min_retained);
    if (!status && o->route && strcmp(o->route, "auto") && strcmp(o->route, original) &&
        strcmp(o->route, decoded))
        status = nib_fail(err, NIB_E_INVALID, "route '%s'; auto, original and decoded are known",
                          o->route);
    if (!status) status = nib_merge_adapters_listed(o, &j->only, &j->list, &j->count, err);
    if (!status) status = nib_merge_format_read(j->ctx, o, NULL, &format, err);
    if (!status && o->unmerge) status = negate(j, &format, err);
    if (status || o->dry_run) return status;
    status = nib_quantize_check_places(o->model, o->out, err);
    if (!status && o->base_original)
        status = nib_quantize_check_places(o->base_original, o->out, err);
    for (size_t i = 0; i < j->count && !status; i++)
        status = nib_quantize_check_places(j->list[i].dir, o->out, err);
    return status;
}

/* --- routes --- */

/* The settings that quantize a model in a form while it is loaded; false: there are none. */
static bool settings_of(const char *form, nib_held *held, nib_settings *out)
{
    static const char *const flags[] = { "load_in_4bit", "load_in_8bit" };
    nib_form wanted;

    if (!nib_form_parse(form, &wanted)) return false;
    for (size_t i = 0; i < NIB_COUNT(flags); i++) {
        const nib_setting ask[] = { { flags[i], "true" }, { NULL, NULL } };
        const nib_setting *idle;
        if (nib_held_asked(ask, held, &idle, NULL) || held->form.scheme != wanted.scheme) continue;
        held->form = wanted;
        held->format->settings(&wanted, out);
        return true;
    }
    *held = (nib_held){ 0 };
    return false;
}

static bool may(const nib_merge_options *o, const char *route)
{
    return !o->route || strcmp(o->route, "auto") == 0 || strcmp(o->route, route) == 0;
}

/* The second way, once MODEL is open: to the original of a low-bit one, or to a dense one as the
 * adapter knew it. */
static nib_status find_second(run *r, nib_error *err)
{
    const nib_merge_options *o = r->job.options;
    nib_merge_route *first = &r->routes[0], *second = &r->routes[1];
    const char *form = first->adapters.items[0]->base_form;
    bool dense = strcmp(r->forms.model_form, "dense") == 0;

    if (o->base_original && dense)
        return nib_fail(err, NIB_E_INVALID, "base_original: %s is dense, and so the original "
                        "itself", o->model);
    if (o->base_original) {
        *second = (nib_merge_route){ .job = &r->job, .name = original, .dir = o->base_original,
                                     .trained_on = o->model };
        first->name = decoded;
    } else if (dense && *form && strcmp(form, "dense") != 0 &&
               settings_of(form, &r->job.trained, &r->trained)) {
        *second = (nib_merge_route){ .job = &r->job, .name = decoded, .dir = o->model,
                                     .settings = r->trained.items };
        first->name = original;
    }
    if (second->job || may(o, dense ? original : decoded)) return NIB_OK;
    return nib_fail(err, NIB_E_INVALID, "route %s: there is only the way into the weights of %s%s",
                    o->route, o->model, dense ? "" : "; base_original names their original");
}

static bool is_taken(const run *r, size_t i)
{
    const nib_merge_route *route = &r->routes[i];

    return route->job && (!route->name || may(r->job.options, route->name));
}

/* Adapters on another form than they were trained on are warned of, but where the form that they
 * were trained on is tried as well. */
static nib_status compare_forms(run *r, nib_error *err)
{
    const nib_merge_adapters *a = &r->routes[0].adapters;
    bool unmerge = r->job.options->unmerge;
    nib_status status;

    if (!a->count) return NIB_OK;
    status = nib_compare_forms(a->items[0], NULL, !unmerge, &r->forms, err);
    if (!status && unmerge) { /* whatever it was trained on, it is in these weights */
        if (strcmp(r->forms.model_form, "dense") != 0)
            return nib_fail(err, NIB_E_INVALID, "unmerge: %s holds %s weights, of which nothing "
                            "can be taken out; a dense merge is wanted", r->job.options->model,
                            r->forms.model_form);
        r->forms.other_form = false;
        return NIB_OK;
    }
    if (!status && !r->job.options->unmeasured) status = find_second(r, err);
    for (size_t i = 0; i < r->job.count && !status; i++) {
        nib_merge_result other;
        bool tried = i == 0 && r->routes[1].settings && is_taken(r, 1);
        if (!tried) status = nib_compare_forms(a->items[i], "merged into", true, &other, err);
    }
    return status;
}

static nib_status run_routes(run *r, nib_error *err)
{
    nib_status status = nib_merge_route_open(&r->routes[0], err);

    if (!status) status = compare_forms(r, err);
    r->job.ways = !status ? is_taken(r, 0) + is_taken(r, 1) : 0;
    r->job.first = &r->routes[!is_taken(r, 0)];
    if (!status && is_taken(r, 0)) status = nib_merge_route_run(&r->routes[0], err);
    if (!status && !is_taken(r, 0)) nib_merge_route_close(&r->routes[0]);
    if (status || !is_taken(r, 1)) return status;
    status = nib_merge_route_open(&r->routes[1], err);
    return status ? status : nib_merge_route_run(&r->routes[1], err);
}

static nib_status keep_better(run *r, nib_error *err)
{
    nib_merge_route *a = &r->routes[0], *b = &r->routes[1], *best;
    const nib_merge_options *o = r->job.options;
    nib_outdir *out;
    nib_status status;

    best = !a->out || (b->out && nib_merge_judged_better(&b->judged, &a->judged)) ? b : a;
    status = !best->judged.ctx ? NIB_OK
                               : nib_merge_judged_end(&best->judged,
                                                      a->out && b->out
                                                          ? &(best == a ? b : a)->judged : NULL,
                                                      o, nib_outdir_path(best->out), err);
    if (!status && o->unmerge && o->base_original)
        status = nib_unmerge_compare(r->job.ctx, o->base_original, nib_outdir_path(best->out),
                                     &r->forms, err);
    if (status) return status;
    if (o->result) {
        nib_merge_result result = r->forms;
        memcpy(result.form, best->result.form, sizeof result.form);
        result.matrices = best->result.matrices;
        result.wide = best->result.wide;
        result.bytes = best->result.bytes;
        snprintf(result.route, sizeof result.route, "%s", best->name ? best->name : "");
        *o->result = result;
    }
    out = best->out;
    best->out = NULL;
    return nib_outdir_commit(out, err);
}

/* OUT stands, or is refused: nothing is left to resume.  A failure is not replaced by another. */
static nib_status forget_layers(run *r, nib_status ended, nib_error *err)
{
    nib_status status = ended;
    nib_error other;

    for (size_t i = 0; i < 2; i++) {
        nib_status gone = nib_merge_route_forget(&r->routes[i], &other);
        if (!status && gone) status = nib_fail(err, gone, "%s", other.message);
    }
    return status;
}

nib_status nib_merge_checked(nib_ctx *ctx, const nib_merge_options *options, nib_merge_check check,
                             nib_error *err)
{
    run r = { .job = { .ctx = ctx, .options = options, .check = check } };
    nib_status status = read_options(&r.job, err);

    if (options->dry_run) {
        nib_merge_forecast f;
        const nib_dtype *dtype = r.job.convert ? &r.job.dtype : NULL;
        if (!status) status = nib_merge_forecast_make(ctx, options, dtype, &f, err);
        if (!status && options->on_forecast) options->on_forecast(options->user, &f);
        return status;
    }
    r.routes[0] = (nib_merge_route){ .job = &r.job, .dir = options->model };
    if (!status) status = run_routes(&r, err);
    if (!status) status = keep_better(&r, err);
    if (!status || status == NIB_E_MISMATCH) status = forget_layers(&r, status, err);
    nib_merge_route_close(&r.routes[0]);
    nib_merge_route_close(&r.routes[1]);
    return status;
}

nib_status nib_merge(nib_ctx *ctx, const nib_merge_options *options, nib_error *err)
{
    return nib_merge_checked(ctx, options, (nib_merge_check){ 0 }, err);
}
