/* format_gptq.c - GPTQ's checkpoints: of GPTQModel, AutoGPTQ and AutoRound (formats.md 6;
 * formats-quant.md 4).
 *
 *     M.qweight  I32  [in * bits / 32, out]       codes along the inputs
 *     M.qzeros   I32  [groups, out * bits / 32]   zero points along the outputs
 *     M.scales   F16  [groups, out]               bfloat16 and float32 too
 *     M.g_idx    I32  [in]                        the group of each input; may be absent */
#include <stdio.h>

#include "quant/formats.h"
#include "quant/gptq_rules.h"

static const char *const keys[] = { "format", "bits", "group_size", "sym", NULL };
static const char *const pieces[] = { ".qweight", ".qzeros", ".scales", ".g_idx", NULL };
static const char *const packings[] = { "auto_round", "auto_round:exllamav2",
                                        "auto_round:tritonv2", "auto_round:auto_gptq",
                                        "auto_round:gptq", "autoround:gptq",
                                        "auto_round:gptqmodel", NULL };

static nib_status check_bits(const char *where, unsigned bits, nib_error *err)
{
    if (bits == 2 || bits == 3 || bits == 4 || bits == 8) return NIB_OK;
    return nib_fail(err, NIB_E_INVALID, "%sbits: expected 2, 3, 4 or 8, got %u", where, bits);
}

static nib_status read_settings(const nib_setting *s, const char *where, nib_form *form,
                                nib_error *err)
{
    nib_grouped_options o = { .maker = NIB_GROUPED_GPTQ, .bits = 4, .group = 128,
                              .dtype = NIB_F16 };
    nib_status status = nib_gptq_settings(s, where, &o, err);

    if (!status) status = check_bits(where, o.bits, err);
    if (!status) *form = nib_grouped_form(&o);
    return status;
}

static void settings_of(const nib_form *form, nib_settings *out)
{
    nib_grouped_options o = nib_grouped_form_options(form);

    *out = (nib_settings){ 0 };
    nib_settings_put(out, "format", "gptq");
    nib_settings_put_count(out, "bits", o.bits);
    nib_settings_put_group(out, "group_size", o.group);
    nib_settings_put(out, "sym", o.asymmetric ? "false" : "true");
}

/* --- config.json --- */

/* GPTQModel's container carries other methods too: `method` says which. */
static bool means(const nib_setting *config)
{
    const char *method = nib_setting_value(config, "quant_method"),
               *more = nib_setting_value(config, "method");

    if (!method) method = more;
    return method && (strcmp(method, "gptq") == 0 || nib_autoround_is(config, packings));
}

static nib_status read_config(nib_ctx *ctx, const nib_setting *config, const char *where,
                              nib_held *out, nib_error *err)
{
    nib_status status = read_settings(config, where, &out->form, err);

    if (status) return status;
    return nib_gptq_rules_read(ctx, config, where, true, (nib_gptq_rules **)&out->rules, err);
}

static void free_rules(nib_ctx *ctx, void *rules) { nib_gptq_rules_free(ctx, rules); }

static nib_status packs(const nib_held *held, const nib_format_module *module, bool *packed,
                        nib_form *form, nib_error *err)
{
    nib_grouped_options o = nib_grouped_form_options(&held->form);
    nib_status status = nib_gptq_rules_apply(held->rules, module, &o, packed, err);

    if (!status && *packed) status = check_bits("dynamic: ", o.bits, err);
    *form = nib_grouped_form(&o);
    return status;
}

/* --- zero points --- */

typedef struct zeros {
    const uint8_t *words;
    size_t row_bytes;
    unsigned bits;
    nib_gptq_zeros stored;
} zeros;

/* What a word of zero points lacks, by its place in its row. */
static uint32_t word_constant(const zeros *z, size_t word)
{
    static const uint32_t three[] = { 0x24924924u, 0x92492492u, 0x49249249u };
    uint32_t ones = 0;

    if (z->stored == NIB_ZEROS_SWAPPED) return three[word % 3];
    for (unsigned at = 0; at < 32; at += z->bits) ones |= 1u << at;
    return ones;
}

