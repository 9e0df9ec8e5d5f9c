/* purpose.h - what a model is opened for: its task and, of a classifier, its labels. */
#ifndef NIB_MODEL_PURPOSE_H
#define NIB_MODEL_PURPOSE_H

#include "format/json.h"
#include "model/arch.h"

typedef struct nib_purpose {
    nib_task task;
    size_t labels;       /* of SEQ_CLS and TOKEN_CLS, of QUESTION_ANS NIB_SPAN_EDGES; else 0 */
    nib_loss_kind loss;
} nib_purpose;

enum { NIB_SPAN_EDGES = 2 }; /* rows of the head for an answer's beginning and its end */

/* What problem_type calls a loss; not of spans. */
const char *nib_problem_type(nib_loss_kind loss);
/* "SEQ_CLS"; AUTO: "auto". */
const char *nib_task_name(nib_task task);
/* false: no task is called so. */
bool nib_task_parse(const char *name, nib_task *task);

/* Is the module a part of one of an encoder's heads?  (Of a decoder the head alone is.) */
bool nib_arch_is_of_head(const nib_arch *arch, const char *module);

/* What the family gives without a classifier: words. */
nib_task nib_arch_words(const nib_arch *arch);

/* From what the caller asks for (NULL: nothing) and from config.json's architectures, id2label,
 * num_labels and problem_type.  NIB_E_UNSUPPORTED: the family has no such task; NIB_E_FORMAT and
 * NIB_E_INVALID name what is wrong with the labels. */
nib_status nib_purpose_read(const json_t *config, const nib_arch *arch,
                            const nib_model_options *asked, const char *where, nib_purpose *out,
                            nib_error *err);

#endif
