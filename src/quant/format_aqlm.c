/* format_aqlm.c - AQLM's checkpoints: additive quantization (formats.md 8.1, formats-quant.md 6).
 *
 *     M.codes       I8 or I16  [out / O, in / I, K]       codes of B bits
 *     M.codebooks   F16        [K, 2^B, O, I]             or BF16, F32
 *     M.scales      F16        [out / O, 1, 1, 1]
 *
 * A model saved after its library's forward pass on a CPU has the first two sides of the codes
 * exchanged, which shows where the two differ. */
#include <stdio.h>

#include "quant/additive.h"
#include "quant/formats.h"
#include "quant/grouped_open.h"
#include "quant/names.h"

enum { MOST_BITS = 16, MOST_BOOKS = 256, MOST_SIDE = 256 };

static const char *const keys[] = { NULL };
static const char *const pieces[] = { ".codes", ".codebooks", ".scales", NULL };

static const char *const config_keys[] = {
    "quant_method", "num_codebooks", "nbits_per_codebook", "out_group_size", "in_group_size",
    "linear_weights_not_to_quantize/#", NULL };

static nib_status read_settings(const nib_setting *s, const char *where, nib_form *form,
                                nib_error *err)
{
    (void)s, (void)form;
    return nib_fail(err, NIB_E_UNSUPPORTED, "%saqlm is read and not written", where);
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

    return method && strcmp(method, "aqlm") == 0;
}

static nib_status read_count(const nib_setting *config, const char *where, const char *key,
                             unsigned most, unsigned *value, nib_error *err)
{
    nib_status status = nib_setting_count(config, where, key, value, err);

    if (!status && (!*value || *value > most))
        status = nib_fail(err, NIB_E_UNSUPPORTED, "%s%s %u; known are 1 to %u", where, key, *value,
                          most);
    return status;
}

static nib_status read_config(nib_ctx *ctx, const nib_setting *config, const char *where,
                              nib_held *out, nib_error *err)
{
    nib_additive_options o = { .books = 1, .bits = 16, .outputs = 1, .inputs = 8,
                               .dtype = NIB_F16 };
    nib_names *dense = NULL; /* whole names of weights, "M.weight" */
    nib_status status = read_count(config, where, "num_codebooks", MOST_BOOKS, &o.books, err);

    if (!status) status = read_count(config, where, "nbits_per_codebook", MOST_BITS, &o.bits, err);
    if (!status) status = read_count(config, where, "out_group_size", MOST_SIDE, &o.outputs, err);
    if (!status) status = read_count(config, where, "in_group_size", MOST_SIDE, &o.inputs, err);
    if (!status)
        status = nib_names_read(ctx, config, "linear_weights_not_to_quantize", where,
                                &dense, err);
    out->rules = dense;
    out->form = nib_additive_form(&o);
    return status;
}

static void free_rules(nib_ctx *ctx, void *rules) { nib_names_free(ctx, rules); }

static nib_status packs(const nib_held *held, const nib_format_module *module, bool *packed,
                        nib_form *form, nib_error *err)
{
    const nib_names *dense = held->rules;
    char name[600];

    (void)err;
    *packed = strcmp(module->class, "Linear") == 0;
    snprintf(name, sizeof name, "%.550s.weight", module->name);
    for (size_t i = 0; dense && i < dense->count; i++)
        if (strcmp(dense->at[i], name) == 0) *packed = false;
    *form = held->form;
    return NIB_OK;
}

/* --- reading --- */

typedef struct stored_parts { nib_part codes, books, scales; } stored_parts;

/* *there: the module has codes.  Parts of it alone are refused; scales alone are another's. */
static nib_status find_parts(nib_part_finder find, const char *module, stored_parts *p, bool *there,
                             nib_error *err)
{
    bool books = nib_module_part(find, module, ".codebooks", &p->books);
    bool scales = nib_module_part(find, module, ".scales", &p->scales);
    nib_part dense;

    *there = nib_module_part(find, module, ".codes", &p->codes);
    if (!*there && books)
        return nib_fail(err, NIB_E_FORMAT, "%s is there, but %s.codes is missing", p->books.name,
                        module);
    if (*there && (!books || !scales))
        return nib_fail(err, NIB_E_FORMAT, "%s is there, but %s%s is missing", p->codes.name,
                        module, books ? ".scales" : ".codebooks");
    if (*there && nib_module_part(find, module, ".weight", &dense))
        return nib_fail(err, NIB_E_FORMAT, "%s and %s are both there", p->codes.name, dense.name);
    return NIB_OK;
}

/* What the codebooks' shape says must be what config.json does. */
static nib_status check_books(const nib_part *t, const nib_additive_options *o, nib_error *err)
{
    if (nib_dtype_is_float(t->dtype) && t->rank == 4 && t->shape[0] == o->books &&
        t->shape[1] == (uint64_t)1 << o->bits && t->shape[2] == o->outputs &&
        t->shape[3] == o->inputs)
        return NIB_OK;
    return nib_fail(err, NIB_E_MISMATCH, "%s: %s of rank %u with %" PRIu64 " elements, config.json "
                    "makes it floats [%u, %u, %u, %u]", t->name, nib_dtype_name(t->dtype), t->rank,
                    t->elements, o->books, 1u << o->bits, o->outputs, o->inputs);
}

