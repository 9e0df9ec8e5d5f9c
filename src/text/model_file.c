/* model_file.c - see model_file.h. */
#include "text/model_file.h"

#include "base/filemap.h"
#include "format/json.h"
#include "text/gguf_tokenizer.h"

typedef nib_status make_fn(const nib_gguf_vocabulary *v, json_t **out, nib_error *err);

/* What is made of a GGUF's keys. */
static make_fn *maker_of(const char *name)
{
    static const struct { const char *name; make_fn *make; } made[] = {
        { "tokenizer.json", nib_gguf_tokenizer_json },
        { "tokenizer_config.json", nib_gguf_tokenizer_config },
        { "generation_config.json", nib_gguf_generation_config },
    };

    for (size_t i = 0; i < NIB_COUNT(made); i++)
        if (strcmp(name, made[i].name) == 0) return made[i].make;
    return NULL;
}

bool nib_model_is_gguf(const char *model) { return nib_gguf_is_file(model); }

/* A file of weights alone has no key, or says so. */
static bool has_tokenizer(const nib_gguf *g)
{
    const nib_gguf_value *v = nib_gguf_find(g, "tokenizer.ggml.model");
    nib_gguf_text model;

    return v && !(nib_gguf_one_text(v, &model) && (nib_gguf_text_is(model, "no_vocab") ||
                                                   nib_gguf_text_is(model, "none")));
}

static nib_status read_gguf(nib_ctx *ctx, const char *path, make_fn *make, json_t **out,
                            nib_error *err)
{
    nib_gguf_vocabulary v;
    nib_filemap map = { 0 };
    nib_gguf g = { 0 };
    nib_status status = nib_filemap_open(path, &map, err);

    if (!status) status = nib_gguf_parse(ctx, map.base, map.bytes, path, &g, err);
    if (!status && has_tokenizer(&g)) {
        status = nib_gguf_vocabulary_open(ctx, &g, path, &v, err);
        if (!status) {
            status = make(&v, out, err);
            nib_gguf_vocabulary_free(&v);
        }
    }
    nib_gguf_free(ctx, &g);
    nib_filemap_close(&map);
    return status;
}

bool nib_gguf_has_tokenizer(nib_ctx *ctx, const char *path)
{
    nib_filemap map = { 0 };
    nib_gguf g = { 0 };
    nib_error ignored;
    bool has = nib_filemap_open(path, &map, &ignored) ||
               nib_gguf_parse(ctx, map.base, map.bytes, path, &g, &ignored) ||
               has_tokenizer(&g);

    nib_gguf_free(ctx, &g);
    nib_filemap_close(&map);
    return has;
}

nib_status nib_model_file_read(nib_ctx *ctx, const char *model, const char *name, unsigned flags,
                               json_t **out, nib_error *err)
{
    make_fn *make = maker_of(name);
    char *path;
    nib_status status = NIB_OK;

    *out = NULL;
    if (nib_gguf_is_file(model)) return make ? read_gguf(ctx, model, make, out, err) : NIB_OK;
    path = nib_sprintf(ctx, "%s/%s", model, name);
    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", model);
    if (nib_file_exists(path)) status = nib_json_read(ctx, path, flags, out, err);
    nib_free(ctx, path);
    return status;
}
