/* wrapper.h - a text model inside a model of several media.
 *
 * config.json of such a model names the whole, and its text_config the text, which an architecture
 * builds as it does one that stands alone.  A wrapper holds what differs: where the keys are, what
 * modules are called in the library (and so in adapters) and in files, and what else the files
 * hold.  Pictures, sound and video are not computed. */
#ifndef NIB_MODEL_WRAPPER_H
#define NIB_MODEL_WRAPPER_H

#include "format/json.h"
#include "format/safetensors.h"

enum { NIB_MODULE_NAME_ROOM = 600 };

typedef struct nib_wrapper {
    const char *model_type;
    const char *const *text_types; /* text_config's model_type; the first where it names none */
    const char *text_default;      /* text_config as JSON where there is none; NULL: it must be */
    const char *const *keys;       /* of config.json without effect on text; NULL at the end */
    const char *const *beside;     /* modules that are not the text's, as files name them */
    const char *const *default_targets; /* PEFT's for target_modules null, NULL at the end */
} nib_wrapper;

/* The wrapper of a model_type; NULL: it is none. */
const nib_wrapper *nib_wrapper_find(const char *model_type);
/* Calls `each` for the model_type of every wrapper. */
void nib_wrapper_types(void (*each)(void *self, const char *model_type), void *self);

/* The text's keys: text_config with what the outer object decides, its model_type there.  *text:
 * json_decref().  NIB_E_UNSUPPORTED: a text model that the wrapper is not known to hold. */
nib_status nib_wrapper_text(const nib_wrapper *w, const json_t *outer, const char *where,
                            json_t **text, nib_error *err);

/* What the library calls an architecture's module: "model.norm" is model.language_model.norm. */
void nib_wrapper_module(const nib_wrapper *w, const char *module, char out[NIB_MODULE_NAME_ROOM]);
/* The tensor of the library's name `name`, which files have under an older one too. */
const nib_tensor *nib_wrapper_tensor(const nib_wrapper *w, const nib_tensors *tensors,
                                     const char *name);
/* The older of the two names, which adapters have too; false: there is none. */
bool nib_wrapper_older(const char *name, char out[NIB_MODULE_NAME_ROOM]);
/* Does the tensor or module belong to one that is not the text's? */
bool nib_wrapper_is_beside(const nib_wrapper *w, const char *name);

#endif
