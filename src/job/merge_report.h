/* merge_report.h - the report of a merge: lines for a terminal, JSON, Markdown. */
#ifndef NIB_JOB_MERGE_REPORT_H
#define NIB_JOB_MERGE_REPORT_H

#include <jansson.h>

#include "format/jsontext.h"
#include "job/merge_measure.h"

typedef struct nib_merge_facts {
    const char *model;                /* as it was given; its last part is shown */
    const char *route;                /* of two; or NULL: there is only one */
    const nib_merge_adapter *list;
    size_t count;
    const nib_merge_result *result;
    const nib_merge_options *options;
    nib_dtype dtype;                  /* of what is dense */
    /* Of a dense merge, of one in 8 bits, and of the adapters beside the base. */
    uint64_t dense_bytes, int8_bytes, adapter_bytes;
    double share;                     /* of the base's parameters that they have */
} nib_merge_facts;

/* Is at least `least` of the gain kept (without records: of the change, by two standard errors, and
 * no more above 1 than it may be below), and the loss at most .02 above the adapter's? */
bool nib_merge_is_enough(const nib_merge_measured *m, double least);

/* NULL: no memory. */
json_t *nib_merge_report_json(const nib_merge_measured *m, const nib_merge_facts *f);
void nib_merge_report_text(const nib_merge_measured *m, nib_text *t);
void nib_merge_report_page(const nib_merge_measured *m, const nib_merge_facts *f, nib_text *t);
/* "0.12 of the gain is kept ...: what helps: ...". */
void nib_merge_report_advice(const nib_merge_measured *m, const nib_merge_facts *f, nib_text *t);

#endif
