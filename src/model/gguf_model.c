/* gguf_model.c - a GGUF's tensors under the names of its family, and which family that is. */
#include "model/gguf_model.h"

#include <stdio.h>
#include <stdlib.h>

#include "model/gguf_listed.h"
#include "model/gguf_rows.h"
#include "model/mlx_experts.h"
#include "model/mlx_layout.h"

static const nib_arch *const architectures[] = {
#define ARCH(name) &nib_arch_##name,
#include "model/arch_list.h"
#undef ARCH
};

/* NULL: there is none. */
static const nib_gguf_family *family_named(const char *architecture)
{
    for (size_t i = 0; i < NIB_COUNT(architectures); i++) {
        const nib_gguf_family *f = architectures[i]->gguf;
        if (f && !f->lacks && strcmp(f->architecture, architecture) == 0) return f;
    }
    return NULL;
}

/* The one whose mark is missing among the tensors; NULL: none. */
static const nib_gguf_family *family_without(const char *architecture, const nib_tensors *t)
{
    for (size_t i = 0; i < NIB_COUNT(architectures); i++) {
        const nib_gguf_family *f = architectures[i]->gguf;
        if (f && f->lacks && strcmp(f->architecture, architecture) == 0 &&
            !nib_tensors_find(t, f->lacks))
            return f;
    }
    return NULL;
}

void nib_gguf_families_known(char *out, size_t room)
{
    size_t used = 0;

    *out = 0;
    for (size_t i = 0; i < NIB_COUNT(architectures) && used < room; i++) {
        const nib_gguf_family *f = architectures[i]->gguf;
        if (f && family_named(f->architecture) == f) /* not a second one of the name */
            used += (size_t)snprintf(out + used, room - used, "%s%s", used ? ", " : "",
                                     f->architecture);
    }
}

nib_status nib_gguf_architecture(const nib_gguf *keys, const char *where, char *out, size_t room,
                                 nib_error *err)
{
    nib_gguf_text text;

    if (!nib_gguf_one_text(nib_gguf_find(keys, "general.architecture"), &text) ||
        text.bytes >= room || memchr(text.at, 0, text.bytes))
        return nib_fail(err, NIB_E_FORMAT, "%s: general.architecture is missing, or no name",
                        where);
    memcpy(out, text.at, text.bytes);
    out[text.bytes] = 0;
    return NIB_OK;
}

nib_status nib_gguf_family_of(const nib_tensors *tensors, const char *where,
                              const nib_gguf_family **family, nib_error *err)
{
    const nib_gguf *keys = nib_tensors_gguf(tensors);
    char name[64], known[900];
    nib_gguf_text type;
    nib_status status = nib_gguf_architecture(keys, where, name, sizeof name, err);

    if (status) return status;
    if (nib_gguf_one_text(nib_gguf_find(keys, "general.type"), &type) &&
        !nib_gguf_text_is(type, "model"))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: general.type is %.*s, expected a model", where,
                        (int)nib_min(type.bytes, 60), type.at);
    *family = family_without(name, tensors);
    if (!*family) *family = family_named(name);
    if (*family) return NIB_OK;
    nib_gguf_families_known(known, sizeof known);
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s: general.architecture '%s', known are %s", where,
                    name, known);
}

/* --- tensors --- */

typedef struct changing {
    nib_tensors *tensors;
    const char *where;
    const nib_gguf_family *family;
    const nib_gguf_name *names;
    nib_gguf_heads heads;
    uint64_t layers;        /* without those that predict further tokens */
    uint32_t *rows[NIB_GGUF_HELD_KINDS]; /* made at the first use */
} changing;

static uint64_t size_of(const nib_gguf *keys, const char *architecture, const char *key,
                        uint64_t fallback)
{
    char name[200];
    uint64_t out = fallback;

    snprintf(name, sizeof name, "%s.%s", architecture, key);
    return nib_gguf_count(nib_gguf_find(keys, name), 0, &out) ? out : fallback;
}

/* The most of any layer: some have none. */
static uint64_t most_of(const nib_gguf *keys, const char *architecture, const char *key,
                        uint64_t fallback)
{
    char name[200];
    const nib_gguf_value *v;
    uint64_t most = 0, one;

    snprintf(name, sizeof name, "%s.%s", architecture, key);
    v = nib_gguf_find(keys, name);
    for (uint64_t i = 0; v && i < v->count && nib_gguf_count(v, i, &one); i++)
        most = nib_max(most, one);
    return v ? most : fallback;
}

