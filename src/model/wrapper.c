/* wrapper.c - see wrapper.h; names and keys: formats.md 10.33, 10.43. */
#include "model/wrapper.h"

#include <stdio.h>

/* The library's name of what an architecture calls model.X, and its name before transformers 4.52,
 * which files keep to this day. */
static const char own[] = "model.", library[] = "model.language_model.",
                  older[] = "language_model.model.", head[] = "lm_head.",
                  older_head[] = "language_model.lm_head.";

static bool begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

void nib_wrapper_module(const nib_wrapper *w, const char *module, char out[NIB_MODULE_NAME_ROOM])
{
    bool inside = w && begins(module, own);

    snprintf(out, NIB_MODULE_NAME_ROOM, "%s%s", inside ? library : "",
             inside ? module + strlen(own) : module);
}

bool nib_wrapper_older(const char *name, char out[NIB_MODULE_NAME_ROOM])
{
    bool inside = begins(name, library);

    if (!inside && !begins(name, head)) return false;
    snprintf(out, NIB_MODULE_NAME_ROOM, "%s%s", inside ? older : older_head,
             name + (inside ? strlen(library) : strlen(head)));
    return true;
}

const nib_tensor *nib_wrapper_tensor(const nib_wrapper *w, const nib_tensors *tensors,
                                     const char *name)
{
    const nib_tensor *t = nib_tensors_find(tensors, name);
    char other[NIB_MODULE_NAME_ROOM];

    if (t || !w || !nib_wrapper_older(name, other)) return t;
    return nib_tensors_find(tensors, other);
}

bool nib_wrapper_is_beside(const nib_wrapper *w, const char *name)
{
    if (!w) return false;
    if (begins(name, own)) name += strlen(own);
    for (const char *const *b = w->beside; *b; b++)
        if (begins(name, *b) && name[strlen(*b)] == '.') return true;
    return false;
}

/* --- config.json --- */

static nib_status no_memory(const char *where, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
}

/* text_config, or what stands for it, as a new object. */
static nib_status find_text(const nib_wrapper *w, const json_t *outer, const char *where,
                            json_t **text, nib_error *err)
{
    json_t *found = json_object_get(outer, "text_config");

    if ((!found || json_is_null(found)) && w->text_default) {
        *text = json_loads(w->text_default, 0, NULL);
        return *text ? NIB_OK : no_memory(where, err);
    }
    if (!json_is_object(found))
        return nib_fail(err, NIB_E_FORMAT, "%s: text_config is %s, %s needs an object", where,
                        found ? "no object" : "missing", w->model_type);
    *text = json_copy(found);
    return *text ? NIB_OK : no_memory(where, err);
}

static nib_status check_type(const nib_wrapper *w, const json_t *text, const char *where,
                             nib_error *err)
{
    const char *type = json_string_value(json_object_get(text, "model_type"));
    char known[300] = "";
    size_t used = 0;

    for (const char *const *t = w->text_types; *t; t++) {
        if (type && strcmp(type, *t) == 0) return NIB_OK;
        if (used < sizeof known)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "",
                                     *t);
    }
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "%s: text_config.model_type is '%s', known inside %s are %s", where,
                    type ? type : "not a text", w->model_type, known);
}

nib_status nib_wrapper_text(const nib_wrapper *w, const json_t *outer, const char *where,
                            json_t **text, nib_error *err)
{
    static const char tie[] = "tie_word_embeddings";
    json_t *tied = json_object_get(outer, tie), *made = NULL;
    nib_status status = find_text(w, outer, where, &made, err);

    if (!status && ((!json_object_get(made, "model_type") &&
                     json_object_set_new(made, "model_type", json_string(w->text_types[0]))) ||
                    (tied && json_object_set(made, tie, tied))))
        status = no_memory(where, err);
    if (!status) status = check_type(w, made, where, err);
    if (!status && json_is_object(json_object_get(made, "quantization_config")))
        status = nib_fail(err, NIB_E_UNSUPPORTED,
                          "%s: text_config has a quantization_config of its own, only one of the "
                          "whole model is known", where);
    if (status) goto done;
    *text = made;
    made = NULL; /* handed over */
done:
    json_decref(made);
    return status;
}
