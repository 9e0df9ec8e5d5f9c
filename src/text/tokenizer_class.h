/* tokenizer_class.h - what transformers' fast tokenizer classes add to tokenizer.json.
 *
 * From the sources of transformers 4.57.6: the classes that read byte-pair encodings, their default
 * special tokens, and how each changes the post-processor. */
#ifndef NIB_TEXT_TOKENIZER_CLASS_H
#define NIB_TEXT_TOKENIZER_CLASS_H

#include "base/base.h"

enum {
    NIB_CLASS_REBUILDS = 1,      /* the post-processor becomes [bos] text [eos], as add_bos_token
                                    and add_eos_token say */
    NIB_CLASS_ADDS_BOS = 2,      /* default of add_bos_token, where it rebuilds */
    NIB_CLASS_TRIMS = 4,         /* sets trim_offsets and add_prefix_space of the post-processor */
    NIB_CLASS_PREFIX_INSIDE = 8, /* add_prefix_space reaches stages inside a Sequence */
    NIB_CLASS_FROM_SLOW = 16,    /* add_prefix_space makes it anew from tokenizer.model */
    NIB_CLASS_MASK_LSTRIP = 32,  /* a mask token given by its text takes the blanks before it */
    NIB_CLASS_NO_BOS = 128,      /* add_bos_token is refused */
    NIB_CLASS_BERT = 256,        /* resets lowercase and strip_accents of a BertNormalizer */
    NIB_CLASS_CHINESE = 512,     /* and its handle_chinese_chars */
    NIB_CLASS_EXTRA_IDS = 1024,  /* has the special tokens <extra_id_0>, ... */
    NIB_CLASS_PREFIX = 2048,     /* add_prefix_space is true where nothing says otherwise */
    NIB_CLASS_WRAPS = 64         /* bos, eos, unk and pad given by their text overrule the flags
                                    that tokenizer.json has for them */
};

typedef struct nib_tokenizer_class {
    const char *name;            /* with "Fast" */
    const char *where;           /* "NAME's default", for messages */
    const char *bos, *eos, *unk, *sep, *pad, *cls, *mask; /* NULL: none; pad "": not
                                                             tokenizer.json's padding either */
    unsigned flags;
    const char *const *extra;    /* further special tokens: key, default, ..., NULL; or NULL */
    const char *models;          /* model_type's that use it where no file names a class */
} nib_tokenizer_class;

/* "LlamaTokenizer" and "LlamaTokenizerFast" are one class; NULL: not known. */
const nib_tokenizer_class *nib_tokenizer_class_named(const char *name);
/* The class of config.json's model_type; NULL: not known. */
const nib_tokenizer_class *nib_tokenizer_class_of_model(const char *model_type);

#endif