static void read_heads(changing *c, const nib_gguf *keys)
{
    const char *a = c->family->architecture;
    uint64_t width = size_of(keys, a, "embedding_length", 0);
    nib_gguf_heads *h = &c->heads;

    h->heads = size_of(keys, a, "attention.head_count", 0);
    h->kv_heads = most_of(keys, a, "attention.head_count_kv", h->heads);
    h->head_dim = size_of(keys, a, "attention.key_length", h->heads ? width / h->heads : 0);
    h->key_heads = size_of(keys, a, "ssm.group_count", 0);
    h->value_heads = size_of(keys, a, "ssm.time_step_rank", 0);
    h->key_dim = size_of(keys, a, "ssm.state_size", 0);
    h->value_dim = size_of(keys, a, "ssm.inner_size", 0) / nib_max(h->value_heads, 1);
}

static void read_layers(changing *c, const nib_gguf *keys)
{
    const char *a = c->family->architecture;
    uint64_t more = size_of(keys, a, "nextn_predict_layers", 0);
    uint64_t all = size_of(keys, a, "block_count", UINT64_MAX);

    c->layers = more && more < all ? all - more : UINT64_MAX;
}

/* Of columns where these are moved. */
static nib_status set_rows(changing *c, nib_tensor *t, nib_gguf_held held, nib_error *err)
{
    bool columns = nib_gguf_reorders_columns(&c->heads, held);
    uint64_t rows = t->shape[columns ? 1 : 0];
    char sizes[160];

    nib_gguf_heads_text(&c->heads, held, sizes);
    if (!t->elements || (columns && t->rank != 2) || !nib_gguf_rows_fit(&c->heads, held, rows))
        return nib_fail(err, NIB_E_MISMATCH, "%s: %s has %" PRIu64 " %s; the keys say %s",
                        c->where, t->name, rows, columns ? "columns" : "rows", sizes);
    if (!c->rows[held]) {
        c->rows[held] = nib_tensors_alloc(c->tensors, (size_t)rows * sizeof(uint32_t));
        if (!c->rows[held]) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", c->where);
        for (uint64_t r = 0; r < rows; r++)
            c->rows[held][r] = (uint32_t)nib_gguf_place(&c->heads, held, r);
    }
    *(columns ? &t->columns : &t->rows) = c->rows[held];
    return NIB_OK;
}

/* A convolution's taps by channel as the one that it is of theirs. */
static void widen(nib_tensor *t)
{
    if (t->rank != 2) return;
    t->rank = 3;
    t->shape[2] = t->shape[1];
    t->shape[1] = 1;
}

/* "blk.12.attn_q.weight": the number of the layer, and what follows it; -1: of no layer. */
static long layer_of(const char *name, const char **rest)
{
    char *end;
    long layer;

    *rest = name;
    if (strncmp(name, "blk.", 4) != 0 || name[4] < '0' || name[4] > '9') return -1;
    layer = strtol(name + 4, &end, 10);
    if (*end != '.' || layer > 100000) return -1;
    *rest = end + 1;
    return layer;
}

static const nib_gguf_name *find_name(const nib_gguf_name *names, bool layered, const char *stem,
                                      size_t bytes)
{
    for (const nib_gguf_name *n = names; n->gguf; n++)
        if (strlen(n->gguf) == bytes && memcmp(n->gguf, stem, bytes) == 0 &&
            (strstr(n->module, "%d") != NULL) == layered)
            return n;
    return NULL;
}

/* A matrix of one row, one column or groups as the vector that it is of theirs. */
static void flatten(nib_tensor *t, nib_gguf_held held)
{
    t->decay = nib_gguf_decays(held);
    if (held != NIB_GGUF_FLAT && held != NIB_GGUF_DECAY) return;
    t->rank = 1;
    t->shape[0] = t->elements;
}

/* The entry whose tensor is `rest`, or that it belongs to as the second one (*is_rest). */
static const nib_gguf_whole *find_whole(const nib_gguf_whole *tensors, bool layered,
                                        const char *rest, bool *is_rest)
{
    for (const nib_gguf_whole *w = tensors; w && w->gguf; w++) {
        *is_rest = w->rest && strcmp(w->rest, rest) == 0;
        if ((*is_rest || strcmp(w->gguf, rest) == 0) &&
            (strstr(w->tensor, "%d") != NULL) == layered)
            return w;
    }
    return NULL;
}

static void other_name(const nib_gguf_whole *w, long layer, char room[100])
{
    if (layer < 0) snprintf(room, 100, "%s", w->rest);
    else snprintf(room, 100, "blk.%ld.%s", layer, w->rest);
}

