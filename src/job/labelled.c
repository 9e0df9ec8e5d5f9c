/* labelled.c - see labelled.h. */
#include "job/labelled.h"

#include <stdio.h>

#include "base/filemap.h"
#include "job/python_json.h"

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "labels: out of memory");
}

/* --- names --- */

nib_status nib_labels_of_config(const json_t *config, const char *where, size_t count,
                                nib_labels *l, bool *named, nib_error *err)
{
    const json_t *names = json_object_get(config, "id2label");

    *named = false;
    for (size_t i = 0; i < count; i++) {
        char key[24], plain[24];
        const char *name = NULL;

        snprintf(key, sizeof key, "%u", (unsigned)i);
        snprintf(plain, sizeof plain, "LABEL_%u", (unsigned)i);
        if (json_is_object(names) && json_object_size(names) == count) {
            name = json_string_value(json_object_get(names, key));
            if (!name)
                return nib_fail(err, NIB_E_FORMAT,
                                "%s: id2label has %zu labels, but no name for \"%zu\"", where,
                                count, i);
        }
        if (name && strcmp(name, plain) != 0) *named = true;
        if (!nib_labels_know(l, name && strcmp(name, plain) != 0 ? name : NULL))
            return no_memory(err);
    }
    return NIB_OK;
}

static const char *problem_of(const nib_labels *l)
{
    return nib_problem_type(l->kind == NIB_LABEL_SET       ? NIB_LOSS_BINARY
                            : l->kind == NIB_LABEL_NUMBERS ? NIB_LOSS_SQUARED
                                                           : NIB_LOSS_CROSS_ENTROPY);
}

bool nib_labels_are_graded(const nib_model_options *o)
{
    return o->task == NIB_TASK_SEQ_CLS && o->num_labels == 1 && o->problem_type &&
           strcmp(o->problem_type, nib_problem_type(NIB_LOSS_BINARY)) == 0;
}

static nib_status check_grades(const nib_labels *l, nib_error *err)
{
    for (size_t i = 0; i < l->used; i++)
        if (!(l->answers[i] >= 0 && l->answers[i] <= 1))
            return nib_fail(err, NIB_E_INVALID, "label %g: one label of %s is a number from 0 to 1",
                            (double)l->answers[i], nib_problem_type(NIB_LOSS_BINARY));
    return NIB_OK;
}

nib_status nib_labels_apply(const nib_labels *l, const json_t *config, const nib_arch *arch,
                            nib_model_options *o, nib_error *err)
{
    nib_model_options stored = { .task = NIB_TASK_AUTO };
    nib_purpose p;

    if (nib_purpose_read(config, arch, &stored, "config.json", &p, err))
        p = (nib_purpose){ .task = NIB_TASK_AUTO }; /* a class that is none of ours: a new head */
    if (o->num_labels && (size_t)o->num_labels < l->count)
        return nib_fail(err, NIB_E_INVALID, "num_labels: %d, but the records have %zu labels",
                        o->num_labels, l->count);
    if (!o->num_labels && p.task == o->task && p.labels != l->count)
        return nib_fail(err, NIB_E_INVALID,
                        "the model is a classifier of %zu labels, the records have %zu: give "
                        "num_labels %zu to begin a new head",
                        p.labels, l->count, l->count);
    if (!o->num_labels) o->num_labels = (int)l->count;
    if (o->task == NIB_TASK_SEQ_CLS && !o->problem_type) o->problem_type = problem_of(l);
    if (nib_labels_are_graded(o)) return check_grades(l, err);
    if (o->task == NIB_TASK_SEQ_CLS && strcmp(o->problem_type, problem_of(l)) != 0)
        return nib_fail(err, NIB_E_INVALID, "problem_type: %s, but the records' labels make it %s",
                        o->problem_type, problem_of(l));
    return NIB_OK;
}

/* --- adapters --- */

/* Rows of the classifier among the tensors; 0: there is none. */
static size_t classifier_rows(const nib_tensors *file)
{
    static const char *const ends[] = { ".classifier.weight", ".classifier.out_proj.weight",
                                        ".score.weight" };

    for (size_t i = 0; i < nib_tensors_count(file); i++) {
        const nib_tensor *t = nib_tensors_at(file, i);
        size_t n = strlen(t->name);
        for (size_t e = 0; e < NIB_COUNT(ends); e++)
            if (n > strlen(ends[e]) && strcmp(t->name + n - strlen(ends[e]), ends[e]) == 0 &&
                t->rank == 2)
                return (size_t)t->shape[0];
    }
    return 0;
}

