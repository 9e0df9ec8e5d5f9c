/* foreign.h - a recipe of another tool as changes: which of its keys is which of ours, with which
 * value, and why the others have no counterpart.
 *
 *     nib_foreign_detect()   whose recipe is it
 *     nib_foreign_convert()  its changes, in the order of its lines
 *     foreign_write.c        the changes as a table, and as our recipe
 *
 * The words are in foreign_words.c, nowhere else.  Each value is tried on a recipe of ours as soon
 * as it is made: what that refuses becomes a comment with its reason, so what is written loads. */
#ifndef NIB_RECIPE_FOREIGN_H
#define NIB_RECIPE_FOREIGN_H

#include "recipe/foreign_words.h"
#include "recipe/recipe_keys.h"
#include "recipe/yaml_flow.h"

typedef struct nib_change {
    unsigned line;         /* of the old key; 0: it was not given */
    const char *old;       /* its path, or NULL: a default of the tool */
    const char *old_value; /* on one line */
    const char *key;       /* ours, or NULL: no counterpart, or nothing to write */
    const char *value;     /* YAML */
    const char *why;       /* or NULL */
    bool lost;             /* not taken, though it may change what is trained */
} nib_change;

typedef struct nib_foreign {
    nib_ctx *ctx;
    nib_tool tool;
    const nib_yaml_node *root;
    nib_recipe *tried;    /* holds the texts too */
    nib_change *items;
    size_t count, capacity;
} nib_foreign;

/* The tool with the most words in the map `root` that are not keys of ours; NIB_TOOLS when no tool
 * has `least` of them. */
nib_tool nib_foreign_detect(const nib_yaml_node *root, size_t least);

/* NIB_E_NOMEM.  *out is ended by nib_foreign_release() in any case, and before the file is. */
nib_status nib_foreign_convert(nib_ctx *ctx, const nib_yaml_node *root, nib_tool tool,
                               nib_foreign *out, nib_error *err);
void nib_foreign_release(nib_foreign *f);

/* The key is ours as it is. */
bool nib_change_is_none(const nib_change *c);

/* foreign_value.c: a value that is not just another name.  As nib_foreign_add(). */
nib_status nib_foreign_add_value(nib_foreign *f, const nib_word *w, const nib_yaml_node *n,
                                 const char *path, nib_error *err);
/* foreign_change.c: adds a change, if our recipe takes it; else a comment, and the value is lost.
 * n: the old value, or NULL. */
nib_status nib_foreign_add(nib_foreign *f, const nib_yaml_node *n, const char *path,
                           const char *key, const char *value, const char *why, nib_error *err);
/* Adds a comment on a value that is lost. */
nib_status nib_foreign_lose(nib_foreign *f, const nib_yaml_node *n, const char *path,
                            const char *why, nib_error *err);
/* torchtune's ${output_dir}/logs with the value of the other key; what is not found stays. */
const char *nib_foreign_resolve(nib_foreign *f, const char *text);
/* The value at a path, references resolved; NULL: not there, or null, or not a scalar. */
const char *nib_foreign_text(nib_foreign *f, const char *path);
/* The value that was written for a key of ours; NULL: none. */
const char *nib_foreign_written(const nib_foreign *f, const char *key);
/* Text that lives as long as f; NULL: no memory. */
const char *nib_foreign_print(nib_foreign *f, const char *format, ...) NIB_PRINTF(2, 3);
const char *nib_foreign_flow(nib_foreign *f, const nib_yaml_node *n);

/* foreign_write.c: a note for each change. */
void nib_foreign_note(const nib_foreign *f, const char *path);

#endif