/* Takes the values of all heads to their keys. */
static nib_status join_latent(changing *c, nib_tensor *t, const nib_gguf_whole *w, long layer,
                              nib_error *err)
{
    char name[100];
    nib_tensor *rest = nib_tensors_alloc(c->tensors, sizeof *rest);
    const nib_tensor *found;

    if (!rest) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", c->where);
    other_name(w, layer, name);
    found = nib_tensors_find(c->tensors, name);
    if (!found || found->rank != 3 || t->rank != 3 || found->shape[0] != t->shape[0] ||
        found->shape[2] != t->shape[1] || !t->elements || !found->elements)
        return nib_fail(err, NIB_E_MISMATCH, "%s: %s has rank %u and %" PRIu64 " elements, and %s "
                        "beside it rank %u and %" PRIu64 ", expected [heads, in, keys] and "
                        "[heads, values, in]", c->where, t->name, t->rank, t->elements, name,
                        found ? found->rank : 0, found ? found->elements : 0);
    *rest = *found;
    t->rest = rest;
    t->latent = true;
    t->rank = 2;
    t->elements += rest->elements; /* both lie in the file: no overflow */
    t->shape[1] = rest->shape[2];
    t->shape[0] = t->elements / t->shape[1];
    return NIB_OK;
}

/* Takes the second tensor to the first, whose shape becomes that of both. */
static nib_status join(changing *c, nib_tensor *t, const nib_gguf_whole *w, long layer,
                       nib_error *err)
{
    bool bias = strcmp(strrchr(w->gguf, '.'), ".bias") == 0;
    char name[100];
    nib_tensor *rest = nib_tensors_alloc(c->tensors, sizeof *rest);
    const nib_tensor *found;

    if (!rest) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", c->where);
    other_name(w, layer, name);
    found = nib_tensors_find(c->tensors, name);
    if (!found || found->rank != t->rank || t->rank < 2 || found->elements != t->elements ||
        found->dtype != t->dtype || memcmp(found->shape, t->shape, sizeof t->shape) != 0)
        return nib_fail(err, NIB_E_MISMATCH, "%s: %s has %" PRIu64 " elements of type %s, and %s "
                        "beside it %" PRIu64 " of type %s, expected the same shape and type",
                        c->where, t->name, t->elements, nib_dtype_name(t->dtype), name,
                        found ? found->elements : 0, found ? nib_dtype_name(found->dtype) : "none");
    *rest = *found;
    t->rest = rest;
    t->turns = w->held == NIB_GGUF_TURNS;
    t->axis = bias ? t->rank - 1 : t->rank - 2;
    t->shape[t->axis] *= 2;
    t->elements *= 2;
    return NIB_OK;
}

/* Takes all z to all q, k and v, of which each may have a type of its own. */
static nib_status join_groups(changing *c, nib_tensor *t, const nib_gguf_whole *w, long layer,
                              nib_error *err)
{
    char name[100], sizes[160];
    nib_tensor *rest = nib_tensors_alloc(c->tensors, sizeof *rest);
    const nib_tensor *found;

    if (!rest) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", c->where);
    other_name(w, layer, name);
    nib_gguf_heads_text(&c->heads, w->held, sizes);
    found = nib_tensors_find(c->tensors, name);
    if (!found || found->rank != 2 || t->rank != 2 || found->shape[1] != t->shape[1] ||
        t->shape[0] != nib_gguf_group_rows(&c->heads))
        return nib_fail(err, NIB_E_MISMATCH, "%s: %s has %" PRIu64 " rows, and %s beside it %"
                        PRIu64 "; the keys say %s", c->where, t->name, t->shape[0], name,
                        found ? found->shape[0] : 0, sizes);
    *rest = *found;
    t->rest = rest;
    t->shape[0] += rest->shape[0]; /* both lie in the file: no overflow */
    t->elements += rest->elements;
    return set_rows(c, t, w->held, err);
}

static nib_status rename_tensor(changing *c, nib_tensor *t, const char *module, long layer,
                                const char *part, nib_error *err)
{
    const char *mark = strstr(module, "%d");
    size_t room = strlen(module) + strlen(part) + 24;
    char *name = nib_tensors_alloc(c->tensors, room);

    if (!name) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", c->where);
    if (mark)
        snprintf(name, room, "%.*s%ld%s%s", (int)(mark - module), module, layer, mark + 2, part);
    else snprintf(name, room, "%s%s", module, part);
    t->name = name;
    return NIB_OK;
}

