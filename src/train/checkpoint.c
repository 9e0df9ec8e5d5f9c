/* checkpoint.c - writing and reading what a run resumes from (checkpoint.h). */
#include "train/checkpoint.h"


#include "base/cpu.h"
#include "base/filemap.h"
#include "base/hash.h"
#include "base/outfile.h"
#include "format/json.h"

enum { FORMAT = 1, PIECE = 1 << 20 };
static const char state_name[] = "nibble_state.json";
static const char *const held[] = { "adapter_config.json", "adapter_model.safetensors",
                                    "optimizer.safetensors", "trainer_state.json" };

void nib_checkpoint_free(nib_ctx *ctx, nib_checkpoint *c)
{
    nib_free(ctx, c->logging_dir);
    nib_free(ctx, c->version);
    nib_free(ctx, c->isa);
    json_decref(c->identity);
    *c = (nib_checkpoint){ 0 };
}

static nib_status no_memory(const char *where, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
}

/* Length and CRC-32C of a file. */
static nib_status measure(nib_ctx *ctx, const char *dir, const char *name, uint64_t *bytes,
                          uint32_t *crc, nib_error *err)
{
    char *path = nib_sprintf(ctx, "%s/%s", dir, name);
    nib_filemap map = { 0 };
    nib_status status = path ? nib_filemap_open(path, &map, err) : no_memory(dir, err);

    if (!status) {
        *bytes = map.bytes;
        *crc = 0;
        for (size_t at = 0; at < map.bytes; at += PIECE) {
            size_t n = nib_min(PIECE, map.bytes - at);
            *crc = nib_crc32c(*crc, map.base + at, n);
            /* the plan has no room for a second copy */
            nib_filemap_release(&map, map.base + at, n);
        }
    }
    nib_filemap_close(&map);
    nib_free(ctx, path);
    return status;
}

/* --- writing --- */

static nib_status write_text(nib_ctx *ctx, const char *dir, const char *name, const char *text,
                             size_t bytes, nib_error *err)
{
    char *path = nib_sprintf(ctx, "%s/%s", dir, name);
    nib_status status = path ? nib_outfile_replace(ctx, path, text, bytes, err)
                             : no_memory(dir, err);

    nib_free(ctx, path);
    return status;
}

static nib_status write_trainer_state(nib_ctx *ctx, const char *dir, const nib_trainer_state *s,
                                      nib_error *err)
{
    nib_text t = { .ctx = ctx };
    nib_status status;

    nib_trainer_state_put(&t, s);
    status = t.failed ? no_memory(dir, err)
                      : write_text(ctx, dir, "trainer_state.json", t.data, t.bytes, err);
    nib_text_free(&t);
    return status;
}

static nib_status files_of(nib_ctx *ctx, const char *dir, json_t *files, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < NIB_COUNT(held) && !status; i++) {
        uint64_t bytes = 0;
        uint32_t crc = 0;
        json_t *entry;
        status = measure(ctx, dir, held[i], &bytes, &crc, err);
        if (status) break;
        entry = json_pack("{s:I, s:I}", "bytes", (json_int_t)bytes, "crc32c", (json_int_t)crc);
        if (!entry || json_object_set_new(files, held[i], entry)) status = no_memory(dir, err);
    }
    return status;
}

static nib_status write_state(nib_ctx *ctx, const char *dir, const nib_checkpoint *c,
                              nib_error *err)
{
    json_t *files = json_object(), *root = NULL;
    char *text = NULL;
    nib_status status = files ? files_of(ctx, dir, files, err) : no_memory(dir, err);

    if (status) goto done;
    root = json_pack("{s:i, s:s, s:s, s:I, s:f, s:I, s:{s:f, s:I, s:I}, s:b, s:I, s:s?, s:O, s:O}",
                     "format", (int)FORMAT, "version", NIB_VERSION, "isa",
                     nib_cpu_name(nib_ctx_cpu(ctx)), "step", (json_int_t)c->step, "loss_total",
                     c->loss_total, "tokens_seen", (json_int_t)c->tokens_seen, "since_last_log",
                     "loss", c->window.loss, "tokens", (json_int_t)c->window.tokens, "steps",
                     (json_int_t)c->window.steps, "evaluate_pending", (int)c->evaluate_pending,
                     "started", (json_int_t)c->started, "logging_dir", c->logging_dir, "identity",
                     c->identity, "files", files);
    /* 17 digits: doubles come back */
    text = nib_json_dump(ctx, root, JSON_INDENT(2) | JSON_SORT_KEYS);
    status = text ? write_text(ctx, dir, state_name, text, strlen(text), err) : no_memory(dir, err);
done:
    nib_free(ctx, text);
    json_decref(root);
    json_decref(files);
    return status;
}

