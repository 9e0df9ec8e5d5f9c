/* format_awq.c - AWQ's checkpoints, version gemm: of AutoAWQ, GPTQModel and AutoRound (formats.md
 * 7; formats-quant.md 5).
 *
 *     M.qweight  I32  [in, out / 8]       4-bit codes along the outputs, in AWQ's order
 *     M.qzeros   I32  [groups, out / 8]   zero points, as they are
 *     M.scales   F16  [groups, out]       bfloat16 too */
#include <stdio.h>
#include <strings.h>

#include "quant/formats.h"
#include "quant/gptq_rules.h"
#include "quant/names.h"

static const char *const keys[] = { "format", "bits", "group_size", "sym", NULL };
static const char *const pieces[] = { ".qweight", ".qzeros", ".scales", NULL };
static const char *const packings[] = { "auto_round:auto_awq", "auto_round:awq", NULL };

/* What config.json says of modules. */
typedef struct awq_rules {
    nib_names *skipped; /* modules_to_not_convert */
    nib_gptq_rules *rules;
} awq_rules;

static nib_status check_bits(const char *where, unsigned bits, nib_error *err)
{
    if (bits == 4) return NIB_OK;
    return nib_fail(err, NIB_E_INVALID, "%sbits: AWQ packs 4, got %u", where, bits);
}

static nib_status read_settings(const nib_setting *s, const char *where, nib_form *form,
                                nib_error *err)
{
    nib_grouped_options o = { .maker = NIB_GROUPED_AWQ, .bits = 4, .group = 128,
                              .asymmetric = true, .dtype = NIB_F16 };
    nib_status status = nib_gptq_settings(s, where, &o, err);

    if (!status) status = check_bits(where, o.bits, err);
    if (!status) *form = nib_grouped_form(&o);
    return status;
}

static void settings_of(const nib_form *form, nib_settings *out)
{
    nib_grouped_options o = nib_grouped_form_options(form);

    *out = (nib_settings){ 0 };
    nib_settings_put(out, "format", "awq");
    nib_settings_put_count(out, "bits", 4);
    nib_settings_put_group(out, "group_size", o.group);
    nib_settings_put(out, "sym", o.asymmetric ? "false" : "true");
}

/* --- config.json --- */

static bool means(const nib_setting *config)
{
    const char *method = nib_setting_value(config, "quant_method");

    if (!method) method = nib_setting_value(config, "method");
    return method && (strcmp(method, "awq") == 0 || nib_autoround_is(config, packings));
}

static nib_status check_version(const nib_setting *config, const char *where, nib_error *err)
{
    const char *version = nib_setting_value(config, "version");

    if (!version) version = nib_setting_value(config, "format");
    if (!version || strcasecmp(version, "gemm") == 0) return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED, "%sversion '%.60s'; known is gemm: take the checkpoint "
                    "before it was repacked", where, version);
}

static nib_status read_config(nib_ctx *ctx, const nib_setting *config, const char *where,
                              nib_held *out, nib_error *err)
{
    awq_rules *rules;
    nib_status status = check_version(config, where, err);

    if (!status) status = read_settings(config, where, &out->form, err);
    if (status) return status;
    out->rules = rules = nib_new(ctx, sizeof *rules);
    if (!rules) return nib_fail(err, NIB_E_NOMEM, "%sout of memory", where);
    status = nib_names_read(ctx, config, "modules_to_not_convert", where, &rules->skipped, err);
    if (!status) status = nib_gptq_rules_read(ctx, config, where, false, &rules->rules, err);
    return status;
}

static void free_rules(nib_ctx *ctx, void *self)
{
    awq_rules *rules = self;

    nib_names_free(ctx, rules->skipped);
    nib_gptq_rules_free(ctx, rules->rules);
    nib_free(ctx, rules);
}

static nib_status packs(const nib_held *held, const nib_format_module *module, bool *packed,
                        nib_form *form, nib_error *err)
{
    const awq_rules *rules = held->rules;
    nib_grouped_options o = nib_grouped_form_options(&held->form);
    nib_status status = nib_gptq_rules_apply(rules->rules, module, &o, packed, err);

    for (size_t i = 0; rules->skipped && i < rules->skipped->count; i++)
        if (strstr(module->name, rules->skipped->at[i])) *packed = false;
    if (!status && *packed) status = check_bits("dynamic: ", o.bits, err);
    *form = nib_grouped_form(&o);
    return status;
}

