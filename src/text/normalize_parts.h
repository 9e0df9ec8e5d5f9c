/* normalize_parts.h - what the files of normalizers share. */
#ifndef NIB_TEXT_NORMALIZE_PARTS_H
#define NIB_TEXT_NORMALIZE_PARTS_H

#include "text/parts.h"

/* Write to t->other the character at `at` of t->work, or other text with its range.  false: no
 * memory. */
bool nib_keep_character(nib_tokenizer *t, size_t at);
bool nib_replace_character(nib_tokenizer *t, size_t at, const char *text, size_t bytes);

/* Those that go by single characters: BertNormalizer's steps, StripAccents, Nmt. */
bool nib_normalize_each(nib_tokenizer *t, nib_stage_kind kind);
bool nib_normalize_precompiled(nib_tokenizer *t, const nib_charsmap *map);

#endif
