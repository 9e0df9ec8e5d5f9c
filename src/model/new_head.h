/* new_head.h - parts of a head that a checkpoint made for another task lacks. */
#ifndef NIB_MODEL_NEW_HEAD_H
#define NIB_MODEL_NEW_HEAD_H

#include "graph/build.h"
#include "model/model.h"

/* Gives `l` a weight of the reference's distribution, normal with config.json's initializer_range
 * (0.02 where it is absent), and a bias of zeros where there is to be one: a function of the seed
 * and the module's name.  Puts the module among the model's new ones.  NIB_E_NOMEM; NIB_E_FORMAT:
 * initializer_range is no number of 0 or more. */
nib_status nib_new_head(nib_model *m, nib_linear *l, const nib_linear_spec *spec,
                        const nib_model_options *o, nib_error *err);

#endif
