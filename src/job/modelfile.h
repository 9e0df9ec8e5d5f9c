/* modelfile.h - an Ollama Modelfile beside an exported GGUF file: what it is made of, the chat
 * template as one of Go, tokens that stop, settings of sampling. */
#ifndef NIB_JOB_MODELFILE_H
#define NIB_JOB_MODELFILE_H

#include "nibble/export.h"
#include "text/chat.h"

/* A chat template as one of Go, which repeats a text for each role. */
typedef struct nib_go_template {
    char *text;      /* NULL: it has no such form */
    const char *why; /* then what is in the way */
    int64_t end;     /* the token behind what the assistant says; -1: none */
} nib_go_template;
nib_status nib_go_template_make(nib_ctx *ctx, const char *model, nib_tokenizer *t,
                                nib_go_template *out, nib_error *err);
void nib_go_template_free(nib_ctx *ctx, nib_go_template *g); /* zeroed is fine */

typedef struct nib_modelfile {
    const char *model;    /* whose template and settings */
    nib_tokenizer *tokenizer;
    const char *out;      /* the GGUF file; the Modelfile lies in its directory */
    const char *base;     /* of an adapter, what it stands on; NULL: OUT is a model */
    nib_go_template template;
} nib_modelfile;

/* DIR/Modelfile of the file `out`; the caller's; NULL: no memory. */
char *nib_modelfile_path(nib_ctx *ctx, const char *out);
/* Makes the template, before anything is written; warns (modelfile-template) where the chat
 * template has no form in it. */
nib_status nib_modelfile_prepare(nib_ctx *ctx, nib_modelfile *m, nib_error *err);
nib_status nib_modelfile_write(nib_ctx *ctx, const nib_modelfile *m, nib_error *err);
void nib_modelfile_free(nib_ctx *ctx, nib_modelfile *m); /* zeroed is fine */

#endif
