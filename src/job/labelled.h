/* labelled.h - what jobs on classifiers share: which labels there are, config.json with their
 * names, what an adapter saves beside its low-rank matrices. */
#ifndef NIB_JOB_LABELLED_H
#define NIB_JOB_LABELLED_H

#include "adapter/adapter.h"
#include "train/data.h"

static inline bool nib_task_has_labels(nib_task task)
{
    return task == NIB_TASK_SEQ_CLS || task == NIB_TASK_TOKEN_CLS;
}

/* Does the task's model have a head of its own that is trained? */
static inline bool nib_task_has_head(nib_task task)
{
    return nib_task_has_labels(task) || task == NIB_TASK_QUESTION_ANS;
}

/* The labels that config.json names, put among the known ones of `l`; *named: not only LABEL_0,
 * LABEL_1, ...  NIB_E_FORMAT: id2label does not number them from 0 on. */
nib_status nib_labels_of_config(const json_t *config, const char *where, size_t count,
                                nib_labels *l, bool *named, nib_error *err);

/* Is it asked for one label between 0 and 1, as sentence-transformers' cross-encoders have? */
bool nib_labels_are_graded(const nib_model_options *o);
/* What a run's data says of the model: num_labels and problem_type, where the options leave them
 * open.  NIB_E_INVALID: more labels than asked for, or another number than the classifier in the
 * model's files has. */
nib_status nib_labels_apply(const nib_labels *l, const json_t *config, const nib_arch *arch,
                            nib_model_options *o, nib_error *err);

/* What an adapter's directory says: the task in adapter_config.json; the names of config.json, else
 * the number of rows that its classifier has.  Puts them into o (where it leaves them open) and l.
 * *problem_type is the caller's, or NULL. */
nib_status nib_labels_of_adapter(nib_ctx *ctx, const char *dir, nib_model_options *o,
                                 nib_labels *l, char **problem_type, nib_error *err);

/* PEFT's task_type and the modules that it saves for it; parts of the head that the model's files
 * lack are saved too, also where PEFT would leave them untrained (formats-encoder.md 4). */
nib_status nib_lora_for_task(nib_ctx *ctx, const nib_model *m, nib_peft_config *config,
                             nib_error *err);

/* Token types beyond the model's table, as a pair gives them to a model of single texts:
 * NIB_E_UNSUPPORTED; `name` is the data's. */
nib_status nib_check_types(const nib_graph *g, const nib_dataset *d, const char *name,
                           nib_error *err);

/* What a classifier's config.json has beside the model's keys: the class of its task, the labels'
 * names, problem_type.  Of a model of words nothing.  false: no memory. */
bool nib_set_label_config(json_t *config, const nib_model *m, const nib_labels *l);

/* DIR/config.json: the model's, with the labels' names and the class of the task; whole: of weights
 * that are written in float32.  A model of words keeps its class. */
nib_status nib_write_label_config(const nib_model *m, const nib_labels *l, bool whole,
                                  const char *dir, nib_error *err);

#endif
