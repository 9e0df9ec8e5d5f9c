/* gptq_rules.c - see gptq_rules.h. */
#include "quant/gptq_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "quant/names.h"

nib_status nib_gptq_settings(const nib_setting *list, const char *where, nib_grouped_options *o,
                             nib_error *err)
{
    static const char *const bits[] = { "w_bit", "wbits", "bits" };
    static const char *const groups[] = { "q_group_size", "group_size" };
    bool sym = !o->asymmetric, zero_point = o->asymmetric;
    nib_status status = NIB_OK;

    for (size_t i = 0; i < NIB_COUNT(bits) && !status; i++)
        status = nib_setting_count(list, where, bits[i], &o->bits, err);
    for (size_t i = 0; i < NIB_COUNT(groups) && !status; i++)
        status = nib_setting_group(list, where, groups[i], &o->group, err);
    if (!status) status = nib_setting_bool(list, where, "zero_point", &zero_point, err);
    if (!status) sym = !zero_point;
    if (!status) status = nib_setting_bool(list, where, "sym", &sym, err);
    if (!status) status = nib_setting_bool(list, where, "desc_act", &o->act_order, err);
    if (!status) o->asymmetric = !sym;
    return status;
}

const char *const nib_gptq_config_keys[] = {
    "quant_method", "method", "bits", "w_bit", "wbits", "group_size", "q_group_size", "sym",
    "zero_point", "desc_act", "format", "checkpoint_format", "version", "is_marlin_format",
    "pack_dtype", "lm_head", "dynamic/*/bits", "dynamic/*/group_size", "dynamic/*/sym",
    "dynamic/*/desc_act", "dynamic/*/mse", "extra_config/*/bits", "extra_config/*/group_size",
    "extra_config/*/sym", "extra_config/*/data_type", "extra_config/*/in_blocks",
    "extra_config/*/super_bits", "extra_config/*/super_group_size", "extra_config/*/act_bits",
    "extra_config/*/act_dynamic", "extra_config/*/act_data_type", "extra_config/*/act_sym",
    "extra_config/*/act_group_size", "extra_config/*/scale_dtype", "modules_to_not_convert/*",
    "packing_format", "data_type",
    /* without effect: AutoGPTQ, GPTQModel, transformers, optimum */
    "meta/**", "damp_percent", "damp_auto_increment", "true_sequential", "static_groups", "mse",
    "act_group_aware", "quantizer", "model_name_or_path", "model_file_base_name", "tokenizer/**",
    "dataset/**", "model_seqlen", "block_name_to_quantize", "module_name_preceding_first_block/**",
    "batch_size", "pad_token_id", "max_input_length", "cache_block_outputs",
    "modules_in_block_to_quantize/**", "backend", "use_cuda_fp16", "use_exllama",
    "disable_exllama", "exllama_config/**", "quantized_by", "use_triton", "parallel_packing",
    "uri", "fail_safe", "desc_act_auto", "provider", "calib_data", "calib_split",
    /* AutoAWQ, AutoRound */
    "do_fuse", "fuse_max_seq_len", "modules_to_fuse/**", "autoround_version", "amp", "iters", "lr",
    "minmax_lr", "nsamples", "seqlen", "sampler", "enable_quanted_input", "enable_minmax_tuning",
    "enable_norm_bias_tuning", "low_gpu_mem_usage", "gradient_accumulate_steps", "scale_dtype",
    "not_use_best_mse", "dynamic_max_gap", "to_quant_block_names/**", "quant_block_list/**",
    "super_bits", "super_group_size", "act_bits", "act_dynamic", "act_data_type", "act_sym",
    "act_group_size", "static_kv_dtype", "enable_alg_ext", "layer_config/**", NULL };

bool nib_autoround_is(const nib_setting *config, const char *const *packings)
{
    const char *method = nib_setting_value(config, "quant_method");
    const char *packing = nib_setting_value(config, "packing_format");

    if (!method || strcmp(method, "auto-round") != 0) return false;
    for (size_t i = 0; packings[i]; i++)
        if (strcmp(packing ? packing : "auto_round:gptq", packings[i]) == 0) return true;
    return false;
}

/* --- dynamic, extra_config --- */

