/* format_packed.c - compressed-tensors' checkpoints of integers, E4M3 and E2M1 floats
 * (formats-quant.md 2, 3).
 *
 *     pack-quantized
 *     M.weight_packed      I32  [out, ceil(in * bits / 32)]      rows of words
 *     M.weight_scale            [out, groups], or [1]
 *     M.weight_shape       I64  [2]
 *     M.weight_zero_point  I32  [ceil(out * bits / 32), groups]  asymmetric ones
 *     M.weight_g_idx       I32  [in]                             old files with actorder group
 *     int-quantized
 *     M.weight             I8   [out, in]
 *     M.weight_scale, M.weight_zero_point (I8, as the scale)
 *     float-quantized
 *     M.weight, M.weight_scale             quant/float8_open.h
 *     nvfp4-pack-quantized, mxfp4-pack-quantized
 *     M.weight_packed (U8), M.weight_scale, M.weight_global_scale     quant/float4_open.h
 *
 * Codes are signed and stored with 2^(bits-1) added.  Of 3, 5, 6 and 7 bits old files hold as many
 * whole codes as fit a word, and unpacked zero points: shapes tell. */
#include <stdio.h>

#include "quant/float4_open.h"
#include "quant/formats.h"
#include "quant/packed_rules.h"

static const char *const keys[] = { "format", "bits", "group_size", "sym", NULL };
static const char *const pieces[] = { ".weight_packed", ".weight_scale", ".weight_shape",
                                      ".weight_zero_point", ".weight_g_idx", ".input_scale",
                                      ".input_zero_point", ".weight_global_scale",
                                      ".input_global_scale", NULL };
/* What weights of each kind do not have, and would mean something else with. */
static const char *const beside_floats[] = { ".weight_zero_point", ".weight_g_idx",
                                             ".weight_global_scale", NULL };
static const char *const beside_float4[] = { ".weight_zero_point", ".weight_g_idx", NULL };
static const char *const beside_integers[] = { ".weight_global_scale", NULL };
static const nib_float4_names float4_names = { ".weight_packed", ".weight_scale",
                                               ".weight_global_scale", true };

/* Of one group's weights; of inputs and a cache of keys and values, which are not rounded, any. */
#define GROUP "config_groups/*/"
#define WEIGHTS GROUP "weights/"
static const char *const config_keys[] = {
    "quant_method", "format", "quantization_status", "ignore/#", GROUP "#",
    GROUP "targets/#", GROUP "format", WEIGHTS "num_bits", WEIGHTS "type", WEIGHTS "symmetric",
    WEIGHTS "strategy", WEIGHTS "group_size", WEIGHTS "block_structure/#", WEIGHTS "dynamic",
    WEIGHTS "actorder", WEIGHTS "scale_dtype", WEIGHTS "zp_dtype", WEIGHTS "observer",
    WEIGHTS "observer_kwargs/**", GROUP "input_activations/**", GROUP "output_activations",
    "kv_cache_scheme/**", "sparsity_config/**", "transform_config/**", "moe_sparsity_config",
    "global_compression_ratio", "version", "run_compressed", "dequantize",
    "use_optimized_inference", NULL };

static nib_status read_settings(const nib_setting *s, const char *where, nib_form *form,
                                nib_error *err)
{
    nib_grouped_options o = { .maker = NIB_GROUPED_PACK, .bits = 4, .group = 128,
                              .dtype = NIB_F32 };
    bool sym = true;
    nib_status status = nib_setting_count(s, where, "bits", &o.bits, err);

    if (!status) status = nib_setting_group(s, where, "group_size", &o.group, err);
    if (!status) status = nib_setting_bool(s, where, "sym", &sym, err);
    if (!status && (o.bits < 2 || o.bits > 8))
        status = nib_fail(err, NIB_E_INVALID, "%sbits: expected 2 to 8, got %u", where, o.bits);
    o.asymmetric = !sym;
    if (!status) *form = nib_grouped_form(&o);
    return status;
}

static void settings_of(const nib_form *form, nib_settings *out)
{
    nib_grouped_options o = nib_grouped_form_options(form);

    *out = (nib_settings){ 0 };
    nib_settings_put(out, "format", "compressed-tensors");
    if (form->scheme == &nib_float8_scheme || form->scheme == &nib_float4_scheme) return;
    nib_settings_put_count(out, "bits", o.bits);
    if (o.group == NIB_GROUP_TENSOR) nib_settings_put(out, "group_size", "tensor");
    else nib_settings_put_group(out, "group_size", o.group);
    nib_settings_put(out, "sym", o.asymmetric ? "false" : "true");
}