static nib_status rows_of_adapter(nib_ctx *ctx, const char *dir, size_t *rows, nib_error *err)
{
    char *path = nib_adapter_file(ctx, dir);
    nib_tensors *file = NULL;
    nib_status status = path ? nib_tensors_open(ctx, path, &file, err) : no_memory(err);

    if (!status) *rows = classifier_rows(file);
    nib_tensors_close(file);
    nib_free(ctx, path);
    return status;
}

static nib_status read_names(nib_ctx *ctx, const char *dir, size_t rows, nib_labels *l,
                             char **problem_type, nib_error *err)
{
    char *path = nib_sprintf(ctx, "%s/config.json", dir);
    const char *type = NULL;
    json_t *config = NULL;
    bool named;
    nib_status status = path ? NIB_OK : no_memory(err);

    if (!status && nib_file_exists(path)) status = nib_json_read(ctx, path, 0, &config, err);
    if (!status) status = nib_labels_of_config(config, path, rows, l, &named, err);
    if (!status) status = nib_json_get_string(config, path, "problem_type", &type, err);
    if (!status && type && !(*problem_type = nib_strdup(ctx, type))) status = no_memory(err);
    json_decref(config);
    nib_free(ctx, path);
    return status;
}

nib_status nib_labels_of_adapter(nib_ctx *ctx, const char *dir, nib_model_options *o,
                                 nib_labels *l, char **problem_type, nib_error *err)
{
    nib_peft_config config = nib_peft_config_default();
    size_t rows = 0;
    nib_status status = nib_peft_config_read(ctx, dir, &config, err);

    *problem_type = NULL;
    if (!status && o->task == NIB_TASK_AUTO && config.task_type)
        (void)nib_task_parse(config.task_type, &o->task);
    nib_peft_config_free(ctx, &config);
    if (status || !nib_task_has_labels(o->task)) return status;
    status = rows_of_adapter(ctx, dir, &rows, err);
    if (status || !rows) return status;
    if (!o->num_labels) o->num_labels = (int)nib_min(rows, NIB_MOST_LABELS);
    status = read_names(ctx, dir, rows, l, problem_type, err);
    if (!status && !o->problem_type) o->problem_type = *problem_type;
    return status;
}

static bool covers(const nib_peft_names *saved, const char *module)
{
    const nib_peft_config probe = { .modules_to_save = *saved };
    return nib_peft_saves(&probe, module);
}

static bool has_name(const nib_peft_names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->names[i], name) == 0) return true;
    return false;
}

/* Of "bert.pooler.dense" "pooler": PEFT's users name the module that it lies in. */
static void module_name(const char *path, char out[100])
{
    const char *last = strrchr(path, '.'), *first = last;

    while (first && first > path && first[-1] != '.') first--;
    if (!last) snprintf(out, 100, "%s", path);
    else snprintf(out, 100, "%.*s", (int)nib_min((size_t)(last - first), 99), first);
}

nib_status nib_lora_for_task(nib_ctx *ctx, const nib_model *m, nib_peft_config *config,
                             nib_error *err)
{
    static const char *const classifiers[] = { "classifier", "score", NULL },
                             *const answers[] = { "qa_outputs", NULL };
    const char *const *always = nib_task_has_labels(m->purpose.task) ? classifiers : answers;
    nib_peft_names *saved = &config->modules_to_save, all = { 0 };
    const char *names[64];
    char made[16][100];
    size_t n = 0, extra = 0;
    nib_status status;

    nib_free(ctx, config->task_type);
    config->task_type = NULL;
    if (m->purpose.task == NIB_TASK_MASKED_LM) return NIB_OK; /* PEFT has no word for it */
    config->task_type = nib_strdup(ctx, nib_task_name(m->purpose.task));
    if (!config->task_type) return no_memory(err);
    if (!nib_task_has_head(m->purpose.task)) return NIB_OK;
    for (size_t i = 0; i < saved->count && n < 40; i++) names[n++] = saved->names[i];
    for (size_t i = 0; always[i]; i++)
        if (!has_name(saved, always[i])) names[n++] = always[i];
    status = nib_peft_names_set(ctx, &all, NIB_PEFT_LIST, names, n, err);
    for (size_t i = 0; i < m->new_count && !status && extra < NIB_COUNT(made); i++) {
        if (covers(&all, m->new_linears[i]->name)) continue;
        module_name(m->new_linears[i]->name, made[extra]);
        names[n++] = made[extra++];
        nib_note(ctx, "%s begins at random: it is trained and saved with the adapter, where PEFT "
                 "would leave it as it begins", m->new_linears[i]->name);
    }
    nib_peft_names_free(ctx, &all);
    if (!status) status = nib_peft_names_set(ctx, &all, NIB_PEFT_LIST, names, n, err);
    if (status) return status;
    nib_peft_names_free(ctx, saved);
    *saved = all;
    return NIB_OK;
}

