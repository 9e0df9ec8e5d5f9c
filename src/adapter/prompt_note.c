/* prompt_note.c - see prompt_note.h. */
#include "adapter/prompt_note.h"

const char *nib_prompt_note(const nib_tensors *model)
{
    return model ? nib_tensors_metadata(model, NIB_PROMPT_KEY) : NULL;
}

const char *nib_prompt_note_merged(const nib_model *m, nib_adapter *const *adapters, size_t count,
                                   size_t *from)
{
    const char *form = NULL;

    *from = count;
    for (size_t i = 0; i < count; i++) {
        const char *other = adapters[i]->prompt_form;
        if (!other) continue;
        if (!form) {
            form = other;
            *from = i;
        } else if (strcmp(form, other) != 0) {
            nib_warn_code(m->ctx, "other-prompts", "%s: its prompts were put otherwise than those "
                          "of %s, and the merged model keeps the form of the latter",
                          adapters[i]->dir, adapters[*from]->dir);
        }
    }
    return form ? form : nib_prompt_note(m->tensors);
}

const char *nib_prompt_note_unmerged(const nib_model *m, nib_adapter *const *adapters, size_t count)
{
    const char *form = nib_prompt_note(m->tensors);

    for (size_t i = 0; form && i < count; i++)
        if (adapters[i]->prompt_form && strcmp(form, adapters[i]->prompt_form) == 0) form = NULL;
    return form;
}

void nib_model_notes(const char *merged, const char *prompt, const char *notes[5])
{
    size_t n = 0;

    if (merged && *merged) {
        notes[n++] = NIB_MERGED_KEY;
        notes[n++] = merged;
    }
    if (prompt) {
        notes[n++] = NIB_PROMPT_KEY;
        notes[n++] = prompt;
    }
    notes[n] = NULL;
}
