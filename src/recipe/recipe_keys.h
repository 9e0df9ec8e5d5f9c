/* recipe_keys.h - a row of the table of keys, and the recipe that rows write into. */
#ifndef NIB_RECIPE_KEYS_H
#define NIB_RECIPE_KEYS_H

#include "base/base.h"
#include "format/yaml.h"
#include "nibble/recipe.h"

typedef enum nib_recipe_kind { /* the type of a row's target */
    NIB_KEY_NONE,    /* no target: ignored, refused, alias */
    NIB_KEY_BOOL,    /* bool */
    NIB_KEY_CHOICE,  /* int: -1 unset, 0, 1 */
    NIB_KEY_INT,     /* int */
    NIB_KEY_COUNT,   /* int; 0: not given */
    NIB_KEY_BATCH,   /* int, or auto: 0 */
    NIB_KEY_STEPS,   /* int, also written 500.0; or below 1 a fraction of all steps, at `second` */
    NIB_KEY_WARMUP,  /* the same, whose fraction is a key of its own (warmup_ratio) */
    NIB_KEY_SEED,    /* uint64_t */
    NIB_KEY_LONG,    /* int64_t */
    NIB_KEY_SIZE,    /* uint64_t bytes: 512MiB */
    NIB_KEY_FLOAT,   /* double */
    NIB_KEY_TEXT,    /* const char *, one of `words` where those are given ("a*": any that
                        begins so); null: NULL */
    NIB_KEY_JSON,    /* const char *: the JSON text of an object; a YAML map is one too */
    NIB_KEY_WORDS,   /* const char *: `words`, by commas; "a=" is without effect, and reported */
    NIB_KEY_NAMES,   /* nib_names */
    NIB_KEY_SOURCES, /* const char *, and nib_data_sources at `second` where there are several, or
                        one with a weight */
    NIB_KEY_NUMBERS, /* nib_recipe_numbers: const int *, size_t beside it */
    NIB_KEY_PATTERN, /* const nib_pattern *, its count at `second` */
    NIB_KEY_ARGUMENTS, /* const nib_argument *, likewise */
    NIB_KEY_SETTING, /* of options.model.settings, under the row's name: true or false of a flag,
                        one of `words`, or without those a number, which its format checks */
    NIB_KEY_COMPUTE, /* nib_recipe.compute[offset]: a type, or a flag that names one */
} nib_recipe_kind;

typedef enum nib_recipe_result { /* does the key change the result, so that the resolved recipe
                                    holds it? */
                                 NIB_RESULT_NEVER,
                                 NIB_RESULT_ALWAYS,
                                 NIB_RESULT_EVALUATED, /* when there is an eval_strategy */
                                 NIB_RESULT_BEST,      /* with load_best_model_at_end */
                                 NIB_RESULT_COMPARED,  /* of embeddings */
                                 NIB_RESULT_ANSWERED   /* of answers in a context */
} nib_recipe_result;

typedef struct nib_recipe_row {
    nib_recipe_key key;
    nib_recipe_kind kind;
    nib_recipe_result result;
    size_t offset, second; /* of the target in nib_recipe_values, and of a count */
    /* Of a text: what it may be, by spaces; "a=b" takes a for b.  Of an ignored or refused key:
     * values that ask for nothing. */
    const char *words;
} nib_recipe_row;

extern const nib_recipe_row nib_recipe_rows[];
extern const size_t nib_recipe_row_count;

/* What rows point into: the options, and what only becomes one when all keys are read. */
typedef struct nib_recipe_values {
    nib_finetune_options o;
    const char *dataset_text_field;
    int assistant_only_loss, completion_only_loss, packing; /* -1: not given */
} nib_recipe_values;

/* Where compute_dtype comes from: the explicit key, the type the model is loaded in, the Trainer's
 * flags. */
enum { NIB_COMPUTE_KEY, NIB_COMPUTE_TORCH, NIB_COMPUTE_BF16, NIB_COMPUTE_FP16, NIB_COMPUTE_KEYS };

typedef struct nib_recipe_given { /* of a row */
    unsigned char level; /* 0 not given, 1 in a file, 2 by nib_recipe_set() */
    unsigned line;
    const char *name;    /* the name that was used */
    bool is_null;        /* null: the default */
} nib_recipe_given;

enum { NIB_RECIPE_SETTINGS = 16 };
struct nib_recipe {
    nib_ctx *ctx;
    nib_recipe_values v;
    nib_recipe_given *given; /* one a row */
    nib_setting settings[NIB_RECIPE_SETTINGS + 1]; /* v.o.model.settings, where there are any */
    size_t setting_count;
    nib_compute compute[NIB_COMPUTE_KEYS];
    bool compute_flag[NIB_COMPUTE_KEYS]; /* of bf16 and fp16 */
    struct nib_recipe_block *blocks;     /* texts and lists that the options point to */
    char *resolved;
};

/* Memory that lives as long as the recipe, zeroed; NULL: none. */
void *nib_recipe_take(nib_recipe *r, size_t bytes);
char *nib_recipe_copy(nib_recipe *r, const char *text, size_t bytes);
void nib_recipe_release(nib_recipe *r); /* all of it */

/* The row of a name (dashes as underscores, any case), aliases not followed; SIZE_MAX: none. */
size_t nib_recipe_find(const char *name);
size_t nib_recipe_follow(size_t row);        /* an alias to its key */
/* The key with the fewest letters to change, at most a fifth of the name; NULL: none is near. */
const char *nib_recipe_nearest(const char *name);

/* Reads a value into the row's target.  place: "file:line:column: key" or "key".  more: a list is
 * added to. */
nib_status nib_recipe_read_value(nib_recipe *r, const nib_recipe_row *row, const nib_yaml_node *n,
                                 const char *place, bool more, nib_error *err);
/* Takes a setting back. */
void nib_recipe_drop_setting(nib_recipe *r, const char *key);
/* recipe_json.c */
nib_status nib_recipe_read_json(nib_recipe *r, const nib_yaml_node *n, const char *place,
                                const char **out, nib_error *err);
/* The shortest digits that read back as the same double. */
void nib_recipe_number_text(double x, char text[40]);
/* A source as it is given: "old.jsonl:0.2", without the weight where it is 1 and the path cannot be
 * taken for one with a weight.  NULL: no memory; the caller's. */
char *nib_recipe_source_text(nib_ctx *ctx, const nib_data_source *s);
/* Does the value ask for nothing (of an ignored or refused key)? */
bool nib_recipe_is_neutral(const nib_recipe_row *row, const nib_yaml_node *n);

/* The keys and values of a file that was read. */
nib_status nib_recipe_take_yaml(nib_recipe *r, const nib_yaml *y, nib_error *err);

/* The options as a recipe, YAML.  *out is the caller's. */
nib_status nib_recipe_write(nib_ctx *ctx, const nib_finetune_options *o, char **out,
                            nib_error *err);

#endif
