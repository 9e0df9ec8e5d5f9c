/* masking.h - which words of a record are hidden, and what stands in their place, for training a
 * masked language model (BERT; transformers' DataCollatorForLanguageModeling).
 *
 * Of the words that are no special tokens each is chosen with probability 0.15; of those chosen 0.8
 * become the mask token, 0.1 a word of the whole vocabulary, 0.1 stay.  A function of (seed, epoch,
 * record, position), so that every epoch hides others and a resumed run the same. */
#ifndef NIB_TRAIN_MASKING_H
#define NIB_TRAIN_MASKING_H

#include "base/random.h"

typedef struct nib_masking {
    uint64_t seed;
    uint32_t mask, vocabulary; /* the mask token; how many words there are; 0: nothing is hidden */
} nib_masking;

/* Is this word to be predicted?  *id becomes what stands in its place. */
static inline bool nib_mask_word(const nib_masking *m, uint32_t epoch, uint32_t record,
                                 uint32_t position, uint32_t *id)
{
    const uint32_t key[2] = { (uint32_t)m->seed ^ 0x6d61736bu, (uint32_t)(m->seed >> 32) };
    const uint32_t counter[4] = { record, position, 0, epoch };
    uint32_t out[4];
    float which;

    nib_philox(key, counter, out);
    if (nib_unit_float(out[0]) >= 0.15f) return false;
    which = nib_unit_float(out[1]);
    if (which < 0.8f) *id = m->mask;
    else if (which < 0.9f) *id = (uint32_t)((uint64_t)out[2] * m->vocabulary >> 32);
    return true;
}

#endif
