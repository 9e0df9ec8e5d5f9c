/* format_bnb4.c - bitsandbytes' checkpoints with load_in_4bit (formats.md 4.1, 4.3).
 *
 * Names and values are BitsAndBytesConfig's.  A matrix is bnb4_file.h's tensors. */
#include <stdio.h>

#include "quant/bnb4.h"
#include "quant/bnb4_file.h"
#include "quant/bnb4_state.h"
#include "quant/bnb_config.h"
#include "quant/formats.h"

static const char *const keys[] = { "load_in_4bit", "bnb_4bit_quant_type",
                                    "bnb_4bit_use_double_quant", "bnb_4bit_blocksize", NULL };
static const char *const types[] = { "nf4", "fp4", NULL };

static nib_status read_settings(const nib_setting *s, const char *where, nib_form *form,
                                nib_error *err)
{
    nib_bnb4_options o = { .blocksize = 64, .dtype = NIB_F32 };
    unsigned type = 0;
    nib_status status = nib_setting_word(s, where, "bnb_4bit_quant_type", types, &type, err);

    if (!status)
        status = nib_setting_bool(s, where, "bnb_4bit_use_double_quant", &o.double_quant, err);
    if (!status) status = nib_setting_count(s, where, "bnb_4bit_blocksize", &o.blocksize, err);
    if (!status && !nib_bnb4_blocksize_known(o.blocksize))
        status = nib_fail(err, NIB_E_INVALID,
                          "%sbnb_4bit_blocksize: expected a power of two from 32 to 4096, got %u",
                          where, o.blocksize);
    if (status) return status;
    o.fp4 = type == 1;
    *form = nib_bnb4_form(&o);
    return NIB_OK;
}

static void settings_of(const nib_form *form, nib_settings *out)
{
    nib_bnb4_options o = nib_bnb4_form_options(form);

    *out = (nib_settings){ 0 };
    nib_settings_put(out, "load_in_4bit", "true");
    nib_settings_put(out, "bnb_4bit_quant_type", types[o.fp4]);
    nib_settings_put(out, "bnb_4bit_use_double_quant", o.double_quant ? "true" : "false");
    nib_settings_put_count(out, "bnb_4bit_blocksize", o.blocksize);
}

/* --- reading --- */

static nib_status open_module(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                              const nib_format_module *module, nib_weight **w, nib_error *err)
{
    nib_bnb4_parts parts = { 0 };
    char name[700];
    nib_status status = NIB_OK;

    (void)held; /* the quant_state tells all of it */
    *w = NULL;
    snprintf(name, sizeof name, "%s.weight", module->name);
    if (!find.find(find.self, name, &parts.weight)) return NIB_OK;
    for (size_t i = 0; nib_bnb4_suffixes[i] && !status; i++) {
        nib_part part;
        snprintf(name, sizeof name, "%s.weight%s", module->name, nib_bnb4_suffixes[i]);
        if (find.find(find.self, name, &part)) status = nib_bnb4_parts_add(&parts, &part, err);
    }
    /* bnb_4bit_quant_storage may be a float type: then the quant_state tells */
    if (status || (nib_dtype_is_float(parts.weight.dtype) && !parts.quant_state.name))
        return status;
    return nib_bnb4_open(ctx, &parts, w, err);
}

static nib_status describe(const nib_part *t, nib_part_finder find, const nib_held *held, bool *its,
                           uint64_t shape[2], nib_form *form, nib_error *err)
{
    nib_bnb4_state s;
    nib_status status;

    (void)find, (void)held;
    *its = strstr(t->name, ".weight.quant_state.bitsandbytes__") != NULL;
    if (!*its) return NIB_OK;
    status = nib_bnb4_state_parse(t->data, (size_t)t->bytes, t->name, &s, err);
    if (status) return status;
    shape[0] = s.shape[0];
    shape[1] = s.shape[1];
    *form = nib_bnb4_form(
        &(nib_bnb4_options){ s.fp4, s.nested, (unsigned)s.blocksize, s.dtype });
    return NIB_OK;
}

/* --- writing --- */

/* The quant_state text depends on the data by the number of digits of the scales' mean. */
static bool must_learn(const nib_form *form) { return nib_bnb4_form_options(form).double_quant; }

static nib_learned learn(const nib_weight *w)
{
    return (nib_learned){ ((const nib_bnb4 *)w)->nested_offset };
}

static nib_status plan(const nib_form *form, size_t out, size_t in, nib_learned learned,
                       const char *name, nib_parts_out *parts, nib_error *err)
{
    nib_bnb4_options o = nib_bnb4_form_options(form);

    return nib_bnb4_plan(&o, out, in, learned.offset, name, parts, err);
}

static char *config(nib_ctx *ctx, const nib_form *form, const char *const *skipped)
{
    nib_bnb4_options o = nib_bnb4_form_options(form);

    return nib_bnb_config(ctx, &(nib_bnb_config_values){ .quant_type = types[o.fp4],
                                                         .double_quant = o.double_quant,
                                                         .threshold = NIB_INT8_THRESHOLD },
                          skipped);
}

const nib_format nib_format_bnb4 = {
    .method = "bitsandbytes",
    .known = "bitsandbytes with load_in_4bit",
    .flag = "load_in_4bit",
    .keys = keys,
    .read = read_settings,
    .settings = settings_of,
    .read_config = nib_bnb_read_config,
    .free_rules = nib_bnb_free_rules,
    .config_keys = nib_bnb_config_keys,
    .packs = nib_bnb_packs,
    .pieces = nib_bnb4_suffixes,
    .open = open_module,
    .describe = describe,
    .skips = nib_bnb_skips,
    .must_learn = must_learn,
    .learn = learn,
    .plan = plan,
    .tensors = nib_bnb4_tensors,
    .config = config,
};
