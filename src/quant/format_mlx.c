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

static nib_form form_of(const nib_mlx_rule *r, nib_dtype dtype)
{
    if (r->mode != NIB_MLX_AFFINE) return nib_mlx_floats_form(r->mode, dtype);
    return nib_grouped_form(&(nib_grouped_options){ .maker = NIB_GROUPED_MLX, .bits = r->bits,
                                                    .group = r->group, .asymmetric = true,
                                                    .dtype = dtype });
}

static nib_status read_config(nib_ctx *ctx, const nib_setting *config, const char *where,
                              nib_held *out, nib_error *err)
{
    nib_mlx_rules *rules = NULL;
    nib_status status = nib_mlx_rules_read(ctx, config, where, &rules, err);

    out->rules = rules;
    if (!status) out->form = form_of(&rules->all, NIB_BF16);
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
    *form = form_of(r, held->form.dtype);
    return NIB_OK;
}

/* --- the tensors of a module --- */

typedef struct stored_parts {
    nib_part codes, scales, biases;
    bool has_biases;
} stored_parts;

static nib_status lacks(const char *has, const char *module, const char *piece, nib_error *err)
{
    return nib_fail(err, NIB_E_FORMAT, "%s is there, but %s%s is missing", has, module, piece);
}

/* *there: the module is packed; end: of the codes' name. */
static nib_status find_parts(nib_part_finder find, const char *module, const char *end,
                             stored_parts *p, bool *there, nib_error *err)
{
    bool codes = nib_module_part(find, module, end, &p->codes);

    p->has_biases = nib_module_part(find, module, ".biases", &p->biases);
    *there = nib_module_part(find, module, ".scales", &p->scales);
    if (!*there && p->has_biases) return lacks(p->biases.name, module, ".scales", err);
    if (!*there && codes && p->codes.dtype == NIB_U32)
        return lacks(p->codes.name, module, ".scales", err);
    if (!*there) return NIB_OK;
    if (!codes) return lacks(p->scales.name, module, end, err);
    if (p->codes.dtype == NIB_U32) return NIB_OK;
    return nib_fail(err, NIB_E_FORMAT, "%s: dtype %s, expected uint32 beside %s", p->codes.name,
                    nib_dtype_name(p->codes.dtype), p->scales.name);
}

/* Biases are as the scales, or, of floats, not there. */
static nib_status check_biases(const stored_parts *p, unsigned rank, const nib_mlx_rule *r,
                               nib_error *err)
{
    const nib_part *s = &p->scales, *b = &p->biases;

    if (r->mode != NIB_MLX_AFFINE && p->has_biases)
        return nib_fail(err, NIB_E_MISMATCH, "%s is there, but config.json says mode %s, which has "
                        "none", b->name, nib_mlx_modes[r->mode]);
    if (r->mode != NIB_MLX_AFFINE) return NIB_OK;
    if (!p->has_biases)
        return nib_fail(err, NIB_E_FORMAT, "%s is there, but %.*s.biases is missing", s->name,
                        (int)(strlen(s->name) - strlen(".scales")), s->name);
    if (b->dtype == s->dtype && b->rank == rank &&
        memcmp(b->shape, s->shape, rank * sizeof *b->shape) == 0)
        return NIB_OK;
    return nib_fail(err, NIB_E_FORMAT, "%s: %s of rank %u with %" PRIu64 " elements, expected %s "
                    "of rank %u with %" PRIu64 " as %s", b->name, nib_dtype_name(b->dtype), b->rank,
                    b->elements, nib_dtype_name(s->dtype), s->rank, s->elements, s->name);
}