/* A rule's own settings: "dynamic/PATTERN/bits". */
static nib_status read_rule(const nib_setting *config, const char *where, const char *key,
                            nib_gptq_rule *r, nib_error *err)
{
    nib_grouped_options o = { 0 };
    nib_setting own[9] = { { 0 } };
    const nib_setting *at = config, *s;
    const char *name;
    size_t count = 0;
    nib_status status;

    while ((s = nib_setting_member(&at, key, &name)) && count < NIB_COUNT(own) - 1)
        if (strcmp(name, "bits") == 0 || strcmp(name, "group_size") == 0 ||
            strcmp(name, "sym") == 0 || strcmp(name, "desc_act") == 0)
            own[count++] = (nib_setting){ name, s->value };
    status = nib_gptq_settings(own, where, &o, err);
    if (status) return status;
    r->bits = nib_setting_value(own, "bits") ? (int)nib_min(o.bits, 99) : -1;
    r->group = !nib_setting_value(own, "group_size") ? -2
               : o.group == NIB_GROUP_ROW            ? -1
                                                     : (long)o.group;
    r->symmetric = nib_setting_value(own, "sym") ? !o.asymmetric : -1;
    r->ordered = nib_setting_value(own, "desc_act") ? o.act_order : -1;
    r->skip |= r->bits >= 16; /* AutoRound */
    return NIB_OK;
}

static nib_status add_rule(nib_ctx *ctx, const char *where, const nib_setting *s,
                           const char *pattern, nib_gptq_rules *rules, nib_error *err)
{
    nib_gptq_rule *r = &rules->rules[rules->count];
    char what[700];
    char *kept;

    *r = (nib_gptq_rule){ .bits = -1, .symmetric = -1, .ordered = -1, .group = -2 };
    r->skip = strncmp(pattern, "-:", 2) == 0;
    if (r->skip || strncmp(pattern, "+:", 2) == 0) pattern += 2;
    r->pattern = kept = nib_strdup(ctx, pattern);
    if (!kept) return nib_fail(err, NIB_E_NOMEM, "%sout of memory", where);
    rules->count++;
    snprintf(what, sizeof what, "%s%.60s", where, s->key);
    return nib_python_regex_create(ctx, what, "", kept, "", &r->regex, err);
}

static nib_status read_patterns(nib_ctx *ctx, const nib_setting *config, const char *where,
                                const char *key, nib_gptq_rules *rules, nib_error *err)
{
    const nib_setting *at = config, *s;
    const char *pattern, *whole = nib_setting_value(config, key);
    size_t count = 0;
    nib_status status = NIB_OK;

    if (whole && *whole != '{')
        return nib_fail(err, NIB_E_FORMAT, "%s%s: expected an object of patterns or null, got "
                        "%.60s", where, key, whole);
    while ((s = nib_setting_member(&at, key, &pattern))) {
        /* what a rule that leaves modules dense has for a value nobody reads */
        if (strncmp(pattern, "-:", 2) != 0 && (!s->value || *s->value != '{'))
            return nib_fail(err, NIB_E_FORMAT, "%s%.100s: expected an object, got %.60s", where,
                            s->key, s->value ? s->value : "null");
        count++;
    }
    if (!count) return NIB_OK;
    rules->rules = nib_new_array(ctx, count, sizeof *rules->rules);
    if (!rules->rules) return nib_fail(err, NIB_E_NOMEM, "%sout of memory", where);
    for (at = config; !status && (s = nib_setting_member(&at, key, &pattern));) {
        status = add_rule(ctx, where, s, pattern, rules, err);
        if (!status)
            status = read_rule(config, where, s->key, &rules->rules[rules->count - 1], err);
    }
    return status;
}

static void take_writer(const char *writer, nib_gptq_rules *rules)
{
    static const char mark[] = "gptqmodel:";

    if (rules->gptqmodel || !writer || strncasecmp(writer, mark, strlen(mark)) != 0) return;
    rules->gptqmodel = true;
    rules->major = (unsigned)strtoul(writer + strlen(mark), NULL, 10);
}

/* meta.quantizer, a text or a list of them, of which any may be the one: "optimum:1.24.0",
 * "gptqmodel:7.7.0". */
static void read_writer(const nib_setting *config, nib_gptq_rules *rules)
{
    const nib_setting *at = config, *s;
    const char *number;

    take_writer(nib_setting_value(config, "meta/quantizer"), rules);
    while ((s = nib_setting_member(&at, "meta/quantizer", &number))) take_writer(s->value, rules);
}

