/* environment.h - what the environment says of the hub, under the names of huggingface_hub. */
#ifndef NIB_HUB_ENVIRONMENT_H
#define NIB_HUB_ENVIRONMENT_H

#include "base/base.h"

typedef struct nib_hub_settings {
    char *endpoint;    /* $HF_ENDPOINT without a slash at its end, else https://huggingface.co */
    char *token;       /* NULL: none */
    char *token_path;  /* where a token is looked for when $HF_TOKEN is not set; may be NULL */
    bool withheld;     /* $HF_HUB_DISABLE_IMPLICIT_TOKEN: no token is looked for */
    bool offline;      /* $HF_HUB_OFFLINE or $TRANSFORMERS_OFFLINE */
} nib_hub_settings;

/* The token: $HF_TOKEN, else $HUGGING_FACE_HUB_TOKEN, else the file $HF_TOKEN_PATH, else "token" in
 * $HF_HOME, $XDG_CACHE_HOME/huggingface or ~/.cache/huggingface; none of them with
 * $HF_HUB_DISABLE_IMPLICIT_TOKEN, as in huggingface_hub.  NIB_E_INVALID: an endpoint that is no
 * http address, or a token with characters that cannot be sent (no message ever holds it).
 * NIB_E_IO: a token file that cannot be read. */
nib_status nib_hub_settings_read(nib_ctx *ctx, nib_hub_settings *out, nib_error *err);
void nib_hub_settings_free(nib_ctx *ctx, nib_hub_settings *s); /* overwrites the token */

#endif
