/* format_mlx.c - MLX's checkpoints, as mlx_lm.convert writes them (formats-quant.md 8.1).
 *
 *     M.weight   U32  [out, in * bits / 32]    rows of words
 *     M.scales        [out, in / group]        float16, bfloat16 or float32; negative ones too
 *     M.biases        [out, in / group]        as the scales
 *
 * or, of other modes, floats of 4 and 8 bits (mlx_floats.h), whose scales are bytes and which have
 * no biases.
 *
 * Experts are stacks of such; where the family's own files have stacks too, gate and up are two
 * halves of one (mlx_names.h).  Linears and embeddings alike, a tied head being the embedding.
 * Which modules are packed the tensors say (`scales`); how, config.json, which names no method.
 * The module's own bias is M.bias. */
#include <stdio.h>

#include "quant/formats.h"
#include "quant/mlx_floats.h"
#include "quant/mlx_names.h"
#include "quant/mlx_open.h"
#include "quant/stored.h"

static const char *const keys[] = { NULL };
static const char *const pieces[] = { ".scales", ".biases", NULL };

/* Nothing asks for it. */
static nib_status read_settings(const nib_setting *s, const char *where, nib_form *form,
                                nib_error *err)
{
    (void)s, (void)form;
    return nib_fail(err, NIB_E_UNSUPPORTED, "%sMLX's files are read and not written", where);
}

static void settings_of(const nib_form *form, nib_settings *out)
{
    nib_mlx_rule r;

    *out = (nib_settings){ 0 };
    if (!nib_mlx_floats_rule(form, &r)) {
        nib_grouped_options o = nib_grouped_form_options(form);
        r = (nib_mlx_rule){ .bits = o.bits, .group = o.group };
    }
    nib_settings_put_count(out, "bits", r.bits);
    nib_settings_put_count(out, "group_size", r.group);
    nib_settings_put(out, "mode", nib_mlx_modes[r.mode]);
}

/* --- config.json --- */

static bool means(const nib_setting *config)
{
    return !nib_setting_value(config, "quant_method") && nib_setting_value(config, "bits") &&
           nib_setting_value(config, "group_size");
}

static nib_status read_config(nib_ctx *ctx, const nib_setting *config, const char *where,
                              nib_held *out, nib_error *err)
{
    nib_mlx_rules *rules = NULL;
    nib_status status = nib_mlx_rules_read(ctx, config, where, &rules, err);

    out->rules = rules;
    if (!status) out->form = nib_mlx_form(&rules->all, NIB_BF16);
    return status;
}

static void free_rules(nib_ctx *ctx, void *rules) { nib_free(ctx, rules); }

/* Where ".weight" begins in a tensor's name; of a stack that has no such end, all of it. */
static size_t stem_of(const char *name)
{
    static const char end[] = ".weight";
    size_t n = strlen(name), m = strlen(end);

    return n >= m && strcmp(name + n - m, end) == 0 ? n - m : n;
}

/* What config.json says of the tensor M.weight, by the name that MLX has for it. */
static const nib_mlx_rule *rule_of(const nib_held *held, const char *tensor)
{
    const nib_mlx_rule *own;
    nib_mlx_halves h;
    char module[600];

    snprintf(module, sizeof module, "%.*s", (int)stem_of(tensor), tensor);
    own = nib_mlx_rules_find(held->rules, module);
    return own->module || !nib_mlx_halves_of(tensor, &h) ? own
                                                         : nib_mlx_rules_find(held->rules, h.first);
}

/* MLX leaves a module dense whose inputs are no whole groups. */
static nib_status packs(const nib_held *held, const nib_format_module *module, bool *packed,
                        nib_form *form, nib_error *err)
{
    const char *end = strcmp(module->class, "Experts") == 0 ? "" : ".weight";
    const nib_mlx_rule *r;
    char tensor[600];

    (void)err;
    snprintf(tensor, sizeof tensor, "%s%s", module->name, end);
    r = rule_of(held, tensor);
    *packed = !r->dense && module->in % r->group == 0;
    *form = nib_mlx_form(r, held->form.dtype);
    return NIB_OK;
}

