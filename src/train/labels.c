/* labels.c - see labels.h. */
#include "train/labels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "train/shape.h"

static nib_status no_memory(const char *where, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
}

void nib_labels_free(nib_labels *l)
{
    for (size_t i = 0; l->names && i < l->count; i++)
        nib_free(l->ctx, l->names[i]);
    nib_free(l->ctx, l->names);
    nib_free(l->ctx, l->answers);
    nib_free(l->ctx, l->class_weights);
    *l = (nib_labels){ 0 };
}

static bool add_name(nib_labels *l, const char *name)
{
    char *copy = name ? nib_strdup(l->ctx, name) : NULL;

    if ((name && !copy) ||
        !nib_grow(l->ctx, &l->names, &l->capacity, l->count + 1, sizeof *l->names)) {
        nib_free(l->ctx, copy);
        return false;
    }
    l->names[l->count++] = copy;
    return true;
}

bool nib_labels_know(nib_labels *l, const char *name)
{
    l->known = true;
    return add_name(l, name);
}

nib_status nib_labels_copy_names(const nib_labels *from, nib_labels *to, nib_error *err)
{
    for (size_t i = 0; i < from->count; i++)
        if (from->kind != NIB_LABEL_NUMBERS && !nib_labels_know(to, from->names[i]))
            return no_memory("labels", err);
    to->kind = from->kind;
    to->multi_hot = from->multi_hot;
    to->known = true;
    if (to->kind == NIB_LABEL_NUMBERS) to->count = from->count;
    return NIB_OK;
}

const char *nib_label_name(const nib_labels *l, size_t i, char room[24])
{
    if (l->names && i < l->count && l->names[i]) return l->names[i];
    snprintf(room, 24, "LABEL_%u", (unsigned)i);
    return room;
}

/* --- reading --- */

static bool is_number_list(const json_t *value)
{
    const json_t *x;
    size_t i;
    bool real = false;

    json_array_foreach(value, i, x) {
        if (!json_is_number(x)) return false;
        real |= json_is_real(x);
    }
    return real;
}

nib_status nib_labels_detect(nib_labels *l, const json_t *value, bool regression, const char *where,
                             const char *field, nib_error *err)
{
    if (l->kind) return NIB_OK;
    if (regression || json_is_real(value)) l->kind = NIB_LABEL_NUMBERS;
    else if (json_is_string(value) || json_is_integer(value) || json_is_boolean(value))
        l->kind = NIB_LABEL_CLASS;
    else if (json_is_array(value)) l->kind = NIB_LABEL_SET;
    else
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: field '%s' is %s, expected a word, a number or a list of them", where,
                        field, nib_shape_kind(value));
    l->multi_hot = l->kind == NIB_LABEL_SET && is_number_list(value);
    return NIB_OK;
}

nib_status nib_labels_put(nib_labels *l, float answer, const char *where, nib_error *err)
{
    if (!nib_grow(l->ctx, &l->answers, &l->answer_capacity, l->used + 1, sizeof *l->answers))
        return no_memory(where, err);
    l->answers[l->used++] = answer;
    return NIB_OK;
}

/* "a, b, c, ..." */
static void list_names(const nib_labels *l, char *out, size_t room)
{
    size_t used = 0;
    char name[24];

    *out = 0;
    for (size_t i = 0; i < l->count && used + 60 < room; i++)
        used += (size_t)snprintf(out + used, room - used, "%s%.40s", i ? ", " : "",
                                 nib_label_name(l, i, name));
    if (used + 60 >= room) snprintf(out + used, room - used, ", ...");
}

static nib_status class_of_word(nib_labels *l, const char *word, const char *where,
                                const char *field, int *id, nib_error *err)
{
    char known[300], name[24];

    for (size_t i = 0; i < l->count; i++)
        if (strcmp(nib_label_name(l, i, name), word) == 0) return *id = (int)i, NIB_OK;
    if (!*word && !l->known)
        return nib_fail(err, NIB_E_FORMAT, "%s: field '%s' is empty, expected a label", where,
                        field);
    if (l->known) {
        list_names(l, known, sizeof known);
        return nib_fail(err, NIB_E_FORMAT, "%s: field '%s' is '%.60s', known labels are %s", where,
                        field, word, known);
    }
    if (l->count == NIB_MOST_LABELS)
        return nib_fail(err, NIB_E_FORMAT, "%s: field '%s': more than %d labels", where, field,
                        (int)NIB_MOST_LABELS);
    *id = (int)l->count;
    return add_name(l, word) ? NIB_OK : no_memory(where, err);
}

