/* importance.c - see importance.h: reading and writing.
 *
 * In a GGUF file (general.type "imatrix") each matrix has M.in_sum2 [experts, in], the sums of the
 * squares, and M.counts, of how many rows.  The older form is little-endian:
 *
 *     [i32 entries] each: [i32 bytes][name][i32 calls][i32 values][f32 ...], the values times calls
 *     perhaps: [i32 chunks][i32 bytes][name of the text's file] */
#include "job/importance.h"

#include <math.h>
#include <stdio.h>

#include "base/filemap.h"
#include "format/gguf_writer.h"
#include "format/safetensors.h"

/* --- the list --- */

nib_importance *nib_importance_add(nib_importances *m, const char *name, size_t name_bytes,
                                   size_t count, size_t groups)
{
    nib_importance *e;

    if (!nib_grow(m->ctx, &m->items, &m->capacity, m->count + 1, sizeof *m->items)) return NULL;
    e = &m->items[m->count];
    *e = (nib_importance){ .name = nib_sprintf(m->ctx, "%.*s", (int)name_bytes, name),
                           .values = nib_new_array(m->ctx, count, sizeof *e->values),
                           .count = count, .groups = groups,
                           .rows = nib_new_array(m->ctx, groups, sizeof *e->rows) };
    m->count++; /* freed half made too */
    return e->name && e->values && e->rows ? e : NULL;
}

const nib_importance *nib_importance_of(const nib_importances *m, const char *name)
{
    for (size_t i = 0; i < m->count; i++)
        if (strcmp(m->items[i].name, name) == 0) return &m->items[i];
    return NULL;
}

void nib_importances_free(nib_importances *m)
{
    for (size_t i = 0; i < m->count; i++) {
        nib_free(m->ctx, m->items[i].name);
        nib_free(m->ctx, m->items[i].values);
        nib_free(m->ctx, m->items[i].rows);
    }
    if (m->ctx) {
        nib_free(m->ctx, m->items);
        nib_free(m->ctx, m->file);
        nib_free(m->ctx, m->dataset);
    }
    *m = (nib_importances){ 0 };
}

static nib_status no_memory(const char *path, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
}

static nib_status check_values(const nib_importance *e, const char *path, nib_error *err)
{
    for (size_t i = 0; i < e->count; i++)
        if (!(e->values[i] >= 0 && isfinite(e->values[i])))
            return nib_fail(err, NIB_E_FORMAT, "%s: %s: value %zu is %g, expected a mean of "
                            "squares", path, e->name, i, (double)e->values[i]);
    return NIB_OK;
}

/* --- GGUF --- */

static float value_at(const nib_tensor *t, size_t i)
{
    float v;

    memcpy(&v, (const uint8_t *)t->data + 4 * i, sizeof v);
    return v;
}

static nib_status read_sums(nib_importances *m, const nib_tensors *tensors, const nib_tensor *sums,
                            const char *path, nib_error *err)
{
    size_t stem = strlen(sums->name) - strlen(".in_sum2"), groups, each;
    char name[160];
    const nib_tensor *counts;
    nib_importance *e;

    snprintf(name, sizeof name, "%.*s.counts", (int)nib_min(stem, 140), sums->name);
    counts = nib_tensors_find(tensors, name);
    if (!counts || counts->dtype != NIB_F32 || sums->dtype != NIB_F32 || !counts->elements ||
        sums->elements % counts->elements)
        return nib_fail(err, NIB_E_FORMAT, "%s: %s and %s are not float32 sums and the numbers of "
                        "their rows", path, sums->name, name);
    groups = (size_t)counts->elements;
    each = (size_t)sums->elements / groups;
    e = nib_importance_add(m, sums->name, stem, (size_t)sums->elements, groups);
    if (!e) return no_memory(path, err);
    for (size_t i = 0; i < e->count; i++) { /* an expert without rows: all count alike */
        float rows = value_at(counts, i / each);
        e->values[i] = rows > 0 ? value_at(sums, i) / rows : 1;
        e->rows[i / each] = rows;
    }
    return check_values(e, path, err);
}

static nib_status read_gguf(nib_importances *m, const char *path, nib_error *err)
{
    nib_tensors *tensors = NULL;
    const nib_gguf *keys;
    const nib_gguf_value *sets;
    nib_gguf_text text;
    uint64_t chunks = 0;
    size_t at = 0;
    nib_status status = nib_tensors_open(m->ctx, path, &tensors, err);

    if (status) return status;
    keys = nib_tensors_gguf(tensors);
    if (!nib_gguf_one_text(nib_gguf_find(keys, "general.type"), &text) ||
        !nib_gguf_text_is(text, "imatrix"))
        status = nib_fail(err, NIB_E_FORMAT, "%s: general.type is not imatrix", path);
    for (size_t i = 0; !status && i < nib_tensors_count(tensors); i++) {
        const nib_tensor *t = nib_tensors_at(tensors, i);
        size_t n = strlen(t->name);
        if (n > 8 && n < 140 && strcmp(t->name + n - 8, ".in_sum2") == 0)
            status = read_sums(m, tensors, t, path, err);
    }
    nib_gguf_count(nib_gguf_find(keys, "imatrix.chunk_count"), 0, &chunks);
    m->chunks = (uint32_t)nib_min(chunks, UINT32_MAX);
    sets = nib_gguf_find(keys, "imatrix.datasets");
    if (!status && sets && sets->entry == NIB_GGUF_TEXT && nib_gguf_next_text(sets, &at, &text))
        m->dataset = nib_sprintf(m->ctx, "%.*s", (int)nib_min(text.bytes, 4096), text.at);
    nib_tensors_close(tensors);
    return status;
}