static nib_status check_dense(const nib_held *held, const nib_format_module *module,
                              const nib_mlx_parts *p, nib_error *err)
{
    const nib_mlx_rules *rules = held->rules;
    const nib_mlx_rule *r = p->codes.name ? rule_of(held, p->codes.name) : &rules->all;

    if (r->module && !r->dense)
        return nib_fail(err, NIB_E_MISMATCH, "%s: config.json has it quantized with bits %u, but "
                        "%s.scales is missing", p->codes.name, r->bits, module->name);
    if (p->codes.name && strcmp(module->class, "Conv1D") == 0)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: MLX turns the matrices of this family, which "
                        "is not undone for one that is not quantized", p->codes.name);
    return NIB_OK;
}

/* --- reading --- */

/* --- halves, and slices of a stack --- */

/* Slice `slice` of a half of a part, a matrix; of a matrix the half. */
static nib_part piece_of(const nib_part *p, size_t half, size_t halves, size_t slice)
{
    const uint64_t *shape = p->rank == 3 ? p->shape + 1 : p->shape;
    nib_part out = *p;
    const char *data = half ? p->rest : p->data;

    out.rank = 2;
    out.shape[0] = shape[0] / halves;
    out.shape[1] = shape[1];
    out.elements = out.shape[0] * out.shape[1];
    out.bytes = out.elements * nib_dtype_bytes(p->dtype);
    out.data = data ? data + slice * out.bytes : NULL;
    return out;
}

static nib_status check_stack(const nib_part *p, const nib_format_slice *s, size_t halves,
                              nib_error *err)
{
    if (p->rank == 3 && p->shape[0] == s->slices && p->shape[1] == s->out &&
        (halves == 2) == (p->rest != NULL) && s->out % halves == 0)
        return NIB_OK;
    return nib_fail(err, NIB_E_MISMATCH, "%s has rank %u and %" PRIu64 " elements, the sizes in "
                    "config.json make it [%zu, %zu, ...]", p->name, p->rank, p->elements, s->slices,
                    s->out);
}

static nib_status open_half(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                            const char *module, const nib_mlx_parts *whole,
                            const nib_format_slice *s, size_t half, size_t halves, nib_weight **w,
                            nib_error *err)
{
    nib_mlx_parts p = { .codes = piece_of(&whole->codes, half, halves, s->slice),
                       .scales = piece_of(&whole->scales, half, halves, s->slice),
                       .has_biases = whole->has_biases };
    nib_status status;

    if (p.has_biases) p.biases = piece_of(&whole->biases, half, halves, s->slice);
    status = nib_mlx_open(ctx, find, held, module, &p, nib_mlx_rules_find(held->rules, module), w,
                        err);
    if (status || (*w)->in == s->in) return status;
    status = nib_fail(err, NIB_E_MISMATCH, "%s: rows of %zu values, the sizes in config.json make "
                      "it %zu", p.codes.name, (*w)->in, s->in);
    nib_weight_destroy(ctx, *w);
    *w = NULL;
    return status;
}

/* The halves that a part is made of, or the one, as a matrix. */
static nib_status open_halves(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                              const nib_mlx_halves *h, const nib_mlx_parts *p,
                              const nib_format_slice *s, nib_weight **w, nib_error *err)
{
    size_t halves = *h->second ? 2 : 1;
    nib_weight *both[2] = { NULL, NULL };
    nib_status status = NIB_OK;

    for (size_t i = 0; i < halves && !status; i++)
        status = open_half(ctx, find, held, i ? h->second : h->first, p, s, i, halves, &both[i],
                           err);
    if (!status && halves == 2)
        status = nib_weight_joined(ctx, both[0], both[1], h->turns, w, err);
    if (!status && halves == 1) *w = both[0];
    if (!status) return NIB_OK;
    for (size_t i = 0; i < 2; i++) nib_weight_destroy(ctx, both[i]);
    return status;
}