/* --- config.json --- */

static bool means(const nib_setting *config)
{
    const char *method = nib_setting_value(config, "quant_method");

    return method && strcmp(method, "compressed-tensors") == 0;
}

static nib_status unread(const char *module, const nib_packed_group *g, nib_error *err)
{
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s: compressed-tensors with %s is not read; known are "
                    "weights of type int, and float of 8 and 4 bits", module, g->unread);
}

static nib_form form_of(const nib_packed_group *g)
{
    if (g->type == NIB_PACKED_FLOAT4) return nib_float4_form(g->float4, g->options.dtype);
    return g->type == NIB_PACKED_FLOAT8 ? nib_float8_form(&g->float8.options)
                                        : nib_grouped_form(&g->options);
}

/* The first group's form stands for all; one that is not read is refused when a module has it. */
static nib_status read_config(nib_ctx *ctx, const nib_setting *config, const char *where,
                              nib_held *out, nib_error *err)
{
    nib_packed_rules *rules = NULL;
    nib_status status = nib_packed_rules_read(ctx, config, where, &rules, err);

    out->rules = rules;
    if (status) return status;
    for (size_t i = 0; i < rules->count; i++)
        if (!rules->groups[i].unread) {
            out->form = form_of(&rules->groups[i]);
            return NIB_OK;
        }
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "%scompressed-tensors with %s; known are weights of type "
                    "int, and float of 8 and 4 bits",
                    where, rules->groups[0].unread);
}

static void free_rules(nib_ctx *ctx, void *rules) { nib_packed_rules_free(ctx, rules); }

static nib_status packs(const nib_held *held, const nib_format_module *module, bool *packed,
                        nib_form *form, nib_error *err)
{
    const nib_packed_group *g = NULL;
    nib_status status = nib_packed_rules_find(held->rules, module, &g, err);

    *packed = g != NULL;
    if (status || !g) return status;
    if (g->unread) return unread(module->name, g, err);
    *form = form_of(g);
    return NIB_OK;
}

/* --- the tensors of a module --- */

typedef struct stored_parts {
    nib_part codes, scale, shape, zeros, g_idx;
    bool bytes, has_zeros, has_groups; /* bytes: int-quantized */
    size_t out, in, groups;
} stored_parts;

static nib_status lacks(const char *module, const char *piece, nib_error *err)
{
    return nib_fail(err, NIB_E_FORMAT, "%s%s is missing", module, piece);
}

static nib_status find_parts(nib_part_finder find, const char *module, stored_parts *p, bool *there,
                             nib_error *err)
{
    nib_part dense;
    bool packed = nib_module_part(find, module, ".weight_packed", &p->codes);
    bool weight = nib_module_part(find, module, ".weight", &dense);
    bool scale = nib_module_part(find, module, ".weight_scale", &p->scale);

    *there = packed || scale;
    if (!*there) return NIB_OK;
    if (packed && weight)
        return nib_fail(err, NIB_E_FORMAT, "%s and %s are both there", p->codes.name, dense.name);
    if (!packed && !weight) return lacks(module, ".weight_packed", err);
    if (!scale) return lacks(module, ".weight_scale", err);
    p->bytes = !packed;
    if (p->bytes) p->codes = dense;
    if (packed && p->codes.dtype != NIB_I32)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: %s, expected integers in int32",
                        p->codes.name, nib_dtype_name(p->codes.dtype));
    if (p->bytes && dense.dtype != NIB_I8)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: %s with a scale is not read; known are int8 and "
                        "float8_e4m3fn",
                        dense.name, nib_dtype_name(dense.dtype));
    if (packed && !nib_module_part(find, module, ".weight_shape", &p->shape))
        return lacks(module, ".weight_shape", err);
    p->has_zeros = nib_module_part(find, module, ".weight_zero_point", &p->zeros);
    p->has_groups = nib_module_part(find, module, ".weight_g_idx", &p->g_idx);
    return NIB_OK;
}

