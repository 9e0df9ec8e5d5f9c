/* peft_match.c - which modules an adapter config means (contract: peft_match.h). */
#include "adapter/peft_match.h"

#include "base/python_regex.h"

/* Several expressions, one after another. */
typedef struct regexes { nib_python_regex **at; size_t count; } regexes;

struct nib_peft_matcher {
    nib_ctx *ctx;
    const nib_peft_config *cfg;
    const char *const *defaults;
    size_t default_count;
    regexes target, exclude, saved, layer, rank, alpha;
};

/* name ends with "." + item */
static bool has_suffix(const char *name, const char *item)
{
    size_t n = strlen(name), m = strlen(item);
    return n > m && name[n - m - 1] == '.' && strcmp(name + n - m, item) == 0;
}

static nib_status add(nib_peft_matcher *m, regexes *to, size_t most, const char *what,
                      const char *before, const char *pattern, const char *after, nib_error *err)
{
    nib_status status;

    if (!to->at) to->at = nib_new_array(m->ctx, most, sizeof *to->at);
    if (!to->at) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", what);
    status = nib_python_regex_create(m->ctx, what, before, pattern, after, &to->at[to->count], err);
    if (!status) to->count++;
    return status;
}

static void drop(nib_ctx *ctx, regexes *r)
{
    for (size_t i = 0; i < r->count; i++) nib_python_regex_destroy(ctx, r->at[i]);
    nib_free(ctx, r->at);
}

static nib_status add_names(nib_peft_matcher *m, regexes *to, const nib_peft_names *names,
                            const char *what, const char *before, const char *after, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; !status && i < names->count; i++)
        status = add(m, to, names->count, what, before, names->names[i], after, err);
    return status;
}

static nib_status add_patterns(nib_peft_matcher *m, regexes *to, const nib_peft_pattern *patterns,
                               size_t count, const char *what, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; !status && i < count; i++)
        status = add(m, to, count, what, "(.*\\.)?(", patterns[i].key, ")$", err);
    return status;
}

static nib_status compile_all(nib_peft_matcher *m, nib_error *err)
{
    const nib_peft_config *cfg = m->cfg;
    nib_status status = NIB_OK;

    if (cfg->target_modules.kind == NIB_PEFT_REGEX)
        status = add_names(m, &m->target, &cfg->target_modules, "target_modules", "", "", err);
    if (!status && cfg->exclude_modules.kind == NIB_PEFT_REGEX && *cfg->exclude_modules.names[0])
        status = add_names(m, &m->exclude, &cfg->exclude_modules, "exclude_modules", "", "", err);
    if (!status)
        status = add_names(m, &m->saved, &cfg->modules_to_save, "modules_to_save", "(^|.*\\.)",
                           "($|\\..*)", err);
    if (!status && cfg->layers_count && cfg->layers_pattern.count == 0)
        status = add(m, &m->layer, 1, "layers_pattern", ".*?\\.[^.]*\\.(?P<idx>\\d+)\\.", "", "",
                     err);
    if (!status && cfg->layers_count)
        status = add_names(m, &m->layer, &cfg->layers_pattern, "layers_pattern", "(?:^|.*?\\.)",
                           "\\.(?P<idx>\\d+)\\.", err);
    if (!status)
        status = add_patterns(m, &m->rank, cfg->rank_pattern, cfg->rank_count, "rank_pattern", err);
    if (!status)
        status = add_patterns(m, &m->alpha, cfg->alpha_pattern, cfg->alpha_count, "alpha_pattern",
                              err);
    return status;
}

nib_status nib_peft_matcher_create(nib_ctx *ctx, const nib_peft_config *cfg,
                                   const char *const *defaults, size_t default_count,
                                   nib_peft_matcher **out, nib_error *err)
{
    nib_peft_matcher *m = nib_new(ctx, sizeof *m);
    nib_status status;

    if (!m) return nib_fail(err, NIB_E_NOMEM, "adapter config: out of memory");
    m->ctx = ctx;
    m->cfg = cfg;
    m->defaults = defaults;
    m->default_count = default_count;
    status = compile_all(m, err);
    if (status) {
        nib_peft_matcher_destroy(m);
        return status;
    }
    *out = m;
    return NIB_OK;
}

void nib_peft_matcher_destroy(nib_peft_matcher *m)
{
    nib_ctx *ctx;

    if (!m) return;
    ctx = m->ctx;
    drop(ctx, &m->target);
    drop(ctx, &m->exclude);
    drop(ctx, &m->saved);
    drop(ctx, &m->layer);
    drop(ctx, &m->rank);
    drop(ctx, &m->alpha);
    nib_free(ctx, m);
}

