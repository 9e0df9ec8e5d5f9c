/* reader.h - config.json's keys for the architectures.
 *
 * A reader keeps its first error and later calls do nothing, as the graph's builder does, so that
 * an architecture's `read` is a list of keys and no chain of checks.  It also notes which keys were
 * asked for: what nobody asked for and is not known to be without effect is reported.
 *
 * null is a value: where a call has no meaning for it, it is an error and not the default. */
#ifndef NIB_MODEL_READER_H
#define NIB_MODEL_READER_H

#include "format/json.h"
#include "graph/graph.h"
#include "model/wrapper.h"

enum { NIB_READER_KEYS = 128, NIB_READER_NOTES = 4, NIB_CONFIG_BLOCKS = 16 };

typedef struct nib_arch nib_arch;

/* What config.json says, read by its architecture. */
typedef struct nib_config {
    const nib_arch *arch;
    const nib_wrapper *wrapper;       /* NULL: the model stands alone */
    void *values;                     /* the architecture's struct */
    void *blocks[NIB_CONFIG_BLOCKS];  /* what it points to: angles of ropes, kinds of layers */
    size_t block_count;
} nib_config;

typedef struct nib_reader {
    nib_ctx *ctx;
    const json_t *json;  /* the object with the keys */
    const char *where;   /* names the file in errors */
    nib_config *config;
    const char *asked[NIB_READER_KEYS];
    size_t asked_count;
    const char *notes[NIB_READER_NOTES]; /* what is not taken of what was asked for */
    size_t note_count;
    nib_status status;
    nib_error error;
} nib_reader;

void nib_read_fail(nib_reader *r, nib_status status, const char *format, ...) NIB_PRINTF(3, 4);

/* Is the key there, null or not?  Counts as asked for. */
bool nib_read_has(nib_reader *r, const char *key);
/* The value of a key, borrowed; NULL when it is absent. */
const json_t *nib_read_any(nib_reader *r, const char *key);
/* The first of two names of one thing that is there, or the first. */
const char *nib_read_either(nib_reader *r, const char *name, const char *other);

/* Sizes are integers from 1 to 2^30. */
size_t nib_read_size(nib_reader *r, const char *key);
size_t nib_read_size_or(nib_reader *r, const char *key, size_t fallback);
/* null has a meaning of its own. */
size_t nib_read_size_or_null(nib_reader *r, const char *key, size_t fallback, size_t if_null);
/* The number of layers: a size of at most 10000. */
size_t nib_read_layers(nib_reader *r, const char *key);
size_t nib_read_layers_or(nib_reader *r, const char *key, size_t fallback);
/* An integer in [lo, hi]. */
int64_t nib_read_int_or(nib_reader *r, const char *key, int64_t lo, int64_t hi, int64_t fallback);
/* Finite. */
double nib_read_float_or(nib_reader *r, const char *key, double fallback);
double nib_read_float_or_null(nib_reader *r, const char *key, double fallback, double if_null);
/* A norm's epsilon: 0 to 1. */
float nib_read_eps(nib_reader *r, const char *key, float fallback);
/* A probability of dropout: 0 to less than 1.  null: `fallback` where it has a meaning. */
float nib_read_dropout(nib_reader *r, const char *key, double fallback, bool null_means);
/* null is false, as in Python. */
bool nib_read_bool(nib_reader *r, const char *key, bool fallback);
nib_activation nib_read_activation(nib_reader *r, const char *key, const char *fallback);
/* Refuses the model unless the key is absent, null, false or 0. */
void nib_read_must_be_off(nib_reader *r, const char *key, const char *why);

/* Head counts that fit: `heads` is a multiple of kv_heads, products of sizes are no absurd ones. */
void nib_read_check_heads(nib_reader *r, size_t heads, size_t kv_heads, size_t head_dim);
/* width / heads, which must be whole. */
size_t nib_read_head_dim(nib_reader *r, size_t width, size_t heads);
/* "head_dim" where it is there, else the same, which null is too where it has a meaning. */
size_t nib_read_own_head_dim(nib_reader *r, size_t width, size_t heads, bool null_means);
/* Memory that lives as long as the config, zeroed; NULL after an error. */
void *nib_read_alloc(nib_reader *r, size_t count, size_t size);
/* layer_types: true where a layer is "sliding_attention", false where "full_attention"; another
 * type is refused.  NULL when the key is absent or null. */
bool *nib_read_sliding_layers(nib_reader *r, size_t layers);
/* The same, and where it is NULL all layers slide but each one whose number, counted from 1, is a
 * multiple of `period`. */
bool *nib_read_sliding_pattern(nib_reader *r, size_t layers, size_t period);

/* A layer of the list slides, and there is no window: an error. */
void nib_read_check_window(nib_reader *r, size_t window, const bool *sliding, size_t layers);

/* Which rope of a model is read. */
typedef struct nib_rope_spec {
    double theta;           /* where no key gives it */
    bool fixed;             /* no key gives it, and none scales it */
    const char *theta_key;  /* NULL: "rope_theta" */
    bool scaled;            /* rope_scaling applies to it */
    const char *layer_type; /* its entry in a rope_parameters of one entry a layer type */
    size_t rot;             /* rotated channels of a head */
    size_t head_dim;        /* 0: rot */
    bool interleaved;
    size_t positions;       /* max_position_embeddings */
    size_t original;        /* original_max_position_embeddings where no key gives it;
                               0: positions */
    const char *absent;     /* the object, as JSON, where neither key is there; NULL: plain */
    bool grows;             /* llama_4_scaling_beta is known: nib_rope's growth */
    bool axes;              /* mrope's keys are known: in text all axes have one position */
    bool alpha;             /* a key "alpha" is known: "dynamic" then multiplies theta by a power
                               of it, whatever the length */
    double proportional;    /* above 0: a type "proportional" is known, of all channels, some at
                               angle 0; and without keys this is the live fraction */
} nib_rope_spec;

/* rope_parameters, else rope_theta and rope_scaling (formats.md 10.3, 10.30). */
nib_rope nib_read_rope(nib_reader *r, nib_rope_spec spec);
/* How many channels of a head are rotated: a fraction of all, by rope_parameters, else by `older`
 * where the architecture has such a key (NULL: it has none), which then decides also when it is
 * absent, else by partial_rotary_factor; else the fallback. */
size_t nib_read_rotated(nib_reader *r, size_t head_dim, const char *older, double fallback);

/* What the user is warned of beside them: text that lives as long as the program. */
void nib_read_note(nib_reader *r, const char *text);
/* Warns of the keys that nobody asked for and that are not known to be without effect. */
void nib_read_warn_unused(nib_reader *r);

#endif
