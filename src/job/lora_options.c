/* lora_options.c - checking and copying LoraConfig's options. */
#include "job/lora_options.h"

#include <math.h>

#include "adapter/peft_tokens.h"
#include "adapter/start.h"

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "LoRA options: out of memory");
}

static nib_status copy_names(nib_ctx *ctx, const nib_names *from, nib_peft_names *to,
                             nib_error *err)
{
    nib_peft_names_kind kind = from->all_linear ? NIB_PEFT_ALL_LINEAR : from->regex ? NIB_PEFT_REGEX
                               : from->count ? NIB_PEFT_LIST : NIB_PEFT_NONE;

    return nib_peft_names_set(ctx, to, kind, from->items, from->count, err);
}

static nib_status copy_patterns(nib_ctx *ctx, const nib_pattern *from, size_t count,
                                nib_peft_pattern **to, size_t *to_count, nib_error *err)
{
    *to = nib_new_array(ctx, count, sizeof **to);
    if (!*to) return no_memory(err);
    for (; *to_count < count; ++*to_count) {
        (*to)[*to_count].value = from[*to_count].value;
        if (!((*to)[*to_count].key = nib_strdup(ctx, from[*to_count].name))) return no_memory(err);
    }
    return NIB_OK;
}

bool nib_lora_knows_init(const char *init)
{
    int iterations;
    return nib_start_of(init, &iterations) != NIB_START_UNKNOWN;
}

static nib_status read_loftq(nib_ctx *ctx, const nib_lora_options *o, nib_peft_config *c,
                             nib_error *err)
{
    for (size_t i = 0; i < o->loftq_count; i++) {
        const nib_argument *g = &o->loftq_config[i];
        bool bits = strcmp(g->name, "loftq_bits") == 0;
        if (!bits && strcmp(g->name, "loftq_iter") != 0)
            return nib_fail(err, NIB_E_INVALID, "loftq_config: '%.100s' is not known, known are "
                            "loftq_bits and loftq_iter", g->name);
        if (g->text || !(bits ? g->value == 4 || g->value == 8
                              : g->value >= 1 && g->value <= 100 && g->value == floor(g->value)))
            return nib_fail(err, NIB_E_INVALID, "loftq_config: %s is not %s", g->name,
                            bits ? "4 or 8" : "a whole number from 1 to 100");
        if (bits) c->loftq_bits = (int64_t)g->value;
        else c->loftq_iter = (int64_t)g->value;
    }
    if (o->loftq_count && strcmp(c->init_lora_weights, "loftq") != 0)
        nib_note(ctx, "loftq_config is without effect: init_lora_weights is %s",
                 c->init_lora_weights);
    return NIB_OK;
}

static nib_status read_words(const nib_lora_options *o, nib_peft_config *c, nib_error *err)
{
    const char *bias = o->bias ? o->bias : "none",
               *init = o->init_lora_weights ? o->init_lora_weights : "true";

    if (strcmp(bias, "none") == 0) c->bias = NIB_PEFT_BIAS_NONE;
    else if (strcmp(bias, "all") == 0) c->bias = NIB_PEFT_BIAS_ALL;
    else if (strcmp(bias, "lora_only") == 0) c->bias = NIB_PEFT_BIAS_LORA_ONLY;
    else return nib_fail(err, NIB_E_INVALID, "bias: '%s' is not none, all or lora_only", bias);
    if (!nib_lora_knows_init(init))
        return nib_fail(err, NIB_E_INVALID,
                        "init_lora_weights: '%.100s' is not known, known are true, false, "
                        "gaussian, orthogonal, pissa, pissa_niter_N (N from 0 to 9999), olora and "
                        "loftq", init);
    strcpy(c->init_lora_weights, init);
    return NIB_OK;
}