/* The first expression that matches; count when none does. */
static nib_status first_match(const regexes *r, const char *name, bool full, size_t *which,
                              int64_t group[2], nib_error *err)
{
    nib_status status = NIB_OK;
    bool yes = false;

    for (*which = 0; *which < r->count; (*which)++) {
        status = nib_python_regex_match(r->at[*which], name, full, &yes, group, err);
        if (status || yes) break;
    }
    return status;
}

static nib_status is_excluded(const nib_peft_matcher *m, const char *name, bool *yes,
                              nib_error *err)
{
    const nib_peft_names *exclude = &m->cfg->exclude_modules;
    size_t which;
    nib_status status;

    *yes = false;
    if (exclude->kind == NIB_PEFT_LIST)
        for (size_t i = 0; i < exclude->count; i++)
            *yes |= strcmp(name, exclude->names[i]) == 0 || has_suffix(name, exclude->names[i]);
    status = first_match(&m->exclude, name, true, &which, NULL, err);
    if (status) return status;
    *yes |= which < m->exclude.count;
    status = first_match(&m->saved, name, false, &which, NULL, err);
    if (status) return status;
    *yes |= which < m->saved.count;
    return NIB_OK;
}

/* The number of the block the name lies in is one of layers_to_transform. */
static nib_status in_layers(const nib_peft_matcher *m, const char *name, bool *yes, nib_error *err)
{
    int64_t group[2] = { -1, -1 }, index = 0;
    size_t which;
    nib_status status = first_match(&m->layer, name, false, &which, group, err);

    *yes = false;
    if (status || which == m->layer.count || group[0] < 0) return status;
    if (group[1] - group[0] > 18) return NIB_OK; /* no such layer */
    for (int64_t i = group[0]; i < group[1]; i++) {
        if (name[i] < '0' || name[i] > '9') return NIB_OK; /* a digit of another script */
        index = 10 * index + (name[i] - '0');
    }
    for (size_t i = 0; i < m->cfg->layers_count; i++) *yes |= m->cfg->layers[i] == index;
    return NIB_OK;
}

nib_status nib_peft_match(const nib_peft_matcher *m, const char *name, bool is_linear,
                          bool is_output_head, bool *yes, nib_error *err)
{
    const nib_peft_names *targets = &m->cfg->target_modules;
    bool is_list = targets->kind == NIB_PEFT_LIST, excluded, suffix = false;
    size_t count = is_list ? targets->count : m->default_count, which;
    nib_status status = is_excluded(m, name, &excluded, err);

    *yes = false;
    if (status || excluded) return status;
    if (targets->kind == NIB_PEFT_ALL_LINEAR) {
        *yes = is_linear && !is_output_head;
        return NIB_OK;
    }
    if (targets->kind == NIB_PEFT_REGEX) {
        status = first_match(&m->target, name, true, &which, NULL, err);
        *yes = !status && which < m->target.count;
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        const char *item = is_list ? targets->names[i] : m->defaults[i];
        if (strcmp(name, item) == 0) { /* the whole name: layers_to_transform is not looked at */
            *yes = true;
            return NIB_OK;
        }
        suffix |= has_suffix(name, item);
    }
    *yes = suffix;
    return suffix && m->cfg->layers_count ? in_layers(m, name, yes, err) : NIB_OK;
}

nib_status nib_peft_rank(const nib_peft_matcher *m, const char *name, int64_t *r, double *alpha,
                         nib_error *err)
{
    size_t which;
    nib_status status = first_match(&m->rank, name, false, &which, NULL, err);

    if (status) return status;
    *r = which < m->rank.count ? (int64_t)m->cfg->rank_pattern[which].value : m->cfg->r;
    status = first_match(&m->alpha, name, false, &which, NULL, err);
    if (status) return status;
    *alpha = which < m->alpha.count ? m->cfg->alpha_pattern[which].value : m->cfg->lora_alpha;
    return NIB_OK;
}

/* PEFT wraps each module whose path ends so, with all modules inside it. */
static bool ends_within(const char *path, const char *end)
{
    size_t e = strlen(end);

    for (size_t n = 0; n <= strlen(path); n++)
        if ((path[n] == '.' || !path[n]) && n >= e && strncmp(path + n - e, end, e) == 0)
            return true;
    return false;
}

bool nib_peft_saves(const nib_peft_config *cfg, const char *name)
{
    for (size_t i = 0; i < cfg->modules_to_save.count; i++)
        if (ends_within(name, cfg->modules_to_save.names[i])) return true;
    return false;
}
