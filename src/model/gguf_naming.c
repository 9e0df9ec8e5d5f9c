/* gguf_naming.c - see gguf_naming.h: the families' tables read the other way. */
#include "model/gguf_naming.h"

#include <stdio.h>
#include <stdlib.h>

#include "model/gguf_model.h"

/* Does `module` fit "model.layers.%d.x"?  *layer: its number, -1 where there is none. */
static bool fits(const char *pattern, const char *module, long *layer)
{
    const char *mark = strstr(pattern, "%d");
    size_t before = mark ? (size_t)(mark - pattern) : 0;
    char *end;

    *layer = -1;
    if (!mark) return strcmp(pattern, module) == 0;
    if (strncmp(pattern, module, before) != 0 || module[before] < '0' || module[before] > '9')
        return false;
    *layer = strtol(module + before, &end, 10);
    return strcmp(end, mark + 2) == 0;
}

const nib_gguf_name *nib_gguf_name_of(const nib_gguf_naming *n, const char *module,
                                      char out[NIB_GGUF_NAME_ROOM])
{
    static const char inside[] = "model.language_model."; /* a text inside a wrapper */
    char plain[NIB_MODULE_NAME_ROOM];
    long layer;

    if (strncmp(module, inside, sizeof inside - 1) == 0) {
        snprintf(plain, sizeof plain, "model.%s", module + sizeof inside - 1);
        module = plain;
    }
    for (const nib_gguf_name *name = n->names; name->gguf; name++) {
        if (!fits(name->module, module, &layer)) continue;
        if (layer < 0) snprintf(out, NIB_GGUF_NAME_ROOM, "%s", name->gguf);
        else snprintf(out, NIB_GGUF_NAME_ROOM, "blk.%ld.%s", layer, name->gguf);
        return name;
    }
    return NULL;
}

static bool has_norm(const nib_model *m, const char *gguf, nib_gguf_naming n)
{
    char name[NIB_GGUF_NAME_ROOM], weight[NIB_GGUF_NAME_ROOM + 8];

    for (size_t i = 0; i < m->norm_count; i++) {
        if (!nib_gguf_name_of(&n, m->norms[i]->name, name)) continue;
        snprintf(weight, sizeof weight, "%s.weight", name);
        if (strcmp(weight, gguf) == 0) return true;
    }
    return false;
}

static void read_heads(const nib_graph *g, nib_gguf_heads *h)
{
    for (size_t i = 0; i < g->node_count; i++) {
        const nib_attention_desc *a = &g->nodes[i].attention;
        if (!a->heads) continue;
        *h = (nib_gguf_heads){ a->heads, a->kv_heads, a->head_dim };
        break;
    }
}

nib_status nib_gguf_naming_of(const nib_model *m, nib_gguf_naming *out, nib_error *err)
{
    const nib_gguf_family *f = m->config->arch->gguf;
    const char *unsaid;
    char known[900];

    if (!f) {
        nib_gguf_families_known(known, sizeof known);
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: model_type '%s' has no form in GGUF; those "
                        "that have are %s", m->dir, m->config->arch->model_types[0], known);
    }
    unsaid = f->unsaid ? f->unsaid(m->graph) : NULL;
    if (unsaid)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: llama.cpp's %s %s", m->dir, f->architecture,
                        unsaid);
    *out = (nib_gguf_naming){ .family = f, .names = f->names };
    read_heads(m->graph, &out->heads);
    if (f->variant) {
        nib_gguf_naming other = { .family = f, .names = f->variant_names, .heads = out->heads };
        if (has_norm(m, f->variant, other)) *out = other;
    }
    return NIB_OK;
}
