/* data_ids.c - records that are tokens already: {"input_ids"} with one of
 *
 *   labels            -100 where nothing is trained, else the token there
 *   completion_mask   0 where nothing is trained: the prompt (train_on_prompt: no notice is taken)
 *   assistant_masks   0 where nothing is trained: what is not the assistant's
 *
 * As TRL: labels win; of several masks all must be 1. */
#include "train/data_reader.h"

typedef struct columns { /* [n] of a record, or NULL */
    const json_t *ids, *labels, *completion, *assistant;
} columns;

/* A list beside input_ids, as long as they are; NULL: absent or null. */
static nib_status take_column(const json_t *record, const char *key, size_t n, const char *where,
                              const json_t **out, nib_error *err)
{
    const json_t *list = nib_shape_field(record, key);

    *out = list;
    if (!list) return NIB_OK;
    if (!json_is_array(list))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is %s, it should be a list as long as input_ids",
                        where, key, nib_shape_kind(list));
    return json_array_size(list) == n ? NIB_OK
                                      : nib_fail(err, NIB_E_FORMAT, "%s: %zu %s for %zu input_ids",
                                                 where, json_array_size(list), key, n);
}

static nib_status take_columns(const json_t *record, const char *where, columns *c, nib_error *err)
{
    size_t n;
    nib_status status;

    c->ids = json_object_get(record, "input_ids");
    if (!json_is_array(c->ids))
        return nib_fail(err, NIB_E_FORMAT, "%s: input_ids is %s, it should be a list of token ids",
                        where, nib_shape_kind(c->ids));
    n = json_array_size(c->ids);
    status = take_column(record, "labels", n, where, &c->labels, err);
    if (!status) status = take_column(record, "completion_mask", n, where, &c->completion, err);
    if (!status) status = take_column(record, "assistant_masks", n, where, &c->assistant, err);
    return status;
}

/* 0, 1, false or true. */
static nib_status read_mask(const json_t *mask, const char *key, size_t i, const char *where,
                            bool *trained, nib_error *err)
{
    const json_t *bit = json_array_get(mask, i);

    if (!mask) return NIB_OK;
    if (json_is_boolean(bit))
        *trained = *trained && json_is_true(bit);
    else if (json_is_integer(bit) && (json_integer_value(bit) | 1) == 1)
        *trained = *trained && json_integer_value(bit);
    else
        return nib_fail(err, NIB_E_FORMAT, "%s: element %zu of %s is %s, it should be 0 or 1",
                        where, i, key,
                        json_is_integer(bit) ? "another number" : nib_shape_kind(bit));
    return NIB_OK;
}

static nib_status read_label(const columns *c, size_t i, const char *where, bool *trained,
                             nib_error *err)
{
    const json_t *label = json_array_get(c->labels, i);
    int64_t id = json_integer_value(json_array_get(c->ids, i)), value = json_integer_value(label);

    if (!json_is_integer(label))
        return nib_fail(err, NIB_E_FORMAT, "%s: element %zu of labels is %s, not an integer", where,
                        i, nib_shape_kind(label));
    if (value != -100 && value != id)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: label %" PRId64 " at %zu is neither -100 nor the token there", where,
                        value, i);
    *trained = value != -100;
    return NIB_OK;
}

static nib_status choose(const nib_data_reader *r, const columns *c, size_t i, const char *where,
                         bool *trained, nib_error *err)
{
    nib_status status = NIB_OK;

    *trained = true;
    if (c->labels) return read_label(c, i, where, trained, err);
    if (!r->o->train_on_prompt)
        status = read_mask(c->completion, "completion_mask", i, where, trained, err);
    return status ? status : read_mask(c->assistant, "assistant_masks", i, where, trained, err);
}

nib_status nib_data_add_ids(nib_data_reader *r, const json_t *record, const char *where,
                            nib_error *err)
{
    columns c;
    nib_status status = take_columns(record, where, &c, err);
    size_t n = status ? 0 : json_array_size(c.ids), limit = nib_data_limit(r);

    if (n > limit && nib_data_is_too_long(r, n)) return NIB_OK;

    for (size_t i = 0; i < nib_min(n, limit) && !status; i++) {
        const json_t *id = json_array_get(c.ids, i);
        bool trained = false;

        if (!json_is_integer(id))
            return nib_fail(err, NIB_E_FORMAT, "%s: element %zu of input_ids is %s, not an integer",
                            where, i, nib_shape_kind(id));
        status = choose(r, &c, i, where, &trained, err);
        if (!status) status = nib_data_add_token(r, where, json_integer_value(id), trained, err);
    }
    if (!status && n > limit) r->d->counts.truncated++;
    return status ? status : nib_data_end_record(r, where, n > limit, err);
}
