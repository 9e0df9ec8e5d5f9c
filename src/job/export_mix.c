/* export_mix.c - see export_mix.h. */
#include "job/export_mix.h"

#include <stdio.h>
#include <stdlib.h>

#include "model/gguf_keys.h"

#define ALL(name, number) { name, number, name, name, NIB_EXPORT_PLAIN }
#define MOST(name, number) { name, number, name, "Q6_K", NIB_EXPORT_PLAIN }

static const nib_export_type types[] = {
    ALL("F32", 0), ALL("F16", 1), ALL("BF16", 32), ALL("Q8_0", 7), ALL("Q6_K", 18),
    { "Q5_K_M", 17, "Q5_K", "Q6_K", NIB_EXPORT_MEDIUM },
    { "Q5_K_S", 16, "Q5_K", "Q6_K", NIB_EXPORT_SMALL },
    { "Q4_K_M", 15, "Q4_K", "Q6_K", NIB_EXPORT_MEDIUM },
    { "Q4_K_S", 14, "Q4_K", "Q6_K", NIB_EXPORT_SMALL },
    MOST("Q5_1", 9), MOST("Q5_0", 8), MOST("Q4_1", 3), MOST("Q4_0", 2),
    { "IQ4_NL", 25, "IQ4_NL", "Q6_K", NIB_EXPORT_UNEVEN },
    { "MXFP4", 38, "MXFP4", "Q8_0", NIB_EXPORT_EXPERTS },
};

const nib_export_type nib_export_allotted_type = { "allotted types", NIB_GGUF_FILE_TYPE_LATER,
                                                   "Q8_0", "Q6_K", NIB_EXPORT_ALLOTTED };

const nib_export_type *nib_export_type_named(const char *name)
{
    for (size_t i = 0; i < NIB_COUNT(types); i++)
        if (strcmp(types[i].name, name) == 0) return &types[i];
    return NULL;
}

void nib_export_types_known(char *out, size_t room)
{
    size_t used = 0;

    *out = 0;
    for (size_t i = 0; i < NIB_COUNT(types) && used < room; i++)
        used += (size_t)snprintf(out + used, room - used, "%s%s", i ? ", " : "", types[i].name);
}

/* The type, or where rows are no whole blocks of it the next that can hold them. */
static const nib_gguf_type *type_for(nib_export_mix *k, const char *name, size_t width)
{
    static const char *const next[][2] = { { "Q4_K", "Q5_0" }, { "Q5_K", "Q5_1" },
                                           { "Q6_K", "Q8_0" } };
    const nib_gguf_type *type = nib_gguf_type_named(name);

    if (width % type->elements == 0) return type;
    k->fallbacks++;
    for (size_t i = 0; i < NIB_COUNT(next); i++)
        if (strcmp(name, next[i][0]) == 0 && width % 32 == 0)
            return nib_gguf_type_named(next[i][1]);
    return nib_gguf_type_named("F16");
}