static uint32_t whole_word(const zeros *z, const uint8_t *row, size_t word)
{
    return nib_load_le32(row + word * 4) + word_constant(z, word);
}

static unsigned zero_of(const void *self, size_t group, size_t o)
{
    const zeros *z = self;
    const uint8_t *row = z->words + group * z->row_bytes;
    size_t word = o * z->bits / 32, shift = o * z->bits % 32;
    uint32_t mask = (1u << z->bits) - 1, code;

    if (z->stored == NIB_ZEROS_PLAIN) return nib_stream_code(row, 4, z->bits, o);
    if (z->stored == NIB_ZEROS_FIELDS) return (nib_stream_code(row, 4, z->bits, o) + 1) & mask;
    code = whole_word(z, row, word) >> shift;
    if (shift + z->bits > 32) code |= whole_word(z, row, word + 1) << (32 - shift);
    return code & mask;
}

/* --- reading --- */

typedef struct stored_parts {
    nib_part qweight, qzeros, scales, g_idx;
    bool has_groups;
} stored_parts;

static nib_status find_parts(nib_part_finder find, const char *module, stored_parts *p, bool *there,
                             nib_error *err)
{
    const char *missing = NULL;
    nib_part dense;

    *there = nib_module_part(find, module, ".qweight", &p->qweight);
    p->has_groups = nib_module_part(find, module, ".g_idx", &p->g_idx);
    if (!nib_module_part(find, module, ".qzeros", &p->qzeros)) missing = "qzeros";
    if (!nib_module_part(find, module, ".scales", &p->scales)) missing = "scales";
    if (!*there)
        return nib_module_part(find, module, ".qzeros", &dense)
                   ? nib_fail(err, NIB_E_FORMAT, "%s is there, but %s.qweight is missing",
                              dense.name, module)
                   : NIB_OK;
    if (missing) return nib_fail(err, NIB_E_FORMAT, "%s.%s is missing", module, missing);
    if (nib_module_part(find, module, ".weight", &dense))
        return nib_fail(err, NIB_E_FORMAT, "%s and %s are both there", p->qweight.name, dense.name);
    return NIB_OK;
}

/* Sizes from the shapes, held to what config.json says: bits and group are never guessed. */
static nib_status check_parts(const stored_parts *p, const nib_grouped_options *o, size_t *in,
                              size_t *out, size_t *groups, nib_error *err)
{
    const nib_part *q = &p->qweight;
    uint64_t values;
    nib_status status;

    if (q->dtype != NIB_I32 || q->rank != 2 || !q->shape[0] || !q->shape[1])
        return nib_fail(err, NIB_E_FORMAT, "%s: %s of rank %u, expected a matrix of int32", q->name,
                        nib_dtype_name(q->dtype), q->rank);
    values = q->shape[0] * 32;
    if (q->shape[0] > UINT32_MAX || q->shape[1] > UINT32_MAX || values % o->bits)
        return nib_fail(err, NIB_E_FORMAT, "%s: %" PRIu64 " rows of words are no whole number of "
                        "%u-bit codes", q->name, q->shape[0], o->bits);
    *in = (size_t)(values / o->bits);
    *out = (size_t)q->shape[1];
    if (p->scales.rank != 2 || p->scales.shape[1] != *out || !p->scales.shape[0])
        return nib_fail(err, NIB_E_FORMAT, "%s: [%" PRIu64 ", %" PRIu64 "], expected [groups, %zu]",
                        p->scales.name, p->scales.shape[0], p->scales.shape[1], *out);
    *groups = o->group == NIB_GROUP_ROW ? 1 : nib_ceil_div(*in, o->group);
    if (p->scales.shape[0] != *groups)
        return nib_fail(err, NIB_E_MISMATCH, "%s has %" PRIu64 " groups, config.json makes it %zu: "
                        "%zu inputs (%" PRIu64 " rows of words of %u-bit codes), group_size %d",
                        p->scales.name, p->scales.shape[0], *groups, *in, q->shape[0], o->bits,
                        o->group == NIB_GROUP_ROW ? -1 : (int)o->group);
    status = nib_check_matrix(&p->qzeros, NIB_I32, *groups, nib_ceil_div(*out * o->bits, 32), err);
    if (!status && *out * o->bits % 32)
        status = nib_fail(err, NIB_E_FORMAT, "%s: %zu outputs of %u bits do not fill words of 32",
                          p->qzeros.name, *out, o->bits);
    return status;
}

