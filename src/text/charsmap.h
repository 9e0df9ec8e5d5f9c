/* charsmap.h - SentencePiece's compiled normalization: a trie of texts and what replaces each.
 *
 *     [u32 LE: trie_bytes][trie_bytes of u32 units][replacements, each ended by a NUL]
 *
 * A unit is of Darts-clone (formats.md 11.7).  Offsets are checked at each step, so that any bytes
 * can be searched. */
#ifndef NIB_TEXT_CHARSMAP_H
#define NIB_TEXT_CHARSMAP_H

#include "base/base.h"

typedef struct nib_charsmap nib_charsmap;

/* From base64, as tokenizer.json has it; NULL: it is empty, and replaces nothing.  NIB_E_FORMAT
 * with `where`: too short, a trie longer than the file, replacements that are no UTF-8 or not
 * ended. */
nib_status nib_charsmap_from_base64(nib_ctx *ctx, const char *text, const char *where,
                                    nib_charsmap **out, nib_error *err);
/* Its bytes alone, allocated. */
nib_status nib_charsmap_bytes(nib_ctx *ctx, const char *text, const char *where, uint8_t **out,
                              size_t *count, nib_error *err);
/* The other way, allocated; NULL: no memory. */
char *nib_charsmap_to_base64(nib_ctx *ctx, const uint8_t *bytes, size_t count);
void nib_charsmap_destroy(nib_ctx *ctx, nib_charsmap *m);

/* What the shortest text of the map that begins at `text` is replaced by; NULL: none begins there.
 * The library does not look for the longest, as SentencePiece itself does. */
const char *nib_charsmap_find(const nib_charsmap *m, const char *text, size_t bytes);

#endif