nib_status nib_check_types(const nib_graph *g, const nib_dataset *d, const char *name,
                           nib_error *err)
{
    size_t rows = 0;

    for (size_t i = 0; i < g->node_count; i++)
        if (g->nodes[i].embedding && g->nodes[i].row_input == NIB_TYPES)
            rows = g->nodes[i].embedding->weight->out;
    for (size_t i = 0; rows && i < nib_dataset_count(d); i++) {
        nib_record r = nib_dataset_record(d, i);
        for (uint32_t t = 0; r.types && t < r.length; t++)
            if (r.types[t] >= rows) {
                const char *second = nib_dataset_second(d);
                return nib_fail(err, NIB_E_UNSUPPORTED,
                                "%s: record %zu: %s%s%stoken %u has type %u (of a second text), "
                                "the model has %zu type%s: it takes one text; leave the other out, "
                                "or put both into one field", name, i + 1,
                                second ? "field '" : "", second ? second : "", second ? "': " : "",
                                t, r.types[t], rows, rows == 1 ? "" : "s");
            }
    }
    return NIB_OK;
}

/* --- config.json --- */

/* "BertForMaskedLM" and "BertModel" become "BertForSequenceClassification"; of features
 * "BertModel". */
static bool set_class(json_t *config, nib_task task)
{
    const char *name = json_string_value(json_array_get(json_object_get(config, "architectures"),
                                                        0));
    const char *end = name ? strstr(name, "For") : NULL;
    char class[200];

    if (!name) return true;
    if (!end) end = strstr(name, "LMHead");
    if (!end) end = strstr(name, "Model");
    if (!end) return true;
    snprintf(class, sizeof class, "%.*s%s", (int)nib_min((size_t)(end - name), 150), name,
             task == NIB_TASK_SEQ_CLS    ? "ForSequenceClassification"
             : task == NIB_TASK_TOKEN_CLS ? "ForTokenClassification"
             : task == NIB_TASK_QUESTION_ANS ? "ForQuestionAnswering"
                                          : "Model");
    return !json_object_set_new(config, "architectures", json_pack("[s]", class));
}

static bool set_labels(json_t *config, const nib_labels *l, size_t count)
{
    json_t *names = json_object(), *numbers = json_object();
    bool good = names && numbers, plain = count == 2;

    for (size_t i = 0; good && i < count; i++) {
        char key[24], room[24];
        const char *name = nib_label_name(l, i, room);
        snprintf(key, sizeof key, "%u", (unsigned)i);
        plain &= name == room;
        good = !json_object_set_new(names, key, json_string(name)) &&
               !json_object_set_new(numbers, name, json_integer((json_int_t)i));
    }
    json_object_del(config, "num_labels");
    if (plain) { /* transformers' default is not written */
        json_object_del(config, "id2label");
        json_object_del(config, "label2id");
    } else if (good) {
        good = !json_object_set(config, "id2label", names) &&
               !json_object_set(config, "label2id", numbers);
    }
    json_decref(names);
    json_decref(numbers);
    return good;
}

bool nib_set_label_config(json_t *config, const nib_model *m, const nib_labels *l)
{
    if (m->purpose.task == NIB_TASK_FEATURE_EXTRACTION) return set_class(config, m->purpose.task);
    if (!nib_task_has_head(m->purpose.task)) return true;
    if (!set_class(config, m->purpose.task) || !set_labels(config, l, m->purpose.labels))
        return false;
    return m->purpose.task != NIB_TASK_SEQ_CLS ||
           !json_object_set_new(config, "problem_type",
                                json_string(nib_problem_type(m->purpose.loss)));
}

nib_status nib_write_label_config(const nib_model *m, const nib_labels *l, bool whole,
                                  const char *dir, nib_error *err)
{
    json_t *config = json_deep_copy(m->json);
    char *path = nib_sprintf(m->ctx, "%s/config.json", dir);
    bool good = config && path && nib_set_label_config(config, m, l);
    nib_status status = NIB_OK;

    if (good && whole) {
        json_object_del(config, "torch_dtype");
        good = !json_object_set_new(config, "dtype", json_string("float32"));
    }
    status = good ? nib_python_json_write(m->ctx, path, config, err) : no_memory(err);
    json_decref(config);
    nib_free(m->ctx, path);
    return status;
}