static nib_status open_module(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                              const nib_format_module *module, nib_weight **w, nib_error *err)
{
    nib_grouped_options o;
    nib_grouped made = { 0 };
    nib_form form;
    stored_parts p = { 0 };
    zeros z;
    bool there = false, packed = false;
    size_t in = 0, out = 0;
    nib_status status = find_parts(find, module->name, &p, &there, err);

    *w = NULL;
    if (status || !there) return status;
    status = packs(held, module, &packed, &form, err);
    if (status) return status;
    o = nib_grouped_form_options(&form);
    if (!packed && !module->head && strcmp(module->class, "Embedding") != 0)
        return nib_gptq_rules_contradict(p.qweight.name, err);
    status = check_bits("dynamic: ", o.bits, err); /* packs() has not, of what rules leave dense */
    if (!status) status = check_parts(&p, &o, &in, &out, &made.groups, err);
    if (!status) status = nib_check_scales(ctx, &p.scales, true, err);
    if (!status && o.act_order && made.groups > 1 && !p.has_groups)
        status = nib_fail(err, NIB_E_MISMATCH, "%s.g_idx is missing, but desc_act in config.json "
                          "makes it the group of each of the %zu inputs", module->name, in);
    if (status) return status;
    z = (zeros){ p.qzeros.data, (size_t)p.qzeros.shape[1] * 4, o.bits,
                 nib_gptq_zeros_of(held->rules, o.bits) };
    if (o.asymmetric && z.stored == NIB_ZEROS_FIELDS)
        nib_warn(ctx,
                 "%s: zero points stored less 1, by a writer that is not known: where one was 0 "
                 "its neighbours may be lost",
                 module->name);
    made.base = (nib_weight){ .out = out, .in = in, .dtype = o.dtype };
    made.options = o;
    made.order = NIB_WORDS_DOWN;
    made.codes = p.qweight.data;
    made.row_bytes = out * 4;
    made.group = o.group == NIB_GROUP_ROW ? in : o.group;
    made.scales = p.scales.data;
    made.scale_type = p.scales.dtype;
    made.scale_group = out;
    made.scale_out = 1;
    status = nib_grouped_open(ctx, &made, zero_of, &z, p.has_groups ? &p.g_idx : NULL,
                              p.qweight.bytes + p.qzeros.bytes + p.scales.bytes +
                                  (p.has_groups ? p.g_idx.bytes : 0), w, err);
    if (!status) (*w)->source = p.qweight.name;
    return status;
}

