/* identity.c - see identity.h. */
#include "job/identity.h"

#include <stdio.h>

#include "base/filemap.h"

void nib_identity_put(nib_identity *i, const char *key, json_t *value)
{
    if (json_object_set_new(i->json, key, value)) i->failed = true; /* a NULL value too */
}

void nib_identity_text(nib_identity *i, const char *key, const char *s)
{
    nib_identity_put(i, key, s ? json_string(s) : json_null());
}

void nib_identity_int(nib_identity *i, const char *key, int64_t n)
{
    nib_identity_put(i, key, json_integer(n));
}

void nib_identity_float(nib_identity *i, const char *key, double x)
{
    nib_identity_put(i, key, json_real(x));
}

void nib_identity_bool(nib_identity *i, const char *key, bool b)
{
    nib_identity_put(i, key, json_boolean(b));
}

void nib_identity_hash(nib_identity *i, const char *key, nib_sha256 *h)
{
    char text[80] = "sha256:";
    nib_sha256_end(h, text + 7);
    nib_identity_text(i, key, text);
}

void nib_identity_add_string(nib_sha256 *h, const char *s) { nib_sha256_add(h, s, strlen(s) + 1); }
void nib_identity_add_u64(nib_sha256 *h, uint64_t n)
{
    uint8_t bytes[8];
    for (int k = 0; k < 8; k++) bytes[k] = (uint8_t)(n >> 8 * k);
    nib_sha256_add(h, bytes, sizeof bytes);
}

/* A piece at a time, whose pages are given back: a tokenizer of 10 MB would else be 10 MB of the
 * run's peak that no plan counts. */
static void add_map(nib_sha256 *h, const nib_filemap *map)
{
    const size_t piece = 1 << 20;

    for (size_t at = 0; at < map->bytes; at += piece) {
        size_t bytes = nib_min(piece, map->bytes - at);
        nib_sha256_add(h, map->base + at, bytes);
        nib_filemap_release(map, map->base + at, bytes);
    }
}

nib_status nib_identity_file(nib_identity *i, const char *key, const char *dir, const char *name,
                             nib_error *err)
{
    char *path = nib_sprintf(i->ctx, "%s/%s", dir, name);
    nib_filemap map = { 0 };
    nib_sha256 h;
    nib_status status = NIB_OK;

    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    if (nib_file_exists(path)) {
        status = nib_filemap_open(path, &map, err);
        nib_sha256_begin(&h);
        if (!status) add_map(&h, &map);
        if (!status) nib_identity_hash(i, key, &h);
        nib_filemap_close(&map);
    }
    nib_free(i->ctx, path);
    return status;
}

void nib_identity_weights(nib_identity *i, const nib_tensors *tensors)
{
    nib_sha256 h;

    nib_sha256_begin(&h);
    for (size_t k = 0; k < nib_tensors_count(tensors); k++) {
        const nib_tensor *t = nib_tensors_at(tensors, k);
        nib_identity_add_string(&h, t->name);
        nib_identity_add_string(&h, t->dtype_name);
        nib_identity_add_u64(&h, t->rank);
        for (unsigned r = 0; r < t->rank; r++) nib_identity_add_u64(&h, t->shape[r]);
        nib_identity_add_u64(&h, (uint64_t)((const uint8_t *)t->data - t->map->base));
        nib_identity_add_u64(&h, t->map->bytes);
        nib_sha256_add(&h, t->data, nib_min(t->bytes, 64));
        nib_filemap_release(t->map, t->data, nib_min(t->bytes, 65536)); /* what came around it */
    }
    nib_identity_hash(i, "model weights", &h);
}

void nib_identity_data(nib_identity *i, const char *key, const nib_dataset *d)
{
    nib_sha256 h;

    nib_sha256_begin(&h);
    nib_identity_add_u64(&h, nib_dataset_count(d));
    for (size_t k = 0; k < nib_dataset_count(d); k++) {
        nib_record r = nib_dataset_record(d, k);
        nib_identity_add_u64(&h, r.length);
        if (r.types) nib_sha256_add(&h, r.answers, r.answer_count * sizeof *r.answers);
        nib_sha256_add(&h, r.ids, r.length * sizeof *r.ids);
        nib_sha256_add(&h, r.trained, r.length);
        if (r.boxes) nib_sha256_add(&h, r.boxes, 4 * r.length * sizeof *r.boxes);
    }
    nib_identity_hash(i, key, &h);
}

static void value_text(const json_t *v, char *out, size_t room)
{
    if (!v) snprintf(out, room, "absent");
    else if (json_is_string(v)) snprintf(out, room, "%.60s", json_string_value(v));
    else if (json_is_integer(v))
        snprintf(out, room, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    else if (json_is_real(v)) snprintf(out, room, "%.17g", json_real_value(v));
    else snprintf(out, room, "%s", json_is_true(v) ? "true" : json_is_false(v) ? "false" : "none");
}

static void describe(nib_text *t, const char *key, const json_t *there, const json_t *here)
{
    const char *hash = json_string_value(there ? there : here);
    char a[80], b[80];

    nib_text_puts(t, t->bytes ? ", " : "");
    nib_text_put(t, key, nib_min(strlen(key), 64));
    if (hash && strncmp(hash, "sha256:", 7) == 0) return; /* two hashes tell a person nothing */
    value_text(there, a, sizeof a);
    value_text(here, b, sizeof b);
    nib_text_printf(t, " (%s there, %s here)", a, b);
}

char *nib_identity_differences(nib_ctx *ctx, const json_t *there, const json_t *here)
{
    nib_text t = { .ctx = ctx };
    const char *key;
    json_t *value;

    nib_text_puts(&t, "");
    json_object_foreach((json_t *)(uintptr_t)here, key,
                        value) if (!json_equal(value, json_object_get(there, key)))
        describe(&t, key, json_object_get(there, key), value);
    json_object_foreach((json_t *)(uintptr_t)there, key, value)
        if (!json_object_get(here, key)) describe(&t, key, value, NULL);
    if (!t.failed) return t.data;
    nib_text_free(&t);
    return NULL;
}
