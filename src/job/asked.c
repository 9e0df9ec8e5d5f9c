/* asked.c - see asked.h. */
#include "job/asked.h"

enum { LEAST_NEW = 16, MOST_NEW = 256 };

bool nib_shape_asks(nib_record_shape shape)
{
    return shape != NIB_SHAPE_TEXT && shape != NIB_SHAPE_TEMPLATE && shape != NIB_SHAPE_STREAM &&
           shape < NIB_SHAPE_LABELLED;
}

nib_status nib_asked_find(const nib_record *r, bool last_turn, const char *data, size_t number,
                          nib_asked *out, nib_error *err)
{
    size_t first = 0, end = r->length;

    while (end && !r->trained[end - 1]) end--;
    if (last_turn)
        for (first = end; first && r->trained[first - 1];) first--;
    else
        while (first < end && !r->trained[first]) first++;
    if (!first || first == end)
        return nib_fail(err, NIB_E_INVALID, "%s: record %zu of those read has %s", data, number + 1,
                        end ? "no prompt" : "nothing that is wanted");
    *out = (nib_asked){ first, end };
    return NIB_OK;
}

nib_status nib_asked_wanted(nib_tokenizer *t, const nib_record *r, nib_asked a, char **out,
                            nib_error *err)
{
    size_t bytes;

    return nib_tokenizer_decode(t, r->ids + a.prompt, a.end - a.prompt, true, out, &bytes, err);
}

size_t nib_asked_new_tokens(size_t longest)
{
    return nib_min(nib_max(2 * longest, (size_t)LEAST_NEW), (size_t)MOST_NEW);
}