static nib_status set_slices(const changing *c, nib_tensor *t, nib_error *err)
{
    if (t->rank < 2 || !t->shape[0] || t->shape[0] > 1 << 16)
        return nib_fail(err, NIB_E_MISMATCH, "%s: %s has rank %u and %" PRIu64 " experts, expected "
                        "rank 3 and at most %d", c->where, t->name, t->rank, t->shape[0], 1 << 16);
    t->slices = (uint32_t)t->shape[0];
    return NIB_OK;
}

static nib_status change_whole(changing *c, nib_tensor *t, const nib_gguf_whole *w, bool is_rest,
                               long layer, nib_error *err)
{
    nib_status status = NIB_OK;

    t->foreign = t->is_rest = is_rest;
    if (is_rest) return NIB_OK;
    t->straight = w->held == NIB_GGUF_TURNS || w->held == NIB_GGUF_STRAIGHT;
    flatten(t, w->held);
    if (w->rest)
        status = (w->held == NIB_GGUF_LATENT       ? join_latent
                  : w->held == NIB_GGUF_KEY_GROUPS ? join_groups
                                                   : join)(c, t, w, layer, err);
    else if (nib_gguf_reorders(&c->heads, w->held)) status = set_rows(c, t, w->held, err);
    return status ? status : rename_tensor(c, t, w->tensor, layer, "", err);
}

static nib_status change(void *self, nib_tensor *t, nib_error *err)
{
    changing *c = self;
    const char *rest, *part;
    long layer = layer_of(t->name, &rest);
    const nib_gguf_name *n;
    bool is_rest;
    const nib_gguf_whole *whole = find_whole(c->family->tensors, layer >= 0, rest, &is_rest);
    nib_status status = NIB_OK;

    t->foreign = layer >= 0 && (uint64_t)layer >= c->layers;
    if (t->foreign) return NIB_OK;
    if (whole) return change_whole(c, t, whole, is_rest, layer, err);
    part = strrchr(rest, '.');
    n = part ? find_name(c->names, layer >= 0, rest, (size_t)(part - rest)) : NULL;
    t->foreign = !n; /* it is reported as one that no module uses */
    if (!n) return NIB_OK;
    switch (n->held) {
    case NIB_GGUF_AS_IS: case NIB_GGUF_TURNS: case NIB_GGUF_FROM_FIRST:
    case NIB_GGUF_LATENT: break;
    case NIB_GGUF_FLAT: case NIB_GGUF_DECAY: flatten(t, n->held); break;
    case NIB_GGUF_ONE_PLUS: t->offset = strcmp(part, ".weight") == 0 ? -1 : 0; break;
    case NIB_GGUF_STRAIGHT: t->straight = true; break;
    case NIB_GGUF_CONV: widen(t); break;
    case NIB_GGUF_ONE_ROW:
        if (t->rank != 1) break;
        t->rank = 2;
        t->shape[1] = t->shape[0];
        t->shape[0] = 1;
        break;
    default:
        if (n->held == NIB_GGUF_TILED_CONV) widen(t);
        if (nib_gguf_reorders(&c->heads, n->held) || nib_gguf_reorders_columns(&c->heads, n->held))
            status = set_rows(c, t, n->held, err);
        break;
    }
    if (!status && nib_gguf_is_of_experts(n)) status = set_slices(c, t, err);
    return status ? status : rename_tensor(c, t, n->module, layer, part, err);
}

nib_status nib_model_tensors_open(nib_ctx *ctx, const char *model, nib_tensors **out,
                                  nib_error *err)
{
    changing c = { .where = model };
    nib_tensors *t = NULL;
    const nib_gguf *keys;
    nib_status status = nib_tensors_open(ctx, model, &t, err);

    if (status) return status;
    keys = nib_tensors_gguf(t);
    if (keys) {
        c.tensors = t;
        status = nib_gguf_family_of(t, model, &c.family, err);
        if (!status) {
            const char *variant = c.family->variant;
            c.names = variant && nib_tensors_find(t, variant) ? c.family->variant_names
                                                              : c.family->names;
            read_heads(&c, keys);
            read_layers(&c, keys);
        }
        if (!status) status = nib_tensors_change(t, change, &c, err);
        if (!status) status = nib_gguf_listed_add(t, c.family, model, err);
    } else {
        status = nib_mlx_take_layout(t, err);
        if (!status) status = nib_mlx_take_experts(t, err);
    }
    if (status) nib_tensors_close(t);
    else *out = t;
    return status;
}