/* Without config.json bits follow from the zero points' width, and the group from the scales. */
static nib_status describe(const nib_part *t, nib_part_finder find, const nib_held *held, bool *its,
                           uint64_t shape[2], nib_form *form, nib_error *err)
{
    nib_grouped_options o = { .maker = NIB_GROUPED_GPTQ, .dtype = NIB_F16 };
    size_t n = strlen(t->name), end = strlen(".qweight");
    uint64_t in;
    char module[600];
    stored_parts p;

    (void)err;
    *its = false;
    if (n <= end || n - end >= sizeof module || strcmp(t->name + n - end, ".qweight") != 0 ||
        t->dtype != NIB_I32 || t->rank != 2)
        return NIB_OK;
    snprintf(module, sizeof module, "%.*s", (int)(n - end), t->name);
    if (!nib_module_part(find, module, ".qzeros", &p.qzeros) || p.qzeros.rank != 2 ||
        !nib_module_part(find, module, ".scales", &p.scales) || p.scales.rank != 2 ||
        p.scales.shape[1] != t->shape[1] || !t->shape[1] || !p.scales.shape[0] ||
        t->shape[0] > UINT32_MAX || p.qzeros.shape[1] > UINT32_MAX)
        return NIB_OK;
    o.bits = (unsigned)nib_min(p.qzeros.shape[1] * 32 / t->shape[1], 99);
    if (check_bits("", o.bits, NULL)) return NIB_OK;
    in = t->shape[0] * 32 / o.bits;
    if (p.scales.shape[0] > 1) o.group = (unsigned)nib_ceil_div(in, p.scales.shape[0]);
    if (held) {
        nib_grouped_options said = nib_grouped_form_options(&held->form);
        o.asymmetric = said.asymmetric;
        o.act_order = said.act_order;
        o.dtype = held->form.dtype;
        if (said.group && nib_ceil_div(in, said.group) == p.scales.shape[0]) o.group = said.group;
    }
    *its = true;
    shape[0] = t->shape[1];
    shape[1] = in;
    *form = nib_grouped_form(&o);
    return NIB_OK;
}

/* --- writing --- */

/* Rules of what stays dense beside the head, which comes first and lm_head names. */
static char *dense_rules(nib_ctx *ctx, const char *const *skipped)
{
    char *text = nib_strdup(ctx, "");

    for (size_t i = 1; text && skipped[0] && skipped[i]; i++) {
        char *name = nib_strdup(ctx, ""), *more = NULL;
        for (const char *c = skipped[i]; name && *c; c++) { /* a dot is one, not any character */
            more = nib_sprintf(ctx, *c == '.' ? "%s\\\\%c" : "%s%c", name, *c);
            nib_free(ctx, name);
            name = more;
        }
        more = name ? nib_sprintf(ctx, "%s%s\"-:^%s(\\\\.|$)\": {}", text,
                                  i == 1 ? "\"dynamic\": {" : ", ", name)
                    : NULL;
        nib_free(ctx, name);
        nib_free(ctx, text);
        text = more;
    }
    if (text && *text) {
        char *more = nib_sprintf(ctx, "%s}, ", text);
        nib_free(ctx, text);
        text = more;
    }
    return text;
}

/* The keys that all readers know, and none of a writer: with one, some take the file as of a
 * certain version of GPTQModel. */
static char *config(nib_ctx *ctx, const nib_form *form, const char *const *skipped)
{
    nib_grouped_options o = nib_grouped_form_options(form);
    char group[16] = "-1";
    const char *version = o.asymmetric ? "gptq_v2" : "gptq";
    char *dense = dense_rules(ctx, skipped), *text;

    if (!dense) return NULL;
    if (o.group != NIB_GROUP_ROW) snprintf(group, sizeof group, "%u", o.group);
    text = nib_sprintf(ctx, "{\"bits\": %u, \"checkpoint_format\": \"%s\", \"desc_act\": %s, %s"
                       "\"format\": \"%s\", \"group_size\": %s, \"lm_head\": false, "
                       "\"pack_dtype\": \"int32\", \"quant_method\": \"gptq\", \"sym\": %s}",
                       o.bits, version, o.act_order ? "true" : "false", dense, version, group,
                       o.asymmetric ? "false" : "true");
    nib_free(ctx, dense);
    return text;
}

const nib_format nib_format_gptq = {
    .method = "gptq",
    .known = "gptq (GPTQModel, AutoGPTQ, AutoRound)",
    .name = "gptq",
    .keys = keys,
    .read = read_settings,
    .settings = settings_of,
    .means = means,
    .read_config = read_config,
    .free_rules = free_rules,
    .config_keys = nib_gptq_config_keys,
    .packs = packs,
    .pieces = pieces,
    .check = nib_check_lone_scales,
    .open = open_module,
    .describe = describe,
    .plan = nib_grouped_plan,
    .tensors = nib_grouped_tensors,
    .config = config,
};