static nib_status read_shape(stored_parts *p, nib_error *err)
{
    uint64_t shape[2];

    if (p->codes.rank != 2 || p->codes.shape[0] > UINT32_MAX || p->codes.shape[1] > UINT32_MAX)
        return nib_fail(err, NIB_E_FORMAT, "%s: rank %u, expected a matrix", p->codes.name,
                        p->codes.rank);
    memcpy(shape, p->codes.shape, sizeof shape);
    if (!p->bytes) {
        if (p->shape.dtype != NIB_I64 || p->shape.elements != 2)
            return nib_fail(err, NIB_E_FORMAT,
                            "%s: %" PRIu64 " values of %s, expected two of int64", p->shape.name,
                            p->shape.elements, nib_dtype_name(p->shape.dtype));
        memcpy(shape, p->shape.data, sizeof shape);
    }
    p->out = (size_t)shape[0];
    p->in = (size_t)shape[1];
    if (!p->out || !p->in || shape[0] != p->codes.shape[0] || shape[1] > UINT32_MAX)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: a weight of [%" PRIu64 ", %" PRIu64 "], but its codes "
                        "have %" PRIu64 " rows",
                        p->codes.name, shape[0], shape[1], p->codes.shape[0]);
    return NIB_OK;
}

/* How many words a row of `n` codes has; per_word as in nib_grouped. */
static size_t words_of(size_t n, unsigned bits, unsigned per_word)
{
    return per_word ? nib_ceil_div(n, per_word) : nib_ceil_div(n * bits, 32);
}

static nib_status check_words(const stored_parts *p, unsigned bits, unsigned *per_word,
                              nib_error *err)
{
    size_t has = (size_t)p->codes.shape[1], dense = words_of(p->in, bits, 0),
           old = words_of(p->in, bits, 32 / bits);

    *per_word = 0;
    if (has == dense) return NIB_OK;
    *per_word = 32 / bits;
    if (has == old) return NIB_OK;
    return nib_fail(err, NIB_E_FORMAT,
                    "%s: %zu words a row, expected %zu (or, of old files, %zu): %zu "
                    "inputs of %u bits",
                    p->codes.name, has, dense, old, p->in, bits);
}

/* The scale's shape says how many groups there are; the scheme how many there should be. */
static nib_status check_groups(stored_parts *p, const nib_packed_group *g, nib_grouped_options *o,
                               nib_error *err)
{
    const nib_part *s = &p->scale;
    uint64_t columns = s->rank == 2 ? s->shape[1] : 1;

    if (g->preset) o->group = columns == 1 ? NIB_GROUP_ROW : o->group;
    if (o->group == NIB_GROUP_TENSOR) {
        p->groups = 1;
        if (s->elements == 1) return NIB_OK;
        return nib_fail(err, NIB_E_MISMATCH, "%s: %" PRIu64 " scales, expected one, of the whole "
                        "matrix", s->name, s->elements);
    }
    p->groups = o->group == NIB_GROUP_ROW ? 1 : nib_ceil_div(p->in, o->group);
    if (o->group != NIB_GROUP_ROW && p->in % o->group)
        return nib_fail(err, NIB_E_FORMAT, "%s: %zu inputs are no whole groups of %u", s->name,
                        p->in, o->group);
    if (s->rank > 2 || s->shape[0] != p->out || columns != p->groups || s->rank == 0)
        return nib_fail(err, NIB_E_MISMATCH, "%s: [%" PRIu64 ", %" PRIu64 "], config.json makes it "
                        "[%zu, %zu]", s->name, s->rank ? s->shape[0] : 1, columns, p->out,
                        p->groups);
    return NIB_OK;
}

/* --- zero points --- */

typedef struct zeros {
    const uint8_t *data;
    size_t groups, next; /* next: bytes from a word of a group's stream to the next */
    unsigned bits, per_word;
    bool bytes, whole;   /* a signed byte each; one of the whole matrix */
} zeros;

static unsigned zero_of(const void *self, size_t group, size_t o)
{
    const zeros *z = self;
    const uint8_t *stream = z->data + group * 4;

    if (z->bytes) {
        int8_t value = (int8_t)z->data[z->whole ? 0 : o * z->groups + group];
        return (unsigned)(value + (1 << (z->bits - 1))) & 255;
    }
    if (z->per_word)
        return nib_load_le32(stream + o / z->per_word * z->next) >> o % z->per_word * z->bits &
               ((1u << z->bits) - 1);
    return nib_stream_code(stream, z->next, z->bits, o);
}