/* Sides, steps and the size of the weight; *exchanged: the first two sides of the codes are. */
static nib_status check_codes(const stored_parts *p, const nib_additive_options *o,
                              nib_additive *made, bool *exchanged, nib_error *err)
{
    const nib_part *t = &p->codes;
    nib_dtype type = o->bits > 8 ? NIB_I16 : NIB_I8;
    uint64_t rows = p->scales.rank ? p->scales.shape[0] : 1, groups;
    size_t step = (size_t)o->books * (o->bits > 8 ? 2 : 1);

    if (t->dtype != type || t->rank != 3 || t->shape[2] != o->books || !t->elements)
        return nib_fail(err, NIB_E_FORMAT, "%s: %s of rank %u with %" PRIu64 " elements, expected "
                        "%s [out / %u, in / %u, %u]", t->name, nib_dtype_name(t->dtype), t->rank,
                        t->elements, nib_dtype_name(type), o->outputs, o->inputs, o->books);
    if (!nib_dtype_is_float(p->scales.dtype) || p->scales.elements != rows ||
        (rows != t->shape[0] && rows != t->shape[1]))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s with %" PRIu64 " elements, expected floats "
                        "[%" PRIu64 ", 1, 1, 1]", p->scales.name, nib_dtype_name(p->scales.dtype),
                        p->scales.elements, t->shape[0]);
    *exchanged = rows != t->shape[0];
    groups = t->shape[*exchanged ? 0 : 1];
    if (rows > UINT32_MAX / o->outputs || groups > UINT32_MAX / o->inputs)
        return nib_fail(err, NIB_E_FORMAT, "%s: too many groups", t->name);
    made->base.out = (size_t)rows * o->outputs;
    made->base.in = (size_t)groups * o->inputs;
    made->row_step = *exchanged ? step : (size_t)groups * step;
    made->group_step = *exchanged ? (size_t)rows * step : step;
    return NIB_OK;
}

/* No infinity and no NaN: all bits of the exponent. */
static nib_status check_finite(const nib_part *t, nib_error *err)
{
    uint32_t mask = t->dtype == NIB_F16 ? 0x7c00 : t->dtype == NIB_BF16 ? 0x7f80 : 0x7f800000;
    size_t each = nib_dtype_bytes(t->dtype);

    for (size_t i = 0; i < t->elements; i++) {
        const uint8_t *at = (const uint8_t *)t->data + i * each;
        uint32_t bits = each == 2 ? nib_load_le16(at) : nib_load_le32(at);
        if ((bits & mask) == mask)
            return nib_fail(err, NIB_E_FORMAT, "%s: value %zu is not finite", t->name, i);
    }
    return NIB_OK;
}

static nib_status open_module(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                              const nib_format_module *module, nib_weight **w, nib_error *err)
{
    nib_additive made = { .options = nib_additive_form_options(&held->form) };
    stored_parts p = { 0 };
    bool there = false, exchanged = false;
    nib_status status = find_parts(find, module->name, &p, &there, err);

    *w = NULL;
    if (status || !there) return status;
    made.options.dtype = held->form.dtype;
    status = check_books(&p.books, &made.options, err);
    if (!status) status = check_codes(&p, &made.options, &made, &exchanged, err);
    if (!status) status = check_finite(&p.books, err);
    if (!status) status = check_finite(&p.scales, err);
    if (status) return status;
    if (exchanged)
        nib_warn(ctx, "%s: the codes lie as the library's forward pass on a CPU leaves them "
                      "(inputs first); read so", module->name);
    made.codes = p.codes.data;
    made.entries = p.books.data;
    made.scales = p.scales.data;
    made.entry_type = p.books.dtype;
    made.scale_type = p.scales.dtype;
    made.base.bytes = (size_t)(p.codes.bytes + p.books.bytes + p.scales.bytes);
    made.base.source = p.codes.name;
    return nib_additive_create(ctx, &made, w, err);
}

static nib_status describe(const nib_part *t, nib_part_finder find, const nib_held *held, bool *its,
                           uint64_t shape[2], nib_form *form, nib_error *err)
{
    static const char end[] = ".codes";
    size_t n = strlen(t->name), stem = n - nib_min(n, strlen(end));
    nib_additive_options o = { .dtype = held ? held->form.dtype : NIB_F16 };
    nib_additive made = { 0 };
    stored_parts p = { 0 };
    char module[600];
    bool exchanged;

    (void)err;
    *its = false;
    if (strcmp(t->name + stem, end) != 0 || stem >= sizeof module) return NIB_OK;
    snprintf(module, sizeof module, "%.*s", (int)stem, t->name);
    if (find_parts(find, module, &p, its, NULL) || !*its || p.books.rank != 4 ||
        p.books.shape[0] > MOST_BOOKS || p.books.shape[2] > MOST_SIDE ||
        p.books.shape[3] > MOST_SIDE)
        return *its = false, NIB_OK;
    o.books = (unsigned)p.books.shape[0];
    while (o.bits <= MOST_BITS && (uint64_t)1 << o.bits < p.books.shape[1]) o.bits++;
    o.outputs = (unsigned)p.books.shape[2];
    o.inputs = (unsigned)p.books.shape[3];
    if (!o.books || !o.bits || o.bits > MOST_BITS || !o.outputs || !o.inputs ||
        check_codes(&p, &o, &made, &exchanged, NULL))
        return *its = false, NIB_OK;
    shape[0] = made.base.out;
    shape[1] = made.base.in;
    *form = nib_additive_form(&o);
    return NIB_OK;
}

const nib_format nib_format_aqlm = {
    .method = "aqlm", .known = "aqlm", .keys = keys, .read = read_settings,
    .settings = settings_of, .means = means, .read_config = read_config, .free_rules = free_rules,
    .config_keys = config_keys,
    .packs = packs, .pieces = pieces, .open = open_module, .describe = describe,
    .no_merge = "a change of the weights has no codes in AQLM's codebooks",
};
