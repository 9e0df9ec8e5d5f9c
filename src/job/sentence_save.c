/* sentence_save.c - the files that make a model's directory one of sentence-transformers, in the
 * form that its versions 2 to 5 read. */
#include <stdio.h>

#include "base/filemap.h"
#include "base/outname.h"
#include "job/python_json.h"
#include "job/sentence.h"
#include "job/sentence_dense.h"

static bool add_module(json_t *list, const char *class, const char *path)
{
    size_t i = json_array_size(list);
    char type[80], name[24];

    snprintf(type, sizeof type, "sentence_transformers.models.%s", class);
    snprintf(name, sizeof name, "%zu", i);
    return !json_array_append_new(list, json_pack("{s:I, s:s, s:s, s:s}", "idx", (json_int_t)i,
                                                  "name", name, "path", path, "type", type));
}

static json_t *modules_of(const nib_sentence *s)
{
    json_t *list = json_array();
    char path[40];
    bool good = list && add_module(list, "Transformer", "") &&
                add_module(list, "Pooling", "1_Pooling");

    for (size_t i = 0; good && i < s->dense_count; i++)
        good = add_module(list, "Dense", s->dense[i].path);
    snprintf(path, sizeof path, "%zu_Normalize", s->dense_count + 2);
    if (good && s->normalize) good = add_module(list, "Normalize", path);
    if (good) return list;
    json_decref(list);
    return NULL;
}

static json_t *pooling_of(const nib_sentence *s, size_t width)
{
    json_t *o = json_pack("{s:I, s:b}", "word_embedding_dimension", (json_int_t)width,
                          "include_prompt", !s->without_prompt);
    bool good = o != NULL;

    for (int m = 0; good && m < NIB_POOL_MODES; m++) {
        bool on = false;
        for (size_t i = 0; i < s->pooler.count; i++) on |= s->pooler.modes[i] == (nib_pool_mode)m;
        good = !json_object_set_new(o, nib_pool_switch((nib_pool_mode)m), json_boolean(on));
    }
    if (good) return o;
    json_decref(o);
    return NULL;
}

static json_t *limits_of(const nib_sentence *s)
{
    return json_pack("{s:o, s:b}", "max_seq_length",
                     s->longest ? json_integer(s->longest) : json_null(), "do_lower_case", 0);
}

static json_t *settings_of(const nib_sentence *s)
{
    return s->settings ? json_incref(s->settings)
                       : json_pack("{s:{}, s:n, s:s}", "prompts", "default_prompt_name",
                                   "similarity_fn_name", "cosine");
}

/* Takes `value` over; NULL: no memory. */
static nib_status put(const nib_sentence *s, const char *dir, const char *name, json_t *value,
                      nib_error *err)
{
    char *path = nib_sprintf(s->ctx, "%s/%s", dir, name);
    nib_status status = path && value ? nib_python_json_write(s->ctx, path, value, err)
                                      : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);

    json_decref(value);
    nib_free(s->ctx, path);
    return status;
}

nib_status nib_sentence_save(const nib_sentence *s, size_t width, const char *dir, nib_error *err)
{
    char *pooling = nib_sprintf(s->ctx, "%s/1_Pooling", dir);
    nib_status status = pooling ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);

    if (!status) status = nib_make_folder(pooling, err);
    if (!status) status = put(s, dir, "modules.json", modules_of(s), err);
    if (!status) status = put(s, pooling, "config.json", pooling_of(s, width), err);
    if (!status) status = put(s, dir, "sentence_bert_config.json", limits_of(s), err);
    for (size_t i = 0; i < s->dense_count && !status; i++)
        status = nib_sentence_dense_write(s->ctx, dir, &s->dense[i], err);
    if (!status)
        status = put(s, dir, "config_sentence_transformers.json", settings_of(s), err);
    nib_free(s->ctx, pooling);
    return status;
}