static nib_status class_of_number(nib_labels *l, json_int_t n, const char *where,
                                  const char *field, int *id, nib_error *err)
{
    json_int_t most = l->known ? (json_int_t)l->count : NIB_MOST_LABELS;

    if (n < 0 || n >= most)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: field '%s' is %" JSON_INTEGER_FORMAT ", expected a label from 0 to "
                        "%" JSON_INTEGER_FORMAT,
                        where, field, n, most - 1);
    while ((json_int_t)l->count <= n)
        if (!add_name(l, NULL)) return no_memory(where, err);
    *id = (int)n;
    return NIB_OK;
}

nib_status nib_labels_class(nib_labels *l, const json_t *value, const char *where,
                            const char *field, int *id, nib_error *err)
{
    bool word = json_is_string(value);

    if (!word && !json_is_integer(value) && !json_is_boolean(value))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: field '%s' is %s, expected a word or an integer (numbers that are to "
                        "be predicted as such need problem_type regression)",
                        where, field, nib_shape_kind(value));
    if (!l->known && (word ? l->integers : l->words))
        return nib_fail(err, NIB_E_FORMAT, "%s: field '%s' is %s, those before it are %s", where,
                        field, word ? "a word" : "a number", word ? "numbers" : "words");
    l->words |= word;
    l->integers |= !word;
    if (word) return class_of_word(l, json_string_value(value), where, field, id, err);
    return class_of_number(l, json_is_boolean(value) ? json_is_true(value)
                                                     : json_integer_value(value),
                           where, field, id, err);
}

static nib_status add_class(nib_labels *l, const json_t *value, const char *where,
                            const char *field, nib_error *err)
{
    int id;
    nib_status status = nib_labels_class(l, value, where, field, &id, err);

    return status ? status : nib_labels_put(l, (float)id, where, err);
}

static nib_status read_number(const json_t *value, const char *where, const char *field,
                              float *out, nib_error *err)
{
    const char *text = json_string_value(value);
    char *end = NULL;
    double x = text ? strtod(text, &end) : json_number_value(value);

    if (!(json_is_number(value) || (text && *text && !*end)) || !isfinite((float)x))
        return nib_fail(err, NIB_E_FORMAT, "%s: field '%s' is %s%.40s, expected a finite number",
                        where, field, text ? "" : nib_shape_kind(value), text ? text : "");
    *out = (float)x;
    return NIB_OK;
}

static nib_status add_numbers(nib_labels *l, const json_t *value, const char *where,
                              const char *field, nib_error *err)
{
    size_t n = json_is_array(value) ? json_array_size(value) : 1;
    nib_status status = NIB_OK;

    if (!l->count && !l->known) l->count = n;
    if (!n || n != l->count)
        return nib_fail(err, NIB_E_FORMAT, "%s: field '%s' has %zu numbers, expected %zu", where,
                        field, n, l->count);
    for (size_t i = 0; i < n && !status; i++) {
        float x = 0;
        status = read_number(json_is_array(value) ? json_array_get(value, i) : value, where, field,
                             &x, err);
        if (!status) status = nib_labels_put(l, x, where, err);
    }
    return status;
}

/* A list of 0.0 and 1.0, one for each class. */
static nib_status add_multi_hot(nib_labels *l, const json_t *value, const char *where,
                                const char *field, nib_error *err)
{
    size_t n = json_array_size(value);
    nib_status status = NIB_OK;

    while (!l->known && !l->used && l->count < n && n <= NIB_MOST_LABELS)
        if (!add_name(l, NULL)) return no_memory(where, err);
    if (n != l->count)
        return nib_fail(err, NIB_E_FORMAT, "%s: field '%s' has %zu values, expected %zu", where,
                        field, n, l->count);
    for (size_t i = 0; i < n && !status; i++) {
        double x = json_number_value(json_array_get(value, i));
        if (!json_is_number(json_array_get(value, i)) || (x != 0 && x != 1))
            return nib_fail(err, NIB_E_FORMAT, "%s: field '%s': value %zu is %g, expected 0 or 1",
                            where, field, i, x);
        if (x == 1) status = nib_labels_put(l, (float)i, where, err);
    }
    return status;
}

static nib_status add_set(nib_labels *l, const json_t *value, const char *where, const char *field,
                          nib_error *err)
{
    const json_t *x;
    size_t i, begin = l->used;

    if (!json_is_array(value))
        return nib_fail(err, NIB_E_FORMAT, "%s: field '%s' is %s, expected a list of labels", where,
                        field, nib_shape_kind(value));
    if (l->multi_hot) return add_multi_hot(l, value, where, field, err);
    json_array_foreach(value, i, x) {
        int id;
        nib_status status = nib_labels_class(l, x, where, field, &id, err);
        bool twice = false;

        if (status) return status;
        for (size_t k = begin; k < l->used; k++) twice |= l->answers[k] == (float)id;
        if (twice && json_is_integer(x))
            return nib_fail(err, NIB_E_FORMAT,
                            "%s: field '%s' names label %d twice: integers are numbers of labels, "
                            "a 0 or 1 for each label is written 0.0 or 1.0",
                            where, field, id);
        if (!twice) status = nib_labels_put(l, (float)id, where, err);
        if (status) return status;
    }
    return NIB_OK;
}