static nib_status check_zeros(const stored_parts *p, const nib_grouped_options *o, zeros *z,
                              nib_error *err)
{
    const nib_part *t = &p->zeros;
    bool whole = o->group == NIB_GROUP_TENSOR;
    size_t dense = words_of(p->out, o->bits, 0), old = words_of(p->out, o->bits, 32 / o->bits);

    if (o->asymmetric != p->has_zeros)
        return nib_fail(err, NIB_E_MISMATCH, "%s: config.json says %s, and weight_zero_point is %s",
                        p->codes.name, o->asymmetric ? "symmetric false" : "symmetric",
                        p->has_zeros ? "there" : "missing");
    if (!p->has_zeros) return NIB_OK;
    *z = (zeros){ .data = t->data, .groups = p->groups, .next = p->groups * 4,
                  .bits = p->bytes ? 8 : o->bits, .bytes = t->dtype == NIB_I8, .whole = whole };
    if (z->bytes && t->elements == p->scale.elements) return NIB_OK;
    if (!p->bytes && t->dtype == NIB_I32 && t->rank == 2 && t->shape[1] == p->groups && !whole &&
        (t->shape[0] == dense || t->shape[0] == old)) {
        z->per_word = t->shape[0] == dense ? 0 : 32 / o->bits;
        return NIB_OK;
    }
    return nib_fail(err, NIB_E_FORMAT,
                    "%s: %s, %" PRIu64 " values, first side %" PRIu64 "; expected "
                    "int32 [%zu, %zu], or int8 as the scales",
                    t->name, nib_dtype_name(t->dtype), t->elements, t->rank ? t->shape[0] : 1,
                    dense, p->groups);
}

/* --- reading --- */

/* The group of a module whose weight `tensor` is packed. */
static nib_status find_group(const nib_held *held, const nib_format_module *module,
                             const char *tensor, nib_packed_type type,
                             const nib_packed_group **g, nib_error *err)
{
    static const char *const names[] = { "integers", "float8_e4m3fn", "floats of 4 bits" };
    static const char *const said[] = { "int", "float and 8 bits", "float and 4 bits" };
    nib_status status = nib_packed_rules_find(held->rules, module, g, err);

    if (status) return status;
    if (!*g)
        return nib_fail(err, NIB_E_MISMATCH,
                        "%s is packed, but in config.json no group's targets name "
                        "the module, or ignore does",
                        tensor);
    if ((*g)->unread) return unread(module->name, *g, err);
    if ((*g)->type == type) return NIB_OK;
    return nib_fail(err, NIB_E_MISMATCH, "%s: %s, but config.json says weights of type %s", tensor,
                    names[type], said[(*g)->type]);
}

/* Checks what the tensors and config.json say of one another. */
static nib_status check_parts(nib_ctx *ctx, const nib_held *held, const nib_format_module *module,
                              stored_parts *p, nib_grouped *made, zeros *z, nib_error *err)
{
    const nib_packed_group *g = NULL;
    nib_grouped_options *o = &made->options;
    nib_status status = find_group(held, module, p->codes.name, NIB_PACKED_INTEGERS, &g,
                                   err);

    if (status) return status;
    *o = g->options;
    o->dtype = held->form.dtype;
    if (p->bytes) o->maker = NIB_GROUPED_INT;
    status = read_shape(p, err);
    if (!status && !p->bytes) status = check_words(p, o->bits, &made->per_word, err);
    if (!status) status = check_groups(p, g, o, err);
    if (!status) status = nib_check_scales(ctx, &p->scale, false, err);
    if (!status) status = check_zeros(p, o, z, err);
    if (!status && g->by_order && !p->has_groups)
        nib_warn(ctx,
                 "%s: actorder is group, but weight_g_idx is missing: taken as groups in order",
                 module->name);
    return status;
}

/* A piece that would change what weights of this kind mean. */
static nib_status check_none(nib_part_finder find, const char *module, const char *const *beside,
                             const char *kind, nib_error *err)
{
    nib_part part;

    for (; *beside; beside++)
        if (nib_module_part(find, module, *beside, &part))
            return nib_fail(err, NIB_E_UNSUPPORTED, "%s: known are %s without it", part.name, kind);
    return NIB_OK;
}

static nib_status open_floats(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                              const nib_format_module *module, const char *tensor, nib_weight **w,
                              nib_error *err)
{
    const nib_packed_group *g = NULL;
    nib_float8_said said;
    nib_status status = find_group(held, module, tensor, NIB_PACKED_FLOAT8, &g, err);

    if (!status) status = check_none(find, module->name, beside_floats, "floats of 8 bits", err);
    if (status) return status;
    said = g->float8;
    said.options.dtype = held->form.dtype;
    return nib_float8_open(ctx, find, module->name, &said, w, err);
}

