/* other_form.h - is an adapter used on the base that it was trained on? */
#ifndef NIB_JOB_OTHER_FORM_H
#define NIB_JOB_OTHER_FORM_H

#include "adapter/adapter.h"
#include "nibble/merge.h"

/* Compares the form of the base that the adapter was trained on, as its file says, with that of its
 * model, and warns (other-form) where they differ.  use: what becomes of it, "merged into"; NULL:
 * nothing is warned of.
 * measure: the matrices of the layers are compared too, one at a time; out->greatest_change is else
 * not known. */
nib_status nib_compare_forms(const nib_adapter *a, const char *use, bool measure,
                             nib_merge_result *out, nib_error *err);

#endif
