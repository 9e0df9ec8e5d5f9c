/* place.h - what to say where a directory that a person named is not there, or is no model. */
#ifndef NIB_BASE_PLACE_H
#define NIB_BASE_PLACE_H

#include "base/base.h"

typedef enum nib_place { NIB_PLACE_MODEL, NIB_PLACE_ADAPTER } nib_place;

/* Is there `dir`, and in it `file`, which makes it a model or an adapter?  NIB_E_IO says what is
 * there instead and what a model (an adapter) is; of a name on the hub, that it must be fetched. */
nib_status nib_place_check(const char *dir, const char *file, nib_place what, nib_error *err);

#endif
