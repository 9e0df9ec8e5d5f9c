/* gguf_naming.c - see gguf_naming.h: the families' tables read the other way. */
#include "model/gguf_naming.h"

#include <stdio.h>
#include <stdlib.h>

#include "model/gguf_model.h"

/* Reads a number at *text and steps behind it. */
static bool take_number(const char **text, long *out)
{
    char *end;

    if (**text < '0' || **text > '9') return false;
    *out = strtol(*text, &end, 10);
    *text = end;
    return true;
}

/* Does `module` fit "model.layers.%d.x"?  numbers: of the layer and of the expert, -1 where
 * there is none. */
static bool fits(const char *pattern, const char *module, long numbers[2])
{
    size_t found = 0;

    numbers[0] = numbers[1] = -1;
    while (*pattern) {
        if (pattern[0] == '%' && pattern[1] == 'd' && found < 2) {
            if (!take_number(&module, &numbers[found++])) return false;
            pattern += 2;
        } else if (*pattern++ != *module++) return false;
    }
    return !*module;
}

/* The name as it is where the text is not inside a wrapper. */
static const char *unwrapped(const char *name, char room[NIB_MODULE_NAME_ROOM])
{
    static const char inside[] = "model.language_model.";

    if (strncmp(name, inside, sizeof inside - 1) != 0) return name;
    snprintf(room, NIB_MODULE_NAME_ROOM, "model.%s", name + sizeof inside - 1);
    return room;
}

const nib_gguf_name *nib_gguf_name_of(const nib_gguf_naming *n, const char *module,
                                      char out[NIB_GGUF_NAME_ROOM])
{
    char plain[NIB_MODULE_NAME_ROOM];
    long numbers[2];

    module = unwrapped(module, plain);
    for (const nib_gguf_name *name = n->names; name->gguf; name++) {
        if (!fits(name->module, module, numbers)) continue;
        if (numbers[0] < 0) snprintf(out, NIB_GGUF_NAME_ROOM, "%s", name->gguf);
        else snprintf(out, NIB_GGUF_NAME_ROOM, "blk.%ld.%s", numbers[0], name->gguf);
        return name;
    }
    return NULL;
}

bool nib_gguf_is_expert(const nib_gguf_naming *n, const nib_linear *l)
{
    char name[NIB_GGUF_NAME_ROOM];
    const nib_gguf_name *found = l->stack ? NULL : nib_gguf_name_of(n, l->name, name);

    return l->stack || (found && nib_gguf_is_of_experts(found));
}

static void put_name(char out[NIB_GGUF_NAME_ROOM + 8], long layer, const char *gguf)
{
    if (layer < 0) snprintf(out, NIB_GGUF_NAME_ROOM + 8, "%s", gguf);
    else snprintf(out, NIB_GGUF_NAME_ROOM + 8, "blk.%ld.%s", layer, gguf);
}

bool nib_gguf_tensor_of(const nib_gguf_naming *n, const char *tensor, nib_gguf_tensor_name *out)
{
    char plain[NIB_MODULE_NAME_ROOM], module[NIB_MODULE_NAME_ROOM], stem[NIB_GGUF_NAME_ROOM];
    const nib_gguf_whole *w = n->tensors;
    const char *part = strrchr(tensor, '.');
    const nib_gguf_name *name;
    long numbers[2];

    for (; w && w->gguf; w++) {
        if (!fits(w->tensor, unwrapped(tensor, plain), numbers)) continue;
        put_name(out->name, numbers[0], w->gguf);
        if (w->rest) put_name(out->rest, numbers[0], w->rest);
        else *out->rest = 0;
        out->held = w->held;
        return true;
    }
    snprintf(module, sizeof module, "%.*s", (int)(part ? part - tensor : 0), tensor);
    name = nib_gguf_name_of(n, module, stem);
    if (!name) return false;
    snprintf(out->name, sizeof out->name, "%s%.7s", stem, part);
    *out->rest = 0;
    out->held = name->held;
    return true;
}

bool nib_gguf_weight_of(const nib_gguf_naming *n, const nib_linear *l, nib_gguf_tensor_name *out)
{
    char name[NIB_MODULE_NAME_ROOM + 8];

    snprintf(name, sizeof name, "%s.weight", l->name);
    return nib_gguf_tensor_of(n, l->stack ? l->stack : name, out);
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
    const nib_attention_desc *a = nib_gguf_attention(g);

    if (a) *h = (nib_gguf_heads){ a->heads, a->kv_heads, a->head_dim, 0, 0, 0, 0 };
    for (size_t i = 0; i < g->node_count && !h->key_heads; i++) {
        const nib_scan_desc *s = &g->nodes[i].scan;
        if (!s->heads || !s->delta) continue;
        h->key_heads = s->key_heads;
        h->value_heads = s->heads;
        h->key_dim = s->rows;
        h->value_dim = s->columns;
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
    *out = (nib_gguf_naming){ .family = f, .names = f->names,
                              .tensors = f->choose ? f->choose(m->graph) : f->tensors };
    read_heads(m->graph, &out->heads);
    if (f->variant) {
        nib_gguf_naming other = { .family = f, .names = f->variant_names,
                                  .tensors = out->tensors, .heads = out->heads };
        if (has_norm(m, f->variant, other)) *out = other;
    }
    return NIB_OK;
}
