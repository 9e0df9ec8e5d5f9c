/* reader_layers.c - see reader_layers.h. */
#include "model/reader_layers.h"

#include <stdio.h>

static void refuse(nib_reader *r, const char *key, size_t i, const char *word,
                   const char *const *known)
{
    char list[200] = "";
    size_t used = 0;

    for (size_t k = 0; known[k] && used < sizeof list; k++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", k ? ", " : "", known[k]);
    nib_read_fail(r, NIB_E_UNSUPPORTED, "%s[%zu] is '%s', known are %s", key, i,
                  word ? word : "not a text", list);
}

uint8_t *nib_read_layer_kinds(nib_reader *r, const char *key, size_t layers,
                              const char *const *known)
{
    const json_t *list = nib_read_any(r, key);
    uint8_t *kinds;

    if (r->status || !list || json_is_null(list)) return NULL;
    if (!json_is_array(list) || json_array_size(list) != layers) {
        nib_read_fail(r, NIB_E_FORMAT, "%s has %zu entries, expected a list of %zu", key,
                      json_array_size(list), layers);
        return NULL;
    }
    kinds = nib_read_alloc(r, layers, sizeof *kinds);
    for (size_t i = 0; kinds && i < layers; i++) {
        const char *word = json_string_value(json_array_get(list, i));
        uint8_t k = 0;
        while (word && known[k] && strcmp(word, known[k]) != 0) k++;
        if (word && known[k]) kinds[i] = k;
        else refuse(r, key, i, word, known);
    }
    return kinds;
}
