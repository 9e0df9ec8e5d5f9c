/* unicode_sets.c - see unicode_sets.h. */
#include "text/unicode_sets.h"

#include "text/unicode_ranges.h"
#include "text/unicode_scripts.h"

static const struct {
    const nib_unicode_range *ranges;
    size_t count;
} sets[] = {
    [NIB_SET_CONTROLS] = { controls, NIB_COUNT(controls) },
    [NIB_SET_NONSPACING] = { nonspacing, NIB_COUNT(nonspacing) },
    [NIB_SET_MARKS] = { marks, NIB_COUNT(marks) },
    [NIB_SET_PUNCTUATION] = { punctuation, NIB_COUNT(punctuation) },
    [NIB_SET_WORD] = { word, NIB_COUNT(word) },
    [NIB_SET_NUMBERS] = { numbers, NIB_COUNT(numbers) },
    [NIB_SET_LATE_FORMS] = { late_forms, NIB_COUNT(late_forms) },
};

bool nib_unicode_in(nib_unicode_set set, uint32_t c)
{
    const nib_unicode_range *r = sets[set].ranges;
    size_t low = 0, high = sets[set].count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (r[middle].last < c) low = middle + 1;
        else high = middle;
    }
    return low < sets[set].count && r[low].first <= c;
}

uint32_t nib_unicode_script_of(uint32_t c)
{
    size_t low = 0, high = NIB_COUNT(scripts);

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (scripts[middle].last < c) low = middle + 1;
        else high = middle;
    }
    return low < NIB_COUNT(scripts) && scripts[low].first <= c ? scripts[low].script : 0;
}

uint32_t nib_unicode_lower(uint32_t c)
{
    size_t low = 0, high = NIB_COUNT(lower_cases);

    if (c < 128) return c >= 'A' && c <= 'Z' ? c + 32 : c;
    if (c == 0x130) return 'i';
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (lower_cases[middle].last < c) low = middle + 1;
        else high = middle;
    }
    return low < NIB_COUNT(lower_cases) && lower_cases[low].first <= c
               ? (uint32_t)((int64_t)c + lower_cases[low].distance)
               : c;
}