static nib_status open_slice(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                             const nib_format_slice *s, nib_weight **w, nib_error *err)
{
    nib_mlx_halves h;
    nib_mlx_parts p = { 0 };
    bool there = false;
    size_t halves, stem = stem_of(s->stack);
    char module[600];
    nib_status status;

    *w = NULL;
    if (!nib_mlx_halves_of(s->stack, &h) || stem >= sizeof module) return NIB_OK;
    halves = *h.second ? 2 : 1;
    snprintf(module, sizeof module, "%.*s", (int)stem, s->stack);
    status = nib_mlx_find(find, module, s->stack + stem, &p, &there, err);
    if (status || !there) return status;
    status = check_stack(&p.codes, s, halves, err);
    if (!status) status = check_stack(&p.scales, s, halves, err);
    if (!status && p.has_biases) status = check_stack(&p.biases, s, halves, err);
    return status ? status : open_halves(ctx, find, held, &h, &p, s, w, err);
}

/* A stack of the heads' matrices as one matrix, theirs one below the other. */
static nib_part flat(const nib_part *p)
{
    nib_part out = *p;

    out.rank = 2;
    out.shape[0] = p->shape[0] * p->shape[1]; /* they lie in the file: no overflow */
    out.shape[1] = p->shape[2];
    return out;
}

static nib_status open_flat(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                            const char *module, const nib_mlx_parts *p, nib_weight **w,
                            nib_error *err)
{
    const nib_mlx_parts one = { flat(&p->codes), flat(&p->scales), flat(&p->biases),
                               p->has_biases };

    return nib_mlx_open(ctx, find, held, module, &one, nib_mlx_rules_find(held->rules, module), w,
                      err);
}

static bool are_stacks(const nib_mlx_parts *p)
{
    return p->codes.rank == 3 && p->scales.rank == 3 && p->codes.shape[0] &&
           p->codes.shape[0] == p->scales.shape[0] &&
           (!p->has_biases || (p->biases.rank == 3 && p->biases.elements == p->scales.elements));
}

/* DeepSeek-V3's kv_b_proj, of which the keys' part, `turned`, has been found under its own name. */
static nib_status open_latent(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                              const char *module, const nib_mlx_parts *turned, nib_weight **w,
                              nib_error *err)
{
    char names[2][NIB_MLX_NAME_ROOM];
    size_t heads = (size_t)turned->codes.shape[0];
    nib_weight *both[2] = { NULL, NULL };
    nib_mlx_parts values = { 0 };
    bool there = false;
    nib_status status = NIB_OK;

    if (!nib_mlx_latent_parts(module, names[0], names[1]))
        return nib_fail(err, NIB_E_FORMAT, "%s: rank 3, expected a matrix", turned->codes.name);
    status = nib_mlx_find(find, names[1], ".weight", &values, &there, err);
    if (!status && (!there || !are_stacks(turned) || !are_stacks(&values) ||
                    values.codes.shape[0] != heads))
        status = nib_fail(err, NIB_E_MISMATCH, "%s has %zu heads, and %s beside it %" PRIu64
                          ", expected as many matrices of each, packed", turned->codes.name, heads,
                          names[1], there ? values.codes.shape[0] : 0);
    if (!status) status = open_flat(ctx, find, held, names[0], turned, &both[0], err);
    if (!status) status = open_flat(ctx, find, held, names[1], &values, &both[1], err);
    if (!status && both[0]->out != heads * both[1]->in)
        status = nib_fail(err, NIB_E_MISMATCH, "%s: %zu rows of %zu heads, %s has rows of %zu",
                          turned->codes.name, both[0]->out, heads, values.codes.name, both[1]->in);
    if (!status) status = nib_weight_latent(ctx, both[0], both[1], heads, w, err);
    if (!status) return NIB_OK;
    for (size_t i = 0; i < 2; i++) nib_weight_destroy(ctx, both[i]);
    return status;
}

static nib_status open_module(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                              const nib_format_module *module, nib_weight **w, nib_error *err)
{
    nib_mlx_parts p = { 0 };
    const nib_format_slice whole = { .slices = 1, .in = module->in };
    nib_mlx_halves h;
    bool there = false;
    nib_status status = nib_mlx_find(find, module->name, ".weight", &p, &there, err);

    *w = NULL;
    if (!status && !there) status = check_dense(held, module, &p, err);
    if (status || !there) return status;
    if (p.codes.rest && p.codes.rank == 2 && p.scales.rest && nib_mlx_halves_of(p.codes.name, &h))
        return open_halves(ctx, find, held, &h, &p, &whole, w, err);
    if (p.codes.rank == 3) return open_latent(ctx, find, held, module->name, &p, w, err);
    return nib_mlx_open(ctx, find, held, module->name, &p, rule_of(held, p.codes.name), w, err);
}

