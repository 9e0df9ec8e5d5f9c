/* gguf_pre.h - how a GGUF's byte-level tokenizer cuts text, by the name in tokenizer.ggml.pre. */
#ifndef NIB_TEXT_GGUF_PRE_H
#define NIB_TEXT_GGUF_PRE_H

#include <jansson.h>

#include "base/base.h"

typedef struct nib_gguf_pre {
    const char *name;
    enum {
        NIB_GGUF_PRE_BYTES,  /* ByteLevel with its own pattern */
        NIB_GGUF_PRE_DIGITS, /* the same behind digits taken one by one */
        NIB_GGUF_PRE_SPLIT,  /* patterns, one after the other */
        NIB_GGUF_PRE_FALCON
    } kind;
    const char *patterns[3];
    bool ignore_merges, add_bos, nfc;
} nib_gguf_pre;

const nib_gguf_pre *nib_gguf_pre_named(const char *name, size_t bytes); /* NULL: not known */
void nib_gguf_pre_known(char *out, size_t room);
/* tokenizer.json's pre_tokenizer; NULL: no memory. */
json_t *nib_gguf_pre_json(const nib_gguf_pre *pre);
/* The first whose stages are tokenizer.json's pre_tokenizer `pre`; NULL: none is known. */
const nib_gguf_pre *nib_gguf_pre_like(const json_t *pre, bool nfc, bool ignore_merges);

#endif