/* --- reading --- */

static unsigned zero_of(const void *self, size_t group, size_t o)
{
    const nib_part *zeros = self;
    const uint8_t *row = (const uint8_t *)zeros->data + group * (size_t)zeros->shape[1] * 4;

    return nib_load_le32(row + o / 8 * 4) >> nib_awq_shift(o) & 15;
}

typedef struct stored_parts { nib_part qweight, qzeros, scales; } stored_parts;

static nib_status find_parts(nib_part_finder find, const char *module, stored_parts *p, bool *there,
                             nib_error *err)
{
    nib_part other;

    *there = nib_module_part(find, module, ".qweight", &p->qweight);
    if (!*there) {
        if (!nib_module_part(find, module, ".qzeros", &other)) return NIB_OK;
        return nib_fail(err, NIB_E_FORMAT, "%s is there, but %s.qweight is missing", other.name,
                        module);
    }
    if (!nib_module_part(find, module, ".qzeros", &p->qzeros))
        return nib_fail(err, NIB_E_FORMAT, "%s.qzeros is missing", module);
    if (!nib_module_part(find, module, ".scales", &p->scales))
        return nib_fail(err, NIB_E_FORMAT, "%s.scales is missing", module);
    if (nib_module_part(find, module, ".g_idx", &other))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: a GPTQ file has such a tensor, but config.json says "
                        "awq",
                        other.name);
    if (nib_module_part(find, module, ".weight", &other))
        return nib_fail(err, NIB_E_FORMAT, "%s and %s are both there", p->qweight.name, other.name);
    return NIB_OK;
}

static nib_status check_parts(const stored_parts *p, const nib_grouped_options *o, size_t *groups,
                              nib_error *err)
{
    const nib_part *q = &p->qweight;
    uint64_t out = q->rank == 2 ? q->shape[1] * 8 : 0, in = q->shape[0];
    nib_status status;

    if (q->dtype != NIB_I32 || q->rank != 2 || !in || !out || in > UINT32_MAX ||
        q->shape[1] > UINT32_MAX)
        return nib_fail(err, NIB_E_FORMAT, "%s: %s of rank %u, expected a matrix of int32", q->name,
                        nib_dtype_name(q->dtype), q->rank);
    if (p->scales.rank == 2 && p->scales.shape[1] == q->shape[1])
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: [%" PRIu64 ", %" PRIu64 "] has one word for each of "
                        "%" PRIu64 " scales: GPTQ's layout, but config.json says awq",
                        q->name, in, q->shape[1], q->shape[1]);
    *groups = o->group == NIB_GROUP_ROW ? 1 : (size_t)nib_ceil_div(in, o->group);
    if (o->group != NIB_GROUP_ROW && in % o->group)
        return nib_fail(err, NIB_E_FORMAT, "%s: %" PRIu64 " inputs are no whole groups of %u",
                        q->name, in, o->group);
    status = nib_check_matrix(&p->qzeros, NIB_I32, *groups, q->shape[1], err);
    if (!status) status = nib_check_matrix(&p->scales, p->scales.dtype, *groups, out, err);
    return status;
}

static nib_status open_module(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                              const nib_format_module *module, nib_weight **w, nib_error *err)
{
    nib_grouped_options o;
    nib_grouped made = { 0 };
    nib_form form;
    stored_parts p = { 0 };
    bool there = false, packed = false;
    nib_status status = find_parts(find, module->name, &p, &there, err);

    *w = NULL;
    if (status || !there) return status;
    status = packs(held, module, &packed, &form, err);
    if (!status && !packed) status = nib_gptq_rules_contradict(p.qweight.name, err);
    if (status) return status;
    o = nib_grouped_form_options(&form);
    status = check_parts(&p, &o, &made.groups, err);
    if (!status) status = nib_check_scales(ctx, &p.scales, true, err);
    if (status) return status;
    made.base = (nib_weight){ .out = (size_t)p.qweight.shape[1] * 8,
                              .in = (size_t)p.qweight.shape[0], .dtype = o.dtype };
    made.options = o;
    made.order = NIB_WORDS_OUT;
    made.codes = p.qweight.data;
    made.row_bytes = made.base.out / 2;
    made.group = o.group == NIB_GROUP_ROW ? made.base.in : o.group;
    made.scales = p.scales.data;
    made.scale_type = p.scales.dtype;
    made.scale_group = made.base.out;
    made.scale_out = 1;
    status = nib_grouped_open(ctx, &made, zero_of, &p.qzeros, NULL,
                              p.qweight.bytes + p.qzeros.bytes + p.scales.bytes, w, err);
    if (!status) (*w)->source = p.qweight.name;
    return status;
}