/* --- the older form --- */

typedef struct cursor { const uint8_t *at; size_t left; } cursor;

static bool take_count(cursor *c, uint32_t *out)
{
    if (c->left < 4) return false;
    *out = (uint32_t)c->at[0] | (uint32_t)c->at[1] << 8 | (uint32_t)c->at[2] << 16 |
           (uint32_t)c->at[3] << 24;
    c->at += 4;
    c->left -= 4;
    return *out <= INT32_MAX;
}

static bool take_bytes(cursor *c, size_t bytes, const uint8_t **out)
{
    if (bytes > c->left) return false;
    *out = c->at;
    c->at += bytes;
    c->left -= bytes;
    return true;
}

static nib_status read_entry(nib_importances *m, cursor *c, const char *path, nib_error *err)
{
    uint32_t bytes, calls, count;
    const uint8_t *name, *data;
    nib_importance *e;

    if (!take_count(c, &bytes) || bytes > 200 || !take_bytes(c, bytes, &name) ||
        !take_count(c, &calls) || !take_count(c, &count) || !count ||
        !take_bytes(c, (size_t)count * 4, &data) || memchr(name, 0, bytes))
        return nib_fail(err, NIB_E_FORMAT, "%s: entry %zu passes the end, or is none", path,
                        m->count);
    e = nib_importance_add(m, (const char *)name, bytes, count, 1);
    if (!e) return no_memory(path, err);
    memcpy(e->values, data, (size_t)count * 4);
    e->rows[0] = (float)calls;
    for (size_t i = 0; calls && i < count; i++) e->values[i] /= (float)calls;
    return check_values(e, path, err);
}

static nib_status read_old(nib_importances *m, const char *path, nib_error *err)
{
    nib_filemap map = { 0 };
    uint32_t entries = 0, bytes = 0;
    const uint8_t *name;
    cursor c;
    nib_status status = nib_filemap_open(path, &map, err);

    if (status) return status;
    c = (cursor){ map.base, map.bytes };
    if (!take_count(&c, &entries) || !entries)
        status = nib_fail(err, NIB_E_FORMAT, "%s: no importance matrix, neither GGUF nor of the "
                          "older form", path);
    for (uint32_t i = 0; i < entries && !status; i++) status = read_entry(m, &c, path, err);
    if (!status && take_count(&c, &m->chunks) && take_count(&c, &bytes) &&
        take_bytes(&c, bytes, &name) && bytes <= 4096)
        m->dataset = nib_sprintf(m->ctx, "%.*s", (int)bytes, (const char *)name);
    nib_filemap_close(&map);
    return status;
}

nib_status nib_importances_open(nib_ctx *ctx, const char *path, nib_importances *out,
                                nib_error *err)
{
    nib_importances m = { .ctx = ctx };
    nib_status status = nib_gguf_is_file(path) ? read_gguf(&m, path, err) : read_old(&m, path, err);

    if (!status) m.file = nib_sprintf(ctx, "%s", path);
    if (!status && !m.count)
        status = nib_fail(err, NIB_E_FORMAT, "%s: holds no matrix's importances", path);
    if (status) nib_importances_free(&m);
    else *out = m;
    return status;
}

/* --- writing --- */

static void declare(const nib_importances *m, nib_gguf_writer *w)
{
    const nib_gguf_type *type = nib_gguf_type_named("F32");

    nib_gguf_put_text(w, "general.type", "imatrix", 7);
    nib_gguf_put_array(w, "imatrix.datasets", NIB_GGUF_TEXT, m->dataset ? 1 : 0);
    if (m->dataset) nib_gguf_entry_text(w, m->dataset, strlen(m->dataset));
    nib_gguf_put_number(w, "imatrix.chunk_count", NIB_GGUF_U32, (double)m->chunks);
    nib_gguf_put_number(w, "imatrix.chunk_size", NIB_GGUF_U32, (double)m->chunk_tokens);
    for (size_t i = 0; i < m->count; i++) {
        const nib_importance *e = &m->items[i];
        uint64_t sums[2] = { e->groups, e->count / e->groups }, rows[2] = { e->groups, 1 };
        char name[160];
        snprintf(name, sizeof name, "%.140s.in_sum2", e->name);
        nib_gguf_add_tensor(w, name, type, 2, sums);
        snprintf(name, sizeof name, "%.140s.counts", e->name);
        nib_gguf_add_tensor(w, name, type, 2, rows);
    }
}

static nib_status write_entry(const nib_importances *m, const nib_importance *e,
                              nib_gguf_writer *w, nib_error *err)
{
    size_t each = e->count / e->groups;
    float *sums = nib_new_array(m->ctx, e->count, sizeof *sums);
    nib_status status;

    if (!sums) return no_memory(e->name, err);
    for (size_t i = 0; i < e->count; i++) sums[i] = e->values[i] * e->rows[i / each];
    status = nib_gguf_writer_put(w, sums, e->count * sizeof *sums, err);
    nib_free(m->ctx, sums);
    return status ? status : nib_gguf_writer_put(w, e->rows, e->groups * sizeof *e->rows, err);
}

nib_status nib_importances_write(const nib_importances *m, const char *path, nib_error *err)
{
    nib_gguf_writer *w = NULL;
    nib_status status = nib_gguf_writer_create(m->ctx, &w, err);

    if (!status) declare(m, w);
    if (!status) status = nib_gguf_writer_open(w, path, err);
    for (size_t i = 0; i < m->count && !status; i++)
        status = write_entry(m, &m->items[i], w, err);
    if (!status) return nib_gguf_writer_commit(w, err);
    nib_gguf_writer_discard(w);
    return status;
}
