/* data_boxes.c - where the words of a record stand on their page: a list of boxes [left, upper,
 * right, lower], one for each word, in the numbers of the model's tables (LayoutLM's kin: 0 to 1000
 * of the page's width and height).  Every token of a word gets its box; special tokens have none,
 * which is all zeros. */
#include <stdio.h>

#include "train/data_reader.h"

static const char *const edges[] = { "left", "upper", "right", "lower" };

nib_status nib_boxes_list(const nib_data_reader *r, const json_t *record, size_t words,
                          const char *where, const json_t **list, nib_error *err)
{
    const char *field = r->labelled.boxes;

    *list = field ? json_object_get(record, field) : NULL;
    if (!field || !*list || json_is_null(*list)) return *list = NULL, NIB_OK;
    if (!json_is_array(*list))
        return nib_fail(err, NIB_E_FORMAT, "%s: field '%s' is %s, expected a list of boxes", where,
                        field, nib_shape_kind(*list));
    if (json_array_size(*list) != words)
        return nib_fail(err, NIB_E_FORMAT, "%s: %zu boxes in '%s' for %zu words in '%s'", where,
                        json_array_size(*list), field, words, r->labelled.first);
    return NIB_OK;
}

nib_status nib_boxes_read(const nib_data_reader *r, const json_t *list, size_t word,
                          const char *where, uint16_t box[4], nib_error *err)
{
    const json_t *numbers = json_array_get(list, word);
    const char *field = r->labelled.boxes;

    memset(box, 0, 4 * sizeof *box);
    if (!list) return NIB_OK;
    if (!json_is_array(numbers) || json_array_size(numbers) != 4)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: field '%s': box %zu is %s of %zu, expected a list of 4 numbers", where,
                        field, word, nib_shape_kind(numbers), json_array_size(numbers));
    for (size_t i = 0; i < 4; i++) {
        const json_t *n = json_array_get(numbers, i);
        json_int_t value = json_integer_value(n);

        if (!json_is_integer(n) || value < 0 || value >= (json_int_t)r->in->box_limit)
            return nib_fail(err, NIB_E_FORMAT,
                            "%s: field '%s': the %s edge of box %zu is %s%" JSON_INTEGER_FORMAT
                            ", expected an integer from 0 to %zu",
                            where, field, edges[i], word,
                            json_is_integer(n) ? "" : "no integer: ", value,
                            r->in->box_limit - 1);
        box[i] = (uint16_t)value;
    }
    if (box[2] < box[0] || box[3] < box[1])
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: field '%s': box %zu goes from %d, %d to %d, %d: expected left, upper, "
                        "right, lower",
                        where, field, word, box[0], box[1], box[2], box[3]);
    return NIB_OK;
}
