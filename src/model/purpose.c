/* purpose.c - see purpose.h.  The rules are transformers' (formats-encoder.md 5.2, 5.3). */
#include "model/purpose.h"

#include <stdio.h>

enum { MOST_LABELS = 1 << 20 };

static const struct { const char *name, *ending; nib_task task; } tasks[] = {
    { "CAUSAL_LM", "ForCausalLM", NIB_TASK_CAUSAL_LM },
    { "CAUSAL_LM", "LMHeadModel", NIB_TASK_CAUSAL_LM },
    { "SEQ_CLS", "ForSequenceClassification", NIB_TASK_SEQ_CLS },
    { "TOKEN_CLS", "ForTokenClassification", NIB_TASK_TOKEN_CLS },
    { "FEATURE_EXTRACTION", "ForFeatureExtraction", NIB_TASK_FEATURE_EXTRACTION },
    { "MASKED_LM", "ForMaskedLM", NIB_TASK_MASKED_LM },
    { "MASKED_LM", "ForPreTraining", NIB_TASK_MASKED_LM },
    { "QUESTION_ANS", "ForQuestionAnswering", NIB_TASK_QUESTION_ANS },
};

const char *nib_task_name(nib_task task)
{
    for (size_t i = 0; i < NIB_COUNT(tasks); i++)
        if (tasks[i].task == task) return tasks[i].name;
    return "auto";
}

bool nib_task_parse(const char *name, nib_task *task)
{
    for (size_t i = 0; i < NIB_COUNT(tasks); i++)
        if (strcmp(tasks[i].name, name) == 0) return *task = tasks[i].task, true;
    return false;
}

/* The names of a set of tasks (bits 1 << nib_task), "CAUSAL_LM, SEQ_CLS". */
static void list_tasks(unsigned set, char names[160])
{
    size_t used = 0;

    names[0] = 0;
    for (nib_task t = NIB_TASK_CAUSAL_LM; t <= NIB_TASK_QUESTION_ANS; t++)
        if (set >> t & 1)
            used += (size_t)snprintf(names + used, 160 - used, "%s%s", used ? ", " : "",
                                     nib_task_name(t));
}

nib_task nib_arch_words(const nib_arch *arch)
{
    return arch->tasks >> NIB_TASK_CAUSAL_LM & 1 ? NIB_TASK_CAUSAL_LM : NIB_TASK_MASKED_LM;
}

bool nib_arch_is_of_head(const nib_arch *arch, const char *module)
{
    if (nib_arch_words(arch) != NIB_TASK_MASKED_LM) return false;
    for (const char *const *h = arch->other_heads; h && *h; h++)
        if (strncmp(module, *h, strlen(*h)) == 0) return true;
    return false;
}

/* Classes whose inputs are more than texts. */
static nib_status refuse_class(const json_t *config, const char *where, nib_error *err)
{
    static const char *const endings[] = { "ForEntityClassification", "ForEntityPairClassification",
                                           "ForEntitySpanClassification" };
    const char *name = json_string_value(json_array_get(json_object_get(config, "architectures"),
                                                        0));
    size_t n = name ? strlen(name) : 0;

    for (size_t i = 0; i < NIB_COUNT(endings); i++) {
        size_t e = strlen(endings[i]);
        if (n >= e && strcmp(name + n - e, endings[i]) == 0)
            return nib_fail(err, NIB_E_UNSUPPORTED,
                            "%s: architectures names %s, which reads entities beside the text: "
                            "give task_type to put another head on its encoder", where, name);
    }
    return NIB_OK;
}

/* The task that the name of a class ends with, if the family has it here. */
static nib_task task_of_class(const json_t *config, const nib_arch *arch)
{
    const char *name = json_string_value(json_array_get(json_object_get(config, "architectures"),
                                                        0));
    size_t n = name ? strlen(name) : 0;

    for (size_t i = 0; i < NIB_COUNT(tasks); i++) {
        size_t e = strlen(tasks[i].ending);
        if (n >= e && strcmp(name + n - e, tasks[i].ending) == 0 &&
            arch->tasks >> tasks[i].task & 1 && tasks[i].task != NIB_TASK_FEATURE_EXTRACTION)
            return tasks[i].task;
    }
    return nib_arch_words(arch);
}