static nib_status describe(const nib_part *t, nib_part_finder find, const nib_held *held, bool *its,
                           uint64_t shape[2], nib_form *form, nib_error *err)
{
    nib_grouped_options o = { .maker = NIB_GROUPED_AWQ, .bits = 4, .asymmetric = true,
                              .dtype = NIB_F16 };
    size_t n = strlen(t->name), end = strlen(".qweight");
    char module[600];
    nib_part scales;

    (void)err;
    *its = false;
    if (n <= end || n - end >= sizeof module || strcmp(t->name + n - end, ".qweight") != 0 ||
        t->dtype != NIB_I32 || t->rank != 2 || t->shape[0] > UINT32_MAX)
        return NIB_OK;
    snprintf(module, sizeof module, "%.*s", (int)(n - end), t->name);
    if (!nib_module_part(find, module, ".scales", &scales) || scales.rank != 2 ||
        t->shape[1] > UINT32_MAX || scales.shape[1] != t->shape[1] * 8 || !scales.shape[0])
        return NIB_OK;
    if (scales.shape[0] > 1) o.group = (unsigned)nib_ceil_div(t->shape[0], scales.shape[0]);
    if (held) {
        o.asymmetric = nib_grouped_form_options(&held->form).asymmetric;
        o.dtype = held->form.dtype;
    }
    *its = true;
    shape[0] = scales.shape[1];
    shape[1] = t->shape[0];
    *form = nib_grouped_form(&o);
    return NIB_OK;
}

/* --- writing --- */

/* What stays dense beside the head, which comes first and is never packed: a list, or null. */
static char *dense_list(nib_ctx *ctx, const char *const *skipped)
{
    bool none = !skipped[0] || !skipped[1];
    char *text = nib_strdup(ctx, none ? "null" : "");

    for (size_t i = 1; text && !none && skipped[i]; i++) {
        char *more = nib_sprintf(ctx, "%s%s\"%s\"%s", text, i == 1 ? "[" : ", ", skipped[i],
                                 skipped[i + 1] ? "" : "]");
        nib_free(ctx, text);
        text = more;
    }
    return text;
}

/* AutoAWQ's six keys. */
static char *config(nib_ctx *ctx, const nib_form *form, const char *const *skipped)
{
    nib_grouped_options o = nib_grouped_form_options(form);
    char group[16] = "-1", *dense = dense_list(ctx, skipped), *text;

    if (!dense) return NULL;
    if (o.group != NIB_GROUP_ROW) snprintf(group, sizeof group, "%u", o.group);
    text = nib_sprintf(ctx, "{\"bits\": 4, \"group_size\": %s, \"modules_to_not_convert\": %s, "
                       "\"quant_method\": \"awq\", \"version\": \"gemm\", \"zero_point\": %s}",
                       group, dense, o.asymmetric ? "true" : "false");
    nib_free(ctx, dense);
    return text;
}

const nib_format nib_format_awq = {
    .method = "awq", .known = "awq (gemm)", .name = "awq", .keys = keys, .read = read_settings,
    .settings = settings_of, .means = means, .read_config = read_config,
    .free_rules = free_rules, .config_keys = nib_gptq_config_keys, .packs = packs,
    .pieces = pieces, .check = nib_check_lone_scales,
    .open = open_module, .describe = describe, .plan = nib_grouped_plan,
    .tensors = nib_grouped_tensors, .config = config,
};