/* Codes are packed into bytes. */
static nib_status open_float4(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                              const nib_format_module *module, const char *tensor, nib_weight **w,
                              nib_error *err)
{
    const nib_packed_group *g = NULL;
    nib_part unused;
    nib_status status = find_group(held, module, tensor, NIB_PACKED_FLOAT4, &g, err);

    if (!status)
        status = check_none(find, module->name, beside_float4, "floats of 4 bits", err);
    if (status) return status;
    nib_module_part(find, module->name, ".input_global_scale", &unused); /* not reported */
    if (nib_module_part(find, module->name, ".weight", &unused))
        return nib_fail(err, NIB_E_FORMAT, "%s and %s are both there", tensor, unused.name);
    return nib_float4_open(ctx, find, module->name, &float4_names, g->float4, held->form.dtype, w,
                           err);
}

static nib_status open_integers(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                                const nib_format_module *module, nib_weight **w, nib_error *err)
{
    nib_grouped made = { 0 };
    stored_parts p = { 0 };
    zeros z = { 0 };
    bool there = false, whole;
    nib_status status = find_parts(find, module->name, &p, &there, err);

    *w = NULL;
    if (!status && there)
        status = check_none(find, module->name, beside_integers, "integers", err);
    if (!status && there) status = check_parts(ctx, held, module, &p, &made, &z, err);
    if (status || !there) return status;
    whole = made.options.group == NIB_GROUP_TENSOR;
    made.base = (nib_weight){ .out = p.out, .in = p.in, .dtype = made.options.dtype };
    made.order = NIB_WORDS_ROWS;
    made.codes = p.codes.data;
    made.row_bytes = p.bytes ? p.in : (size_t)p.codes.shape[1] * 4;
    made.flip = p.bytes ? 0x80808080u : 0;
    made.zero = 1u << ((p.bytes ? 8 : made.options.bits) - 1);
    made.groups = p.groups;
    made.group = p.groups == 1 ? p.in : made.options.group;
    made.scales = p.scale.data;
    made.scale_type = p.scale.dtype;
    made.scale_group = whole ? 0 : 1;
    made.scale_out = whole ? 0 : p.groups;
    status = nib_grouped_open(ctx, &made, p.has_zeros ? zero_of : NULL, &z,
                              p.has_groups ? &p.g_idx : NULL,
                              p.codes.bytes + p.scale.bytes + p.shape.bytes + p.zeros.bytes +
                                  p.g_idx.bytes, w, err);
    if (!status) (*w)->source = p.codes.name;
    return status;
}

static nib_status open_module(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                              const nib_format_module *module, nib_weight **w, nib_error *err)
{
    nib_part weight;

    *w = NULL;
    if (nib_module_part(find, module->name, ".weight", &weight) && weight.dtype == NIB_F8_E4M3)
        return open_floats(ctx, find, held, module, weight.name, w, err);
    if (nib_module_part(find, module->name, ".weight_packed", &weight) && weight.dtype == NIB_U8)
        return open_float4(ctx, find, held, module, weight.name, w, err);
    return open_integers(ctx, find, held, module, w, err);
}

/* Of E4M3 weights, M.weight: the file's blocks are those of the first group of floats. */
static bool describe_floats(const nib_part *t, nib_part_finder find, const nib_held *held,
                            uint64_t shape[2], nib_form *form)
{
    const nib_packed_rules *rules = held->rules;
    nib_float8_options o = { .dtype = held->form.dtype };

    for (size_t i = 0; i < rules->count && !o.rows; i++)
        if (rules->groups[i].type == NIB_PACKED_FLOAT8) {
            o.rows = rules->groups[i].float8.options.rows;
            o.columns = rules->groups[i].float8.options.columns;
        }
    return nib_float8_describe(t, find, &o, shape, form);
}