nib_status nib_checkpoint_write(nib_ctx *ctx, const char *dir, const nib_checkpoint *c,
                                const nib_trainer *t, const nib_trainer_state *s, nib_error *err)
{
    nib_status status = nib_checkpoint_write_optimizer(ctx, dir, &t->optimizer, err);

    if (!status) status = write_trainer_state(ctx, dir, s, err);
    if (!status) status = write_state(ctx, dir, c, err);
    return status;
}

/* --- reading --- */

/* A count or a sum that must be there. */
static nib_status get_count(const json_t *o, const char *where, const char *key, uint64_t *out,
                            nib_error *err)
{
    int64_t n = -1;
    nib_status status = nib_json_get_int(o, where, key, 0, INT64_MAX, &n, err);

    if (status) return status;
    if (n < 0) return nib_fail(err, NIB_E_FORMAT, "%s: %s is missing", where, key);
    *out = (uint64_t)n;
    return NIB_OK;
}

static nib_status get_copy(nib_ctx *ctx, const json_t *o, const char *where, const char *key,
                           char **out, nib_error *err)
{
    const char *s = NULL;
    nib_status status = nib_json_get_string(o, where, key, &s, err);

    if (status || !s) return status;
    *out = nib_strdup(ctx, s);
    return *out ? NIB_OK : no_memory(where, err);
}

static nib_status read_root(nib_ctx *ctx, const json_t *root, const char *where, nib_checkpoint *c,
                            nib_error *err)
{
    const json_t *window = json_object_get(root, "since_last_log");
    uint64_t format = 0;
    nib_status status;

    if (!json_is_object(root)) return nib_fail(err, NIB_E_FORMAT, "%s: not an object", where);
    status = get_count(root, where, "format", &format, err);
    if (!status && format != FORMAT)
        status = nib_fail(err, NIB_E_UNSUPPORTED, "%s: format %" PRIu64 ", this nibble knows %d",
                          where, format, (int)FORMAT);
    if (!status && !json_is_object(window))
        status = nib_fail(err, NIB_E_FORMAT, "%s: since_last_log is missing", where);
    if (!status && !json_is_object(json_object_get(root, "identity")))
        status = nib_fail(err, NIB_E_FORMAT, "%s: identity is missing", where);
    if (!status) status = get_count(root, where, "step", &c->step, err);
    if (!status) status = nib_json_get_float(root, where, "loss_total", &c->loss_total, err);
    if (!status) status = get_count(root, where, "tokens_seen", &c->tokens_seen, err);
    if (!status) status = nib_json_get_float(window, where, "loss", &c->window.loss, err);
    if (!status) status = get_count(window, where, "tokens", &c->window.tokens, err);
    if (!status) status = get_count(window, where, "steps", &c->window.steps, err);
    if (!status)
        status = nib_json_get_bool(root, where, "evaluate_pending", &c->evaluate_pending, err);
    if (!status) status = nib_json_get_int(root, where, "started", 0, INT64_MAX, &c->started, err);
    if (!status) status = get_copy(ctx, root, where, "logging_dir", &c->logging_dir, err);
    if (!status) status = get_copy(ctx, root, where, "version", &c->version, err);
    if (!status) status = get_copy(ctx, root, where, "isa", &c->isa, err);
    if (!status && (!c->version || !c->isa))
        status = nib_fail(err, NIB_E_FORMAT, "%s: version or isa is missing", where);
    if (!status) c->identity = json_incref(json_object_get(root, "identity"));
    return status;
}

