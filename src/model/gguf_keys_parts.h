/* gguf_keys_parts.h - what gguf_keys.c and gguf_rope.c share, for them alone. */
#ifndef NIB_MODEL_GGUF_KEYS_PARTS_H
#define NIB_MODEL_GGUF_KEYS_PARTS_H

#include <stdio.h>

#include "model/gguf_keys.h"

enum { NIB_GGUF_KEY_ROOM = 200 };

typedef struct nib_gguf_keys {
    const nib_model *m;
    const nib_gguf_naming *n;
    nib_gguf_writer *w;
    nib_gguf_keys_out *out;
    const json_t *config; /* of the text, where the model has several media */
    const json_t *rope;   /* rope_parameters or rope_scaling; NULL: none */
    const json_t *local;  /* that of the sliding layers, where they have one of their own */
} nib_gguf_keys;

static inline const char *nib_gguf_full_key(const nib_gguf_keys *k, const char *key,
                                            char room[NIB_GGUF_KEY_ROOM])
{
    snprintf(room, NIB_GGUF_KEY_ROOM, "%s.%s", k->n->family->architecture, key);
    return room;
}

/* A number under a key of the architecture. */
static inline void nib_gguf_put_key(const nib_gguf_keys *k, const char *key, nib_gguf_kind kind,
                                    double value)
{
    char room[NIB_GGUF_KEY_ROOM];

    nib_gguf_put_number(k->w, nib_gguf_full_key(k, key, room), kind, value);
}

/* gguf_rope.c: the rope of layers that see everything, where some have one; NULL: none. */
const nib_rope *nib_gguf_rope_of(const nib_graph *g);
/* NIB_E_UNSUPPORTED: it has no form in GGUF.  NIB_E_FORMAT: the config lacks what it needs. */
nib_status nib_gguf_put_rope(nib_gguf_keys *k, nib_error *err);

#endif
