/* recipe.h - a training run as keys and values: a YAML file, a command line, or both.
 *
 * One table holds every key of LoraConfig, BitsAndBytesConfig, TrainingArguments and SFTConfig, and
 * nibble's own.  A key is used, or ignored and reported once, or refused because taking no
 * notice of it would change numbers; any other name is an error that offers the nearest one.
 * Dashes and underscores are the same. */
#ifndef NIBBLE_RECIPE_H
#define NIBBLE_RECIPE_H

#include "nibble/context.h"
#include "nibble/finetune.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum nib_recipe_use {
    NIB_RECIPE_USED,    /* sets an option */
    NIB_RECIPE_ALIAS,   /* another name of a key: `help` is that key */
    NIB_RECIPE_IGNORED, /* understood and without effect here: `help` says why */
    NIB_RECIPE_REFUSED  /* would change numbers: `help` says why; its default is accepted */
} nib_recipe_use;

typedef struct nib_recipe_key {
    const char *name;    /* with underscores */
    const char *owner;   /* "LoraConfig", "BitsAndBytesConfig", "TrainingArguments", "SFTConfig",
                          * "from_pretrained", "create_loraplus_optimizer" (PEFT), "nibble" */
    nib_recipe_use use;
    bool flag;           /* true or false */
    const char *example; /* of a value; NULL for flags */
    const char *help;
} nib_recipe_key;

/* Is the key's value a list or a map, which a second value adds to? */
bool nib_recipe_key_is_list(const char *name);
/* The table; NULL past its end. */
const nib_recipe_key *nib_recipe_key_at(size_t i);

/* What a key of LLaMA-Factory, axolotl, mlx-lm or torchtune is called here; NULL: another name
 * would not do, or none of them has it. */
const char *nib_recipe_key_of_others(const char *name);

typedef struct nib_recipe nib_recipe;

/* All defaults.  The caller ends it with nib_recipe_destroy(), after the run. */
nib_status nib_recipe_create(nib_ctx *ctx, nib_recipe **out, nib_error *err);
void nib_recipe_destroy(nib_recipe *r); /* NULL is fine */

/* Reads a YAML file: one map of keys.  NIB_E_IO, NIB_E_FORMAT (YAML), NIB_E_INVALID (an unknown
 * key, a value of the wrong type), NIB_E_UNSUPPORTED (a refused key); messages begin
 * file:line:column. */
nib_status nib_recipe_load(nib_recipe *r, const char *path, nib_error *err);

/* Sets a key to the value that `value` spells, over what a file says.  A list is a comma list or
 * YAML's [a, b]; setting a list again adds to it.  Errors as above, the key in place of the
 * file. */
nib_status nib_recipe_set(nib_recipe *r, const char *key, const char *value, nib_error *err);

/* What was read as options; borrowed, callbacks empty.  Says once which keys are without effect.
 * NIB_E_INVALID: two keys that contradict each other. */
nib_status nib_recipe_finetune_options(nib_recipe *r, const nib_finetune_options **out,
                                       nib_error *err);

/* The recipe that reproduces these options, as YAML: every value that changes the result.
 * Borrowed until the next call; NULL: out of memory.  A run writes the same beside its output, with
 * what was found at run time (types, sizes, names) in place of what was left open. */
const char *nib_recipe_resolved(nib_recipe *r);

typedef struct nib_convert_options {
    const char *recipe; /* a file of LLaMA-Factory, axolotl, mlx-lm or torchtune */
    const char *out;    /* where the recipe is written, whole or not at all; NULL: nowhere */
    bool overwrite;     /* replace what is there */
} nib_convert_options;

/* Another tool's recipe as one of nibble.  The tool is found by its keys and named in a note and in
 * the first line.  A key without a counterpart becomes a comment with the reason, and so does a
 * value that nibble does not take (a warning "not-converted" too): what is written always loads.
 * What the tool does by default and nibble does not is written.  *text (text may be NULL) is the
 * recipe; nib_report_free() ends it.
 * NIB_E_IO, NIB_E_FORMAT (YAML), NIB_E_INVALID (no such recipe; `out` is there). */
nib_status nib_recipe_convert(nib_ctx *ctx, const nib_convert_options *options, char **text,
                              nib_error *err);

#ifdef __cplusplus
}
#endif
#endif