nib_status nib_labels_add(nib_labels *l, const json_t *value, const char *where, const char *field,
                          nib_error *err)
{
    switch (l->kind) {
    case NIB_LABEL_CLASS: return add_class(l, value, where, field, err);
    case NIB_LABEL_SET: return add_set(l, value, where, field, err);
    case NIB_LABEL_NUMBERS: return add_numbers(l, value, where, field, err);
    case NIB_LABEL_NONE: case NIB_LABEL_TAGS: case NIB_LABEL_SPAN: break;
    }
    return NIB_OK;
}

/* --- after the last record --- */

typedef struct named { char *name; size_t was; json_int_t number; } named;

static int by_name(const void *a, const void *b)
{
    return strcmp(((const named *)a)->name, ((const named *)b)->name);
}

/* The texts of a CSV file: are all words integers as a program writes them? */
static bool all_integers(named *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *end, back[32];
        long long x = strtoll(list[i].name, &end, 10);

        snprintf(back, sizeof back, "%lld", x);
        if (strcmp(back, list[i].name) != 0 || x < 0 || x >= NIB_MOST_LABELS) return false;
        list[i].number = x;
    }
    return true;
}

/* Classes called by numbers: the names go, and there are as many as the greatest says. */
static nib_status take_as_numbers(nib_labels *l, const named *list, size_t n, float *to,
                                  nib_error *err)
{
    json_int_t most = 0;

    for (size_t i = 0; i < n; i++) {
        to[list[i].was] = (float)list[i].number;
        if (list[i].number > most) most = list[i].number;
    }
    for (size_t i = 0; i < n; i++) {
        nib_free(l->ctx, l->names[i]);
        l->names[i] = NULL;
    }
    while ((json_int_t)l->count <= most)
        if (!add_name(l, NULL)) return no_memory("labels", err);
    l->count = (size_t)most + 1;
    return NIB_OK;
}

static nib_status sort_words(nib_labels *l, nib_error *err)
{
    size_t n = l->count;
    named *list = nib_new_array(l->ctx, n, sizeof *list);
    float *to = nib_new_array(l->ctx, n, sizeof *to);
    nib_status status = list && to ? NIB_OK : no_memory("labels", err);

    if (status) goto done;
    for (size_t i = 0; i < n; i++) list[i] = (named){ l->names[i], i, 0 };
    if (all_integers(list, n)) {
        status = take_as_numbers(l, list, n, to, err);
    } else {
        qsort(list, n, sizeof *list, by_name);
        for (size_t i = 0; i < n; i++) {
            l->names[i] = list[i].name;
            to[list[i].was] = (float)i;
        }
    }
    for (size_t i = 0; i < l->used && !status; i++)
        if (l->answers[i] >= 0) l->answers[i] = to[(size_t)l->answers[i]];
done:
    nib_free(l->ctx, list);
    nib_free(l->ctx, to);
    return status;
}

nib_status nib_labels_settle(nib_labels *l, const char *where, nib_error *err)
{
    nib_status status = NIB_OK;

    if (!l->kind || l->kind == NIB_LABEL_NUMBERS || l->kind == NIB_LABEL_SPAN || l->known)
        return NIB_OK;
    if (l->words && l->count) status = sort_words(l, err);
    while (!status && l->count < 2 && l->kind != NIB_LABEL_SET)
        if (!add_name(l, NULL)) status = no_memory(where, err);
    if (!status && !l->count)
        status = nib_fail(err, NIB_E_FORMAT, "%s: no record has a label", where);
    return status;
}

nib_status nib_labels_balance(nib_labels *l, nib_error *err)
{
    double total = 0;

    if (l->kind != NIB_LABEL_CLASS && l->kind != NIB_LABEL_TAGS)
        return nib_fail(err, NIB_E_INVALID,
                        "class_weights: balanced is for one class a record or token");
    l->class_weights = nib_new_array(l->ctx, l->count, sizeof *l->class_weights);
    if (!l->class_weights) return no_memory("class_weights", err);
    for (size_t i = 0; i < l->used; i++) {
        if (l->answers[i] < 0) continue;
        l->class_weights[(size_t)l->answers[i]]++;
        total++;
    }
    for (size_t c = 0; c < l->count; c++)
        if (l->class_weights[c] > 0)
            l->class_weights[c] = (float)(total / ((double)l->count * (double)l->class_weights[c]));
    return NIB_OK;
}