static nib_status check_numbers(const nib_lora_options *o, nib_error *err)
{
    if (o->r < 1 || o->r > 65536)
        return nib_fail(err, NIB_E_INVALID, "r: %d is not in 1 .. 65536", o->r);
    if (!(o->lora_dropout >= 0 && o->lora_dropout < 1))
        return nib_fail(err, NIB_E_INVALID, "lora_dropout: %g is not in [0, 1)", o->lora_dropout);
    if (!(o->lora_alpha > 0))
        return nib_fail(err, NIB_E_INVALID, "lora_alpha: %g is not above 0", o->lora_alpha);
    for (size_t i = 0; i < o->rank_patterns; i++) {
        double r = o->rank_pattern[i].value;
        if (!(r >= 1 && r <= 65536 && r == (double)(int)r))
            return nib_fail(err, NIB_E_INVALID, "rank_pattern: %g for %.200s is not in 1 .. 65536",
                            r, o->rank_pattern[i].name);
    }
    for (size_t i = 0; i < o->alpha_patterns; i++)
        if (!(o->alpha_pattern[i].value > 0))
            return nib_fail(err, NIB_E_INVALID, "alpha_pattern: %g for %.200s is not above 0",
                            o->alpha_pattern[i].value, o->alpha_pattern[i].name);
    if (o->target_modules.regex && (o->layers_to_transform_count || o->layers_pattern.count))
        return nib_fail(err, NIB_E_INVALID,
                        "layers_to_transform and layers_pattern go with a list of "
                        "target_modules, not with a regular expression");
    if (o->target_parameters.regex || o->target_parameters.all_linear)
        return nib_fail(err, NIB_E_INVALID,
                        "target_parameters is a list of names, such as experts.gate_up_proj");
    if (o->layers_pattern.count && !o->layers_to_transform_count)
        return nib_fail(err, NIB_E_INVALID, "layers_pattern needs layers_to_transform");
    return NIB_OK;
}

nib_status nib_lora_config(nib_ctx *ctx, const nib_lora_options *o, nib_peft_config *out,
                           nib_error *err)
{
    nib_peft_config c = nib_peft_config_default();
    nib_status status;

    c.r = o->r;
    c.lora_alpha = o->lora_alpha;
    c.lora_dropout = o->lora_dropout;
    c.use_rslora = o->use_rslora;
    c.use_dora = o->use_dora;

    if ((status = check_numbers(o, err)) || (status = read_words(o, &c, err)) ||
        (status = read_loftq(ctx, o, &c, err)) ||
        (status = copy_names(ctx, &o->target_modules, &c.target_modules, err)) ||
        (status = copy_names(ctx, &o->target_parameters, &c.target_parameters, err)) ||
        (status = copy_names(ctx, &o->exclude_modules, &c.exclude_modules, err)) ||
        (status = copy_names(ctx, &o->modules_to_save, &c.modules_to_save, err)) ||
        (status = copy_names(ctx, &o->layers_pattern, &c.layers_pattern, err)) ||
        (status = copy_patterns(ctx, o->rank_pattern, o->rank_patterns, &c.rank_pattern,
                                &c.rank_count, err)) ||
        (status = copy_patterns(ctx, o->alpha_pattern, o->alpha_patterns, &c.alpha_pattern,
                                &c.alpha_count, err)))
        goto done;
    c.layers_is_list = o->layers_to_transform_count > 0;
    if (c.layers_is_list)
        c.layers = nib_new_array(ctx, o->layers_to_transform_count, sizeof *c.layers);
    if (c.layers_is_list && !c.layers) {
        status = no_memory(err);
        goto done;
    }
    for (; c.layers_count < o->layers_to_transform_count; c.layers_count++)
        c.layers[c.layers_count] = o->layers_to_transform[c.layers_count];
    status = nib_peft_tokens_set(ctx, &c, o->trainable_token_indices, o->trainable_token_count,
                                 err);
    if (status) goto done;
    *out = c;
    c = nib_peft_config_default(); /* handed over */
done:
    nib_peft_config_free(ctx, &c);
    return status;
}
