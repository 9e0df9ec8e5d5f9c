/* known_models.h - published shapes of small models, as the keys of their config.json. */
#ifndef NIB_JOB_KNOWN_MODELS_H
#define NIB_JOB_KNOWN_MODELS_H

#include <stddef.h>

typedef struct nib_known_model { const char *name, *config; } nib_known_model;

/* From the smallest on; NULL: there are no more. */
const nib_known_model *nib_known_model_at(size_t i);

#endif
