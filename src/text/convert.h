/* convert.h - a tokenizer.json made of the files of directories that have none, as transformers'
 * fast classes make it (convert_slow_tokenizer.py of 4.57.6):
 *
 *     vocab.txt                BERT's kind, MPNet, ESM        (convert_vocab.c)
 *     vocab.json, merges.txt   GPT-2, RoBERTa, Longformer     (convert_vocab.c)
 *     *.model                  T5, XLM-RoBERTa, ALBERT, DeBERTa v2, XGLM, Llama, Gemma
 *                                                             (convert_model.c) */
#ifndef NIB_TEXT_CONVERT_H
#define NIB_TEXT_CONVERT_H

#include "text/special_parts.h"

/* Which files, of the class that was found. */
typedef enum nib_convert_form {
    NIB_CONVERT_NONE,
    NIB_CONVERT_BERT,
    NIB_CONVERT_MPNET,
    NIB_CONVERT_ESM,
    NIB_CONVERT_GPT2,
    NIB_CONVERT_ROBERTA,
    NIB_CONVERT_T5,
    NIB_CONVERT_XLM_ROBERTA,
    NIB_CONVERT_ALBERT,
    NIB_CONVERT_XGLM,
    NIB_CONVERT_LLAMA,
    NIB_CONVERT_DEBERTA,
    NIB_CONVERT_GEMMA
} nib_convert_form;

/* The form and its first file for a class; NIB_CONVERT_NONE: its files are not read. */
nib_convert_form nib_convert_form_of(const nib_tokenizer_class *class, const char **file);

/* Makes tokenizer.json of DIR's files; *out is the caller's.  NIB_E_IO, NIB_E_FORMAT: which file
 * and line. */
nib_status nib_convert_vocab(const nib_special_reading *r, nib_convert_form form, const char *dir,
                             json_t **out, nib_error *err);
nib_status nib_convert_model(const nib_special_reading *r, nib_convert_form form, const char *path,
                             json_t **out, nib_error *err);
/* The same of a file's bytes, named `path` in errors. */
nib_status nib_convert_model_bytes(const nib_special_reading *r, nib_convert_form form,
                                   const void *bytes, size_t count, const char *path, json_t **out,
                                   nib_error *err);

/* The text of bos_token and its like, from the files or the class's default. */
const char *nib_convert_token(const nib_special_reading *r, const char *key, const char *otherwise);
/* A flag of tokenizer_config.json; null is `otherwise`. */
bool nib_convert_flag(const nib_special_reading *r, const char *key, bool otherwise);

#endif