/* M.weight_packed, or M.weight_scale beside a weight of bytes. */
static nib_status describe(const nib_part *t, nib_part_finder find, const nib_held *held, bool *its,
                           uint64_t shape[2], nib_form *form, nib_error *err)
{
    static const char packed[] = ".weight_packed", scale[] = ".weight_scale";
    nib_grouped_options o = { .maker = NIB_GROUPED_PACK, .bits = 8, .dtype = NIB_F32 };
    const char *last = strrchr(t->name, '.');
    bool words = last && strcmp(last, packed) == 0;
    char module[600];
    stored_parts p = { 0 };

    *its = (held && describe_floats(t, find, held, shape, form)) ||
           nib_float4_describe(t, find, &float4_names, held ? held->form.dtype : NIB_BF16, shape,
                               form);
    if (*its) return NIB_OK;
    if (!last || (!words && strcmp(last, scale) != 0) || (size_t)(last - t->name) >= sizeof module)
        return NIB_OK;
    snprintf(module, sizeof module, "%.*s", (int)(last - t->name), t->name);
    if (find_parts(find, module, &p, its, NULL) || !*its || p.bytes == words ||
        read_shape(&p, NULL)) {
        *its = false;
        return NIB_OK;
    }
    shape[0] = p.out;
    shape[1] = p.in;
    if (words) o.bits = (unsigned)nib_min(nib_max(p.codes.shape[1] * 32 / p.in, 2), 8);
    else o.maker = NIB_GROUPED_INT;
    o.asymmetric = p.has_zeros;
    if (p.scale.rank == 2 && p.scale.shape[1] > 1)
        o.group = (unsigned)nib_ceil_div(p.in, (size_t)p.scale.shape[1]);
    if (held) {
        const nib_packed_group *g = NULL;
        const nib_format_module is = { .name = module, .class = "Linear" };
        nib_status status = nib_packed_rules_find(held->rules, &is, &g, err);
        if (status) return status;
        if (g && !g->unread) o.bits = g->options.bits, o.group = g->options.group;
        o.dtype = held->form.dtype;
    }
    *form = nib_grouped_form(&o);
    return NIB_OK;
}

/* Pieces of sparse layouts, which have no name that says whose they are. */
static nib_status check(const nib_part *t, nib_part_finder find, nib_error *err)
{
    static const char *const sparse[] = { ".compressed", ".bitmask", ".row_offsets", ".meta",
                                          ".scale_packed" };
    const char *last = strrchr(t->name, '.');

    (void)find;
    for (size_t i = 0; last && i < NIB_COUNT(sparse); i++)
        if (strcmp(last, sparse[i]) == 0)
            return nib_fail(err, NIB_E_UNSUPPORTED, "%s: a piece of a sparse weight, which is not "
                            "read; known are pack-, int-, float-, nvfp4-pack- and "
                            "mxfp4-pack-quantized", t->name);
    return NIB_OK;
}

/* --- writing --- */

/* formats-quant.md 2.6: the keys that vLLM and transformers need, and the group's own format. */
static char *config(nib_ctx *ctx, const nib_form *form, const char *const *skipped)
{
    nib_grouped_options o = nib_grouped_form_options(form);
    char group[16] = "null", *names = nib_strdup(ctx, ""), *more, *text;

    if (o.group != NIB_GROUP_ROW) snprintf(group, sizeof group, "%u", o.group);
    for (size_t i = 0; names && skipped[i]; i++) {
        more = nib_sprintf(ctx, "%s%s\"%s\"", names, i ? ", " : "", skipped[i]);
        nib_free(ctx, names);
        names = more;
    }
    if (!names) return NULL;
    text = nib_sprintf(ctx, "{\"config_groups\": {\"group_0\": {\"format\": \"pack-quantized\", "
                       "\"targets\": [\"Linear\"], \"weights\": {\"dynamic\": false, "
                       "\"group_size\": %s, \"num_bits\": %u, \"strategy\": \"%s\", "
                       "\"symmetric\": %s, \"type\": \"int\"}}}, \"format\": \"pack-quantized\", "
                       "\"ignore\": [%s], \"quant_method\": \"compressed-tensors\", "
                       "\"quantization_status\": \"compressed\"}",
                       group, o.bits, o.group == NIB_GROUP_ROW ? "channel" : "group",
                       o.asymmetric ? "false" : "true", names);
    nib_free(ctx, names);
    return text;
}

const nib_format nib_format_packed = {
    .method = "compressed-tensors",
    .known = "compressed-tensors (integers, FP8, NVFP4 and MXFP4)",
    .name = "compressed-tensors",
    .keys = keys,
    .read = read_settings,
    .settings = settings_of,
    .means = means,
    .read_config = read_config,
    .free_rules = free_rules,
    .config_keys = config_keys,
    .packs = packs,
    .pieces = pieces,
    .check = check,
    .open = open_module,
    .describe = describe,
    .plan = nib_grouped_plan,
    .tensors = nib_grouped_tensors,
    .config = config,
};
