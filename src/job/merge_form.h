/* merge_form.h - was the adapter trained on the base it is merged into? */
#ifndef NIB_JOB_MERGE_FORM_H
#define NIB_JOB_MERGE_FORM_H

#include "adapter/adapter.h"
#include "nibble/merge.h"

/* Compares the forms and, where they differ, the matrices of the layers, one at a time. */
nib_status nib_merge_compare_forms(const nib_adapter *a, nib_merge_result *out, nib_error *err);

#endif