/* A tensor that tells of a layout which is not undone: a convolution whose channels are last, of a
 * family of which mlx-lm may have changed more (model/mlx_layout.h has those that are known).  And
 * pieces without codes. */
static nib_status check(const nib_part *t, nib_part_finder find, nib_error *err)
{
    const char *last = strrchr(t->name, '.');
    char module[600];
    nib_part codes;

    if (t->rank == 3 && t->shape[2] == 1 && t->shape[1] > 1 && strstr(t->name, "conv"))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: [%" PRIu64 ", %" PRIu64 ", 1], a convolution "
                        "as MLX lays it out; of models with convolutions lfm2, qwen3_next, qwen3_5 "
                        "and granitemoehybrid are read from MLX's files: take the model as it was "
                        "before", t->name, t->shape[0], t->shape[1]);
    if (strstr(t->name, ".self_attn.embed_q."))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: kv_b_proj in two, as MLX has it of "
                        "DeepSeek-V3 and its kin, is read where both are quantized: take the model "
                        "as it was before", t->name);
    if (!last || (strcmp(last, ".scales") != 0 && strcmp(last, ".biases") != 0) ||
        (size_t)(last - t->name) >= sizeof module)
        return NIB_OK;
    snprintf(module, sizeof module, "%.*s", (int)(last - t->name), t->name);
    return nib_module_part(find, module, ".weight", &codes) ||
                   nib_module_part(find, module, "", &codes)
               ? NIB_OK : nib_mlx_lacks(t->name, module, ".weight", err);
}

/* Without config.json bits and group are two of which the tensors tell the product: 64, which is
 * the converter's, is tried first. */
static bool guess(const nib_mlx_parts *p, unsigned rank, nib_mlx_rule *r)
{
    static const unsigned groups[] = { 64, 32, 128 };
    uint64_t words = p->codes.shape[rank - 1], count = p->scales.shape[rank - 1];

    for (size_t i = 0; i < NIB_COUNT(groups) && count; i++) {
        uint64_t each = count * groups[i] / 32; /* words of one bit */
        if (words % each || words / each < 2 || words / each > 8 || words / each == 7) continue;
        r->bits = (unsigned)(words / each);
        r->group = groups[i];
        return true;
    }
    return false;
}

static nib_status describe(const nib_part *t, nib_part_finder find, const nib_held *held, bool *its,
                           uint64_t shape[2], nib_form *form, nib_error *err)
{
    size_t stem = stem_of(t->name), out = 0, in = 0;
    nib_mlx_rule r = { 0 };
    nib_mlx_parts p = { 0 };
    char module[600];

    (void)err;
    *its = false;
    if (t->dtype != NIB_U32 || (t->rank != 2 && t->rank != 3) || stem >= sizeof module)
        return NIB_OK;
    snprintf(module, sizeof module, "%.*s", (int)stem, t->name);
    if (nib_mlx_find(find, module, t->name + stem, &p, its, NULL) || !*its ||
        p.scales.rank != t->rank)
        return *its = false, NIB_OK;
    if (held) r = *rule_of(held, t->name);
    else if (!p.has_biases || !guess(&p, t->rank, &r)) return *its = false, NIB_OK;
    if (nib_mlx_check_sizes(&p, t->rank, &r, &out, &in, NULL)) return *its = false, NIB_OK;
    shape[0] = t->rank == 3 ? t->shape[0] * out : out;
    shape[1] = in;
    *form = nib_mlx_form(&r, held ? held->form.dtype : p.scales.dtype);
    return NIB_OK;
}

const nib_format nib_format_mlx = {
    .method = "mlx", .known = "MLX", .keys = keys, .read = read_settings, .settings = settings_of,
    .means = means, .read_config = read_config, .free_rules = free_rules, .packs = packs,
    .pieces = pieces, .check = check, .open = open_module, .open_slice = open_slice,
    .describe = describe,
};