/* The first and the last eighth of the layers, and every third between them. */
static bool takes_more(size_t i, size_t n)
{
    return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

/* Of eight experts what all tokens go through is kept better. */
static const char *type_beside_eight(const nib_export_type *t, const char *name)
{
    if (nib_ends_with(name, ".attn_v.weight") || nib_ends_with(name, ".attn_k.weight"))
        return "Q8_0";
    if (t->mix != NIB_EXPORT_UNEVEN && strcmp(t->base, "Q4_K") != 0) return NULL;
    return nib_ends_with(name, ".attn_output.weight") ? "Q5_K" : NULL;
}

/* How many matrices down came before; of experts, which number of layer. */
static size_t count_down(nib_export_mix *k, const char *name)
{
    return nib_gguf_experts(k->m->graph) ? strtoul(name + 4, NULL, 10) /* of "blk.3" */
                                         : k->downs++;
}

static bool is_values(const char *name)
{
    return nib_ends_with(name, ".attn_v.weight") || nib_ends_with(name, ".attn_qkv.weight");
}

/* Not each layer has one: some have no attention, or read what others made. */
static size_t count_values(const nib_export_mix *k)
{
    nib_gguf_tensor_name name;
    size_t count = 0;

    for (size_t i = 0; i < k->m->linear_count; i++)
        count += nib_gguf_weight_of(k->n, k->m->linears[i], &name) && is_values(name.name);
    return count;
}

/* One type, but for what the first layers' matrices down and IQ4_NL's values get. */
static const char *plain_type(nib_export_mix *k, const char *name)
{
    const nib_export_type *t = k->type;
    const nib_gguf_heads *h = &k->n->heads;
    size_t first = ((size_t)k->m->graph->segments - 2) / 8;
    bool uneven = t->mix == NIB_EXPORT_UNEVEN, down = strstr(name, "ffn_down") != NULL;

    if (uneven && h->heads / h->kv_heads >= 4 && is_values(name)) return "Q5_K";
    if (!down || count_down(k, name) >= first) return t->base;
    if (uneven) return k->importances ? t->base : "Q5_K";
    if (k->importances && strcmp(t->base, "Q4_0") == 0) return "Q4_1";
    return k->importances && strcmp(t->base, "Q5_0") == 0 ? "Q5_1" : t->base;
}

/* llama-quantize's choice among the matrices of the layers (formats-quant.md 7.8). */
static const char *mixed_type(nib_export_mix *k, const char *name)
{
    const nib_export_type *t = k->type;
    const nib_gguf_heads *h = &k->n->heads;
    const char *architecture = k->n->family->architecture;
    size_t n = (size_t)k->m->graph->segments - 2, i;
    bool falcon = strcmp(architecture, "falcon") == 0;
    size_t experts = nib_gguf_experts(k->m->graph);
    bool medium = t->mix == NIB_EXPORT_MEDIUM, four = strcmp(t->base, "Q4_K") == 0;

    if (experts == 8 && nib_gguf_type_named(t->base)->dtype == NIB_DTYPE_OTHER &&
        type_beside_eight(t, name))
        return type_beside_eight(t, name);
    if (t->mix == NIB_EXPORT_ALLOTTED) return t->base;
    if (t->mix == NIB_EXPORT_EXPERTS) return strstr(name, "_exps.") ? t->base : t->head;
    if (t->mix == NIB_EXPORT_PLAIN || t->mix == NIB_EXPORT_UNEVEN) return plain_type(k, name);
    if (is_values(name)) {
        bool large = n == 80 && h->kv_heads < h->heads && strcmp(architecture, "llama") == 0;
        i = k->values_so_far++;
        if (medium && takes_more(i, k->values)) return "Q6_K";
        return four && ((!medium && i < 4) || large) ? "Q5_K" : t->base;
    }
    if (!strstr(name, "ffn_down")) return t->base;
    i = count_down(k, name);
    if (medium && four && falcon)
        return i < n / 16 ? "Q6_K" : takes_more(i, n) ? "Q5_K" : "Q4_K";
    if (medium && takes_more(i, n)) return "Q6_K";
    return !medium && four && !falcon && i < n / 8 ? "Q5_K" : t->base;
}

static const char *head_type(const nib_export_mix *k)
{
    bool falcon = strcmp(k->n->family->architecture, "falcon") == 0;

    return falcon && strcmp(k->type->head, "Q6_K") == 0 ? "Q8_0" : k->type->head;
}

/* Experts that are stored as MXFP4 stay so, whatever the others get: any other type would be larger
 * or round them twice. */
static bool stays(const nib_weight *w, const char *name)
{
    return strstr(name, "_exps.") && nib_weight_block_row(w, "MXFP4", 0, NULL);
}

/* A matrix that llama-quantize leaves as it is. */
static const nib_gguf_type *own_type(const nib_weight *w)
{
    bool dense = nib_weight_is_dense(w);

    return nib_gguf_type_named(dense && w->dtype == NIB_F32 ? "F32"
                               : dense && w->dtype == NIB_BF16 ? "BF16" : "F16");
}

void nib_export_mix_begin(nib_export_mix *k, const nib_model *m, const nib_gguf_naming *n,
                          const nib_export_type *type, bool importances)
{
    *k = (nib_export_mix){ .m = m, .n = n, .type = type, .importances = importances };
    k->values = count_values(k);
}

const nib_gguf_type *nib_export_mix_next(nib_export_mix *k, const char *name, const nib_weight *w,
                                         bool changed, size_t width, bool head)
{
    bool blocks = nib_gguf_type_named(k->type->base)->dtype == NIB_DTYPE_OTHER;

    if (strcmp(name, "position_embd.weight") == 0 || strstr(name, "ffn_gate_inp") ||
        strcmp(name, "token_types.weight") == 0)
        return nib_gguf_type_named("F32");
    if (blocks && strcmp(name, "per_layer_model_proj.weight") == 0) return own_type(w);
    if (!changed && stays(w, name)) return nib_gguf_type_named("MXFP4");
    return type_for(k, head ? head_type(k) : mixed_type(k, name), width);
}