static nib_status read_version(const nib_setting *config, const char *where, nib_gptq_rules *rules,
                               nib_error *err)
{
    static const char *const plain[] = { "auto_round", "auto_round:exllamav2",
                                         "auto_round:tritonv2", NULL };
    const char *version = nib_setting_value(config, "version");
    bool marlin = false;
    nib_status status = nib_setting_bool(config, where, "is_marlin_format", &marlin, err);

    if (nib_setting_value(config, "format")) version = nib_setting_value(config, "format");
    if (nib_setting_value(config, "checkpoint_format"))
        version = nib_setting_value(config, "checkpoint_format");
    if (status) return status;
    rules->first_version = !nib_autoround_is(config, plain);
    if (marlin) version = "marlin";
    if (!version || strcmp(version, "gptq") == 0) return NIB_OK;
    rules->first_version = false;
    if (strcmp(version, "gptq_v2") == 0) return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED, "%scheckpoint_format '%.60s'%s; known are gptq and "
                    "gptq_v2: take the checkpoint before it was repacked", where, version,
                    strcmp(version, "gptq_p") == 0 ? " (3, 5, 6 or 7 bits as planes)" : "");
}

nib_status nib_gptq_rules_read(nib_ctx *ctx, const nib_setting *config, const char *where,
                               bool versions, nib_gptq_rules **out, nib_error *err)
{
    const char *words = nib_setting_value(config, "pack_dtype");
    const char *type = nib_setting_value(config, "data_type"); /* AutoRound's */
    nib_gptq_rules *rules = nib_new(ctx, sizeof *rules);
    nib_status status;

    *out = rules;
    if (!rules) return nib_fail(err, NIB_E_NOMEM, "%sout of memory", where);
    if (type && strcmp(type, "int") != 0)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%sdata_type '%.60s'; known is int", where, type);
    if (words && strcmp(words, "int32") != 0)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%spack_dtype '%.60s'; known is int32", where,
                        words);
    status = nib_setting_bool(config, where, "lm_head", &rules->head, err);
    if (!status && versions) status = read_version(config, where, rules, err);
    if (!status)
        status = read_patterns(ctx, config, where,
                               nib_setting_value(config, "extra_config") ? "extra_config"
                                                                         : "dynamic", rules, err);
    if (!status) read_writer(config, rules);
    return status;
}

void nib_gptq_rules_free(nib_ctx *ctx, nib_gptq_rules *rules)
{
    if (!rules) return;
    for (size_t i = 0; i < rules->count; i++) {
        nib_python_regex_destroy(ctx, rules->rules[i].regex);
        nib_free(ctx, (char *)(uintptr_t)rules->rules[i].pattern);
    }
    nib_free(ctx, rules->rules);
    nib_free(ctx, rules);
}

nib_status nib_gptq_rules_apply(const nib_gptq_rules *rules, const nib_format_module *module,
                                nib_grouped_options *o, bool *packed, nib_error *err)
{
    nib_status status;

    *packed = strcmp(module->class, "Embedding") != 0 && (!module->head || rules->head);
    for (size_t i = 0; i < rules->count; i++) {
        const nib_gptq_rule *r = &rules->rules[i];
        bool yes = false;
        status = nib_python_regex_match(r->regex, module->name, false, &yes, NULL, err);
        if (status) return status;
        if (!yes && strcmp(r->pattern, module->name) != 0) continue;
        if (r->skip) *packed = false;
        if (r->bits >= 0) o->bits = (unsigned)r->bits;
        if (r->group > -2) o->group = r->group < 0 ? NIB_GROUP_ROW : (unsigned)r->group;
        if (r->symmetric >= 0) o->asymmetric = !r->symmetric;
        if (r->ordered >= 0) o->act_order = r->ordered;
        break;
    }
    return NIB_OK;
}

nib_gptq_zeros nib_gptq_zeros_of(const nib_gptq_rules *rules, unsigned bits)
{
    if (!rules->first_version) return NIB_ZEROS_PLAIN;
    if (!rules->gptqmodel) return NIB_ZEROS_FIELDS;
    if (bits == 3) return rules->major < 7 ? NIB_ZEROS_SWAPPED : NIB_ZEROS_FIELDS;
    return NIB_ZEROS_WORDS;
}

/* --- checks --- */

nib_status nib_gptq_rules_contradict(const char *name, nib_error *err)
{
    return nib_fail(err, NIB_E_MISMATCH,
                    "%s is there, but quantization_config in config.json leaves "
                    "the module dense",
                    name);
}

nib_status nib_check_lone_scales(const nib_part *tensor, nib_part_finder find, nib_error *err)
{
    static const char end[] = ".scales";
    size_t n = strlen(tensor->name), m = strlen(end);
    char module[600];
    nib_part codes;

    if (n <= m || n - m >= sizeof module || strcmp(tensor->name + n - m, end) != 0) return NIB_OK;
    snprintf(module, sizeof module, "%.*s", (int)(n - m), tensor->name);
    if (nib_module_part(find, module, ".qweight", &codes)) return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s: scales of a module without codes: AWQ's of an "
                    "activation, which would have to divide its output, are not applied",
                    tensor->name);
}