/* Sizes from the scales, held to the words; rank 3 is of experts. */
static nib_status check_sizes(const stored_parts *p, unsigned rank, const nib_mlx_rule *r,
                              size_t *out, size_t *in, nib_error *err)
{
    const nib_part *c = &p->codes, *s = &p->scales;
    uint64_t rows = c->rank == rank ? c->shape[rank - 2] : 0, words, groups;

    if (!rows || !c->elements || rows > UINT32_MAX || c->shape[rank - 1] > UINT32_MAX)
        return nib_fail(err, NIB_E_FORMAT, "%s: rank %u with %" PRIu64 " elements, expected %s",
                        c->name, c->rank, c->elements, rank == 2 ? "a matrix" : "rank 3");
    words = c->shape[rank - 1];
    groups = s->rank == rank ? s->shape[rank - 1] : 0;
    if (!groups || groups > UINT32_MAX / r->group || s->shape[rank - 2] != rows ||
        (rank == 3 && s->shape[0] != c->shape[0]))
        return nib_fail(err, NIB_E_FORMAT, "%s: rank %u with %" PRIu64 " elements, expected groups "
                        "for each of the %" PRIu64 " rows of %s", s->name, s->rank, s->elements,
                        c->elements / words, c->name);
    *out = (size_t)rows;
    *in = (size_t)groups * r->group;
    if (words * 32 != (uint64_t)*in * r->bits)
        return nib_fail(err, NIB_E_MISMATCH, "%s has %" PRIu64 " words a row, config.json makes it "
                        "%g: %" PRIu64 " groups (%s) of group_size %u, bits %u", c->name, words,
                        (double)*in * r->bits / 32, groups, s->name, r->group, r->bits);
    return check_biases(p, rank, r, err);
}

static nib_status check_dense(const nib_held *held, const nib_format_module *module,
                              const stored_parts *p, nib_error *err)
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

/* A matrix of parts that were checked. */
static nib_status create(nib_ctx *ctx, const nib_held *held, const stored_parts *p,
                         const nib_mlx_rule *r, size_t out, size_t in, nib_weight **w,
                         nib_error *err)
{
    nib_form form = form_of(r, held->form.dtype);
    size_t groups = in / r->group, each = nib_dtype_bytes(p->scales.dtype);
    size_t words = in / 32 * r->bits;
    nib_grouped made = {
        .base = { .out = out, .in = in, .dtype = held->form.dtype },
        .options = nib_grouped_form_options(&form), .order = NIB_WORDS_ROWS,
        .codes = p->codes.data, .row_bytes = words * 4,
        .group = r->group, .groups = groups,
        .scales = p->scales.data, .biases = p->biases.data,
        .scale_type = p->scales.dtype, .scale_group = 1, .scale_out = groups,
    };
    nib_status status = nib_grouped_open(ctx, &made, NULL, NULL, NULL,
                                         (words * 4 + 2 * groups * each) * out, w, err);

    if (!status) (*w)->source = p->codes.name;
    return status;
}

