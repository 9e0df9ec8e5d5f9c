/* format_mxfp4.c - gpt_oss as it is published: quant_method "mxfp4", the experts in MXFP4 and all
 * else dense (formats-quant.md 3.3).
 *
 *     E.gate_up_proj_blocks    uint8 [experts, out, in / 32, 16]
 *     E.gate_up_proj_scales    uint8 [experts, out, in / 32]       E8M0
 *
 * and down_proj alike.  A block's rows lie as [out, in], the transpose of the dense tensor's, which
 * is the order of a weight here.  Which experts are packed the tensors say. */
#include <fnmatch.h>
#include <stdio.h>

#include "quant/float4.h"
#include "quant/formats.h"
#include "quant/names.h"

enum { BLOCK = 32 };

static const char *const keys[] = { NULL };
static const char *const pieces[] = { ".gate_up_proj_blocks", ".gate_up_proj_scales",
                                      ".down_proj_blocks", ".down_proj_scales", NULL };

static const char *const config_keys[] = { "quant_method", "modules_to_not_convert/*",
                                           "dequantize", NULL };

/* Nothing is encoded in it: no setting asks for it. */
static nib_status read_settings(const nib_setting *s, const char *where, nib_form *form,
                                nib_error *err)
{
    (void)s, (void)form;
    return nib_fail(err, NIB_E_UNSUPPORTED, "%smxfp4 is read and not written", where);
}

static void settings_of(const nib_form *form, nib_settings *out)
{
    (void)form;
    *out = (nib_settings){ 0 };
}

/* --- config.json --- */

static bool means(const nib_setting *config)
{
    const char *method = nib_setting_value(config, "quant_method");

    return method && strcmp(method, "mxfp4") == 0;
}

static nib_status read_config(nib_ctx *ctx, const nib_setting *config, const char *where,
                              nib_held *out, nib_error *err)
{
    nib_names *skipped = NULL;
    nib_status status = nib_names_read(ctx, config, "modules_to_not_convert", where, &skipped, err);

    out->rules = skipped;
    out->form = nib_float4_form(NIB_MXFP4, NIB_BF16);
    return status;
}

static void free_rules(nib_ctx *ctx, void *rules) { nib_names_free(ctx, rules); }

/* An entry means a module, whose path may have *, and all inside it. */
static bool means_tensor(const char *entry, const char *name)
{
    char inside[600];

    snprintf(inside, sizeof inside, "%.500s.*", entry);
    return fnmatch(entry, name, 0) == 0 || fnmatch(inside, name, 0) == 0;
}

static nib_status packs(const nib_held *held, const nib_format_module *module, bool *packed,
                        nib_form *form, nib_error *err)
{
    const nib_names *skipped = held->rules;

    (void)err;
    *packed = strcmp(module->class, "Experts") == 0;
    for (size_t i = 0; skipped && i < skipped->count; i++)
        if (means_tensor(skipped->at[i], module->name)) *packed = false;
    *form = held->form;
    return NIB_OK;
}

/* --- reading --- */

static nib_status open_module(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                              const nib_format_module *module, nib_weight **w, nib_error *err)
{
    (void)ctx, (void)find, (void)held, (void)module, (void)err;
    *w = NULL; /* no linear is packed */
    return NIB_OK;
}

typedef struct stored_parts { nib_part blocks, scales; } stored_parts;

static bool find_one(nib_part_finder find, const char *stack, const char *end, nib_part *out)
{
    char name[700];

    snprintf(name, sizeof name, "%.600s%s", stack, end);
    return find.find(find.self, name, out);
}

/* *there: the tensor of experts is packed.  Half of it, or both it and the dense one, is refused.
 */
static nib_status find_parts(nib_part_finder find, const char *stack, stored_parts *p, bool *there,
                             nib_error *err)
{
    bool blocks = find_one(find, stack, "_blocks", &p->blocks);
    bool scales = find_one(find, stack, "_scales", &p->scales);
    nib_part dense;

    *there = blocks && scales;
    if (blocks != scales)
        return nib_fail(err, NIB_E_FORMAT, "%s is there, but %s%s is missing",
                        blocks ? p->blocks.name : p->scales.name, stack,
                        blocks ? "_scales" : "_blocks");
    if (*there && find_one(find, stack, "", &dense))
        return nib_fail(err, NIB_E_FORMAT, "%s and %s are both there: experts are packed or dense",
                        p->blocks.name, dense.name);
    return NIB_OK;
}

static nib_status check_part(const nib_part *t, const nib_format_slice *s, bool codes,
                             nib_error *err)
{
    bool good = (t->dtype == NIB_U8 || (!codes && t->dtype == NIB_F8_E8M0)) &&
                t->rank == (codes ? 4 : 3) && t->shape[0] == s->slices && t->shape[1] == s->out &&
                t->shape[2] == s->in / BLOCK && (!codes || t->shape[3] == BLOCK / 2);

    if (good && s->in % BLOCK == 0) return NIB_OK;
    return nib_fail(err, NIB_E_MISMATCH, "%s is %s of rank %u with %" PRIu64 " elements, the sizes "
                    "in config.json make it uint8 [%zu, %zu, %g%s]", t->name,
                    nib_dtype_name(t->dtype), t->rank, t->elements, s->slices, s->out,
                    (double)s->in / BLOCK, codes ? ", 16" : "");
}

static nib_status open_slice(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                             const nib_format_slice *s, nib_weight **w, nib_error *err)
{
    stored_parts p = { 0 };
    bool there = false;
    size_t values = s->out * s->in * s->slice;
    nib_status status = find_parts(find, s->stack, &p, &there, err);

    *w = NULL;
    if (status || !there) return status;
    status = check_part(&p.blocks, s, true, err);
    if (!status) status = check_part(&p.scales, s, false, err);
    if (status) return status;
    return nib_float4_create(ctx, &(nib_float4_parts){
        .kind = NIB_MXFP4, .out = s->out, .in = s->in,
        .codes = (const uint8_t *)p.blocks.data + values / 2,
        .scales = (const uint8_t *)p.scales.data + values / BLOCK,
        .dtype = held->form.dtype, .source = p.blocks.name }, w, err);
}

static nib_status describe(const nib_part *t, nib_part_finder find, const nib_held *held, bool *its,
                           uint64_t shape[2], nib_form *form, nib_error *err)
{
    static const char end[] = "_blocks";
    size_t n = strlen(t->name), stem = n - nib_min(n, strlen(end));
    stored_parts p = { 0 };
    char stack[600];

    *its = false;
    if (strcmp(t->name + stem, end) != 0 || stem >= sizeof stack || t->dtype != NIB_U8 ||
        t->rank != 4)
        return NIB_OK;
    snprintf(stack, sizeof stack, "%.*s", (int)stem, t->name);
    if (find_parts(find, stack, &p, its, err)) return err ? err->status : NIB_E_FORMAT;
    shape[0] = t->shape[0] * t->shape[1];
    shape[1] = t->shape[2] * BLOCK;
    *form = nib_float4_form(NIB_MXFP4, held ? held->form.dtype : NIB_BF16);
    return NIB_OK;
}

const nib_format nib_format_mxfp4 = {
    .method = "mxfp4", .known = "mxfp4", .keys = keys, .read = read_settings,
    .settings = settings_of, .means = means, .read_config = read_config, .free_rules = free_rules,
    .config_keys = config_keys,
    .packs = packs, .pieces = pieces, .open = open_module, .open_slice = open_slice,
    .stack_ends = { "_blocks", "_scales" }, .describe = describe,
};
