/* data_fields.c - which fields of a record its shape reads, and the others counted by name: what a
 * record says and nobody uses is reported once. */
#include <stdio.h>

#include "train/data_reader.h"
#include "train/template.h"

#define CHAT_FIELDS "tools", "chat_template_kwargs", "system"
#define CHOICE_FIELDS "choices", "answer", "label", "answerKey"

static const char *const known[][8] = {
    [NIB_SHAPE_TOKENS] = { "input_ids", "labels", "completion_mask", "assistant_masks" },
    [NIB_SHAPE_TEXT] = { "text" },
    [NIB_SHAPE_COMPLETION] = { "prompt", "completion", "system", "history" },
    [NIB_SHAPE_INPUT_OUTPUT] = { "input", "output", "system", "history" },
    [NIB_SHAPE_CHAT_COMPLETION] = { "prompt", "completion", CHAT_FIELDS },
    [NIB_SHAPE_ALPACA] = { "instruction", "input", "output", "system", "history" },
    [NIB_SHAPE_CHAT] = { "messages", CHAT_FIELDS },
    [NIB_SHAPE_SHAREGPT] = { "conversations", CHAT_FIELDS },
    [NIB_SHAPE_FAQ] = { "questions", "question", "answer" },
    [NIB_SHAPE_CHOICES] = { "question", CHOICE_FIELDS },
    [NIB_SHAPE_PROMPT_CHOICES] = { "prompt", CHOICE_FIELDS },
    [NIB_SHAPE_STREAM] = { "text" },
};

static bool is_read(const nib_data_reader *r, nib_record_shape shape, const char *key)
{
    const nib_data_options *o = r->o;
    const char *const fields[] = { r->labelled.first, r->labelled.second, r->labelled.label,
                                   r->labelled.boxes };

    if (nib_data_is_labelled(r)) {
        for (size_t i = 0; i < NIB_COUNT(fields); i++)
            if (fields[i] && strcmp(fields[i], key) == 0) return true;
        if (r->in->task == NIB_TASK_QUESTION_ANS && nib_question_reads(key)) return true;
        return nib_data_is_compared(r) && r->labelled.negatives && nib_compared_is_negative(key);
    }
    if (shape == NIB_SHAPE_TEMPLATE) return nib_template_names(o->template_text, key);
    if (shape == NIB_SHAPE_TEMPLATES)
        return nib_template_names(o->prompt_template, key) ||
               nib_template_names(o->completion_template, key);
    for (size_t i = 0; i < NIB_COUNT(known[0]) && known[shape][i]; i++)
        if (strcmp(known[shape][i], key) == 0) return true;
    return false;
}

static nib_status count(nib_data_reader *r, const char *key, const char *where, nib_error *err)
{
    nib_unused_fields *u = &r->unused;
    size_t i = 0;

    while (i < u->count && strcmp(u->names[i], key) != 0) i++;
    if (i == NIB_MOST_UNUSED) {
        u->more = true;
        return NIB_OK;
    }
    if (i == u->count) {
        u->names[i] = nib_strdup(r->ctx, key);
        if (!u->names[i]) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
        u->count++;
    }
    u->records[i]++;
    return NIB_OK;
}

nib_status nib_data_note_fields(nib_data_reader *r, const json_t *record, const char *where,
                                nib_error *err)
{
    const char *key;
    json_t *value;
    nib_status status = NIB_OK;

    json_object_foreach ((json_t *)(uintptr_t)record, key, value) {
        if (json_is_null(value) || is_read(r, r->shaper.shape, key)) continue;
        status = count(r, key, where, err);
        if (status) break;
    }
    return status;
}

nib_status nib_data_note_skipped(nib_data_reader *r, const char *where, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < r->skipped.count && !status; i++)
        status = count(r, r->skipped.names[i], where, err);
    return status;
}

/* --- columns --- */

static void forget_columns(nib_data_reader *r)
{
    for (size_t i = 0; i < r->skipped.count; i++) nib_free(r->ctx, r->skipped.names[i]);
    r->skipped.count = 0;
}

static nib_status skip_column(nib_data_reader *r, nib_table *table, size_t i, nib_error *err)
{
    nib_skipped_columns *s = &r->skipped;
    char *name = nib_strdup(r->ctx, nib_table_column_name(table, i));

    if (!name || !nib_grow(r->ctx, &s->names, &s->capacity, s->count + 1, sizeof *s->names)) {
        nib_free(r->ctx, name);
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", nib_table_where(table));
    }
    s->names[s->count++] = name;
    nib_table_use_column(table, i, false);
    return NIB_OK;
}

/* Whether a prompt is a text or a chat shows in its values only. */
static bool may_be_read(const nib_data_reader *r, nib_record_shape shape, const char *key)
{
    return is_read(r, shape, key) ||
           (shape == NIB_SHAPE_COMPLETION && is_read(r, NIB_SHAPE_CHAT_COMPLETION, key));
}

/* The shape follows from the names alone.  Of no shape nothing is left out, for the message tells
 * the fields. */
nib_status nib_data_choose_columns(void *reader, nib_table *table, nib_error *err)
{
    nib_data_reader *r = reader;
    nib_record_shape shape = r->shaper.shape;
    size_t n = nib_table_column_count(table);
    json_t *names = json_object();
    nib_status status = NIB_OK;

    forget_columns(r);
    for (size_t i = 0; i < n; i++) /* a failure shows in their number */
        json_object_set_new_nocheck(names, nib_table_column_name(table, i), json_true());
    if (nib_data_is_labelled(r)) {
        nib_labelled_settle(r, names);
        shape = r->labelled.first ? NIB_SHAPE_LABELLED : NIB_SHAPE_UNKNOWN;
    } else if (!shape) shape = nib_shape_of(r->o, names);
    if (json_object_size(names) != n)
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", nib_table_where(table));
    for (size_t i = 0; i < n && shape && !status; i++)
        if (!may_be_read(r, shape, nib_table_column_name(table, i)))
            status = skip_column(r, table, i, err);
    json_decref(names);
    return status;
}

void nib_data_list_unused(const nib_data_reader *r, char *out, size_t room)
{
    const nib_unused_fields *u = &r->unused;
    size_t used = 0, i = 0;

    *out = 0;
    for (; i < u->count && used + 120 < room; i++)
        used += (size_t)snprintf(out + used, room - used, "%s'%.60s' (%" PRIu64 " record%s)",
                                 i ? ", " : "", u->names[i], u->records[i],
                                 u->records[i] == 1 ? "" : "s");
    if (i < u->count || u->more) snprintf(out + used, room - used, " and more");
}

void nib_data_free_fields(nib_data_reader *r)
{
    for (size_t i = 0; i < r->unused.count; i++) nib_free(r->ctx, r->unused.names[i]);
    r->unused = (nib_unused_fields){ 0 };
    forget_columns(r);
    nib_free(r->ctx, r->skipped.names);
    r->skipped = (nib_skipped_columns){ 0 };
}