/* Parts that were found. */
static nib_status open_parts(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                             const char *module, const stored_parts *p, const nib_mlx_rule *r,
                             nib_weight **w, nib_error *err)
{
    size_t out = 0, in = 0;
    nib_status status;

    if (r->dense)
        return nib_fail(err, NIB_E_MISMATCH, "%s is there, but config.json leaves the module dense",
                        p->scales.name);
    status = check_sizes(p, 2, r, &out, &in, err);
    if (!status && r->mode != NIB_MLX_AFFINE)
        return nib_mlx_floats_open(ctx, find, &(nib_mlx_floats){
            module, r->mode, &p->codes, &p->scales, out, in, held->form.dtype }, w, err);
    if (!status) status = nib_check_scales(ctx, &p->scales, true, err);
    if (!status) status = nib_check_biases(&p->biases, err);
    return status ? status : create(ctx, held, p, r, out, in, w, err);
}

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
                            const char *module, const stored_parts *whole,
                            const nib_format_slice *s, size_t half, size_t halves, nib_weight **w,
                            nib_error *err)
{
    stored_parts p = { .codes = piece_of(&whole->codes, half, halves, s->slice),
                       .scales = piece_of(&whole->scales, half, halves, s->slice),
                       .has_biases = whole->has_biases };
    nib_status status;

    if (p.has_biases) p.biases = piece_of(&whole->biases, half, halves, s->slice);
    status = open_parts(ctx, find, held, module, &p, nib_mlx_rules_find(held->rules, module), w,
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
                              const nib_mlx_halves *h, const stored_parts *p,
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
    stored_parts p = { 0 };
    bool there = false;
    size_t halves, stem = stem_of(s->stack);
    char module[600];
    nib_status status;

    *w = NULL;
    if (!nib_mlx_halves_of(s->stack, &h) || stem >= sizeof module) return NIB_OK;
    halves = *h.second ? 2 : 1;
    snprintf(module, sizeof module, "%.*s", (int)stem, s->stack);
    status = find_parts(find, module, s->stack + stem, &p, &there, err);
    if (status || !there) return status;
    status = check_stack(&p.codes, s, halves, err);
    if (!status) status = check_stack(&p.scales, s, halves, err);
    if (!status && p.has_biases) status = check_stack(&p.biases, s, halves, err);
    return status ? status : open_halves(ctx, find, held, &h, &p, s, w, err);
}

static nib_status open_module(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                              const nib_format_module *module, nib_weight **w, nib_error *err)
{
    stored_parts p = { 0 };
    const nib_format_slice whole = { .slices = 1, .in = module->in };
    nib_mlx_halves h;
    bool there = false;
    nib_status status = find_parts(find, module->name, ".weight", &p, &there, err);

    *w = NULL;
    if (!status && !there) status = check_dense(held, module, &p, err);
    if (status || !there) return status;
    if (p.codes.rest && p.codes.rank == 2 && p.scales.rest && nib_mlx_halves_of(p.codes.name, &h))
        return open_halves(ctx, find, held, &h, &p, &whole, w, err);
    return open_parts(ctx, find, held, module->name, &p, rule_of(held, p.codes.name), w, err);
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
    if (strstr(t->name, ".self_attn.embed_q.") || strstr(t->name, ".self_attn.unembed_out."))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: kv_b_proj in two, as MLX has it of "
                        "DeepSeek-V3 and its kin, is not read from MLX's files: take the model as "
                        "it was before", t->name);
    if (!last || (strcmp(last, ".scales") != 0 && strcmp(last, ".biases") != 0) ||
        (size_t)(last - t->name) >= sizeof module)
        return NIB_OK;
    snprintf(module, sizeof module, "%.*s", (int)(last - t->name), t->name);
    return nib_module_part(find, module, ".weight", &codes) ||
                   nib_module_part(find, module, "", &codes)
               ? NIB_OK : lacks(t->name, module, ".weight", err);
}

/* Without config.json bits and group are two of which the tensors tell the product: 64, which is
 * the converter's, is tried first. */
static bool guess(const stored_parts *p, unsigned rank, nib_mlx_rule *r)
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
    stored_parts p = { 0 };
    char module[600];

    (void)err;
    *its = false;
    if (t->dtype != NIB_U32 || (t->rank != 2 && t->rank != 3) || stem >= sizeof module)
        return NIB_OK;
    snprintf(module, sizeof module, "%.*s", (int)stem, t->name);
    if (find_parts(find, module, t->name + stem, &p, its, NULL) || !*its ||
        p.scales.rank != t->rank)
        return *its = false, NIB_OK;
    if (held) r = *rule_of(held, t->name);
    else if (!p.has_biases || !guess(&p, t->rank, &r)) return *its = false, NIB_OK;
    if (check_sizes(&p, t->rank, &r, &out, &in, NULL)) return *its = false, NIB_OK;
    shape[0] = t->rank == 3 ? t->shape[0] * out : out;
    shape[1] = in;
    *form = form_of(&r, held ? held->form.dtype : p.scales.dtype);
    return NIB_OK;
}

const nib_format nib_format_mlx = {
    .method = "mlx", .known = "MLX", .keys = keys, .read = read_settings, .settings = settings_of,
    .means = means, .read_config = read_config, .free_rules = free_rules, .packs = packs,
    .pieces = pieces, .check = check, .open = open_module, .open_slice = open_slice,
    .describe = describe,
};