/* id2label wins over num_labels, as in transformers; without both there are two. */
static nib_status count_labels(const json_t *config, const nib_model_options *asked,
                               const char *where, size_t *labels, nib_error *err)
{
    const json_t *names = json_object_get(config, "id2label");
    const json_t *number = json_object_get(config, "num_labels");

    *labels = 2;
    if (asked && asked->num_labels) {
        if (asked->num_labels < 1 || asked->num_labels > MOST_LABELS)
            return nib_fail(err, NIB_E_INVALID, "num_labels: %d is not in 1 .. %d",
                            asked->num_labels, (int)MOST_LABELS);
        *labels = (size_t)asked->num_labels;
        return NIB_OK;
    }
    if (names && !json_is_null(names)) {
        if (!json_is_object(names) || !json_object_size(names) ||
            json_object_size(names) > MOST_LABELS)
            return nib_fail(err, NIB_E_FORMAT, "%s: id2label is no object of 1 to %d labels", where,
                            (int)MOST_LABELS);
        *labels = json_object_size(names);
    } else if (number) {
        json_int_t n = json_integer_value(number);
        if (!json_is_integer(number) || n < 1 || n > MOST_LABELS)
            return nib_fail(err, NIB_E_FORMAT, "%s: num_labels is no integer in 1 .. %d", where,
                            (int)MOST_LABELS);
        *labels = (size_t)n;
    }
    return NIB_OK;
}

static const struct { const char *name; nib_loss_kind loss; } problems[] = {
    { "regression", NIB_LOSS_SQUARED },
    { "single_label_classification", NIB_LOSS_CROSS_ENTROPY },
    { "multi_label_classification", NIB_LOSS_BINARY },
};

const char *nib_problem_type(nib_loss_kind loss)
{
    size_t i = 0;

    while (problems[i].loss != loss) i++;
    return problems[i].name;
}

/* One label that sentence-transformers' CrossEncoder reads through a sigmoid, which transformers
 * alone would take for a number: its files name the function that follows.  Of Identity it is a
 * number there too. */
static bool is_cross_encoder(const json_t *config)
{
    const json_t *own = json_object_get(config, "sentence_transformers");
    const char *name = json_string_value(json_object_get(own, "activation_fn"));

    if (!name) name = json_string_value(json_object_get(config,
                                                        "sbert_ce_default_activation_function"));
    return name && !strstr(name, "Identity");
}

static nib_status read_loss(const json_t *config, const nib_model_options *asked,
                            const char *where, nib_purpose *p, nib_error *err)
{
    const json_t *stored = json_object_get(config, "problem_type");
    bool own = asked && asked->problem_type;
    const char *type = own ? asked->problem_type : json_string_value(stored);

    p->loss = p->labels > 1               ? NIB_LOSS_CROSS_ENTROPY
              : is_cross_encoder(config) ? NIB_LOSS_BINARY
                                         : NIB_LOSS_SQUARED;
    if (!own && (!stored || json_is_null(stored))) return NIB_OK;
    for (size_t i = 0; type && i < NIB_COUNT(problems); i++)
        if (strcmp(type, problems[i].name) == 0) return p->loss = problems[i].loss, NIB_OK;
    return nib_fail(err, own ? NIB_E_INVALID : NIB_E_FORMAT,
                    "%s%sproblem_type is %s, known are regression, single_label_classification, "
                    "multi_label_classification",
                    own ? "" : where, own ? "" : ": ", type ? type : "no text");
}

nib_status nib_purpose_read(const json_t *config, const nib_arch *arch,
                            const nib_model_options *asked, const char *where, nib_purpose *out,
                            nib_error *err)
{
    nib_purpose p = { .task = asked ? asked->task : NIB_TASK_AUTO };
    nib_status status = NIB_OK;

    if (p.task == NIB_TASK_AUTO) {
        status = refuse_class(config, where, err);
        if (status) return status;
        p.task = task_of_class(config, arch);
        if (!(arch->tasks >> p.task & 1)) /* a head that is none of ours */
            p.task = NIB_TASK_FEATURE_EXTRACTION;
    }
    if (!(arch->tasks >> p.task & 1)) {
        char known[160];
        list_tasks(arch->tasks, known);
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: model_type '%s' has no %s here, known are %s",
                        where, arch->model_types[0], nib_task_name(p.task), known);
    }
    if (p.task == NIB_TASK_SEQ_CLS || p.task == NIB_TASK_TOKEN_CLS)
        status = count_labels(config, asked, where, &p.labels, err);
    if (p.task == NIB_TASK_QUESTION_ANS) { /* whatever id2label says of another head */
        p.labels = NIB_SPAN_EDGES;
        p.loss = NIB_LOSS_SPAN;
        if (asked && asked->num_labels && asked->num_labels != NIB_SPAN_EDGES)
            status = nib_fail(err, NIB_E_INVALID, "num_labels: %d, but an answer has a beginning "
                              "and an end: leave it out", asked->num_labels);
    }
    if (!status && p.task == NIB_TASK_SEQ_CLS) status = read_loss(config, asked, where, &p, err);
    if (!status) *out = p;
    return status;
}
