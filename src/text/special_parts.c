/* special_parts.c - what the files that find special tokens share. */
#include "text/special_parts.h"

const char *const nib_special_files[NIB_SPECIAL_FILES] = { "tokenizer_config.json",
                                                           "special_tokens_map.json",
                                                           "added_tokens.json", "config.json",
                                                           "generation_config.json" };

const json_t *nib_special_value(const nib_special_reading *r, const char *key, const char **where)
{
    const json_t *v = r->use_map ? json_object_get(r->files[MAP], key) : NULL;

    *where = nib_special_files[v ? MAP : CONFIG];
    return v ? v : json_object_get(r->files[CONFIG], key);
}

bool nib_special_ends(const nib_special_tokens *s, int64_t id)
{
    for (size_t i = 0; i < s->end_count; i++)
        if (s->ends[i] == id) return true;
    return id >= 0 && s->eos.id == id;
}
