/* prompt_note.h - how prompts were made of the records that something was trained on
 * (train/prompt_form.h), in __metadata__ of an adapter's file, and of a model's that adapters were
 * merged into or that was trained itself: "nibble.prompt". */
#ifndef NIB_ADAPTER_PROMPT_NOTE_H
#define NIB_ADAPTER_PROMPT_NOTE_H

#include "adapter/merged.h"

#define NIB_PROMPT_KEY "nibble.prompt"

/* What a model's file says; NULL: nothing.  Borrowed. */
const char *nib_prompt_note(const nib_tensors *model);
/* What the model with these adapters in it is to say: as the first of them that says how it was
 * trained, else as the model.  *from: the number of that adapter, or `count`; others that say
 * otherwise are warned of (other-prompts).  Borrowed. */
const char *nib_prompt_note_merged(const nib_model *m, nib_adapter *const *adapters, size_t count,
                                   size_t *from);
/* The same of a model that they are taken out of: nothing, where its file has what one of theirs
 * has. */
const char *nib_prompt_note_unmerged(const nib_model *m, nib_adapter *const *adapters,
                                     size_t count);

/* Keys and texts of a model's file for nib_tensor_writer_create_noted(): which adapters it holds
 * ("" and NULL: none) and its prompts (NULL: not known).  notes [5] borrows both. */
void nib_model_notes(const char *merged, const char *prompt, const char *notes[5]);

#endif
