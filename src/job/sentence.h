/* sentence.h - a sentence-transformers directory: which of its folders is the model, how rows are
 * pooled, what stands before a text (formats-encoder.md 7). */
#ifndef NIB_JOB_SENTENCE_H
#define NIB_JOB_SENTENCE_H

#include "format/json.h"
#include "train/dense_layer.h"
#include "train/pooling.h"

typedef struct nib_sentence {
    nib_ctx *ctx;
    char *model_dir;      /* of the Transformer */
    char *where;          /* the file of the prompts, for errors */
    nib_pooler pooler;    /* mean where nothing names one */
    nib_dense *dense;     /* [dense_count] behind the pooling, before the length becomes 1 */
    size_t dense_count;
    bool normalize;
    bool without_prompt;  /* the prompt's tokens are left out of the pooling */
    int64_t longest;      /* tokens of a text; 0: nothing limits them */
    json_t *settings;     /* config_sentence_transformers.json; NULL: there is none */
} nib_sentence;

/* A directory without modules.json is a model by itself.  On failure there is nothing to close. */
nib_status nib_sentence_open(nib_ctx *ctx, const char *dir, nib_sentence *out, nib_error *err);
/* The same of a model and an adapter (NULL: none), whose directory says how rows are pooled where
 * it has a modules.json. */
nib_status nib_sentence_open_with(nib_ctx *ctx, const char *dir, const char *adapter,
                                  nib_sentence *out, nib_error *err);
void nib_sentence_close(nib_sentence *s);
/* The directory of the Transformer alone; the caller frees it. */
nib_status nib_sentence_model(nib_ctx *ctx, const char *dir, char **model_dir, nib_error *err);
/* Is there a modules.json? */
bool nib_sentence_is_one(nib_ctx *ctx, const char *dir);
/* The key of a mode in 1_Pooling/config.json. */
const char *nib_pool_switch(nib_pool_mode mode);
/* Do the modules fit what is pooled of rows of `width` numbers?  NIB_E_MISMATCH. */
nib_status nib_sentence_check(const nib_sentence *s, size_t width, nib_error *err);
/* The files of such a directory besides the model's, whose Transformer is DIR itself, with
 * DIR/1_Pooling and those of the Dense modules. */
nib_status nib_sentence_save(const nib_sentence *s, size_t width, const char *dir, nib_error *err);
/* llama.cpp's number for the pooling, of a GGUF file read and written; 0: it has none. */
unsigned nib_sentence_gguf_pooling(const nib_sentence *s);

/* The prompt called `name`, NULL: the default one; *text stays NULL where there is none.  Borrowed.
 * NIB_E_INVALID: no prompt has that name, with those that there are. */
nib_status nib_sentence_prompt(const nib_sentence *s, const char *name, const char **text,
                               nib_error *err);

#endif