nib_status nib_checkpoint_parse(nib_ctx *ctx, const char *text, size_t bytes, const char *where,
                                json_t **root, nib_checkpoint *out, nib_error *err)
{
    nib_checkpoint c = { 0 };
    json_t *json = NULL;
    nib_status status = nib_json_parse(text, bytes, where, 0, &json, err);

    if (!status) status = read_root(ctx, json, where, &c, err);
    if (status) {
        nib_checkpoint_free(ctx, &c);
        json_decref(json);
        return status;
    }
    *out = c;
    *root = json;
    return NIB_OK;
}

static nib_status check_files(nib_ctx *ctx, const char *dir, const json_t *files, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < NIB_COUNT(held) && !status; i++) {
        const json_t *entry = json_object_get(files, held[i]);
        uint64_t bytes = 0, want_bytes = 0, want_crc = 0;
        uint32_t crc = 0;
        status = get_count(entry, held[i], "bytes", &want_bytes, err);
        if (!status) status = get_count(entry, held[i], "crc32c", &want_crc, err);
        if (!status) status = measure(ctx, dir, held[i], &bytes, &crc, err);
        if (!status && bytes != want_bytes)
            status = nib_fail(err, NIB_E_FORMAT, "%s/%s: %" PRIu64 " bytes, %s says %" PRIu64, dir,
                              held[i], bytes, state_name, want_bytes);
        if (!status && crc != want_crc)
            status = nib_fail(err, NIB_E_FORMAT, "%s/%s: CRC-32C %08" PRIx32 ", %s says %08" PRIx64,
                              dir, held[i], crc, state_name, want_crc);
    }
    return status;
}

nib_status nib_checkpoint_read(nib_ctx *ctx, const char *dir, nib_checkpoint *out, nib_error *err)
{
    char *path = nib_sprintf(ctx, "%s/%s", dir, state_name), *text = NULL;
    nib_checkpoint c = { 0 };
    json_t *root = NULL;
    size_t bytes;
    nib_status status;

    if (!path) return no_memory(dir, err);
    if (!nib_file_exists(path)) {
        status = nib_fail(err, NIB_E_FORMAT,
                          "%s: no %s: not a checkpoint of nibble (the adapter of another program's "
                          "can be trained on with --adapter)",
                          dir, state_name);
        goto done;
    }
    status = nib_file_read(ctx, path, (size_t)1 << 29, &text, &bytes, err);
    if (!status) status = nib_checkpoint_parse(ctx, text, bytes, path, &root, &c, err);
    if (!status) status = check_files(ctx, dir, json_object_get(root, "files"), err);
    if (status) goto done;
    *out = c;
    c = (nib_checkpoint){ 0 }; /* handed over */
done:
    nib_checkpoint_free(ctx, &c);
    json_decref(root);
    nib_free(ctx, text);
    nib_free(ctx, path);
    return status;
}

static nib_status restore_history(nib_ctx *ctx, const char *dir, nib_trainer_state *s,
                                  nib_error *err)
{
    char *path = nib_sprintf(ctx, "%s/trainer_state.json", dir), *text = NULL;
    size_t bytes;
    nib_status status = path ? nib_file_read(ctx, path, (size_t)1 << 29, &text, &bytes, err)
                             : no_memory(dir, err);

    if (!status) status = nib_trainer_state_parse(s, text, bytes, path, err);
    nib_free(ctx, text);
    nib_free(ctx, path);
    return status;
}

nib_status nib_checkpoint_restore(nib_ctx *ctx, const char *dir, const nib_checkpoint *c,
                                  nib_trainer *t, nib_trainer_state *s, nib_error *err)
{
    nib_status status;

    if (c->step > t->steps)
        return nib_fail(err, NIB_E_MISMATCH, "%s: step %" PRIu64 " of a run of %" PRIu64 " steps",
                        dir, c->step, t->steps);
    status = nib_checkpoint_read_optimizer(ctx, dir, &t->optimizer, c->step, err);
    if (!status) status = restore_history(ctx, dir, s, err);
    if (!status && s->global_step != c->step)
        status = nib_fail(err, NIB_E_MISMATCH,
                          "%s: trainer_state.json is of step %" PRIu64 ", %s of step %" PRIu64, dir,
                          s->global_step, state_name, c->step);
    if (status) return status;
    t->step = c->step;
    t->loss_total = c->loss_total;
    t->tokens_seen = c->tokens_seen;
    return NIB_OK;
}
